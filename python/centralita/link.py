"""Linking a phone: codes as they come, and then exactly one last step."""

from __future__ import annotations

import asyncio
import enum
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import _decode, _native
from ._native import QrCode
from .exceptions import CentralitaError, OperationTimeoutError, from_native
from .options import seconds
from .streams import Fetcher

if TYPE_CHECKING:
    from .options import Seconds

__all__ = ["LinkKind", "LinkStep", "LinkStream"]


class LinkKind(str, enum.Enum):
    """What a step of a link is."""

    QR = "qr"
    """Scan ``step.qr`` with the phone. It replaces any earlier one."""
    PAIR_CODE = "pair_code"
    """Type ``step.code`` on the phone."""
    PASSKEY_CHALLENGE = "passkey_challenge"
    """WhatsApp wants a passkey: have an authenticator sign ``step.passkey_challenge``, call ``answer_passkey``."""
    PASSKEY_CONFIRMATION = "passkey_confirmation"
    """Compare ``step.code`` with the phone's, then call ``confirm_passkey``."""
    LINKED = "linked"
    """The session is linked and connected. The last step."""
    TIMED_OUT = "timed_out"
    """Nobody used a code in time. The last step; start the session for new codes."""
    FAILED = "failed"
    """It did not work, see ``step.error``. The last step."""
    OTHER = "other"
    """A step that this version of the package does not know."""

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class LinkStep:
    """One step of a link. Codes are secrets: do not log them."""

    kind: LinkKind
    qr: QrCode | None = field(default=None, repr=False)
    code: str | None = field(default=None, repr=False)
    """The pair code, or the code to compare."""
    passkey_challenge: str | None = field(default=None, repr=False)
    """WebAuthn's ``PublicKeyCredentialRequestOptions`` as JSON."""
    must_compare: bool = False
    """Of a passkey confirmation: false if the phone shows no code."""
    expires_at: datetime | None = None
    """When the next code replaces this one."""
    error: CentralitaError | None = None

    @property
    def is_last(self) -> bool:
        """Whether no further step follows."""
        return self.kind in (LinkKind.LINKED, LinkKind.TIMED_OUT, LinkKind.FAILED)


class LinkStream:
    """The steps of a link. It ends after the one last step: linked, timed out, or failed.

    A step that was waited for in vain (``asyncio.wait_for``) is not lost: the next waiter gets it.
    """

    def __init__(self, session_id: str, link: _native.Link) -> None:
        self._session_id = session_id
        self._fetcher = Fetcher(link.next_step)
        self._ended = False

    def __aiter__(self) -> LinkStream:
        return self

    async def __anext__(self) -> LinkStep:
        if self._ended:
            raise StopAsyncIteration
        text = await self._fetcher.fetch()
        if text is None:
            self._ended = True
            raise StopAsyncIteration
        step = _step(json.loads(text), self._session_id)
        self._ended = step.is_last
        return step

    async def linked(self, *, timeout: Seconds = 180.0) -> None:
        """Waits until the session is linked; any other end is raised."""
        try:
            await asyncio.wait_for(self._last(), seconds(timeout))
        except asyncio.TimeoutError as error:
            if isinstance(error, CentralitaError):
                raise
            raise OperationTimeoutError(
                "the session was not linked in that time", session_id=self._session_id, retryable=True
            ) from None

    async def _last(self) -> None:
        async for step in self:
            if step.error is not None:
                raise step.error
            if step.kind is LinkKind.TIMED_OUT:
                raise OperationTimeoutError(
                    "nobody used the code in time; start the session for a new one",
                    session_id=self._session_id,
                    retryable=True,
                )

    def __del__(self) -> None:
        self._fetcher.close()


def _step(data: dict[str, Any], session_id: str) -> LinkStep:
    kind = LinkKind(data["kind"])
    expires_at = data.get("expiresAt")
    error = None
    if kind is LinkKind.FAILED:
        error = from_native(
            data["errorKind"], data["message"], data["errorCode"], "link", session_id, False, None
        )
    return LinkStep(
        kind,
        QrCode(data["text"]) if kind is LinkKind.QR else None,
        data.get("code"),
        data.get("requestOptions"),
        data.get("mustCompare", False),
        expires_at and _decode.to_datetime(expires_at),
        error,
    )
