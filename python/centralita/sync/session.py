"""One session, for code without ``async``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import session as _aio
from ..health import SessionVitals
from ..records import (
    Chat,
    Page,
    QueuedMessage,
    SentMessage,
    SessionRecord,
    Status,
    StoredMessage,
)
from ..session import AnyMessage
from .streams import LinkSteps

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..link import LinkStream
    from ..options import Seconds, SendOptions
    from ._loop import Loop

__all__ = ["Session"]


class Session:
    """One session; see ``centralita.Session``, whose methods these are."""

    def __init__(self, loop: Loop, session: _aio.Session) -> None:
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

    def health(self) -> SessionVitals:
        """Its link, what comes in and what goes out, and its memory."""
        return self._loop.run(self._session.health())

    def park(self) -> None:
        """Closes its socket and frees its memory, but keeps it; a send wakes it."""
        self._loop.run(self._session.park())

    def is_parked(self) -> bool:
        """Whether it is parked, or on its way back from that."""
        return self._loop.run(self._session.is_parked())

    def reconnect_now(self) -> None:
        """Ends a pause between two connections, or wakes a parked session: the next attempt is made now."""
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

    def send(self, to: str, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Sends a text and waits until WhatsApp's server has it."""
        return self._loop.run(self._session.send(to, text, **options))

    def reply(self, message: AnyMessage, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Sends a text in answer to a message, in its chat, quoting it."""
        return self._loop.run(self._session.reply(message, text, **options))

    def react(self, message: AnyMessage, emoji: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Puts an emoji on a message; an empty one takes it back."""
        return self._loop.run(self._session.react(message, emoji, **options))

    def edit(self, message: AnyMessage, text: str, **options: Unpack[SendOptions]) -> SentMessage:
        """Gives a message of one's own a new text."""
        return self._loop.run(self._session.edit(message, text, **options))

    def revoke(self, message: AnyMessage, **options: Unpack[SendOptions]) -> SentMessage:
        """Takes a message back for everybody."""
        return self._loop.run(self._session.revoke(message, **options))

    def outbox(self, *, limit: int = 100, after: str | None = None) -> Page[QueuedMessage]:
        """A page of what waits in the outbox, in the order in which it is sent."""
        return self._loop.run(self._session.outbox(limit=limit, after=after))

    def cancel_queued(self, message_id: str) -> None:
        """Takes a message out of the outbox, whether the session runs or not."""
        self._loop.run(self._session.cancel_queued(message_id))

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
