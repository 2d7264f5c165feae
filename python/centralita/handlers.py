"""Handlers: functions that are called with events, on the loop that the service was started on.

Events of one session are handled one after the other, those of different sessions beside each other. Each call runs in
a copy of the context in which its handler was registered, so that context variables (of OpenTelemetry, say) are there.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from . import _native
from ._logging import logger
from .events import Event, HandlerFailed, Lagged

if TYPE_CHECKING:
    from .service import Service
    from .streams import EventStream

__all__ = ["Handler"]

T = TypeVar("T")

Handler = Callable[[Any], Awaitable[None] | None]
"""A coroutine function or a plain one that takes an event."""

CAPACITY = 1_024
"""Events that wait for handlers before WhatsApp does."""

SLOW_S = 60.0
"""A handler that takes longer is named in the log: it holds up its session."""

TURN = 16
"""Events that plain functions handle before the loop does its other work."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A handler and what it wants."""

    function: Handler
    types: tuple[type[Event], ...]
    sessions: frozenset[str] | None
    context: contextvars.Context = field(default_factory=contextvars.copy_context, repr=False)

    def wants(self, event: Event) -> bool:
        """Whether the handler is to be called. How far a stream fell behind concerns all sessions."""
        if not isinstance(event, self.types):
            return False
        return self.sessions is None or event.session_id in self.sessions or isinstance(event, Lagged)

    @property
    def name(self) -> str:
        """What to call it in the log."""
        return getattr(self.function, "__qualname__", type(self.function).__qualname__)


class Handlers:
    """The handlers of one service."""

    def __init__(self, service: Service, max_concurrent: int) -> None:
        self._service = service
        self._max_concurrent = max_concurrent
        self._registered: list[Registration] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stream: EventStream[Event] | None = None
        self._intake: asyncio.Task[None] | None = None
        self._permits = asyncio.Semaphore(max_concurrent)
        self._queues: dict[str, deque[tuple[Event, list[Registration]]]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._calls: dict[asyncio.Task[Any], tuple[str, float]] = {}
        """What runs, with the handler's name and the loop's time when it began."""
        self._watch: asyncio.TimerHandle | None = None
        self._stopping = False

    def add(self, registration: Registration) -> None:
        """Registers a handler. Of a started service it gets events from now on."""
        self._registered.append(registration)
        if self._loop is not None:
            self._subscribe()

    def remove(self, function: Handler) -> None:
        """Forgets a handler; events that are queued for it already are still handled."""
        self._registered = [known for known in self._registered if known.function is not function]

    def start(self) -> None:
        """Begins on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._permits = asyncio.Semaphore(self._max_concurrent)
        self._look_for_slow_ones(self._loop)
        if self._registered:
            self._subscribe()

    def _look_for_slow_ones(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for name, began in self._calls.values():
            if now - began >= SLOW_S:
                logger.warning("handler %s has taken %d s by now; its session waits", name, now - began)
        self._watch = loop.call_later(SLOW_S, self._look_for_slow_ones, loop)

    def _subscribe(self) -> None:
        if self._stream is None and self._loop is not None and not self._stopping:
            # Subscribed at once: no event is missed between this line and the first turn of the task.
            self._stream = self._service.events(capacity=CAPACITY)
            self._intake = _ours(
                self._loop.create_task(self._run(self._stream), name="centralita handlers")
            )
            self._intake.add_done_callback(_report)

    async def _run(self, stream: EventStream[Event]) -> None:
        handled = 0
        async for event in stream:
            await self.dispatch(event)
            handled += 1
            if handled % TURN == 0:
                await asyncio.sleep(0)

    async def dispatch(self, event: Event) -> None:
        """Has an event handled, after the earlier ones of its session. Waits while too many are under way."""
        wanting = [registration for registration in self._registered if registration.wants(event)]
        if not wanting:
            return
        await self._permits.acquire()
        queue = self._queues.get(event.session_id)
        if queue is not None:
            queue.append((event, wanting))
            return
        # Plain functions need no task.
        while wanting and not inspect.iscoroutinefunction(wanting[0].function):
            answer = self._call_plain(wanting.pop(0), event)
            if answer is not None:
                wanting.insert(0, answer)
                break
        if not wanting:
            self._permits.release()
            return
        queue = self._queues[event.session_id] = deque([(event, wanting)])
        assert self._loop is not None
        worker = _ours(
            self._loop.create_task(self._work(event.session_id, queue), name="centralita session")
        )
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def _work(self, session_id: str, queue: deque[tuple[Event, list[Registration]]]) -> None:
        try:
            while queue:
                event, wanting = queue.popleft()
                try:
                    for registration in wanting:
                        await self._call(registration, event)
                finally:
                    self._permits.release()
        finally:
            del self._queues[session_id]

    def _call_plain(self, registration: Registration, event: Event) -> Registration | None:
        """Calls a plain function. If it answered with an awaitable, what is left to do is a handler of its own."""
        try:
            answer = registration.context.copy().run(registration.function, event)
        except Exception as error:
            self._failed(registration, event, error)
            return None
        if not inspect.isawaitable(answer):
            return None
        rest = answer

        def go_on(_: Event) -> Awaitable[None]:
            return rest

        go_on.__qualname__ = registration.name
        return Registration(go_on, registration.types, registration.sessions, registration.context)

    async def _call(self, registration: Registration, event: Event) -> None:
        context = registration.context.copy()
        try:
            answer = context.run(registration.function, event)
        except Exception as error:
            self._failed(registration, event, error)
            return
        if not inspect.isawaitable(answer):
            return
        # Its own task, for its own context; whoever cancels it does not cancel the worker.
        task: asyncio.Task[Any] = _ours(context.run(asyncio.create_task, _awaited(answer)))
        loop = task.get_loop()
        self._calls[task] = (registration.name, loop.time())
        ended: asyncio.Future[None] = loop.create_future()
        task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        try:
            await ended
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            del self._calls[task]
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, Exception):
            self._failed(registration, event, failure)
        elif failure is not None:
            raise failure

    def _failed(self, registration: Registration, event: Event, error: Exception) -> None:
        _native.count_handler_error()
        logger.error(
            "handler %s failed with an event of session %r", registration.name, event.session_id, exc_info=error
        )
        if isinstance(event, HandlerFailed):
            return
        # The handlers' own stream is one of those that see it.
        self._service.inject(
            HandlerFailed(0, event.session_id, datetime.now(timezone.utc), registration.name, error, event)
        )

    async def stop(self, patience_s: float) -> None:
        """Takes no more events and lets what is under way end within a bound; what is not done is cancelled.

        Called from a handler it waits for none: that would be for itself.
        """
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        intake, self._intake = self._intake, None
        if self._stream is not None:
            self._stream.close()
        if asyncio.current_task() in self._calls:
            return
        if intake is not None:
            intake.cancel()
            await asyncio.wait((intake,))
        if self._workers:
            _, late = await asyncio.wait(tuple(self._workers), timeout=patience_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._queues.clear()


async def _awaited(answer: Awaitable[Any]) -> None:
    await answer


def _report(intake: asyncio.Task[None]) -> None:
    """Says so if the handlers get no more events though nobody stopped them."""
    if not intake.cancelled() and (error := intake.exception()) is not None:
        logger.critical("handlers get no more events; report this", exc_info=error)


def _ours(task: asyncio.Task[T]) -> asyncio.Task[T]:
    """A task of the package. If its loop is left behind with the interpreter's end it is no business of the user's."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    return task
