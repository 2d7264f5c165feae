"""One session."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import _decode
from ._bridge import call
from .events import Message, MessageChanged
from .health import SessionVitals
from .link import LinkStream
from .options import SendOptions, seconds, settings
from .records import (
    Chat,
    MessageKey,
    Page,
    QueuedMessage,
    SentMessage,
    SessionRecord,
    Status,
    StoredMessage,
    page_of,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._native import Session as NativeSession
    from .options import Seconds
    from .service import Service

__all__ = ["AnyMessage", "Session"]

AnyMessage = MessageKey | StoredMessage | SentMessage | Message | MessageChanged
"""A message, or what names it."""


def key_of(message: AnyMessage) -> MessageKey:
    """What names a message."""
    return message if isinstance(message, MessageKey) else message.key


class Session:
    """One session of a ``Service``. It holds nothing open; get it from ``create_session`` and the like."""

    def __init__(self, service: Service, session_id: str, native: NativeSession | None = None) -> None:
        self._service = service
        self._id = session_id
        self._handle = native

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    def __repr__(self) -> str:
        return f"<Session {self._id!r}>"

    async def _native(self) -> NativeSession:
        if self._handle is None:
            self._handle = (await self._service.session(self._id))._handle
        assert self._handle is not None
        return self._handle

    async def record(self) -> SessionRecord:
        """Its record as stored."""
        return _decode.decode(SessionRecord, await call((await self._native()).record))

    async def status(self) -> Status:
        """Its status in this process; ``InvalidStateError`` if it does not run here."""
        return Status((await self._native()).status())

    async def is_connected(self) -> bool:
        """Whether it is logged in at this moment."""
        return (await self._native()).is_connected()

    def link(self) -> LinkStream:
        """The codes to link it with, as they come, and then one last step.

        A session that is linked already ends the stream with ``linked`` once it is connected. ``InvalidStateError`` if
        it was not started in this process.
        """
        if self._handle is None:
            raise RuntimeError("get the session from create_session, start_session or session first")
        return LinkStream(self._id, self._handle.link())

    async def wait_connected(self, *, timeout: Seconds = 60.0) -> None:
        """Waits until it is connected; an end of the session is raised."""
        await call((await self._native()).wait_connected, seconds(timeout))

    async def health(self) -> SessionVitals:
        """Its link, what comes in and what goes out, and its memory; ``InvalidStateError`` if it does not run here."""
        return _decode.decode(SessionVitals, await call((await self._native()).health))

    async def park(self) -> None:
        """Closes its socket and frees its memory, but keeps it; returns once that is done.

        WhatsApp queues what comes. A send, ``start_session``, ``reconnect_now`` and the option ``park_wake_every`` wake
        it. ``InvalidStateError`` if it does not run here or was never linked.
        """
        await call(self._service.native.park_session, self._id)

    async def is_parked(self) -> bool:
        """Whether it is parked, or on its way back from that."""
        return (await self._native()).is_parked()

    async def reconnect_now(self) -> None:
        """Ends a pause between two connections, or wakes a parked session: the next attempt is made now."""
        (await self._native()).reconnect_now()

    async def request_pair_code(self, phone_number: str) -> str:
        """Asks for a code to type on the phone with this number, instead of the QR code. Also a step of ``link``."""
        return str(await call((await self._native()).request_pair_code, phone_number))

    async def answer_passkey(self, assertion_json: bytes | str, credential_id: bytes) -> None:
        """Answers a passkey challenge: WebAuthn's assertion as JSON, and the raw id of the credential."""
        assertion = assertion_json.encode() if isinstance(assertion_json, str) else assertion_json
        await call((await self._native()).answer_passkey, assertion, credential_id)

    async def confirm_passkey(self) -> None:
        """Says that the code of the phone and of this device are the same."""
        await call((await self._native()).confirm_passkey)

    async def send(self, to: str, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Sends a text and waits until WhatsApp's server has it.

        ``to`` is a phone number in international form or the JID of a contact or group. With an ``idempotency_key``
        the same send may be repeated and is the same message; with ``queue_for`` or ``queue_until`` one that cannot be
        sent now waits in the outbox: the answer's status is then ``queued``, and an ``OutboxEnded`` event tells its end.
        All options: ``SendOptions``.

        ``InvalidStateError`` if the session is not connected: nothing is stored then. ``ProtocolError`` or
        ``RateLimitedError`` if WhatsApp refused; ``RateLimitedError`` or ``BannedError`` with ``retry_after`` also come
        from the service's own limits and from what WhatsApp said before. ``OperationTimeoutError`` if it said nothing in
        time: the message may or may not arrive, and sending it again with the same idempotency key makes sure.
        """
        return await self._send({"kind": "text", "to": to, "text": text}, options)

    async def reply(self, message: AnyMessage, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Sends a text in answer to a message, in its chat, quoting it."""
        return await self._send(_about("reply", message, text=text), options)

    async def react(self, message: AnyMessage, emoji: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Puts an emoji on a message; an empty one takes it back."""
        return await self._send(_about("reaction", message, emoji=emoji), options)

    async def edit(self, message: AnyMessage, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Gives a message of one's own a new text."""
        return await self._send(_about("edit", message, text=text), options)

    async def revoke(self, message: AnyMessage, **options: Unpack[SendOptions]) -> SentMessage:
        """Takes a message back for everybody: one's own, or, as a group's admin, another's."""
        return await self._send(_about("revoke", message), options)

    async def _send(self, body: dict[str, Any], options: SendOptions) -> SentMessage:
        body |= settings(dict(options), SendOptions, "send")
        sent = await call(self._service.native.send, self._id, json.dumps(body))
        return _decode.decode(SentMessage, sent)

    async def outbox(self, *, limit: int = 100, after: str | None = None) -> Page[QueuedMessage]:
        """A page of what waits in the outbox, in the order in which it is sent. ``limit`` is 1 to 1,000."""
        return page_of(QueuedMessage, await call((await self._native()).outbox, limit, after))

    async def cancel_queued(self, message_id: str) -> None:
        """Takes a message out of the outbox, whether the session runs or not.

        ``InvalidStateError`` if it is being sent or may have been sent already, ``NotFoundError`` if it does not wait.
        """
        await call((await self._native()).cancel_queued, message_id)

    async def mark_read(self, *messages: AnyMessage) -> None:
        """Tells the author of received messages that they were read, and sets the chat's unread count to 0.

        All messages must be of one chat and author.
        """
        keys = json.dumps([key_of(message)._to_json() for message in messages])
        await call((await self._native()).mark_read, keys)

    async def set_typing(self, to: str, composing: bool = True) -> None:
        """Shows "typing…" in a chat, or stops showing it."""
        await call((await self._native()).set_typing, to, composing)

    async def messages(
        self, chat_id: str | None = None, *, limit: int = 100, after: str | None = None
    ) -> Page[StoredMessage]:
        """A page of stored messages, newest first: of one chat, or of all. ``limit`` is 1 to 1,000."""
        found = await call((await self._native()).messages, chat_id, limit, after)
        return page_of(StoredMessage, found)

    async def chats(self, *, limit: int = 100, after: str | None = None) -> Page[Chat]:
        """A page of stored chats, the one with the newest message first. ``limit`` is 1 to 1,000."""
        return page_of(Chat, await call((await self._native()).chats, limit, after))

    async def stop(self) -> None:
        """Ends the connection and releases the session; the credentials stay."""
        await call(self._service.native.stop_session, self._id)

    async def log_out(self) -> None:
        """Removes this device from the account and deletes the credentials; record, messages and chats stay."""
        await call(self._service.native.log_out_session, self._id)

    async def delete(self) -> None:
        """Stops the session and deletes all of it. If it is connected it is logged out first."""
        await call(self._service.native.delete_session, self._id)


def _about(kind: str, message: AnyMessage, **rest: str) -> dict[str, Any]:
    return {"kind": kind, "target": key_of(message)._to_json(), **rest}
