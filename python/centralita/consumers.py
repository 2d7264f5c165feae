"""Durable events: logged in the store, read by named consumers, at least once and in order per session."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import _decode, _tasks
from ._bridge import call
from .events import Event, decode, decode_batch
from .exceptions import OperationTimeoutError
from .options import seconds
from .records import Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from typing_extensions import Self

    from . import _native
    from .options import Seconds
    from .service import Service

__all__ = ["Consumer", "ConsumerInfo", "DeadLetter", "DeadLetters", "LoggedEvent"]


@dataclass(frozen=True)
class LoggedEvent:
    """An event from the log."""

    event: Event
    cursor: str
    """Where it stands: what ``Consumer.ack`` takes. Opaque; it may be kept elsewhere meanwhile."""
    attempt: int
    """Which attempt of ``Consumer.run`` this is, from 1; always 1 outside of it."""
    replayed: bool
    """Whether it was put aside before and is handled once more. It comes out of order."""
    _native: _native.Logged = field(repr=False, compare=False)


@dataclass(frozen=True)
class DeadLetter:
    """An event that was put aside."""

    event: Event
    attempts: int
    """How often the handler failed on it, replays included."""
    error: str
    """What the handler said the last time. It may hold whatever the handler knew."""
    failed_at: datetime
    replay: bool
    """Whether it waits to be handled once more."""


@dataclass(frozen=True)
class ConsumerInfo:
    """A consumer that was opened once, whether or not it runs."""

    name: str
    created_at: datetime
    behind: int
    """Events of all sessions that it has not acknowledged, cut off ones included."""


class Consumer:
    """A named reader of the log; get it from ``Service.consumer``, close it or use it as ``async with``.

    Either take batches (``next_batch``, then ``ack``) or have a handler called (``run``). What was handed out and not
    acknowledged comes again once the consumer was closed and opened, here or in another process.
    """

    def __init__(
        self, service: Service, name: str, native: _native.Consumer, handler_timeout_s: float | None
    ) -> None:
        self._service = service
        self._name = name
        self._native = native
        self._handler_timeout_s = handler_timeout_s

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    def __repr__(self) -> str:
        return f"<Consumer {self._name!r}>"

    async def next_batch(self, limit: int = 100, *, timeout: Seconds = 30.0) -> list[LoggedEvent]:
        """The next events of all sessions, in order within each, as soon as there is one; none after ``timeout``.

        ``limit`` is 1 to 10,000. ``InvalidStateError`` while a handler runs; ``ConflictError`` if another process took
        the consumer over; ``ClosedError`` after the end.
        """
        found = await call(self._native.next_batch, limit, seconds(timeout))
        return [self._logged(native) for native in found]

    def _logged(self, native: _native.Logged) -> LoggedEvent:
        (event,) = decode_batch(f"[{native.json()}]", self._service)
        return LoggedEvent(event, native.cursor, native.attempt, native.replayed, native)

    async def ack(self, event: LoggedEvent | str) -> None:
        """Says that an event, or the one of a cursor, and all before it of its session are done with. Durable.

        ``InvalidError`` for a cursor that is malformed, another consumer's, or beyond the end of the log.
        """
        await call(self._native.ack, event if isinstance(event, str) else event.cursor)

    async def reject(self, event: LoggedEvent, reason: str) -> None:
        """Puts an event aside as a dead letter, and acknowledges it."""
        await call(self._native.reject, event._native, reason)

    async def run(self, handler: Callable[[LoggedEvent], Awaitable[object] | None]) -> None:
        """Calls ``handler`` for every event until ``stop`` or the service's shutdown: at the same time for different
        sessions, one after the other within a session.

        An event is acknowledged after the handler's return. After an exception it is called again, after a pause; the
        later events of that session wait, those of others do not. After the last attempt the event becomes a dead
        letter, and its session goes on. Each call runs in a copy of the present context.
        """
        context = contextvars.copy_context()
        tasks: set[asyncio.Task[None]] = set()

        async def answer(native: _native.Logged, reply: _native.Reply) -> None:
            try:
                done = handler(self._logged(native))
                if inspect.isawaitable(done):
                    await _within(done, self._handler_timeout_s)
            except BaseException as error:
                reply.reject(error)
                if not isinstance(error, Exception):
                    raise
            else:
                reply.resolve(b"")

        def ask(question: tuple[_native.Logged, _native.Reply]) -> None:
            task = _tasks.start(asyncio.get_running_loop(), answer(*question), context=context.copy())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        try:
            await call(self._native.run, ask)
        finally:
            # Whoever was cancelled acknowledges nothing more: those events come again.
            for task in tuple(tasks):
                task.cancel()

    def stop(self) -> None:
        """Ends ``run`` once the handlers at work have ended."""
        self._native.stop()

    async def close(self) -> None:
        """Ends it: another process may open it at once. What was not acknowledged comes again there."""
        await call(self._native.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def _within(handling: Awaitable[object], patience_s: float | None) -> None:
    """Awaits a handler, and cancels it after that time."""
    if patience_s is None:
        await handling
        return
    task = _tasks.start(asyncio.get_running_loop(), _tasks.as_coroutine(handling))
    try:
        await asyncio.wait_for(task, patience_s)
    except asyncio.TimeoutError:
        if not task.cancelled():
            raise
        raise OperationTimeoutError(f"the handler took longer than {patience_s:g} s and was cancelled") from None


class DeadLetters:
    """The events that a consumer's handler failed on; get them from ``Service.dead_letters``.

    They stay until they are replayed with success or discarded.
    """

    def __init__(self, service: Service, native: _native.Letters) -> None:
        self._service = service
        self._native = native

    async def list(self, *, limit: int = 100, after: str | None = None) -> Page[DeadLetter]:
        """A page of them, by session and number. ``limit`` is 1 to 1,000."""
        page = json.loads(await call(self._native.list, limit, after))
        items = tuple(
            DeadLetter(
                decode(letter["event"], self._service),
                letter["attempts"],
                letter["error"],
                _decode.to_datetime(letter["failedAt"]),
                letter["replay"],
            )
            for letter in page["items"]
        )
        return Page(items, page["next"], tuple(page["malformed"]))

    async def replay(self, session_id: str, seq: int) -> None:
        """Has one handled once more, by whichever process runs the consumer. ``NotFoundError`` if there is none."""
        await self._act("replay", (session_id, seq))

    async def replay_all(self) -> int:
        """Has all handled once more. Returns how many."""
        return await self._act("replay", None)

    async def discard(self, session_id: str, seq: int) -> None:
        """Removes one for good. ``NotFoundError`` if there is none."""
        await self._act("discard", (session_id, seq))

    async def discard_all(self) -> int:
        """Removes all for good. Returns how many."""
        return await self._act("discard", None)

    async def _act(self, what: str, event: tuple[str, int] | None) -> int:
        found: Any = await call(self._native.act, what, event)
        return int(found)
