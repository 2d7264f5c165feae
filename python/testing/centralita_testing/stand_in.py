"""The stand-in and its phones.

What a phone does is done when the method returns. What waits is a coroutine; in a test without ``async`` wrap it in
``asyncio.run``.
"""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from centralita._bridge import call

from . import _native

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Phone", "Received", "StandIn"]

URL = "CENTRALITA_STAND_IN_URL"
"""Where a service finds the stand-in, unless it is told otherwise."""


@dataclass(frozen=True)
class Received:
    """A message that a phone has read."""

    id: str
    """Its message id."""
    from_: str
    """The device that sent it."""
    chat: str
    """The chat, as this phone would answer it."""
    participant: str | None
    """The sender in a group."""
    text: str | None
    timestamp: int
    """The server's time, seconds since 1970."""
    device_sent: bool
    """An own companion sent it: this is the phone's copy."""


class Phone:
    """A simulated phone: the primary device of an account. Get it from ``StandIn.add_phone``."""

    def __init__(self, native: _native.StandInPhone) -> None:
        self._native = native

    def __repr__(self) -> str:
        return f"<Phone of {self.push_name!r}>"

    @property
    def phone_number(self) -> str:
        """Digits only: what to send to."""
        return self._native.phone_number

    @property
    def jid(self) -> str:
        """``…@s.whatsapp.net``"""
        return self._native.jid

    @property
    def lid(self) -> str:
        """``…@lid``"""
        return self._native.lid

    @property
    def push_name(self) -> str:
        """The name contacts see."""
        return self._native.push_name

    @property
    def devices(self) -> list[str]:
        """JIDs of the devices that are linked to it."""
        return self._native.devices()

    def scan_qr(self, text: str) -> str:
        """Scans the QR code that a session shows (``step.qr.text``). Returns the JID of the device."""
        return self._native.scan_qr(text)

    def enter_pair_code(self, code: str) -> str:
        """Types the code that a session shows. Returns the JID of the device."""
        return self._native.enter_pair_code(code)

    def send_text(self, to: Phone | str, text: str) -> str:
        """Sends a text to a phone, number, LID or group. Returns the message id."""
        return self._native.send_text(_address(to), text)

    def send_texts(self, to: Phone | str, text: str, count: int) -> None:
        """Sends many texts, with a number from 0 behind each."""
        self._native.send_texts(_address(to), text, count)

    def reply(self, chat: Phone | str, message_id: str, text: str) -> str:
        """Answers a message that it received or sent, quoting it."""
        return self._native.send_about("reply", _address(chat), message_id, text)

    def react(self, chat: Phone | str, message_id: str, emoji: str) -> str:
        """Puts an emoji on a message; an empty one takes it back."""
        return self._native.send_about("react", _address(chat), message_id, emoji)

    def edit(self, chat: Phone | str, message_id: str, text: str) -> str:
        """Changes the text of a message that it sent."""
        return self._native.send_about("edit", _address(chat), message_id, text)

    def revoke(self, chat: Phone | str, message_id: str) -> str:
        """Deletes a message that it sent, for everybody."""
        return self._native.send_about("revoke", _address(chat), message_id, "")

    def mark_read(self, chat: Phone | str, *message_ids: str) -> None:
        """Marks messages of a chat as read."""
        self._native.mark_read(_address(chat), list(message_ids))

    def set_typing(self, chat: Phone | str, typing: bool = True, *, times: int = 1) -> None:
        """Shows or ends "typing…" in a chat, as often as is said."""
        self._native.set_typing(_address(chat), typing, times)

    def set_presence(self, available: bool) -> None:
        """Online or not, for those who asked."""
        self._native.set_presence(available)

    @property
    def received(self) -> list[Received]:
        """What it has read so far, in order."""
        return [_received(message) for message in json.loads(self._native.received())]

    async def wait_for_message(self, text: str | None = None, *, timeout: float = 10.0) -> Received:
        """The first message with this text, or the first of all; also one that is there already."""
        return _received(json.loads(await call(self._native.wait_for_message, text, timeout)))

    async def wait_for_count(self, count: int, *, timeout: float = 10.0) -> None:
        """Waits until it has read so many messages."""
        await call(self._native.wait_for_count, count, timeout)

    async def wait_for_receipt(self, message_id: str, kind: str = "delivery", *, timeout: float = 10.0) -> None:
        """Waits for a receipt for a message that it sent: ``delivery``, ``read``, ``played``, ``retry`` or others."""
        await call(self._native.wait_for_receipt, message_id, kind, timeout)

    async def wait_connected(self, device: str, *, timeout: float = 10.0) -> None:
        """Waits until a device is logged in and has its backlog."""
        await call(self._native.wait_for_device, device, "connected", timeout)

    async def wait_disconnected(self, device: str, *, timeout: float = 10.0) -> None:
        """Waits until a device is not connected."""
        await call(self._native.wait_for_device, device, "disconnected", timeout)

    async def wait_settled(self, device: str, *, timeout: float = 10.0) -> None:
        """Waits until a device has answered everything that was meant for it."""
        await call(self._native.wait_for_device, device, "settled", timeout)

    def unlink(self, device: str) -> bool:
        """Removes a device, as in "linked devices" on the phone. False if it was not linked."""
        return self._native.unlink(device)


