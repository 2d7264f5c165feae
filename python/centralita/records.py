"""What is stored and reported: frozen, with the seed's fields. Dates are in UTC, with their zone."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Generic, TypeVar

from . import _decode

__all__ = [
    "Chat",
    "CleanupFailure",
    "CleanupReport",
    "Content",
    "Deleted",
    "Direction",
    "HealthReport",
    "MemoryReport",
    "MessageKey",
    "MessageStatus",
    "Page",
    "QueuedMessage",
    "RestoreProgress",
    "RestoreReport",
    "RewrapFailure",
    "RewrapReport",
    "RoundReport",
    "SentMessage",
    "SessionHealth",
    "SessionList",
    "SessionMemory",
    "SessionRecord",
    "Statistics",
    "Status",
    "StatusDetail",
    "StoredMessage",
]

T = TypeVar("T")


class _Name(str, enum.Enum):
    """A name of the seed's; one that is newer than this package is kept as it is."""

    def __str__(self) -> str:
        return str(self.value)

    @classmethod
    def _missing_(cls, value: object) -> _Name | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_, unknown._value_ = value.upper(), value
        return unknown


class Status(_Name):
    """Where a session stands.

    >>> Status("qr_ready") is Status.QR_READY, Status.CONNECTED == "connected"
    (True, True)
    """

    PENDING = "pending"
    """Created or starting; no code yet."""
    QR_READY = "qr_ready"
    """A QR code, a pair code or a passkey challenge waits for the user."""
    CONNECTED = "connected"
    """Logged in."""
    DISCONNECTED = "disconnected"
    """Not connected: stopped, or waiting for the next attempt."""
    ERROR = "error"
    """It needs somebody: logged out, banned, outdated, or broken."""
    INACTIVE = "inactive"
    """Put away: not restored at start."""


class MessageStatus(_Name):
    """How far a message came. It only ever rises."""

    PENDING = "pending"
    """Stored, not yet written to the socket."""
    QUEUED = "queued"
    """It waits in the outbox."""
    CANCELLED = "cancelled"
    """Somebody took it out of the outbox before it was sent."""
    EXPIRED = "expired"
    """Its time in the outbox ran out before it was sent."""
    INDETERMINATE = "indeterminate"
    """Written and not acknowledged in time: it may or may not arrive."""
    FAILED = "failed"
    """WhatsApp refused it."""
    SENT = "sent"
    """WhatsApp's server has it."""
    DELIVERED = "delivered"
    """A device of the recipient has it. Also every received message."""
    READ = "read"
    """The recipient opened it."""
    PLAYED = "played"
    """The recipient played it."""


class Direction(_Name):
    """Which way a message went."""

    IN = "in"
    """Received."""
    OUT = "out"
    """Written by the account itself, here or on another of its devices."""


