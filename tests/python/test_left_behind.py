"""Loops that end while something was about to begin: nothing is said of it, and nothing is left unawaited."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

import centralita
from centralita import Event, Service, Typing
from centralita.handlers import Handlers, Registration

PROGRAMS = Path(__file__).parent / "programs"


def typing_event() -> Typing:
    return Typing(1, "ventas", datetime.now(timezone.utc), "chat", "sender", True)


async def cancelled_before_it_begins(handler: Any, turns: int) -> list[asyncio.Task[Any]]:
    """Has an event handled, and cancels whatever runs after so many turns of the loop."""
    handlers = Handlers(Service(store=centralita.MemoryStore()), 4)
    handlers.start()
    handlers._registered.append(Registration(handler, (Event,), None))
    await handlers.dispatch(typing_event())
    for _ in range(turns):
        await asyncio.sleep(0)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await handlers.stop(1.0)
    return others


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("kind", ["coroutine", "plain that answers with one"])
def test_a_handler_that_is_cancelled_before_it_begins(kind: str, turns: int) -> None:
    begun = []

    async def coroutine(event: Event) -> None:
        begun.append(event)
        await asyncio.Event().wait()

    def plain(event: Event) -> Any:
        return coroutine(event)

    tasks = asyncio.run(cancelled_before_it_begins(coroutine if kind == "coroutine" else plain, turns))
    assert tasks and all(task.cancelled() or task.exception() is None for task in tasks)
    assert turns > 0 or not begun
    # Whatever was never awaited says so now, and is an error here.
    del tasks
    gc.collect()


@pytest.mark.parametrize("turns", ["0", "1", "2"])
def test_a_loop_that_is_left_before_a_handler_begins(turns: str) -> None:
    command = [sys.executable, str(PROGRAMS / "left_behind.py"), turns]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, "left\n", "")


@pytest.mark.parametrize("way", ["plain", "coroutine"])
@pytest.mark.parametrize("exception", ["KeyboardInterrupt", "SystemExit"])
def test_an_exception_that_ends_the_loop_is_no_failure_of_a_handler(way: str, exception: str) -> None:
    command = [sys.executable, str(PROGRAMS / "ends_the_loop.py"), way, exception]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (0, f"ended by {exception}\n", "")
