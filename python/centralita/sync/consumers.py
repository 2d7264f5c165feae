"""Durable events, for code without ``async``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import consumers as _aio
from ..consumers import DeadLetter, LoggedEvent
from ..records import Page

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ..options import Seconds
    from ._loop import Loop

__all__ = ["Consumer", "DeadLetters"]


class Consumer:
    """A named reader of the log; see ``centralita.Consumer``, whose methods these are."""

    def __init__(self, loop: Loop, consumer: _aio.Consumer) -> None:
        self._loop = loop
        self._consumer = consumer

    @property
    def name(self) -> str:
        """Its name."""
        return self._consumer.name

    def __repr__(self) -> str:
        return repr(self._consumer)

    def next_batch(self, limit: int = 100, *, timeout: Seconds = 30.0) -> list[LoggedEvent]:
        """The next events of all sessions, as soon as there is one; none after ``timeout``."""
        return self._loop.run(self._consumer.next_batch(limit, timeout=timeout))

    def ack(self, event: LoggedEvent | str) -> None:
        """Says that an event, or the one of a cursor, and all before it of its session are done with."""
        self._loop.run(self._consumer.ack(event))

    def reject(self, event: LoggedEvent, reason: str) -> None:
        """Puts an event aside as a dead letter, and acknowledges it."""
        self._loop.run(self._consumer.reject(event, reason))

    def run(self, handler: Callable[[LoggedEvent], object]) -> None:
        """Calls ``handler`` for every event until ``stop`` or the service's shutdown.

        In threads, so that it may wait and use this facade: those of asyncio's default executor. It may be a coroutine
        function, too; that runs on the loop.
        """
        if inspect.iscoroutinefunction(handler):
            self._loop.run(self._consumer.run(handler))
            return

        async def in_a_thread(event: LoggedEvent) -> None:
            await asyncio.to_thread(handler, event)

        self._loop.run(self._consumer.run(in_a_thread))

    def stop(self) -> None:
        """Ends ``run`` once the handlers at work have ended. From any thread."""
        self._consumer.stop()

    def close(self) -> None:
        """Ends it: another process may open it at once."""
        self._loop.run(self._consumer.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class DeadLetters:
    """The events that a consumer's handler failed on; see ``centralita.DeadLetters``, whose methods these are."""

    def __init__(self, loop: Loop, letters: _aio.DeadLetters) -> None:
        self._loop = loop
        self._letters = letters

    def list(self, *, limit: int = 100, after: str | None = None) -> Page[DeadLetter]:
        """A page of them, by session and number. ``limit`` is 1 to 1,000."""
        return self._loop.run(self._letters.list(limit=limit, after=after))

    def replay(self, session_id: str, seq: int) -> None:
        """Has one handled once more."""
        self._loop.run(self._letters.replay(session_id, seq))

    def replay_all(self) -> int:
        """Has all handled once more. Returns how many."""
        return self._loop.run(self._letters.replay_all())

    def discard(self, session_id: str, seq: int) -> None:
        """Removes one for good."""
        self._loop.run(self._letters.discard(session_id, seq))

    def discard_all(self) -> int:
        """Removes all for good. Returns how many."""
        return self._loop.run(self._letters.discard_all())
