"""Streams that are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from ..events import Event
from ..link import LinkStep, LinkStream
from ..options import seconds
from ..streams import EventStream

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ..options import Seconds
    from ._loop import Loop

__all__ = ["Events", "LinkSteps"]

T = TypeVar("T")
E = TypeVar("E", bound=Event)


class Iterated(Generic[T]):
    """An asynchronous iterator, waited for."""

    def __init__(self, loop: Loop, items: AsyncIterator[T]) -> None:
        self._loop = loop
        self._items = items

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        found, item = self._loop.run(self._next())
        if not found:
            raise StopIteration
        assert item is not None
        return item

    async def _next(self) -> tuple[bool, T | None]:
        # StopAsyncIteration does not travel through a future.
        async for item in self._items:
            return True, item
        return False, None


class LinkSteps(Iterated[LinkStep]):
    """The steps of a link. It ends after the one last step: linked, timed out, or failed."""

    def __init__(self, loop: Loop, stream: LinkStream) -> None:
        super().__init__(loop, stream)
        self._stream = stream

    def linked(self, *, timeout: Seconds = 180.0) -> None:
        """Waits until the session is linked; any other end is raised."""
        self._loop.run(self._stream.linked(timeout=timeout))


class Events(Iterated[E]):
    """Events from the moment it was made; see ``centralita.EventStream``."""

    def __init__(self, loop: Loop, stream: EventStream[E]) -> None:
        super().__init__(loop, stream)
        self._stream = stream

    def next(self, *, timeout: Seconds) -> E:
        """The next event; ``TimeoutError`` if none comes in that time, ``StopIteration`` after the last."""

        async def within() -> tuple[bool, E | None]:
            return await asyncio.wait_for(self._next(), seconds(timeout))

        try:
            found, item = self._loop.run(within())
        except asyncio.TimeoutError as error:
            raise TimeoutError("no event in that time") from error
        if not found:
            raise StopIteration
        assert item is not None
        return item

    def close(self) -> None:
        """Ends the stream at once; what was not taken is gone."""
        self._loop.run(self._stream.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
