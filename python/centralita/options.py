"""The settings of a service and of the cleanup. Durations are seconds or ``timedelta``."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

if TYPE_CHECKING:
    from .stores import Keys, Store

__all__ = [
    "CleanupOptions",
    "ConsumerOptions",
    "DurableEventOptions",
    "Overflow",
    "Seconds",
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
    durable_events: DurableEventOptions | bool
    """Logs events for ``Service.consumer``; true takes the defaults. Default false."""
    connects_per_s: int
    """Connections begun a second in the whole process; 0 for no limit."""
    outbox_max_entries: int
    """Messages of a session that may wait in the outbox. Default 1,000."""
    outbox_max_text_bytes: int
    """The longest text that may wait. Default 65,536."""
    per_session_metrics: bool
    """Whether some figures are kept per session. Default false."""
    push_name: str
    """The name shown until the phone tells its own."""
    shutdown_timeout: Seconds
    """How long ``async with`` waits at its end for handlers and sessions. Default 10 s."""
    max_concurrent_handlers: int
    """Events whose handlers run or wait at the same time; beyond that no more are taken. Default 256."""


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
    """How long one call of the handler may take before it counts as failed. Unlimited."""
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
_DURATIONS = {
    "lease_duration",
    "store_patience",
    "send_timeout",
    "reconnect_min",
    "reconnect_max",
    "stable_after",
    "penalty_min",
    "cleanup_interval",
    "health_check_interval",
    "disconnected_alert_after",
    "max_age",
    "trim_interval",
    "poll_interval",
    "handler_timeout",
    "min_pause",
    "max_pause",
}


def seconds(value: Seconds) -> float:
    """A duration in seconds.

    >>> seconds(timedelta(minutes=2)), seconds(1)
    (120.0, 1.0)
    """
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def settings(options: dict[str, Any], known: type[Any], what: str) -> dict[str, Any]:
    """Options as the native module reads them, with the unit in the name."""
    unknown = options.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"{what} has no option {min(unknown)!r}")
    return {
        f"{name}_s" if name in _DURATIONS else name: seconds(value) if name in _DURATIONS else value
        for name, value in options.items()
        if value is not None
    }
