"""The service, for code without ``async``."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from .. import service as _aio
from .. import session as _aio_session
from .._logging import logger
from ..consumers import ConsumerInfo
from ..events import Event
from ..exceptions import CentralitaError, ClosedError
from ..handlers import Handler
from ..health import Pacing
from ..options import CleanupOptions, ConsumerOptions, ServiceOptions
from ..records import RestoreProgress, RestoreReport, RewrapReport
from ._loop import Loop
from .cleanup import CleanupService
from .consumers import Consumer, DeadLetters
from .session import Session
from .session_manager import SessionManager
from .streams import Events

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from ..options import Overflow, Seconds

__all__ = ["Service"]

E = TypeVar("E", bound=Event)
H = TypeVar("H", bound=Handler)

DRAIN_S = 2.0
"""How long services that nobody shut down may take when the interpreter exits."""

_running: dict[Loop, _aio.Service] = {}


def _end() -> None:
    """Shuts down what was left running: its loop would go on handling events while the interpreter goes away."""
    while _running:
        loop, service = _running.popitem()
        if loop.is_of_another_process:
            continue
        try:
            loop.run(service.shutdown(timeout=DRAIN_S))
        except CentralitaError as error:
            logger.warning("a service that was left running did not end in time: %s", error)
        finally:
            loop.close()


# After the package's own, which therefore runs later.
atexit.register(_end)


class Service:
    """Holds WhatsApp sessions; see ``centralita.Service``, whose arguments and methods these are.

    Make it in the process that uses it: after a server has forked its workers, not before.

    >>> import centralita
    >>> with Service(store=centralita.MemoryStore()) as wa:
    ...     wa.running_sessions()
    []
    """

    def __init__(self, **options: Unpack[ServiceOptions]) -> None:
        self._service = _aio.Service(**options)
        self._loop: Loop | None = None

    def __repr__(self) -> str:
        return repr(self._service)

    def _running(self) -> Loop:
        if self._loop is None:
            # Raises why: not started, or shut down.
            self._service.native
            raise ClosedError("the service was shut down; make a new one")
        return self._loop

    def start(self) -> Self:
        """Opens the store and starts. Called by ``with``."""
        loop = self._loop or Loop()
        try:
            loop.run(self._service.start())
        except BaseException:
            if self._loop is None:
                loop.close()
            raise
        self._loop = loop
        _running[loop] = self._service
        return self

    def shutdown(self, *, timeout: Seconds | None = None) -> None:
        """Stops handlers and sessions, and closes the store. Idempotent."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        _running.pop(loop, None)
        try:
            loop.run(self._service.shutdown(timeout=timeout))
        finally:
            loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._loop is None or not self._loop.is_of_another_process:
            self.shutdown()

    @property
    def has_ended(self) -> bool:
        """Whether it was shut down, or is being so."""
        return self._service.has_ended

    @property
    def instance_id(self) -> str:
        """The name of this process in the leases."""
        return self._service.instance_id

    @property
    def manager(self) -> SessionManager:
        """The session records."""
        return SessionManager(self._running(), self._service.manager)

    def start_cleanup(self, **options: Unpack[CleanupOptions]) -> CleanupService:
        """Cleanup and health checks, started. Keep it as long as it is to run."""
        return CleanupService(self._running(), self._service.start_cleanup(**options))

    def _session(self, found: Coroutine[Any, Any, _aio_session.Session]) -> Session:
        loop = self._running()
        return Session(loop, loop.run(found))

    def create_session(self, session_id: str) -> Session:
        """Registers a session and starts it; one that runs already is simply returned."""
        self._running()
        return self._session(self._service.create_session(session_id))

    def start_session(self, session_id: str) -> Session:
        """Starts a stored session. ``NotFoundError`` if it was never created."""
        self._running()
        return self._session(self._service.start_session(session_id))

    def session(self, session_id: str) -> Session:
        """A handle on a stored session, running or not. ``NotFoundError`` if there is none."""
        self._running()
        return self._session(self._service.session(session_id))

    def running_sessions(self) -> list[str]:
        """The ids of the sessions that run in this process, connected or not."""
        return self._service.running_sessions()

    def stop_session(self, session_id: str) -> None:
        """Ends the connection and releases the session; the credentials stay."""
        self._running().run(self._service.stop_session(session_id))

    def log_out_session(self, session_id: str) -> None:
        """Removes this device from the account and deletes the credentials."""
        self._running().run(self._service.log_out_session(session_id))

    def delete_session(self, session_id: str) -> None:
        """Stops a session and deletes all of it."""
        self._running().run(self._service.delete_session(session_id))

    def park_session(self, session_id: str) -> None:
        """Closes a session's socket, but keeps it; a send wakes it."""
        self._running().run(self._service.park_session(session_id))

    def restore_all(
        self,
        *,
        wait: Seconds | None = None,
        progress: Callable[[RestoreProgress], object] | None = None,
    ) -> RestoreReport:
        """Starts every stored session that is active and was linked; with ``wait`` until they are connected.

        ``progress`` is called in the loop's thread.
        """
        return self._running().run(self._service.restore_all(wait=wait, progress=progress))

    @property
    def pacing(self) -> Pacing:
        """How connections are paced at this moment."""
        return self._service.pacing

    def rewrap_keys(self) -> RewrapReport:
        """Wraps the data key of every session with the primary master key."""
        return self._running().run(self._service.rewrap_keys())

    def consumer(self, name: str, **options: Unpack[ConsumerOptions]) -> Consumer:
        """Opens a named reader of the log of durable events."""
        loop = self._running()
        return Consumer(loop, loop.run(self._service.consumer(name, **options)))

    def consumers(self) -> list[ConsumerInfo]:
        """The consumers that were ever opened and not deleted, by name."""
        return self._running().run(self._service.consumers())

    def delete_consumer(self, name: str) -> None:
        """Forgets a consumer: its place in the log and its dead letters."""
        self._running().run(self._service.delete_consumer(name))

    def dead_letters(self, consumer: str) -> DeadLetters:
        """The events that a consumer's handler failed on."""
        loop = self._running()
        return DeadLetters(loop, loop.run(self._service.dead_letters(consumer)))

    def on(
        self, /, *types: type[Event], session: str | Iterable[str] | None = None
    ) -> Callable[[H], H]:
        """Registers a handler, which runs in the loop's thread: make it ``async`` to reply."""
        decorate: Callable[[H], H] = self._service.on(*types, session=session)
        loop = self._loop
        if loop is None:
            return decorate

        def register(function: H) -> H:
            async def there() -> H:
                return decorate(function)

            return loop.run(there())

        return register

    def off(self, handler: Handler) -> None:
        """Forgets a handler."""
        self._service.off(handler)

    @overload
    def events(
        self,
        /,
        *,
        session: str | Iterable[str] | None = None,
        capacity: int = 1_024,
        overflow: Overflow = "wait",
    ) -> Events[Event]: ...

    @overload
    def events(
        self,
        /,
        *types: type[E],
        session: str | Iterable[str] | None = None,
        capacity: int = 1_024,
        overflow: Overflow = "wait",
    ) -> Events[E]: ...

    def events(
        self,
        /,
        *types: type[Any],
        session: str | Iterable[str] | None = None,
        capacity: int = 1_024,
        overflow: Overflow = "wait",
    ) -> Events[Any]:
        """Events from now on, to iterate; see ``centralita.Service.events``."""
        stream = self._service.events(*types, session=session, capacity=capacity, overflow=overflow)
        return Events(self._running(), stream)
