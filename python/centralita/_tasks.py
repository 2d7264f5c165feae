"""Tasks of the package's own, on loops that may be closed or left behind at any moment.

A coroutine that is never awaited, a pending task that is destroyed and an exception that nobody fetched each put a
warning on stderr. Here none of them is news to the user: whoever ends a loop ends what runs on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import weakref
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from ._logging import logger

T = TypeVar("T")

_known: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


def start(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T],
    *,
    context: contextvars.Context | None = None,
) -> asyncio.Task[T]:
    """Runs a coroutine as a task of ``loop``, which must be that of the calling thread."""
    try:
        task = loop.create_task(work) if context is None else context.run(loop.create_task, work)
    except BaseException:
        # The loop is closed.
        work.close()
        raise
    with contextlib.suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    _known.add(task)
    return task


def as_coroutine(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    """What a task runs. A coroutine as it is: one that is wrapped is never awaited if its task is cancelled at once."""
    return awaitable if inspect.iscoroutine(awaitable) else _awaited(awaitable)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def failure(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task that is done failed with; ``None`` for one that was cancelled, or that ended its loop."""
    if task.cancelled():
        return None
    error = task.exception()
    # These have left the loop already: whoever runs it has them.
    return None if isinstance(error, (KeyboardInterrupt, SystemExit)) else error


def report(task: asyncio.Task[Any]) -> None:
    """Says so if a task of the package did fail, which must not be; a callback of it."""
    if (error := failure(task)) is not None:
        logger.critical("the package itself failed while it handled events; report this", exc_info=error)


def forget() -> None:
    """At the interpreter's end: what was left on loops that nobody runs any more is put away without a word."""
    for task in tuple(_known):
        if task.done():
            failure(task)
        elif not task.get_loop().is_running():
            work = task.get_coro()
            if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()

