"""How sessions that run in this process are, and how their connections are paced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .records import _Name

__all__ = ["BreakerState", "Pacing", "RestartReason", "SessionVitals", "Vital", "VitalState"]


class VitalState(_Name):
    """How a part of a session's health is."""

    GOOD = "good"
    """As it should be."""
    UNKNOWN = "unknown"
    """Nothing can be said while there is no connection."""
    SUSPECT = "suspect"
    """It may be about to fail; being looked into."""
    BAD = "bad"
    """It does not work."""


class RestartReason(_Name):
    """Why a session was restarted by itself."""

    ZOMBIE = "zombie"
    """Connected, but nothing came in and a ping was not answered."""
    SEND_STALL = "send_stall"
    """Messages were written and none was acknowledged, though other things came in."""


class BreakerState(_Name):
    """Whether the sessions of this process connect."""

    CLOSED = "closed"
    """As it should be."""
    OPEN = "open"
    """WhatsApp refused many at once: nobody connects before ``paused_until``, then one tries."""
    HALF_OPEN = "half_open"
    """One tries, or the others follow slowly."""


@dataclass(frozen=True, slots=True)
class Vital:
    """One part of a session's health."""

    state: VitalState
    since: datetime
    reason: str | None
    """Why, in words for people, unless it is good."""


@dataclass(frozen=True, slots=True)
class SessionVitals:
    """The health of one session that runs in this process; see ``Session.health``."""

    link: Vital
    """The connection to WhatsApp."""
    receive: Vital
    """Whether anything comes in: messages, receipts, answers to pings."""
    send: Vital
    """Whether what is written is acknowledged."""
    parked: bool
    """Not connected on purpose, and woken on demand."""
    restarts: int
    """How often it was restarted because it was not well, since it was started."""
    memory_bytes: int | None
    """Memory that its engine and socket take; ``None`` while there is none."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """The pacing of connections at one moment; see ``Service.pacing``."""

    breaker: BreakerState
    paused_until: datetime | None
    """When the next attempt is made, if all pause."""
    waiting: int
    """Sessions that wait for their turn to connect."""
    connecting: int
    """Sessions that are connecting."""
    admitted: int
    """Connections begun since the service started."""
    times_opened: int
    """How often the breaker has opened since the service started."""