class StandIn:
    """A WhatsApp on a free port of loopback. While it runs, services that are made talk to it.

    With ``echo`` phones answer each text with the same text.
    """

    def __init__(self, *, echo: bool = False) -> None:
        self._native = _native.StandIn.start(echo)
        self._before = os.environ.get(URL)
        os.environ[URL] = self.web_socket_url

    @property
    def web_socket_url(self) -> str:
        """Where clients connect."""
        return self._native.web_socket_url

    @property
    def admin_url(self) -> str:
        """Where its HTTP API is."""
        return self._native.admin_url

    def add_phone(self, push_name: str = "", **options: Any) -> Phone:
        """A new phone: an account with its primary device.

        Options: ``phone_number``, ``is_lid_migrated``, ``platform``, ``business_name``, ``delivery_receipts``,
        ``history``.
        """
        given = {"push_name": push_name, **options}
        return Phone(self._native.add_phone(json.dumps(given)))

    def scan_qr(self, text: str) -> str:
        """Lets the phone with the session's push name scan its code; a new phone is made if there is none."""
        return self._native.scan_qr(text)

    def create_group(self, owner: Phone, subject: str, members: list[Phone | str]) -> str:
        """A group of ``owner`` and the members. Returns its JID."""
        return self._native.create_group(owner._native, subject, [_address(member) for member in members])

    def fault(self, name: str, **options: Any) -> int:
        """Makes the server misbehave: ``drop``, ``stream-error``, ``lose-acks``, ``nack``, ``freeze`` and others, as
        its README lists them. Returns how many connections it met.
        """
        request = urllib.request.Request(
            f"{self.admin_url}/admin/faults/{name}", json.dumps(options).encode(), {"Content-Type": "application/json"}
        )
        # Never through a proxy: it is this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            return int(json.load(response).get("connections") or 0)

    @property
    def accounting(self) -> dict[str, Any]:
        """What was sent and what became of it: ``to_companions`` and ``by_companions``."""
        found: dict[str, Any] = json.loads(self._native.accounting())
        return found

    def lost_to(self, device: str) -> int:
        """Messages for a device that it refused for good."""
        return self._native.account_of(device)[0]

    def unsettled(self, device: str) -> int:
        """Messages for a device that it has not answered yet."""
        return self._native.account_of(device)[1]

    def duplicated_from(self, device: str) -> int:
        """Times that a device sent a message that the server had already."""
        return self._native.account_of(device)[2]

    def close(self) -> None:
        """Closes every connection and the port."""
        if os.environ.get(URL) == self.web_socket_url:
            if self._before is None:
                del os.environ[URL]
            else:
                os.environ[URL] = self._before
        self._native.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _address(to: Phone | str) -> str:
    return to.phone_number if isinstance(to, Phone) else to


def _received(data: dict[str, Any]) -> Received:
    return Received(
        id=data["id"],
        from_=data["from"],
        chat=data["chat"],
        participant=data["participant"],
        text=data["text"],
        timestamp=data["timestamp"],
        device_sent=data["deviceSent"],
    )
