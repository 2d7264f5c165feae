"""The settings of a service and of the cleanup. Durations are seconds or ``timedelta``."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from .exceptions import InvalidError

if TYPE_CHECKING:
    from .keys import Keys
    from .stores import Store

__all__ = [
    "CleanupOptions",
    "ConsumerOptions",
    "DurableEventOptions",
    "Overflow",
    "Rate",
    "RateLimits",
    "Seconds",
    "SendOptions",
    "ServiceOptions",
]

Seconds = float | timedelta
"""A duration."""

Overflow = Literal["wait", "drop_oldest", "close"]
"""What happens when nobody takes events: WhatsApp waits; the oldest go and a ``Lagged`` says how many; the stream ends
with ``RateLimitedError``."""


class ServiceOptions(TypedDict, total=False):
    """Keyword arguments of ``Service``; what is left out keeps its default."""

    store: Store | str | os.PathLike[str]
    """A path, a ``mongodb://`` URI, or a store. Default ``./centralita.db``."""
    keys: Keys
    """Default: ``CENTRALITA_KEYS`` if it is set; else a key file beside an embedded store."""
    instance_id: str
    """A name for this process in the leases; unique among those on the same store. Default: random."""
    device_name: str
    """The name under which phones list this device. Default ``centralita``."""
    show_online: bool
    """Whether accounts are shown as online. Default false: phones stop ringing while a companion is online."""
    preload_chats_type: Literal["all", "contacts", "groups", "none"]
    """Which chats of the phone's history are stored at linking. Default ``all``."""
    preload_chats_limit: int
    """How many of them at most, the newest first. Default 50."""
    whatsapp_version: tuple[int, int, int]
    """The WhatsApp Web version to claim. Default: asked once a process."""
    lease_duration: Seconds
    """After it another process takes over from one that died. Default 30 s."""
    lease_heartbeat: Seconds
    """How often leases are renewed; at most half of ``lease_duration``. Default: a third of it."""
    store_patience: Seconds
    """How long sockets stay open while the store is away; then WhatsApp queues. Default 20 s."""
    send_timeout: Seconds
    """How long a send waits for WhatsApp's acknowledgement. Default 30 s."""
    pre_key_count: int
    """One-time pre-keys kept on WhatsApp's server. Default 812."""
    reconnect_min: Seconds
    """The first pause after a lost connection; it doubles, with full jitter. Default 1 s."""
    reconnect_max: Seconds
    """The longest pause. Default 5 min."""
    stable_after: Seconds
    """A link must have been up this long before the pauses start over. Default 60 s."""
    penalty_min: Seconds
    """The shortest pause after 429 or "replaced by another client". Default 2 min."""
    connect_concurrency: int
    """Sessions that connect at the same time. Default 32."""
    connects_per_s: int
    """Connections begun a second in the whole process; 0 for no limit. Default 50."""
    breaker_threshold: int
    """So many sessions that WhatsApp refuses within ``breaker_window`` are an outage: all wait, one probes. 0 switches
    that off. Default 5."""
    breaker_window: Seconds
    """See ``breaker_threshold``. Default 10 s."""
    breaker_pause_min: Seconds
    """The first pause of all sessions in an outage; it doubles. Default 5 s."""
    breaker_pause_max: Seconds
    """The longest pause of all sessions. Default 2 min."""
    silence_after: Seconds
    """A connected session from which nothing comes for so long is pinged. Default 35 s."""
    ping_timeout: Seconds
    """How long that ping may take; then the session is restarted. Default 10 s."""
    send_stall_after: Seconds
    """So long without any acknowledgement of what was written, and the session is restarted. Default 25 s."""
    park_idle_after: Seconds
    """Sessions without messages for so long are parked, see ``Session.park``. At least 1 s. Default: never."""
    park_wake_every: Seconds
    """How often parked sessions fetch what waits at WhatsApp. At least 1 s. Default: only on demand."""
    park_awake_for: Seconds
    """How long one that was woken by ``park_wake_every`` stays up without a message. Default 20 s."""
    rate_limits: RateLimits
    """How fast each session may send. Default: as fast as WhatsApp lets it."""
    outbox_max_entries: int
    """Messages of a session that may wait in the outbox. Default 1,000."""
    outbox_max_text_bytes: int
    """The longest text that may wait. Default 65,536."""
    durable_events: DurableEventOptions | bool
    """Logs events for ``Service.consumer``; true takes the defaults. Default false."""
    per_session_metrics: bool
    """Whether some figures are kept per session, under the label ``session``. Default false."""
    push_name: str
    """The name shown until the phone tells its own."""
    shutdown_timeout: Seconds
    """How long ``async with`` waits at its end for handlers and sessions. Default 10 s."""
    max_concurrent_handlers: int
    """Events whose handlers run or wait at the same time; beyond that no more are taken. Default 256."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many messages a minute, evenly spread, and so many at once after a quiet time; each 1 to 6,000."""

    per_minute: int
    burst: int = 1


