"""The seed's ``SessionManager``: everything that is known of sessions, whether they run here or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from . import _decode
from ._bridge import call
from .options import moment
from .records import (
    CleanupReport,
    Deleted,
    Page,
    SessionRecord,
    Statistics,
    Status,
    StatusDetail,
    page_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ._native import Manager

__all__ = ["SessionManager"]


class SessionManager:
    """Reads and changes session records; get it from ``Service.manager``.

    It does not run sessions: the service does. Every change is one atomic statement in the database, so that any
    number of processes may make them at once. ``NotFoundError`` from each method if there is no such session.

    >>> import asyncio, centralita
    >>> async def main() -> None:
    ...     async with centralita.Service(store=centralita.MemoryStore()) as wa:
    ...         await wa.manager.create_or_update_session("ventas", name="Ventas")
    ...         record = await wa.manager.mark_as_inactive("ventas", "nobody uses it")
    ...         print(record.status, (await wa.manager.get_statistics()).total_sessions)
    >>> asyncio.run(main())
    inactive 1
    """

    def __init__(self, native: Manager) -> None:
        self._native = native

    async def create_or_update_session(
        self,
        session_id: str,
        *,
        name: str | None = None,
        phone: str | None = None,
        user_agent: str | None = None,
        platform: str | None = None,
        version: str | None = None,
    ) -> SessionRecord:
        """Creates a session (``pending``, active) or changes what is said of it; its status stays.

        What is ``None`` stays as it is. ``InvalidError`` if it would be new and its id is not acceptable.
        """
        data = _given(name=name, phone=phone, user_agent=user_agent, platform=platform, version=version)
        return _record(await call(self._native.create_or_update_session, session_id, data))

    async def get_session(self, session_id: str) -> SessionRecord:
        """Reads one session."""
        return _record(await call(self._native.get_session, session_id))

    async def list_sessions(
        self,
        *,
        statuses: Iterable[Status | str] = (),
        is_active: bool | None = None,
        is_connected: bool | None = None,
        session_ids: Iterable[str] = (),
        min_connection_attempts: int | None = None,
        last_activity_before: datetime | None = None,
        most_recently_active_first: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> Page[SessionRecord]:
        """Reads a page of sessions, by id or the most recently active first. ``limit`` is 1 to 1,000."""
        return await self._list(
            statuses=[str(status) for status in statuses],
            is_active=is_active,
            is_connected=is_connected,
            session_ids=list(session_ids),
            min_connection_attempts=min_connection_attempts,
            last_activity_before=None if last_activity_before is None else moment(last_activity_before),
            most_recently_active_first=most_recently_active_first,
            limit=limit,
            after=after,
        )

    async def count_sessions(
        self,
        *,
        statuses: Iterable[Status | str] = (),
        is_active: bool | None = None,
        is_connected: bool | None = None,
        session_ids: Iterable[str] = (),
        min_connection_attempts: int | None = None,
        last_activity_before: datetime | None = None,
    ) -> int:
        """Counts sessions."""
        query = _given(
            statuses=[str(status) for status in statuses],
            is_active=is_active,
            is_connected=is_connected,
            session_ids=list(session_ids),
            min_connection_attempts=min_connection_attempts,
            last_activity_before=None if last_activity_before is None else moment(last_activity_before),
        )
        return int(await call(self._native.count_sessions, query))

    async def get_active_sessions(
        self, *, limit: int = 100, after: str | None = None
    ) -> Page[SessionRecord]:
        """Reads a page of the sessions that were not put away."""
        return await self._list(is_active=True, limit=limit, after=after)

    async def get_connected_sessions(
        self, *, limit: int = 100, after: str | None = None
    ) -> Page[SessionRecord]:
        """Reads a page of the sessions that are logged in."""
        return await self._list(is_connected=True, limit=limit, after=after)

    async def get_problematic_sessions(
        self, min_attempts: int = 5, *, limit: int = 100, after: str | None = None
    ) -> Page[SessionRecord]:
        """Reads a page of the sessions in status ``error`` or with at least ``min_attempts`` failed attempts."""
        return await self._list(problematic_from_attempts=min_attempts, limit=limit, after=after)

    async def _list(self, **query: Any) -> Page[SessionRecord]:
        return page_of(SessionRecord, await call(self._native.list_sessions, _given(**query)))

    async def get_statistics(self) -> Statistics:
        """The figures of the whole system."""
        return _decode.decode(Statistics, await call(self._native.get_statistics))

    async def update_connection_status(
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
        detail: StatusDetail | None = None,
    ) -> SessionRecord:
        """Sets a status, if the transition table leads to it from the present one.

        ``InvalidError`` unless ``is_connected`` is true exactly for ``connected``, ``InvalidStateError`` if the table
        does not allow it; nothing changes then.
        """
        metadata = _given(
            phone=phone,
            name=name,
            platform=platform,
            version=version,
            user_agent=user_agent,
            disconnect_reason=disconnect_reason,
            status_detail=None if detail is None else detail._to_json(),
        )
        changed = call(self._native.update_connection_status, session_id, is_connected, str(status), metadata)
        return _record(await changed)

    async def record_connection_attempt(
        self, session_id: str, success: bool, reason: str | None = None
    ) -> SessionRecord:
        """Notes an attempt to connect: a failure counts, a success sets the count to zero."""
        return _record(await call(self._native.record_connection_attempt, session_id, success, reason))

    async def update_qr_code(self, session_id: str, qr_code: str | None) -> SessionRecord:
        """Stores a QR code, which makes the session ``qr_ready``; ``None`` removes it and leaves the status."""
        return _record(await call(self._native.update_qr_code, session_id, qr_code))

    async def increment_message_count(
        self, session_id: str, type: Literal["sent", "received"]
    ) -> SessionRecord:
        """Counts one message that is not stored. Those that are stored are counted already."""
        return _record(await call(self._native.increment_message_count, session_id, type))

    async def update_chat_count(self, session_id: str) -> SessionRecord:
        """Counts the stored chats anew and sets ``total_chats``."""
        return _record(await call(self._native.update_chat_count, session_id))

    async def update_health_check(self, session_id: str, memory_mb: float) -> SessionRecord:
        """Notes a health check and the memory that the session takes, in MB (2^20 bytes)."""
        return _record(await call(self._native.update_health_check, session_id, memory_mb))

    async def mark_as_inactive(self, session_id: str, reason: str) -> SessionRecord:
        """Puts a session away: it is not restored at start, and cleanup removes it in time."""
        return _record(await call(self._native.mark_as_inactive, session_id, reason))

    async def delete_session(self, session_id: str) -> Deleted:
        """Deletes a session that runs nowhere: ``ConflictError`` if it does. See also ``Service.delete_session``."""
        return _decode.decode(Deleted, await call(self._native.delete_session, session_id))

    async def cleanup_inactive_sessions(
        self, days_inactive: int = 30, *, dry_run: bool = False
    ) -> CleanupReport:
        """Deletes every session that runs nowhere and has seen no activity for so many days."""
        report = await call(self._native.cleanup_inactive_sessions, days_inactive, dry_run)
        return _decode.decode(CleanupReport, report)

    async def reset_connection_attempts(self, session_id: str) -> SessionRecord:
        """Sets the count of failed attempts to zero."""
        return _record(await call(self._native.reset_connection_attempts, session_id))


def _record(text: str) -> SessionRecord:
    return _decode.decode(SessionRecord, text)


def _given(**values: Any) -> str:
    return json.dumps({name: value for name, value in values.items() if value is not None})