@dataclass(frozen=True, slots=True)
class StatusDetail:
    """What a status does not say; which fields are set depends on ``kind``."""

    kind: str
    """Such as ``back_off``, ``logged_out``, ``banned``, ``replaced``, ``owned_elsewhere``, ``store_unavailable``,
    ``link_timed_out``, ``waiting_for_turn``, ``fleet_paused``, ``parked``, ``failed``."""
    until: datetime | None = None
    """When the next attempt is made, when a ban ends, or when a parked session wakes by itself."""
    expires_at: datetime | None = None
    """When a pair code stops being valid."""
    attempt: int | None = None
    """How many attempts have failed in a row."""
    message: str | None = None
    """What happened, in words for people."""

    def _to_json(self) -> dict[str, Any]:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            _decode.camel(name): value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session as the seed's ``sessions`` collection keeps it."""

    session_id: str
    name: str
    """A name for people: the account's push name once linked."""
    phone: str | None = field(repr=False)
    """The account's phone number, digits only, once linked."""
    is_connected: bool
    last_activity: datetime
    qr_code: str | None = field(repr=False)
    """The text of the code to scan, while there is one. A secret."""
    status: Status
    status_detail: StatusDetail | None
    connection_attempts: int
    """Failed attempts since the last success or reset."""
    last_connection_attempt: datetime | None
    last_disconnect_reason: str | None
    messages_sent: int
    messages_received: int
    total_chats: int
    memory_usage: float
    """Memory that the session takes, in MB (2^20 bytes)."""
    last_health_check: datetime
    is_active: bool
    """False once marked inactive: it is not restored at start, and cleanup may remove it."""
    user_agent: str | None
    platform: str | None
    version: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class MessageKey:
    """What makes a message one and the same: ids are only unique within a chat and sender.

    >>> key = MessageKey("5491155550000@s.whatsapp.net", "5491155550000@s.whatsapp.net", "3EB0")
    >>> key in {key}, key.message_id
    (True, '3EB0')
    """

    chat_id: str
    """JID of the chat."""
    sender: str
    """JID of the author; the own account's for sent messages."""
    message_id: str

    def _to_json(self) -> dict[str, str]:
        return {"chatId": self.chat_id, "sender": self.sender, "messageId": self.message_id}


@dataclass(frozen=True, slots=True)
class Content:
    """What a message is; which fields are set depends on ``type``. New types will come."""

    type: str
    """``text``, ``reaction``, ``media`` or ``other``."""
    text: str | None = field(default=None, repr=False)
    quoted: MessageKey | None = None
    """The message that a text answers."""
    target: MessageKey | None = None
    """The message that a reaction is for."""
    emoji: str | None = None
    """Empty if the reaction was taken back."""
    media: str | None = None
    """``image``, ``video``, ``audio``, ``document`` or ``sticker``."""
    caption: str | None = field(default=None, repr=False)
    mime_type: str | None = None
    size_bytes: int | None = None
    name: str | None = None
    """The name of anything else, such as ``poll_creation_message``."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One stored message."""

    key: MessageKey
    direction: Direction
    from_me: bool
    """Whether the own account wrote it, from whichever device."""
    timestamp: datetime
    """When it was sent, as WhatsApp says (whole seconds)."""
    sender_name: str | None
    """The author's push name, for received messages."""
    content: Content
    status: MessageStatus
    edited_at: datetime | None
    revoked_at: datetime | None
    """When its author took it back; the content is then gone."""
    from_history: bool

    @property
    def text(self) -> str | None:
        """The text, if it is one."""
        return self.content.text

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> StoredMessage:
        # The key's fields stand beside the others there.
        edited, revoked = data["editedAt"], data["revokedAt"]
        return cls(
            key=MessageKey(data["chatId"], data["sender"], data["messageId"]),
            direction=Direction(data["direction"]),
            from_me=data["fromMe"],
            timestamp=_decode.to_datetime(data["timestamp"]),
            sender_name=data["senderName"],
            content=_decode.build(Content, data["content"]),
            status=MessageStatus(data["status"]),
            edited_at=edited and _decode.to_datetime(edited),
            revoked_at=revoked and _decode.to_datetime(revoked),
            from_history=data["fromHistory"],
        )


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat."""

    chat_id: str
    name: str | None
    """The contact's or group's name."""
    is_group: bool
    last_message_at: datetime | None
    unread_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that WhatsApp's server has accepted."""

    key: MessageKey
    """What names it: pass it to reply, react, edit or revoke."""
    status: MessageStatus
    """``sent`` or, if the recipient was quicker than this answer, more."""
    timestamp: datetime
    repeated: bool
    """Whether an earlier send with the same idempotency key had sent it already."""


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message that waits in the outbox."""

    key: MessageKey
    state: str
    """``queued`` can be cancelled; ``sending`` was written and not acknowledged yet."""
    attempts: int
    queued_at: datetime
    expires_at: datetime
    """After this moment it is not sent any more."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    items: tuple[T, ...]
    next: str | None
    """Pass it as ``after`` to get the rest; ``None`` at the end."""
    malformed: tuple[str, ...]
    """Ids of documents that could not be understood."""


