"""The package as it is installed."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import centralita
import centralita_testing
from centralita import _native

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(centralita.__path__, "centralita.")
    if module.name not in {"centralita.__main__", "centralita._native"}
)


@pytest.mark.parametrize("name", ["centralita", *MODULES])
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_what_is_public_is_documented() -> None:
    assert len(MODULES) > 10
    for name in centralita.__all__:
        thing = getattr(centralita, name)
        assert name == "__version__" or thing.__doc__, name
        if isinstance(thing, type) and thing.__module__.startswith("centralita"):
            for member, value in vars(thing).items():
                if not member.startswith("_") and callable(getattr(value, "fget", value)):
                    assert getattr(thing, member).__doc__ if not isinstance(value, property) else value.__doc__, (
                        name,
                        member,
                    )


def test_versions_agree() -> None:
    assert centralita.__version__ == _native.__version__


def test_the_testing_package_takes_the_place_of_the_shipped_module() -> None:
    assert _native is centralita_testing._native and _native.STAND_IN
    code = "import centralita, centralita_testing"
    late = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert late.returncode != 0 and "import centralita_testing first" in late.stderr


def test_the_name_where_one_looks_for_it() -> None:
    testing = importlib.import_module("centralita.testing")
    assert testing.StandIn is centralita_testing.StandIn


def test_a_stand_in_build_reaches_loopback_alone() -> None:
    code = """
import asyncio, os
os.environ["CENTRALITA_STAND_IN_URL"] = "ws://192.0.2.1:4000/ws/chat"
import centralita_testing, centralita
async def main():
    async with centralita.Service(store=centralita.MemoryStore()):
        pass
try:
    asyncio.run(main())
except centralita.InvalidError as error:
    print("refused")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (0, "refused\n"), process.stderr


def test_importing_starts_nothing() -> None:
    code = "import threading, os, centralita; print(threading.active_count(), len(os.listdir('/proc/self/task')))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "1 1\n"


def test_nothing_but_the_standard_library_is_imported() -> None:
    code = """
import sys
before = set(sys.modules)
import centralita_testing, centralita, centralita.sync, centralita.testing
roots = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(roots - sys.stdlib_module_names))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "['centralita', 'centralita_testing']\n"
