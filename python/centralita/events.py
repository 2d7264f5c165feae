"""What happens, as it happens: one class for each kind, with the session, its number there, and the time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import _decode
from ._logging import logger
from ._native import QrCode
from .health import RestartReason
from .records import (
    Content,
    Direction,
    MessageKey,
    MessageStatus,
    SentMessage,
    Status,
    StatusDetail,
    StoredMessage,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .options import SendOptions
    from .service import Service

__all__ = [
    "CodeReady",
    "Event",
    "HandlerFailed",
    "HistoryStored",
    "Lagged",
    "Message",
    "MessageChanged",
    "Missed",
    "OtherEvent",
    "OutboxEnded",
    "Presence",
    "SessionPanicked",
    "SessionRestarted",
    "StatusChanged",
    "Typing",
    "Undecryptable",
]


@dataclass(frozen=True)
class Event:
    """The base of all events."""

    seq: int
    """Rises by one with each event of the session in this process, from 1. With ``durable_events``, with each logged
    event for ever; one that is not logged has the number of the one before it."""
    session_id: str
    at: datetime
    """When it was published, in UTC."""


@dataclass(frozen=True)
class StatusChanged(Event):
    """The session's status or its detail changed. On ``error`` look at the detail: somebody must act."""

    status: Status
    detail: StatusDetail | None


@dataclass(frozen=True)
class CodeReady(Event):
    """A code waits to be scanned or typed; it replaces any earlier one. A secret: do not log it."""

    kind: str
    """``qr``, ``pair_code``, ``passkey_challenge`` or ``passkey_confirmation``."""
    code: str | None = field(repr=False)
    """The text of the QR code, the pair code, or the code to compare."""
    passkey_challenge: str | None = field(repr=False)
    """WebAuthn's ``PublicKeyCredentialRequestOptions`` as JSON; answer with ``Session.answer_passkey``."""
    must_compare: bool | None
    """Of a passkey confirmation: false if the phone shows no code."""
    expires_at: datetime | None

    @property
    def qr(self) -> QrCode | None:
        """The QR code, ready to be rendered, if it is one."""
        return QrCode(self.code) if self.kind == "qr" and self.code else None