def page_of(kind: type[T], text: str) -> Page[T]:
    """A page from JSON."""
    data = json.loads(text)
    items = tuple(_decode.build(kind, item) for item in data["items"])
    return Page(items, data["next"], tuple(data["malformed"]))


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of the whole system."""

    total_sessions: int
    active_sessions: int
    connected_sessions: int
    disconnected_sessions: int
    pending_sessions: int
    error_sessions: int
    inactive_sessions: int
    total_messages: int
    messages_sent: int
    messages_received: int
    total_chats: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went with a session."""

    auth: int
    """Documents of credentials and keys."""
    messages: int
    chats: int
    outbox: int
    """Messages that still waited in the outbox."""
    events: int
    """Logged events; with them go every consumer's position and dead letters."""


@dataclass(frozen=True, slots=True)
class CleanupFailure:
    """A session that a cleanup could not remove."""

    session_id: str
    kind: str
    """The name of the error's kind."""
    message: str


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """What a cleanup removed, or would remove."""

    dry_run: bool
    removed: tuple[str, ...]
    held: tuple[str, ...]
    """Old enough, but they run on some instance."""
    failed: tuple[CleanupFailure, ...]


@dataclass(frozen=True, slots=True)
class SessionHealth:
    """What matters of a session that is not well."""

    session_id: str
    status: Status
    connection_attempts: int
    last_disconnect_reason: str | None
    last_activity: datetime


@dataclass(frozen=True, slots=True)
class SessionList:
    """Some sessions, and how many there are in all."""

    total: int
    sessions: tuple[SessionHealth, ...]


@dataclass(frozen=True, slots=True)
class SessionMemory:
    """What one session takes."""

    session_id: str
    memory_mb: float


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Memory in MB (2^20 bytes)."""

    sessions: int
    """How many were measured."""
    total_mb: float
    largest: SessionMemory | None


@dataclass(frozen=True, slots=True)
class RoundReport:
    """How one kind of round does."""

    last: datetime | None
    next: datetime | None
    """``None`` while stopped."""
    succeeded: int
    failed: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The state of the system at one moment."""

    generated_at: datetime
    running: bool
    statistics: Statistics
    problematic: SessionList
    disconnected: SessionList
    memory: MemoryReport
    cleanup: RoundReport
    last_removed: int
    health_check: RoundReport


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a restore has come."""

    total: int
    """Sessions to start in all."""
    done: int
    """Of them looked at so far."""
    connected: int
    """Started and connected so far; only told while the restore waits for it."""
    ended: int
    """Started and ended already: logged out, banned, outdated, owned elsewhere."""
    session_id: str
    """The one that the step is about."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came of a restore."""

    started: tuple[str, ...]
    """The most recently active first."""
    connected: tuple[str, ...]
    """Of them connected when a restore that waits returned."""
    not_linked: tuple[str, ...]
    """Left alone because they are not linked: start them for a code."""
    malformed: tuple[str, ...]
    """Sessions whose record cannot be understood."""


@dataclass(frozen=True, slots=True)
class RewrapFailure:
    """A session whose data key could not be wrapped anew. Nothing of it was changed."""

    session_id: str
    kind: str
    """The name of the error's kind."""
    message: str


@dataclass(frozen=True, slots=True)
class RewrapReport:
    """What ``Service.rewrap_keys`` did."""

    rewrapped: int
    """Sessions whose data key was wrapped anew."""
    already_current: int
    """Sessions that were under the primary key already, or have no key yet."""
    held_elsewhere: tuple[str, ...]
    """Sessions that run somewhere and are under an older key. They do it themselves when they are started anew."""
    failed: tuple[RewrapFailure, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every session is under the primary key: older keys may be retired."""
        return not self.held_elsewhere and not self.failed