class RateLimits(TypedDict, total=False):
    """How fast a session may send: the option ``rate_limits``.

    WhatsApp's own signals always count. A send that may not go is ``RateLimitedError`` (or ``BannedError``) with
    ``retry_after``; what may wait in the outbox waits.
    """

    per_session: Rate
    """For all messages of a session. Default: no limit."""
    per_recipient: Rate
    """For the messages of a session to one chat. Default: no limit."""
    pause_after_429: Seconds
    """The first pause after WhatsApp said "too many" to a message; it doubles. Default 1 min."""
    pause_after_463: Seconds
    """How long no new contact is written to after WhatsApp refused one. Default 1 h."""


class SendOptions(TypedDict, total=False):
    """Keyword arguments of ``Session.send``, ``reply``, ``react``, ``edit`` and ``revoke``."""

    idempotency_key: str | None
    """1 to 256 bytes. A send with the same key in the same session is the same message, however often and from
    whichever process it is repeated."""
    timeout: Seconds | None
    """How long to wait for WhatsApp's acknowledgement. Default: the service's ``send_timeout``."""
    queue_for: Seconds | None
    """If it cannot be sent now it waits in the outbox for so long, at most 30 days. Default: it is not sent at all."""
    queue_until: datetime | None
    """The same, until a moment, which must have a time zone."""


class DurableEventOptions(TypedDict, total=False):
    """What is logged and for how long: the option ``durable_events``."""

    max_age: Seconds
    """Events older than this are cut off. 7 days; 1 minute to 10 years."""
    max_events_per_session: int
    """So many events of a session are kept. 100,000."""
    trim_interval: Seconds
    """How often both bounds are enforced. 1 minute."""
    log_presence: bool
    """Whether typing and presence are logged, too. False."""


class ConsumerOptions(TypedDict, total=False):
    """Keyword arguments of ``Service.consumer``."""

    start: Literal["oldest", "newest"]
    """Where it starts the first time; later it goes on where it was. ``oldest``."""
    stand_by: bool
    """If another process runs the consumer: wait until that one ends, instead of ``ConflictError``. False."""
    poll_interval: Seconds
    """How long events of sessions that run in other processes may go unseen. 1 s."""
    concurrency: int
    """How many handlers work at the same time, each for another session. 64."""
    handler_timeout: Seconds
    """How long one call of the handler may take; then it is cancelled and counts as failed. Unlimited."""
    max_attempts: int
    """How often the handler is called for one event before it becomes a dead letter. 10."""
    min_pause: Seconds
    """The longest pause before the second attempt; it doubles, and is random up to that. 1 s."""
    max_pause: Seconds
    """The longest pause of all. 5 minutes."""


class CleanupOptions(TypedDict, total=False):
    """Keyword arguments of ``Service.start_cleanup``. The defaults are the seed's."""

    cleanup_interval: Seconds
    """How often inactive sessions are removed: every 6 hours. At least 1 s."""
    inactive_days: int
    """How long a session may be without activity: 30 days."""
    health_check_interval: Seconds
    """How often health is checked: every 5 minutes. At least 1 s."""
    disconnected_alert_after: Seconds
    """How long a session may be disconnected before it is reported: 5 minutes."""
    problematic_min_attempts: int
    """From how many failed attempts a session is reported as problematic: 5."""
    report_limit: int
    """How many sessions each list of the report names: 100. 1 to 1,000; the counts beside them are exact."""


OVERFLOWS: tuple[str, ...] = get_args(Overflow)

def seconds(value: Seconds) -> float:
    """A duration in seconds.

    >>> seconds(timedelta(minutes=2)), seconds(1)
    (120.0, 1.0)
    """
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def moment(value: datetime) -> str:
    """A moment as the native module reads it."""
    if value.tzinfo is None:
        raise InvalidError("a datetime needs a time zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def settings(options: dict[str, Any], known: type[Any], what: str) -> dict[str, Any]:
    """Options as the native module reads them: without those that are ``None``, durations with the unit in the name.

    >>> settings({"send_timeout": timedelta(minutes=1), "push_name": None}, ServiceOptions, "Service")
    {'send_timeout_s': 60.0}
    """
    hints = known.__annotations__
    unknown = options.keys() - hints.keys()
    if unknown:
        raise TypeError(f"{what} has no option {min(unknown)!r}")
    given: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if _is(hints[name], "Seconds"):
            given[f"{name}_s"] = seconds(value)
        elif _is(hints[name], "datetime"):
            given[name] = moment(value)
        else:
            given[name] = asdict(value) if isinstance(value, Rate) else value
    return given


def rate_limits(limits: RateLimits) -> dict[str, Any]:
    """The option ``rate_limits`` as the native module reads it."""
    for name in ("per_session", "per_recipient"):
        if not isinstance(limits.get(name), (Rate, type(None))):
            raise InvalidError(f"rate_limits: {name} must be a Rate")
    return settings(dict(limits), RateLimits, "rate_limits")


def _is(hint: Any, name: str) -> bool:
    # Annotations are text here: some of what they name is imported for type checkers alone.
    text: str = getattr(hint, "__forward_arg__", hint)
    return text.removesuffix(" | None") == name
