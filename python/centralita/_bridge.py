"""Calls into the native module, awaited on the caller's own loop."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, TypeVar

from . import _native, _tasks

P = ParamSpec("P")
T = TypeVar("T")

exiting = False
"""Whether the interpreter is on its way out: every call is refused from then on."""


def _end() -> None:
    global exiting
    exiting = True
    # The interpreter must outlive what enters it.
    _native.close()
    _tasks.forget()


# Before anything can be started.
atexit.register(_end)

Start = Callable[Concatenate["asyncio.Future[Any]", P], _native.Operation]


async def call(start: Start[P], *args: P.args, **kwargs: P.kwargs) -> Any:
    """Awaits a native call. Cancelling the caller cancels the call."""
    future, operation = begin(start, *args, **kwargs)
    try:
        return await future
    except asyncio.CancelledError:
        operation.cancel()
        raise


def begin(
    start: Start[P], *args: P.args, **kwargs: P.kwargs
) -> tuple[asyncio.Future[Any], _native.Operation]:
    """Starts a native call that answers a future of the running loop."""
    future = asyncio.get_running_loop().create_future()
    return future, start(future, *args, **kwargs)


def settle(answers: Iterable[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    """Answers futures, on their loop. Those that were cancelled meanwhile are passed over."""
    for future, value, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
