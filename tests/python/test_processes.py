"""Whole processes: exits, signals, forks, other loops, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"

WAYS = [
    "sys.exit in main",
    "sys.exit in a handler",
    "SIGTERM",
    "Ctrl-C",
    "left running",
    "asyncio.run, never shut down",
    "returned",
    "a consumer at work",
    "without async",
]
TIMES = int(os.environ.get("EXITS", "54"))


def program(name: str, *args: str, patience: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end."""
    command = [sys.executable, "-X", "faulthandler", str(PROGRAMS / name), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)


def test_exit_at_any_moment_with_traffic_flowing() -> None:
    """More often with the environment variable ``EXITS``."""
    runs = [(WAYS[number % len(WAYS)], str(number)) for number in range(TIMES)]
    with ThreadPoolExecutor(max_workers=2) as two:
        ended = list(two.map(lambda run: program("traffic.py", *run), runs))
    bad = [
        (run, process.returncode, process.stdout, process.stderr[-2_000:])
        for run, process in zip(runs, ended, strict=True)
        if process.returncode != 0 or process.stderr or process.stdout
    ]
    assert not bad, f"{len(bad)} of {len(runs)}; the first: {bad[0]}"


def test_ctrl_c_ends_asyncio_run_with_keyboard_interrupt() -> None:
    code = """
import asyncio, os, signal, centralita_testing, centralita
ended = []
async def main():
    stand_in = centralita_testing.StandIn()
    async with centralita.Service(store=centralita.MemoryStore(), whatsapp_version=(2, 3000, 1027934701)) as wa:
        await wa.create_session("ventas")
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await wa.run_until_stopped()
        finally:
            ended.append(wa)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", repr(ended[0]))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stdout.strip(), process.stderr) == (
        0,
        "interrupted <Service shut down>",
        "",
    )


def test_a_fork_raises_and_hangs_nothing() -> None:
    process = program("fork.py")
    refused = " ".join(["ForkError/True"] * 4)
    assert (process.returncode, process.stdout.splitlines(), process.stderr) == (
        0,
        [
            "before: 0 exit=0",
            f"sync: {refused} exit=0",
            "parent: 1 1",
            f"async: {refused} exit=0",
            "parent: 1",
        ],
        "",
    )


def test_uvloop() -> None:
    pytest.importorskip("uvloop")
    process = program("uvloop_bot.py")
    assert (process.returncode, process.stdout, process.stderr) == (0, "answered 20\n", "")


def test_memory_is_flat_over_100_000_events() -> None:
    rounds, a_round = 10, 10_000
    command = [sys.executable, str(PROGRAMS / "memory.py"), str(rounds), str(a_round)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert process.returncode == 0 and process.stderr == "", process.stderr
    found = json.loads(process.stdout)
    assert found["seen"] == {"coroutine": 100_000, "plain": 100_000, "stream": 100_000}
    resident = found["resident_kib"]
    # The first rounds fill allocators and caches.
    grown = resident[-1] - resident[2]
    assert grown < 4_096, f"{grown} KiB more over 70,000 events: {resident}"
