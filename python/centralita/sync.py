"""The same service for code without ``async``: scripts, Django, Flask.

Calls wait; the loop runs in a thread of its own, which also runs the handlers. Any thread may call.

    from centralita.sync import Service

    with Service() as wa:
        session = wa.create_session("ventas")
        for step in session.link():
            print(step.qr.to_terminal() if step.qr else step)
        session.send("5491155550000", "hola")
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from . import service as _aio
from . import session as _aio_session
from .cleanup import CleanupService as _AioCleanup
from .events import Event
from .exceptions import ClosedError, fork_error
from .handlers import Handler
from .link import LinkStep, LinkStream
from .manager import SessionManager as _AioManager
from .options import CleanupOptions, ServiceOptions, seconds
from .records import (
    Chat,
    CleanupReport,
    Deleted,
    HealthReport,
    Page,
    RestoreProgress,
    RestoreReport,
    SentMessage,
    SessionRecord,
    Statistics,
    Status,
    StoredMessage,
)
from .session import AnyMessage
from .streams import EventStream

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from .options import Overflow, Seconds

__all__ = ["CleanupService", "Events", "LinkSteps", "Service", "Session", "SessionManager"]

T = TypeVar("T")
E = TypeVar("E", bound=Event)
H = TypeVar("H", bound=Handler)


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # A daemon: a service that nobody closes must not keep the interpreter from its exit.
        self._thread = threading.Thread(target=self._run, name="centralita-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine that runs on the loop. Ctrl-C cancels it."""
        if self.is_of_another_process:
            work.close()
            raise fork_error()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a handler runs on the loop and must not wait for it; make it async and use `await`")
        if self.loop.is_closed():
            work.close()
            raise ClosedError("the service was shut down; make a new one")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def is_of_another_process(self) -> bool:
        """Whether the thread was left behind by a fork."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """Ends the thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()


class _Iterated(Generic[T]):
    """An asynchronous iterator, waited for."""

    def __init__(self, loop: _Loop, items: AsyncIterator[T]) -> None:
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


class LinkSteps(_Iterated[LinkStep]):
    """The steps of a link. It ends after the one last step: linked, timed out, or failed."""

    def __init__(self, loop: _Loop, stream: LinkStream) -> None:
        super().__init__(loop, stream)
        self._stream = stream

    def linked(self, *, timeout: Seconds = 180.0) -> None:
        """Waits until the session is linked; any other end is raised."""
        self._loop.run(self._stream.linked(timeout=timeout))


class Events(_Iterated[E]):
    """Events from the moment it was made; see ``centralita.EventStream``."""

    def __init__(self, loop: _Loop, stream: EventStream[E]) -> None:
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


class Session:
    """One session; see ``centralita.Session``, whose methods these are."""

    def __init__(self, loop: _Loop, session: _aio_session.Session) -> None:
        self._loop = loop
        self._session = session

    @property
    def id(self) -> str:
        """Its id."""
        return self._session.id

    def __repr__(self) -> str:
        return repr(self._session)

    def record(self) -> SessionRecord:
        """Its record as stored."""
        return self._loop.run(self._session.record())

    def status(self) -> Status:
        """Its status in this process; ``InvalidStateError`` if it does not run here."""
        return self._loop.run(self._session.status())

    def is_connected(self) -> bool:
        """Whether it is logged in at this moment."""
        return self._loop.run(self._session.is_connected())

    def link(self) -> LinkSteps:
        """The codes to link it with, as they come, and then one last step."""

        async def link() -> LinkStream:
            return self._session.link()

        return LinkSteps(self._loop, self._loop.run(link()))

    def wait_connected(self, *, timeout: Seconds = 60.0) -> None:
        """Waits until it is connected; an end of the session is raised."""
        self._loop.run(self._session.wait_connected(timeout=timeout))

    def reconnect_now(self) -> None:
        """Ends a pause between two connections: the next attempt is made now."""
        self._loop.run(self._session.reconnect_now())

    def request_pair_code(self, phone_number: str) -> str:
        """Asks for a code to type on the phone with this number, instead of the QR code."""
        return self._loop.run(self._session.request_pair_code(phone_number))

    def answer_passkey(self, assertion_json: bytes | str, credential_id: bytes) -> None:
        """Answers a passkey challenge."""
        self._loop.run(self._session.answer_passkey(assertion_json, credential_id))

    def confirm_passkey(self) -> None:
        """Says that the code of the phone and of this device are the same."""
        self._loop.run(self._session.confirm_passkey())

    def send(
        self, to: str, text: str, *, idempotency_key: str | None = None, timeout: Seconds | None = None
    ) -> SentMessage:
        """Sends a text and waits until WhatsApp's server has it."""
        return self._loop.run(
            self._session.send(to, text, idempotency_key=idempotency_key, timeout=timeout)
        )

    def reply(
        self,
        message: AnyMessage,
        text: str,
        *,
        idempotency_key: str | None = None,
        timeout: Seconds | None = None,
    ) -> SentMessage:
        """Sends a text in answer to a message, in its chat, quoting it."""
        return self._loop.run(
            self._session.reply(message, text, idempotency_key=idempotency_key, timeout=timeout)
        )

    def react(self, message: AnyMessage, emoji: str) -> SentMessage:
        """Puts an emoji on a message; an empty one takes it back."""
        return self._loop.run(self._session.react(message, emoji))

    def edit(self, message: AnyMessage, text: str) -> SentMessage:
        """Gives a message of one's own a new text."""
        return self._loop.run(self._session.edit(message, text))

    def revoke(self, message: AnyMessage) -> SentMessage:
        """Takes a message back for everybody."""
        return self._loop.run(self._session.revoke(message))

    def mark_read(self, *messages: AnyMessage) -> None:
        """Tells the author of received messages that they were read."""
        self._loop.run(self._session.mark_read(*messages))

    def set_typing(self, to: str, composing: bool = True) -> None:
        """Shows "typing…" in a chat, or stops showing it."""
        self._loop.run(self._session.set_typing(to, composing))

    def messages(
        self, chat_id: str | None = None, *, limit: int = 100, after: str | None = None
    ) -> Page[StoredMessage]:
        """A page of stored messages, newest first."""
        return self._loop.run(self._session.messages(chat_id, limit=limit, after=after))

    def chats(self, *, limit: int = 100, after: str | None = None) -> Page[Chat]:
        """A page of stored chats, the one with the newest message first."""
        return self._loop.run(self._session.chats(limit=limit, after=after))

    def stop(self) -> None:
        """Ends the connection and releases the session; the credentials stay."""
        self._loop.run(self._session.stop())

    def log_out(self) -> None:
        """Removes this device from the account and deletes the credentials."""
        self._loop.run(self._session.log_out())

    def delete(self) -> None:
        """Stops the session and deletes all of it."""
        self._loop.run(self._session.delete())