@dataclass(frozen=True)
class _MessageEvent(Event):
    stored: StoredMessage
    """The message as it is stored."""
    _service: Service = field(repr=False, compare=False)

    @property
    def key(self) -> MessageKey:
        """What names the message."""
        return self.stored.key

    @property
    def text(self) -> str | None:
        """The text, if it is one."""
        return self.stored.content.text

    @property
    def content(self) -> Content:
        """The content."""
        return self.stored.content

    @property
    def chat_id(self) -> str:
        """JID of the chat."""
        return self.stored.key.chat_id

    @property
    def sender(self) -> str:
        """JID of the author."""
        return self.stored.key.sender

    @property
    def sender_name(self) -> str | None:
        """The author's push name."""
        return self.stored.sender_name

    @property
    def from_me(self) -> bool:
        """Whether the own account wrote it, from whichever device."""
        return self.stored.from_me

    @property
    def direction(self) -> Direction:
        """Which way it went."""
        return self.stored.direction

    @property
    def timestamp(self) -> datetime:
        """When it was sent, as WhatsApp says (whole seconds)."""
        return self.stored.timestamp

    @property
    def status(self) -> MessageStatus:
        """How far it came."""
        return self.stored.status

    async def reply(self, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Answers it in its chat, quoting it. See ``Session.send`` for options and errors."""
        return await self._service.handle(self.session_id).reply(self.key, text, **options)

    async def react(self, emoji: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Puts an emoji on it; an empty one takes it back."""
        return await self._service.handle(self.session_id).react(self.key, emoji, **options)

    async def mark_read(self) -> None:
        """Tells its author that it was read, and sets the chat's unread count to 0."""
        await self._service.handle(self.session_id).mark_read(self.key)


@dataclass(frozen=True)
class Message(_MessageEvent):
    """A message came in, or was written on another device of the account. It is stored already."""


@dataclass(frozen=True)
class MessageChanged(_MessageEvent):
    """A stored message changed: its status rose, it was edited or taken back."""


@dataclass(frozen=True)
class OutboxEnded(Event):
    """A message that waited in the outbox has come to its end. The stored message shows the same as its status."""

    message_id: str
    key: MessageKey | None
    """What names the message; ``None`` if the entry could not be decrypted any more."""
    outcome: str
    """How it ended, such as ``sent``, ``failed`` or ``expired``."""
    reason: str | None
    """Why, if it was not sent for a reason beyond its outcome."""


@dataclass(frozen=True)
class Missed(Event):
    """The bounds of the log of durable events cut off what a consumer had not read yet."""

    count: int
    """How many. ``seq`` is the number of the last of them."""


@dataclass(frozen=True)
class Typing(Event):
    """A contact types in a chat, or stopped."""

    chat_id: str
    sender: str
    composing: bool


@dataclass(frozen=True)
class Presence(Event):
    """A contact came online or left. Only for contacts whose presence was subscribed to."""

    contact: str
    available: bool
    last_seen: datetime | None


@dataclass(frozen=True)
class HistoryStored(Event):
    """A part of the phone's history was stored."""

    chats: int
    messages: int


@dataclass(frozen=True)
class Undecryptable(Event):
    """A message could not be decrypted; WhatsApp was asked to send it again."""


@dataclass(frozen=True)
class SessionPanicked(Event):
    """A task of this session panicked. The session is restarted; others are not affected. Please report it."""


@dataclass(frozen=True)
class SessionRestarted(Event):
    """The session was connected but did not work, and is restarted."""

    reason: RestartReason


@dataclass(frozen=True)
class Lagged(Event):
    """This stream was too slow: as many events of it were dropped just before this one."""

    dropped: int


@dataclass(frozen=True)
class HandlerFailed(Event):
    """A handler let an exception through. It was logged and counted; nothing was stopped by it."""

    handler: str
    """The handler's name."""
    exception: BaseException
    event: Event
    """What it was called with."""


@dataclass(frozen=True)
class OtherEvent(Event):
    """A kind of event that this version of the package does not know."""

    type: str
    data: Any


def decode(data: dict[str, Any], service: Service) -> Event:
    """An event from JSON that is parsed already."""
    return _event(data, service)


def decode_batch(text: str, service: Service) -> list[Event]:
    """The events of a batch of the native module."""
    return [_event(data, service) for data in json.loads(text)]


def _event(event: dict[str, Any], service: Service) -> Event:
    base = (event["seq"], event["sessionId"], _decode.to_datetime(event["at"]))
    try:
        known = _known(event["type"], event.get("data") or {}, base, service)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Of another shape than this version knows: shown as it is, and not the end of the stream.
        logger.warning(
            "an event of type %r has another shape than expected (%s)", event["type"], type(error).__name__
        )
        known = None
    return known or OtherEvent(*base, event["type"], event.get("data"))


def _known(
    kind: str, data: dict[str, Any], base: tuple[int, str, datetime], service: Service
) -> Event | None:
    if kind == "message":
        return Message(*base, StoredMessage._from_json(data), service)
    if kind == "message_changed":
        return MessageChanged(*base, StoredMessage._from_json(data), service)
    if kind == "typing":
        return Typing(*base, data["chatId"], data["sender"], data["composing"])
    if kind == "status":
        detail = data["detail"]
        return StatusChanged(
            *base, Status(data["status"]), None if detail is None else _decode.build(StatusDetail, detail)
        )
    if kind == "code":
        expires_at = data.get("expiresAt")
        return CodeReady(
            *base,
            data["kind"],
            data.get("text", data.get("code")),
            data.get("requestOptionsJson"),
            data.get("mustCompare"),
            expires_at and _decode.to_datetime(expires_at),
        )
    if kind == "presence":
        seen = data["lastSeen"]
        return Presence(*base, data["contact"], data["available"], seen and _decode.to_datetime(seen))
    if kind == "history":
        return HistoryStored(*base, data["chats"], data["messages"])
    if kind == "undecryptable":
        return Undecryptable(*base)
    if kind == "panicked":
        return SessionPanicked(*base)
    if kind == "restarted":
        return SessionRestarted(*base, RestartReason(data["reason"]))
    if kind == "outbox_ended":
        key = data["key"]
        return OutboxEnded(
            *base,
            data["messageId"],
            None if key is None else _decode.build(MessageKey, key),
            data["outcome"],
            data["reason"],
        )
    if kind == "missed":
        return Missed(*base, data["count"])
    if kind == "unknown":
        # Logged by a later version: shown under the name that it had there.
        raw = data["raw"]
        return OtherEvent(*base, raw["type"], raw.get("data"))
    if kind == "lagged":
        return Lagged(*base, data["dropped"])
    return None
