"""Asynchronous iterators over what the native module delivers, a batch at a time and only when it is asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _native
from ._bridge import begin
from .events import Event, decode_batch
from .exceptions import ClosedError

if TYPE_CHECKING:
    from types import TracebackType

    from .service import Service

__all__ = ["EventStream"]

E = TypeVar("E", bound=Event)

BATCH = 128
"""Events that share one entry into Python at most."""


WOKEN = object()
"""What a fetch gives that was woken before anything came."""


class Fetcher:
    """One native fetch at a time. A waiter that is cancelled leaves it to the next one, so that nothing is lost."""

    def __init__(self, start: Callable[[asyncio.Future[Any]], _native.Operation]) -> None:
        # Holds what is fetched from; gone once closed.
        self._start: Callable[[asyncio.Future[Any]], _native.Operation] | None = start
        self._pending: tuple[asyncio.Future[Any], _native.Operation] | None = None
        self._wake: asyncio.Future[None] | None = None

    async def fetch(self) -> Any:
        """What comes next: ``None`` at the end or once closed, ``WOKEN`` if woken. Several waiters share."""
        while self._start is not None:
            pending = self._pending
            if pending is None:
                try:
                    pending = self._pending = begin(self._start)
                except ClosedError:
                    # The interpreter is exiting.
                    return None
            if self._wake is None or self._wake.done():
                self._wake = asyncio.get_running_loop().create_future()
            await asyncio.wait((pending[0], self._wake), return_when=asyncio.FIRST_COMPLETED)
            if self._pending is pending and pending[0].done():
                self._pending = None
                return pending[0].result()
            if self._wake.done():
                return WOKEN
        return None

    def wake(self) -> None:
        """Wakes who waits, on his loop."""
        wake = self._wake
        if wake is not None and not wake.get_loop().is_closed():
            wake.get_loop().call_soon_threadsafe(_answer, wake)

    def close(self) -> None:
        """Drops the fetch under way, and with it what it may have taken already."""
        self._start = None
        pending, self._pending = self._pending, None
        if pending is not None:
            future, operation = pending
            operation.cancel()
            loop = future.get_loop()
            if not loop.is_closed():
                # From whichever thread collects garbage.
                loop.call_soon_threadsafe(future.cancel)


class EventStream(Generic[E]):
    """Events from the moment it was made. Iterate it on one loop; it ends with the service, or when it is closed.

    It is fetched as it is iterated: what nobody takes waits, up to ``capacity``, and then follows ``overflow``.
    """

    def __init__(
        self,
        service: Service,
        subscription: _native.Subscription,
        types: tuple[type[E], ...],
        sessions: frozenset[str] | None,
    ) -> None:
        self._service = service
        self._types = types
        self._sessions = sessions
        self._ready: deque[E] = deque()
        self._closed = False
        self._fetcher = Fetcher(lambda future: subscription.next_batch(future, BATCH))

    def __aiter__(self) -> EventStream[E]:
        return self

    async def __anext__(self) -> E:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            text = await self._fetcher.fetch()
            if text is None:
                self._closed = True
            if text is None or text is WOKEN:
                continue
            for event in decode_batch(text, self._service):
                if isinstance(event, self._types):
                    self._ready.append(event)
        return self._ready.popleft()

    def inject(self, event: Event) -> None:
        """Adds an event that arose in Python, if it is wanted here."""
        wanted = self._sessions is None or event.session_id in self._sessions
        if wanted and not self._closed and isinstance(event, self._types):
            self._ready.append(event)
            self._fetcher.wake()

    def close(self) -> None:
        """Ends the stream at once; what was not taken is gone."""
        self._closed = True
        self._ready.clear()
        # The subscription ends with its last reference.
        self._fetcher.close()

    async def aclose(self) -> None:
        """The same, for ``contextlib.aclosing``."""
        self.close()

    async def __aenter__(self) -> EventStream[E]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A fetch under way holds the subscription open.
        self._fetcher.close()


def _answer(wake: asyncio.Future[None]) -> None:
    if not wake.done():
        wake.set_result(None)
