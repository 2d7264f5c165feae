#!/usr/bin/env python3
"""Writes two C programs from the header, so that a function which is added is tested without being asked for.

    generate.py include/centralita.h FOLDER

all_null.c calls every function with nothing but NULL and zero. random_input.c calls every function again and again with
arguments from a seeded generator: strings that are not, sizes that cannot be, numbers at their ends.
"""

import pathlib
import re
import sys

HEADER = pathlib.Path(sys.argv[1]).read_text()
FOLDER = pathlib.Path(sys.argv[2])


def functions():
    text = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)
    text = re.sub(r"^\s*#.*(\\\n.*)*$", "", text, flags=re.M)
    text = re.sub(r"static inline.*?^}", "", text, flags=re.S | re.M)
    for result, name, arguments in re.findall(r"^([\w\s]+?[\s*]+)(centralita_\w+)\(([^()]*(?:\([^()]*\)[^()]*)*)\);", text, flags=re.M):
        parameters = []
        for argument in " ".join(arguments.split()).split(", "):
            if argument != "void":
                kind, _, parameter = argument.rpartition(" ")
                while parameter.startswith("*"):
                    kind, parameter = kind + "*", parameter[1:]
                parameters.append((kind.replace(" *", "*").strip(), parameter))
        yield result.strip(), name, parameters


FUNCTIONS = list(functions())
assert len(FUNCTIONS) > 120, f"only {len(FUNCTIONS)} functions found in the header"

# What NULL may mean: an end, a default, or nothing to do.
NULL_IS_FINE = {"centralita_config_option", "centralita_log_set"}
STRUCTS = {"centralita_str"}


def zero(kind):
    return f"({kind}){{ NULL, 0 }}" if kind in STRUCTS else f"({kind})0" if "*" not in kind else "NULL"


def all_null():
    lines = []
    for result, name, parameters in FUNCTIONS:
        call = f"{name}({', '.join(zero(kind) for kind, _ in parameters)})"
        takes_handle = any("*" in kind for kind, _ in parameters)
        if result == "int32_t" and takes_handle and name not in NULL_IS_FINE and "err" in [p for _, p in parameters]:
            lines.append(f'    expect("{name}", {call});')
            with_err = call[:-1].rsplit("NULL", 1)[0] + "&err)"
            lines.append(f'    STATUS(CENTRALITA_INVALID, {with_err});')
        else:
            lines.append(f"    (void){call};" if result != "void" else f"    {call};")
    return f"""/* Made by generate.py. */
#include "check.h"

static void expect(const char *name, int32_t status)
{{
    if (status != CENTRALITA_INVALID) {{
        fprintf(stderr, "%s with NULL answers %d\\n", name, status);
        exit(1);
    }}
}}

int main(void)
{{
    centralita_error *err = NULL;
{chr(10).join(lines)}
    printf("all_null: ok, {len(FUNCTIONS)} functions\\n");
    return 0;
}}
"""


# Handles that the program holds, by the type of the parameter.
HANDLES = {
    "centralita_service": "service",
    "centralita_session": "session",
    "centralita_config": "config",
    "centralita_cleanup": "cleanup",
    "centralita_consumer": "consumer",
    "centralita_op": "op",
    "centralita_error": "error",
    "centralita_event": "event",
    "centralita_link": "linking",
    "centralita_link_step": "step",
    "centralita_subscription": "subscription",
}
# They end what the others need, or are process-wide.
SKIPPED = {"centralita_service_shutdown", "centralita_service_open", "centralita_log_set"}


def argument(name, kind, parameter):
    """A C expression for one argument, or None if this type is not known here."""
    bare = kind.replace("const ", "").rstrip("*")
    stars = kind.count("*")
    if parameter == "err":
        return "&err"
    if stars == 2:
        return f"one_of_two(NULL, &out_{bare})" if bare in HANDLES else "NULL"
    if kind == "centralita_str":
        return "text()"
    if kind in ("int64_t",):
        return "(int64_t)(next() % 3)" if "timeout" in parameter or "patience" in parameter else "(int64_t)number()"
    if kind == "double":
        return "(double)number() / 3.0"
    if kind in ("int32_t", "uint32_t", "size_t", "uint64_t"):
        return "(size_t)(next() % 3)" if kind == "size_t" else f"({kind})number()"
    if stars == 1 and bare in HANDLES:
        return f"one_of_two(NULL, {HANDLES[bare]})"
    # Without it they may wait for what nobody will do here.
    waits = name in {"centralita_consumer_run", "centralita_consumer_open", "centralita_session_request_pair_code"}
    special = {
        "centralita_async": "always_async()" if waits else "async()",
        "centralita_outgoing": "outgoing()",
        "centralita_sink": "sink()",
        "centralita_progress": "progress()",
        "centralita_key_provider": "one_of_two(NULL, &(centralita_key_provider)CENTRALITA_KEY_PROVIDER_INIT)",
        "centralita_handler": "handler()",
        "centralita_session_figures": "session_figures()",
        "centralita_service_figures": "service_figures()",
        "centralita_message_key": "keys()",
        "centralita_buf": "one_of_two(NULL, &buf)",
        "centralita_str": "one_of_two(NULL, &string)",
        "int32_t": "one_of_two(NULL, &integer)",
        "uint8_t": "(const uint8_t *)one_of_two(NULL, bytes)",
    }
    if name == "centralita_event_message_key":
        special["centralita_message_key"] = "one_of_two(NULL, &key)"
    return special.get(bare)


def random_input():
    cases, freed = [], []
    for result, name, parameters in FUNCTIONS:
        if name in SKIPPED or name.endswith("_free"):
            continue
        arguments = [argument(name, kind, parameter) for kind, parameter in parameters]
        assert None not in arguments, f"generate.py does not know an argument of {name}: {parameters}"
        call = f"{name}({', '.join(arguments)})"
        check = f"status({call})" if result == "int32_t" else f"(void){call}"
        cases.append(f"    case {len(cases)}: {check}; break;")
    for bare in HANDLES:
        if f"centralita_{bare[11:]}_free" in [name for _, name, _ in FUNCTIONS]:
            freed.append(f"    {bare}_free(&out_{bare});")
    outs = "\n".join(f"static {bare} *out_{bare};" for bare in HANDLES)
    template = pathlib.Path(__file__).with_name("random_input.c.in").read_text()
    return (
        template.replace("@CASES@", "\n".join(cases))
        .replace("@COUNT@", str(len(cases)))
        .replace("@OUTS@", outs)
        .replace("@FREES@", "\n".join(freed))
    )


FOLDER.mkdir(parents=True, exist_ok=True)
(FOLDER / "all_null.c").write_text(all_null())
(FOLDER / "random_input.c").write_text(random_input())
