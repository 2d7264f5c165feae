"""What is given to users: that the check of the shipped wheel finds what it must, and the benchmark runs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import centralita_testing

PYTHON = Path(__file__).resolve().parents[2] / "python"
NAME = "centralita-0.1.0-cp310-abi3-manylinux_2_28_x86_64.whl"


def load_check() -> Any:
    loader = importlib.machinery.SourceFileLoader("check_wheel", str(PYTHON / "check-wheel"))
    spec = importlib.util.spec_from_loader("check_wheel", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # No byte code beside the script.
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


def wheel(folder: Path, more: dict[str, bytes] | None = None, name: str = NAME, leave_out: str = "") -> Path:
    """A wheel with what belongs there, and some more."""
    files = {str(path.relative_to(PYTHON)): b"" for path in (PYTHON / "centralita").rglob("*.py*")}
    files |= {"centralita/py.typed": b"", "centralita/_native.abi3.so": b"\x7fELF the library"}
    files |= {f"centralita-0.1.0.dist-info/licenses/LICENSE-{kind}": b"" for kind in ("APACHE", "MIT")}
    files |= more or {}
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, content in files.items():
            if not leave_out or leave_out not in path:
                archive.writestr(path, content)
    return folder / name


def test_a_good_wheel_passes(tmp_path: Path) -> None:
    assert load_check().faults(wheel(tmp_path)) == []


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        ({"name": "centralita-0.1.0-cp310-abi3-linux_x86_64.whl"}, "manylinux"),
        ({"leave_out": "py.typed"}, "lacks centralita/py.typed"),
        ({"leave_out": "sync/service.py"}, "lacks centralita/sync/service.py"),
        ({"leave_out": "_native.abi3.so"}, "native modules"),
        ({"leave_out": "LICENSE-MIT"}, "lacks LICENSE-MIT"),
        ({"more": {"centralita_testing/plugin.py": b""}}, "testing package"),
    ],
)
def test_each_fault_is_found(made: dict[str, Any], fault: str, tmp_path: Path) -> None:
    found = load_check().faults(wheel(tmp_path, **made))
    assert len(found) == 1 and fault in found[0]


def test_the_code_path_of_the_stand_in_is_found_where_it_is(tmp_path: Path) -> None:
    library = Path(centralita_testing._native.__file__).read_bytes()
    (found,) = load_check().faults(wheel(tmp_path, {"centralita/_native.abi3.so": library}))
    assert "holds the code path of the stand-in" in found


def test_the_benchmark_prints_one_line() -> None:
    """The loop's thread is never at work for long at a time; what the wall clock says is for a quiet machine."""
    command = [sys.executable, str(PYTHON / "benches" / "python_events.py"), "--events", "1000", "--messages", "1000"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (process.returncode, process.stderr) == (0, ""), process.stderr
    (line,) = process.stdout.splitlines()
    found = json.loads(line)
    assert found["bench"] == "python_events" and found["stall"]["messages"] == 1_000
    for name in ("rust_live", "plain_live", "plain_drained", "coroutine_live", "coroutine_drained"):
        assert found[f"{name}_per_s"] > 0
    assert found["stall"]["cpu_ms"] < 10
