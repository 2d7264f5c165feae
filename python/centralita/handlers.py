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
from typing import TYPE_CHECKING, Any

from . import _bridge, _native, _tasks
from ._logging import logger
from .events import Event, HandlerFailed, Lagged
from .exceptions import ClosedError

if TYPE_CHECKING:
    from .service import Service
    from .streams import EventStream

__all__ = ["Handler"]

Handler = Callable[[Any], Awaitable[None] | None]
"""A coroutine function or a plain one that takes an event."""

CAPACITY = 1_024
"""Events that wait for handlers before WhatsApp does."""

SLOW_S = 60.0
"""A handler that takes longer is named in the log: it holds up its session."""

CANCELLED_S = 0.5
"""How long a shutdown waits for handlers that it has cancelled; one that goes on regardless is left behind."""

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

    @property
    def is_coroutine_function(self) -> bool:
        """Whether to call it is merely to make a coroutine."""
        return inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True, eq=False)
class Call:
    """A handler at work."""

    registration: Registration
    task: asyncio.Task[Any]
    began: float
    """By the loop's time."""


@dataclass(eq=False)
class Job:
    """An event and the handlers that have not had it yet."""

    event: Event
    wanting: deque[Registration]
    under_way: Call | None = None


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
        self._queues: dict[str, deque[Job]] = {}
        """Of each session that is being worked on."""
        self._workers: set[asyncio.Task[None]] = set()
        self._calls: set[Call] = set()
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
        for call in self._calls:
            if now - call.began >= SLOW_S:
                name, so_far = call.registration.name, now - call.began
                logger.warning("handler %s has taken %d s by now; its session waits", name, so_far)
        self._watch = loop.call_later(SLOW_S, self._look_for_slow_ones, loop)

    def _subscribe(self) -> None:
        if self._stream is None and self._loop is not None and not self._stopping:
            # Subscribed at once: no event is missed between this line and the first turn of the task.
            self._stream = self._service.events(capacity=CAPACITY)
            self._intake = _tasks.start(self._loop, self._run(self._stream))
            self._intake.add_done_callback(_tasks.report)

    async def _run(self, stream: EventStream[Event]) -> None:
        handled = 0
        async for event in stream:
            await self.dispatch(event)
            handled += 1
            if handled % TURN == 0:
                await asyncio.sleep(0)

    async def dispatch(self, event: Event) -> None:
        """Has an event handled, after the earlier ones of its session. Waits while too many are under way."""
        job = Job(event, deque(registration for registration in self._registered if registration.wants(event)))
        if not job.wanting:
            return
        await self._permits.acquire()
        queue = self._queues.get(event.session_id)
        if queue is not None:
            queue.append(job)
            return
        # Plain functions need no task.
        while job.under_way is None and job.wanting and not job.wanting[0].is_coroutine_function:
            job.under_way = self._begin(job.wanting.popleft(), event)
        if job.under_way is None and not job.wanting:
            self._permits.release()
            return
        assert self._loop is not None
        queue = self._queues[event.session_id] = deque([job])
        worker = _tasks.start(self._loop, self._work(event.session_id, queue))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)
        worker.add_done_callback(_tasks.report)

    async def _work(self, session_id: str, queue: deque[Job]) -> None:
        try:
            while queue:
                job = queue.popleft()
                try:
                    while job.under_way is not None or job.wanting:
                        if job.under_way is None:
                            job.under_way = self._begin(job.wanting.popleft(), job.event)
                        if job.under_way is not None:
                            await self._wait(job.under_way, job.event)
                            job.under_way = None
                finally:
                    self._permits.release()
        finally:
            del self._queues[session_id]

    def _begin(self, registration: Registration, event: Event) -> Call | None:
        """Calls a handler. ``None`` if that is all: it has no more to do, or it failed."""
        context = registration.context.copy()
        try:
            answer = context.run(registration.function, event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._failed(registration, event, error)
            return None
        if not inspect.isawaitable(answer):
            return None
        assert self._loop is not None
        # A task of its own, for its own context; whoever cancels it does not cancel the worker.
        task = _tasks.start(self._loop, _tasks.as_coroutine(answer), context=context)
        call = Call(registration, task, self._loop.time())
        self._calls.add(call)
        task.add_done_callback(lambda _: self._calls.discard(call))
        return call

    async def _wait(self, call: Call, event: Event) -> None:
        """Waits until a handler has ended, whichever way."""
        ended = call.task.get_loop().create_future()
        call.task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        try:
            await ended
        except asyncio.CancelledError:
            call.task.cancel()
            raise
        error = _tasks.failure(call.task)
        if error is not None:
            self._failed(call.registration, event, error)

    def _failed(self, registration: Registration, event: Event, error: BaseException) -> None:
        if isinstance(error, ClosedError) and (self._service.has_ended or _bridge.exiting):
            logger.debug("handler %s was cut off by the end of the service", registration.name)
            return
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
        current = asyncio.current_task()
        if any(call.task is current for call in self._calls):
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
        # Of workers that were cancelled before they had begun.
        left = [call.task for call in self._calls]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCELLED_S)
        self._queues.clear()