class SessionManager:
    """The session records; see ``centralita.SessionManager``, whose methods these are."""

    def __init__(self, loop: _Loop, manager: _AioManager) -> None:
        self._loop = loop
        self._manager = manager

    def create_or_update_session(
        self,
        session_id: str,
        *,
        name: str | None = None,
        phone: str | None = None,
        user_agent: str | None = None,
        platform: str | None = None,
        version: str | None = None,
    ) -> SessionRecord:
        """Creates a session or changes what is said of it."""
        return self._loop.run(
            self._manager.create_or_update_session(
                session_id, name=name, phone=phone, user_agent=user_agent, platform=platform, version=version
            )
        )

    def get_session(self, session_id: str) -> SessionRecord:
        """Reads one session."""
        return self._loop.run(self._manager.get_session(session_id))

    def list_sessions(
        self,
        *,
        statuses: Iterable[Status | str] = (),
        is_active: bool | None = None,
        is_connected: bool | None = None,
        session_ids: Iterable[str] = (),
        most_recently_active_first: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[SessionRecord]:
        """Reads a page of sessions."""
        return self._loop.run(
            self._manager.list_sessions(
                statuses=statuses,
                is_active=is_active,
                is_connected=is_connected,
                session_ids=session_ids,
                most_recently_active_first=most_recently_active_first,
                limit=limit,
                after=after,
            )
        )

    def count_sessions(
        self,
        *,
        statuses: Iterable[Status | str] = (),
        is_active: bool | None = None,
        is_connected: bool | None = None,
    ) -> int:
        """Counts sessions."""
        return self._loop.run(
            self._manager.count_sessions(
                statuses=statuses, is_active=is_active, is_connected=is_connected
            )
        )

    def get_active_sessions(self, *, limit: int = 100, after: str | None = None) -> Page[SessionRecord]:
        """Reads a page of the sessions that were not put away."""
        return self._loop.run(self._manager.get_active_sessions(limit=limit, after=after))

    def get_connected_sessions(self, *, limit: int = 100, after: str | None = None) -> Page[SessionRecord]:
        """Reads a page of the sessions that are logged in."""
        return self._loop.run(self._manager.get_connected_sessions(limit=limit, after=after))

    def get_problematic_sessions(
        self, min_attempts: int = 5, *, limit: int = 100, after: str | None = None
    ) -> Page[SessionRecord]:
        """Reads a page of the sessions in status ``error`` or with many failed attempts."""
        return self._loop.run(
            self._manager.get_problematic_sessions(min_attempts, limit=limit, after=after)
        )

    def get_statistics(self) -> Statistics:
        """The figures of the whole system."""
        return self._loop.run(self._manager.get_statistics())

    def update_connection_status(
        self,
        session_id: str,
        is_connected: bool,
        status: Status | str,
        *,
        phone: str | None = None,
        name: str | None = None,
        platform: str | None = None,
        version: str | None = None,
        user_agent: str | None = None,
        disconnect_reason: str | None = None,
    ) -> SessionRecord:
        """Sets a status, if the transition table leads to it from the present one."""
        return self._loop.run(
            self._manager.update_connection_status(
                session_id,
                is_connected,
                status,
                phone=phone,
                name=name,
                platform=platform,
                version=version,
                user_agent=user_agent,
                disconnect_reason=disconnect_reason,
            )
        )

    def record_connection_attempt(
        self, session_id: str, success: bool, reason: str | None = None
    ) -> SessionRecord:
        """Notes an attempt to connect."""
        return self._loop.run(self._manager.record_connection_attempt(session_id, success, reason))

    def update_qr_code(self, session_id: str, qr_code: str | None) -> SessionRecord:
        """Stores a QR code, or removes it."""
        return self._loop.run(self._manager.update_qr_code(session_id, qr_code))

    def increment_message_count(
        self, session_id: str, type: Literal["sent", "received"]
    ) -> SessionRecord:
        """Counts one message that is not stored."""
        return self._loop.run(self._manager.increment_message_count(session_id, type))

    def update_chat_count(self, session_id: str) -> SessionRecord:
        """Counts the stored chats anew and sets ``total_chats``."""
        return self._loop.run(self._manager.update_chat_count(session_id))

    def update_health_check(self, session_id: str, memory_mb: float) -> SessionRecord:
        """Notes a health check and the memory that the session takes, in MB."""
        return self._loop.run(self._manager.update_health_check(session_id, memory_mb))

    def mark_as_inactive(self, session_id: str, reason: str) -> SessionRecord:
        """Puts a session away."""
        return self._loop.run(self._manager.mark_as_inactive(session_id, reason))

    def delete_session(self, session_id: str) -> Deleted:
        """Deletes a session that runs nowhere."""
        return self._loop.run(self._manager.delete_session(session_id))

    def cleanup_inactive_sessions(
        self, days_inactive: int = 30, *, dry_run: bool = False
    ) -> CleanupReport:
        """Deletes every session that runs nowhere and has seen no activity for so many days."""
        return self._loop.run(self._manager.cleanup_inactive_sessions(days_inactive, dry_run=dry_run))

    def reset_connection_attempts(self, session_id: str) -> SessionRecord:
        """Sets the count of failed attempts to zero."""
        return self._loop.run(self._manager.reset_connection_attempts(session_id))


class CleanupService:
    """Cleanup and health checks; see ``centralita.CleanupService``, whose methods these are."""

    def __init__(self, loop: _Loop, cleanup: _AioCleanup) -> None:
        self._loop = loop
        self._cleanup = cleanup

    def start(self) -> None:
        """Starts the rounds; does nothing if they run."""
        self._cleanup.start()

    def stop(self) -> None:
        """Ends the rounds and waits for one that is under way."""
        self._loop.run(self._cleanup.stop())

    @property
    def is_running(self) -> bool:
        """Whether the rounds run."""
        return self._cleanup.is_running

    def run_manual_cleanup(self, days_inactive: int = 30, *, dry_run: bool = False) -> CleanupReport:
        """Removes the sessions without activity for so many days now, or says which it would."""
        return self._loop.run(self._cleanup.run_manual_cleanup(days_inactive, dry_run=dry_run))

    def get_health_report(self) -> HealthReport:
        """The state of the system at this moment."""
        return self._loop.run(self._cleanup.get_health_report())

    def reset_problematic_sessions(self, min_attempts: int = 5) -> int:
        """Sets the count of failed attempts to zero where it is at least ``min_attempts``. Returns in how many."""
        return self._loop.run(self._cleanup.reset_problematic_sessions(min_attempts))


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
        self._loop: _Loop | None = None

    def __repr__(self) -> str:
        return repr(self._service)

    def _running(self) -> _Loop:
        if self._loop is None:
            # Raises why: not started, or shut down.
            self._service.native
            raise ClosedError("the service was shut down; make a new one")
        return self._loop

    def start(self) -> Self:
        """Opens the store and starts. Called by ``with``."""
        loop = self._loop or _Loop()
        try:
            loop.run(self._service.start())
        except BaseException:
            if self._loop is None:
                loop.close()
            raise
        self._loop = loop
        return self

    def shutdown(self, *, timeout: Seconds | None = None) -> None:
        """Stops handlers and sessions, and closes the store. Idempotent."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
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

    def restore_all(
        self, *, progress: Callable[[RestoreProgress], object] | None = None
    ) -> RestoreReport:
        """Starts every stored session that is active and was linked. ``progress`` is called in the loop's thread."""
        return self._running().run(self._service.restore_all(progress=progress))

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
