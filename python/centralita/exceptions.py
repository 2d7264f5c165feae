"""What goes wrong, by what the caller must do next.

Each class also derives from the builtin that fits, so that ``except TimeoutError`` and ``except LookupError`` work.
"""

from __future__ import annotations

__all__ = [
    "AccountError",
    "AlreadyExistsError",
    "BannedError",
    "CallbackError",
    "CentralitaError",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "CryptoError",
    "ForkError",
    "InternalError",
    "InvalidError",
    "InvalidStateError",
    "LoggedOutError",
    "NotFoundError",
    "OperationCancelledError",
    "OperationTimeoutError",
    "PanicError",
    "ProtocolError",
    "RateLimitedError",
    "StoreError",
    "UnavailableError",
    "by_kind",
]


class CentralitaError(Exception):
    """The base of all errors of this package.

    >>> error = NotFoundError("no such session", code=11, session_id="ventas")
    >>> isinstance(error, LookupError), error.session_id, error.retryable
    (True, 'ventas', False)
    """

    kind: str = "internal"
    """The kind's stable name, as logs and metrics show it."""

    def __init__(
        self,
        message: str = "",
        *,
        code: int = 0,
        op: str | None = None,
        session_id: str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        """The kind's stable number, the same in every language. 0 if it did not come from the native module."""
        self.op = op
        """The operation that failed, if known."""
        self.session_id = session_id
        """The session that it happened to, if any."""
        self.retryable = retryable
        """Whether the same call may succeed later with no change by the caller."""
        self.retry_after = retry_after
        """Seconds to wait before the next try, if that is known."""


class InvalidError(CentralitaError, ValueError):
    """An argument or an option is not acceptable. Nothing was changed. Mend the call."""

    kind = "invalid"


class NotFoundError(CentralitaError, LookupError):
    """No such session, message or document. Nothing was changed."""

    kind = "not_found"


class AlreadyExistsError(CentralitaError):
    """It is there already. Nothing was changed."""

    kind = "already_exists"


class InvalidStateError(CentralitaError):
    """The call does not fit the present state, such as a send on a session that is not connected."""

    kind = "invalid_state"


class ForkError(InvalidStateError):
    """This process was forked after centralita had started. Start the service in the child instead."""

    kind = "fork"


def fork_error() -> ForkError:
    """What calls answer in a child that has the objects of its parent, but not its threads."""
    return ForkError(
        "this process was forked after centralita had started, and a fork does not copy threads; start the service "
        "in the child, and import alone before the fork",
        code=13,
    )


class ClosedError(CentralitaError):
    """The service was shut down. Make a new one."""

    kind = "closed"


class AccountError(CentralitaError):
    """Something about the account or its owner: somebody must act."""


class LoggedOutError(AccountError):
    """The phone removed this device. Link it anew."""

    kind = "logged_out"


class BannedError(AccountError):
    """WhatsApp banned the account for a time. Wait for ``retry_after``."""

    kind = "banned"


class ConflictError(AccountError):
    """Another process owns the session or the file. Do not retry unless the other one is gone."""

    kind = "conflict"


class RateLimitedError(CentralitaError):
    """Too much in too short a time. Call again after ``retry_after``."""

    kind = "rate_limited"


class OperationTimeoutError(CentralitaError, TimeoutError):
    """A deadline passed. The outcome may be unknown; the message says if it is."""

    kind = "timeout"


class OperationCancelledError(CentralitaError):
    """The work was dropped before it ended: the runtime went away under it."""

    kind = "cancelled"


class UnavailableError(CentralitaError, ConnectionError):
    """The database or the network cannot be reached at present. Retry, or drop the operation."""

    kind = "unavailable"


class StoreError(CentralitaError, OSError):
    """The database refused the operation for good: rights, read-only, disk full, index conflict."""

    kind = "store"


class CorruptError(StoreError):
    """A stored document cannot be understood. The session that owns it must be repaired or deleted."""

    kind = "corrupt"


class CryptoError(CentralitaError):
    """A key is missing, wrong or retired, or a sealed value was changed. Nothing was overwritten."""

    kind = "crypto"


class ProtocolError(CentralitaError):
    """WhatsApp answered in a way that the protocol does not allow, or refused the request."""

    kind = "protocol"


class CallbackError(CentralitaError):
    """A callback of the caller failed; ``__cause__`` is its exception."""

    kind = "callback"


class PanicError(CentralitaError, RuntimeError):
    """A panic was caught. Only the session named was affected. Please report it."""

    kind = "panic"


class InternalError(CentralitaError, RuntimeError):
    """A bug of this library. Please report it."""

    kind = "internal"


by_kind: dict[str, type[CentralitaError]] = {
    kind.kind: kind
    for kind in (
        InvalidError,
        NotFoundError,
        AlreadyExistsError,
        InvalidStateError,
        ForkError,
        ClosedError,
        LoggedOutError,
        BannedError,
        ConflictError,
        RateLimitedError,
        OperationTimeoutError,
        OperationCancelledError,
        UnavailableError,
        StoreError,
        CorruptError,
        CryptoError,
        ProtocolError,
        CallbackError,
        PanicError,
        InternalError,
    )
}
"""The class of each kind of error."""


def from_native(
    kind: str,
    message: str,
    code: int,
    op: str | None,
    session_id: str | None,
    retryable: bool,
    retry_after: float | None,
) -> CentralitaError:
    """Makes the exception for an error of the native module."""
    return by_kind.get(kind, CentralitaError)(
        message, code=code, op=op, session_id=session_id, retryable=retryable, retry_after=retry_after
    )
