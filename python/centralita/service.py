"""The service: holds WhatsApp sessions, links them, keeps them connected, stores what they receive."""

from __future__ import annotations

import asyncio
import json
import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _decode, _logging, _native
from ._bridge import call
from ._signals import Signals
from .cleanup import CleanupService
from .consumers import Consumer, ConsumerInfo, DeadLetters
from .events import Event
from .exceptions import ClosedError, InvalidError, InvalidStateError
from .handlers import Handler, Handlers, Registration
from .health import Pacing
from .keys import KeyProvider, PlaintextDangerously, ask, default_keys, keys_settings
from .manager import SessionManager
from .options import (
    OVERFLOWS,
    CleanupOptions,
    ConsumerOptions,
    DurableEventOptions,
    ServiceOptions,
    rate_limits,
    seconds,
    settings,
)
from .records import RestoreProgress, RestoreReport, RewrapReport
from .session import Session
from .stores import SqliteStore, store_of, store_settings
from .streams import EventStream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from .options import Overflow, Seconds

__all__ = ["Service"]

E = TypeVar("E", bound=Event)
H = TypeVar("H", bound=Handler)


class Service:
    """Holds WhatsApp sessions. With no argument it keeps them in ``./centralita.db``, sealed by ``./centralita.key``.

    Use it as ``async with Service() as wa:``; what it offers may be called from any loop of any thread. The arguments
    are those of ``ServiceOptions``.

    >>> import asyncio, centralita
    >>> async def main() -> None:
    ...     async with centralita.Service(store=centralita.MemoryStore()) as wa:
    ...         print(wa.running_sessions())
    >>> asyncio.run(main())
    []
    """

    def __init__(self, **options: Unpack[ServiceOptions]) -> None:
        rest: dict[str, Any] = dict(options)
        store = store_of(rest.pop("store", None) or SqliteStore())
        keys = rest.pop("keys", None) or default_keys(store)
        self._shutdown_timeout_s = seconds(rest.pop("shutdown_timeout", 10.0))
        max_concurrent = rest.pop("max_concurrent_handlers", 256)
        if not isinstance(max_concurrent, int) or max_concurrent < 1:
            raise InvalidError("max_concurrent_handlers must be a whole number, 1 or more")
        durable, limits = rest.pop("durable_events", None), rest.pop("rate_limits", None)
        self._key_provider: KeyProvider | None = None
        if isinstance(keys, KeyProvider) and not isinstance(keys, PlaintextDangerously):
            self._key_provider = keys
        self._settings: dict[str, Any] = {
            "store": store_settings(store),
            "keys": keys_settings(keys),
            "instance_id": rest.pop("instance_id", None),
            "options": settings(rest, ServiceOptions, "Service"),
        }
        if durable is not None and durable is not False:
            given = {} if durable is True else dict(durable)
            self._settings["options"]["durable_events"] = settings(given, DurableEventOptions, "durable_events")
        if limits is not None:
            self._settings["options"]["rate_limits"] = rate_limits(limits)
        self._started: _native.Service | None = None
        self._ended = False
        self._pid = os.getpid()
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._manager: SessionManager | None = None
        self._handlers = Handlers(self, max_concurrent)
        self._streams: weakref.WeakSet[EventStream[Any]] = weakref.WeakSet()

    def __repr__(self) -> str:
        state = "shut down" if self._ended else "not started" if self._started is None else "running"
        return f"<Service {state}>"

    @property
    def native(self) -> _native.Service:
        """The native half. Private to the package."""
        if self._started is None:
            raise InvalidStateError("the service is not started; use it as `async with Service() as wa`")
        return self._started

    @property
    def has_ended(self) -> bool:
        """Whether it was shut down, or is being so."""
        return self._ended

    async def start(self) -> Self:
        """Opens the store and starts. Called by ``async with``.

        ``CryptoError`` without a key or with a wrong one, ``UnavailableError`` if the store cannot be reached,
        ``ConflictError`` if another process has the file open, ``InvalidError`` for an option out of its range.
        """
        if self._ended:
            raise ClosedError("the service was shut down; make a new one")
        if self._started is not None:
            raise InvalidStateError("the service is started already")
        _native.set_log_level(_logging.level())
        answers = None if self._key_provider is None else ask(self._key_provider)
        self._pid = os.getpid()
        self._started = await call(_native.Service.start, json.dumps(self._settings), answers)
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._handlers.start()
        return self

    async def shutdown(self, *, timeout: Seconds | None = None) -> None:
        """Stops handlers and sessions within ``timeout`` (default: ``shutdown_timeout``), and closes the store.

        ``OperationTimeoutError`` if some sessions did not end in time; they were cut off then, and nothing is lost:
        WhatsApp delivers again what was not stored. Idempotent.
        """
        await self._shut_down(self._shutdown_timeout_s if timeout is None else seconds(timeout), 0.5)

    async def _shut_down(self, patience_s: float, share_of_handlers: float) -> None:
        self._ended = True
        if self._started is None:
            return
        try:
            if asyncio.get_running_loop() is self._loop:
                await self._handlers.stop(patience_s * share_of_handlers)
        finally:
            try:
                await call(self._started.shutdown, patience_s)
            finally:
                self._on_loop(self._stopped.set)

    def _on_loop(self, function: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A child of a fork that leaves the block has nothing to shut down.
        if self._pid != os.getpid():
            return
        # Whoever leaves by an exception has no use for the rest of his handlers.
        await self._shut_down(self._shutdown_timeout_s, 0.5 if exc is None else 0.0)

    async def run_until_stopped(self, *, handle_sigterm: bool = True) -> None:
        """Waits until ``shutdown`` or, in the main thread, SIGTERM. Ctrl-C ends it with ``KeyboardInterrupt``."""
        self.native  # noqa: B018 - raises if it is not started
        with Signals(self._stopped, handle_sigterm=handle_sigterm) as signals:
            await self._stopped.wait()
        if signals.interrupted:
            raise KeyboardInterrupt

    @property
    def instance_id(self) -> str:
        """The name of this process in the leases."""
        return self.native.instance_id

    @property
    def manager(self) -> SessionManager:
        """The session records: the seed's ``SessionManager``, on the same store."""
        if self._manager is None:
            self._manager = SessionManager(self.native.manager())
        return self._manager

    def start_cleanup(self, **options: Unpack[CleanupOptions]) -> CleanupService:
        """The seed's ``CleanupService``, started. Keep it as long as it is to run. ``InvalidError`` for bad options."""
        given = settings(dict(options), CleanupOptions, "start_cleanup")
        return CleanupService(self.native.start_cleanup(json.dumps(given)))

    # Sessions

    async def create_session(self, session_id: str) -> Session:
        """Registers a session and starts it. One that exists is started with its credentials; one that runs already
        is simply returned: there is never a second socket.

        ``InvalidError`` if the id is not 1 to 128 letters, digits, dashes and the like.
        """
        return await self._session("create", session_id)

    async def start_session(self, session_id: str) -> Session:
        """Starts a stored session; a running one is simply returned. ``NotFoundError`` if it was never created."""
        return await self._session("start", session_id)

    async def session(self, session_id: str) -> Session:
        """A handle on a stored session, running or not. ``NotFoundError`` if there is none."""
        return await self._session("get", session_id)

    async def _session(self, how: str, session_id: str) -> Session:
        return Session(self, session_id, await call(self.native.session, how, session_id))

    def handle(self, session_id: str) -> Session:
        """A handle on a session that is known to be there, without asking the store."""
        return Session(self, session_id)

    def running_sessions(self) -> list[str]:
        """The ids of the sessions that run in this process, connected or not."""
        return self.native.running_sessions()

    async def stop_session(self, session_id: str) -> None:
        """Ends the connection and releases the session; the credentials stay."""
        await self.handle(session_id).stop()

    async def log_out_session(self, session_id: str) -> None:
        """Removes this device from the account and deletes the credentials; record, messages and chats stay."""
        await self.handle(session_id).log_out()

    async def delete_session(self, session_id: str) -> None:
        """Stops a session and deletes all of it. If it is connected it is logged out first."""
        await self.handle(session_id).delete()

    async def park_session(self, session_id: str) -> None:
        """Closes a session's socket, but keeps it; see ``Session.park``."""
        await self.handle(session_id).park()

    async def restore_all(
        self,
        *,
        wait: Seconds | None = None,
        progress: Callable[[RestoreProgress], object] | None = None,
    ) -> RestoreReport:
        """Starts every stored session that is active and was linked, the most recently active first.

        Returns once all are started; they connect a few at a time. With ``wait`` it returns once all are connected or
        have ended, or after that time; the rest goes on by itself. ``progress`` is called on the running loop.
        """

        def tell(step: tuple[int, int, int, int, str]) -> None:
            if progress is not None:
                progress(RestoreProgress(*step))

        patience_s = None if wait is None else seconds(wait)
        told = None if progress is None else tell
        return _decode.decode(RestoreReport, await call(self.native.restore_all, patience_s, told))

    @property
    def pacing(self) -> Pacing:
        """How connections are paced at this moment, and whether WhatsApp refuses all sessions."""
        return _decode.decode(Pacing, self.native.pacing())

    async def rewrap_keys(self) -> RewrapReport:
        """Wraps the data key of every session with the primary master key; see ``KeyRing.with_older``.

        Idempotent: what is done is passed over.
        """
        return _decode.decode(RewrapReport, await call(self.native.rewrap_keys))

    # Durable events

    async def consumer(self, name: str, **options: Unpack[ConsumerOptions]) -> Consumer:
        """Opens a consumer of durable events: it goes on where it was, in whichever process.

        ``InvalidStateError`` if the option ``durable_events`` is off; ``InvalidError`` for a bad name or option;
        ``ConflictError`` if it is open elsewhere.
        """
        given = settings(dict(options), ConsumerOptions, "consumer")
        # Kept here, where a handler that takes too long can be cancelled.
        handler_timeout_s: float | None = given.pop("handler_timeout_s", None)
        if handler_timeout_s is not None and not handler_timeout_s > 0:
            raise InvalidError("handler_timeout must be more than 0 seconds")
        native = await call(self.native.consumer, name, json.dumps(given))
        return Consumer(self, name, native, handler_timeout_s)

    async def consumers(self) -> list[ConsumerInfo]:
        """The consumers that were ever opened and not deleted, by name."""
        found = json.loads(await call(self.native.consumers))
        return [_decode.build(ConsumerInfo, one) for one in found]

    async def delete_consumer(self, name: str) -> None:
        """Forgets a consumer: its place in the log and its dead letters. ``ConflictError`` if it is open somewhere."""
        await call(self.native.delete_consumer, name)

    async def dead_letters(self, consumer: str) -> DeadLetters:
        """The events that a consumer's handler failed on. ``NotFoundError`` if there is no such consumer."""
        return DeadLetters(self, await call(self.native.dead_letters, consumer))

    # Events

    def on(
        self, /, *types: type[Event], session: str | Iterable[str] | None = None
    ) -> Callable[[H], H]:
        """Registers a handler for events of these types (all, without any), of some sessions or all.

        A coroutine function or a plain one; it runs on the loop that the service was started on, in a copy of the
        context in which it is registered. Events of one session are handled one after the other. An exception is
        logged, counted and seen as a ``HandlerFailed`` event; it stops nothing. Call it on that loop, or before the
        service is started.
        """
        wanted = types or (Event,)
        for kind in wanted:
            if not (isinstance(kind, type) and issubclass(kind, Event)):
                raise TypeError(f"on() takes event classes such as centralita.Message, not {kind!r}")
        sessions = _sessions(session)

        def register(function: H) -> H:
            if not callable(function):
                raise TypeError("a handler must be callable")
            self._handlers.add(Registration(function, wanted, sessions))
            return function

        return register

    def off(self, handler: Handler) -> None:
        """Forgets a handler."""
        self._handlers.remove(handler)

    @overload
    def events(
        self,
        /,
        *,
        session: str | Iterable[str] | None = None,
        capacity: int = 1_024,
        overflow: Overflow = "wait",
    ) -> EventStream[Event]: ...

    @overload
    def events(
        self,
        /,
        *types: type[E],
        session: str | Iterable[str] | None = None,
        capacity: int = 1_024,
        overflow: Overflow = "wait",
    ) -> EventStream[E]: ...

    def events(
        self,
        /,
        *types: type[Any],
        session: str | Iterable[str] | None = None,
        capacity: int = 1_024,
        overflow: Overflow = "wait",
    ) -> EventStream[Any]:
        """Events from now on, to iterate: of these types (all, without any), of some sessions or all.

        It is fetched as it is iterated. What nobody takes waits, up to ``capacity``; then WhatsApp waits
        (``overflow="wait"``), or the oldest go and a ``Lagged`` event says how many (``"drop_oldest"``), or the stream
        ends with ``RateLimitedError`` (``"close"``). Messages are stored in any case.
        """
        if overflow not in OVERFLOWS:
            raise InvalidError(f"overflow must be one of {', '.join(OVERFLOWS)}")
        if not isinstance(capacity, int) or capacity < 1:
            raise InvalidError("capacity must be a whole number, 1 or more")
        sessions = _sessions(session)
        native = self.native.subscribe(None if sessions is None else sorted(sessions), capacity, overflow)
        stream: EventStream[Any] = EventStream(self, native, types or (Event,), sessions)
        self._streams.add(stream)
        return stream

    def inject(self, event: Event) -> None:
        """Shows an event that arose in Python to all streams. Private to the package."""
        for stream in list(self._streams):
            stream.inject(event)


def _sessions(session: str | Iterable[str] | None) -> frozenset[str] | None:
    if session is None:
        return None
    return frozenset((session,) if isinstance(session, str) else session)
