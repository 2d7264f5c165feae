"""The session records, for code without ``async``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .. import manager as _aio
from ..records import CleanupReport, Deleted, Page, SessionRecord, Statistics, Status, StatusDetail

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ._loop import Loop

__all__ = ["SessionManager"]


class SessionManager:
    """The session records; see ``centralita.SessionManager``, whose methods these are."""

    def __init__(self, loop: Loop, manager: _aio.SessionManager) -> None:
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
        min_connection_attempts: int | None = None,
        last_activity_before: datetime | None = None,
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
                min_connection_attempts=min_connection_attempts,
                last_activity_before=last_activity_before,
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
        session_ids: Iterable[str] = (),
        min_connection_attempts: int | None = None,
        last_activity_before: datetime | None = None,
    ) -> int:
        """Counts sessions."""
        return self._loop.run(
            self._manager.count_sessions(
                statuses=statuses,
                is_active=is_active,
                is_connected=is_connected,
                session_ids=session_ids,
                min_connection_attempts=min_connection_attempts,
                last_activity_before=last_activity_before,
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
        detail: StatusDetail | None = None,
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
                detail=detail,
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
