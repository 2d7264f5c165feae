//! Every option: its name, its meaning, where it goes.

use std::path::PathBuf;

use centralita::vault::KeyRing;

use super::values::{at_most, chats, flag, milliseconds, number, or_never, rate, version};
use super::{Keys, Setting, centralita_config};
use crate::error::Outcome;

macro_rules! settings {
    ($($name:literal: $help:literal, |$config:ident, $value:ident| $set:expr;)*) => {
        pub(super) const SETTINGS: &[Setting] = &[
            $(Setting {
                name: $name,
                help: $help,
                set: |$config, $value| {
                    $set;
                    Ok(())
                },
            },)*
            Setting {
                name: "stand_in_url",
                help: "ws://127.0.0.1:port/ws/chat of a stand-in; only in a library built for tests",
                set: set_stand_in,
            },
        ];
    };
}

settings! {
    "keys": "master keys as id:base64,id2:base64, the first is the primary; default: the environment's CENTRALITA_KEYS",
        |config, value| config.keys = Some(Keys::Ring(KeyRing::parse(value)?));
    "key_file": "file of the master keys, made if absent; default with SQLite: the database's path with .key; back it up",
        |config, value| config.keys = Some(Keys::File(PathBuf::from(value)));
    "dangerously_store_credentials_in_plaintext": "true: no encryption at rest; whoever reads the database can take over every account",
        |config, value| config.keys = flag(value)?.then_some(Keys::Plaintext);
    "instance_id": "name of this instance in the leases, unique on one store; default: random",
        |config, value| config.instance_id = Some(value.to_owned());
    "worker_threads": "threads that run the sessions, at most 1024; 0 (default): one per core",
        |config, value| config.worker_threads = at_most(value, 1_024)?;
    "metrics": "true: figures are gathered, for centralita_metrics_text; one recorder for the process; default: false",
        |config, value| config.gather_metrics = flag(value)?;
    "per_session_metrics": "true: figures of a session carry its id: a series for each session; default: false",
        |config, value| config.options.per_session_metrics = flag(value)?;
    "mongo_database": "database to use if the URI names none; default: centralita",
        |config, value| config.mongo.database = value.to_owned();
    "mongo_max_pool_size": "connections to MongoDB at most, unless the URI says maxPoolSize; default: 32",
        |config, value| config.mongo.max_pool_size = number(value)?;
    "mongo_deadline_ms": "how long a call to MongoDB, repetitions included, may take; default: 30000",
        |config, value| config.mongo.deadline = milliseconds(value)?;
    "mongo_write_timeout_ms": "how long MongoDB may take to make a write durable on a majority; default: 10000",
        |config, value| config.mongo.write_timeout = milliseconds(value)?;
    "mongo_count_interval_ms": "how long chats and counters may lag behind their messages; default: 1000",
        |config, value| config.mongo.count_interval = milliseconds(value)?;
    "mongo_create_indexes": "false: the collections have their indexes already, and this account may not make any; default: true",
        |config, value| config.mongo.create_indexes = flag(value)?;
    "sqlite_cache_bytes": "memory for pages of the database, all connections together; default: 8388608",
        |config, value| config.sqlite.cache_bytes = number(value)?;
    "sqlite_readers": "connections that read beside the writer; default: 2",
        |config, value| config.sqlite.readers = number(value)?;
    "sqlite_busy_timeout_ms": "how long a lock of another program on the file is waited for; default: 5000",
        |config, value| config.sqlite.busy_timeout = milliseconds(value)?;
    "sqlite_max_file_bytes": "how large the file may grow; default: no limit",
        |config, value| config.sqlite.max_file_bytes = Some(number(value)?);
    "device_name": "name under which phones list the device; default: centralita",
        |config, value| config.options.device_name = value.to_owned();
    "push_name": "name shown until the phone tells its own",
        |config, value| config.options.push_name = Some(value.to_owned());
    "show_online": "true: accounts are shown as online, and phones stop ringing; default: false",
        |config, value| config.options.show_online = flag(value)?;
    "preload_chats_type": "chats of the phone's history to store: all (default), contacts, groups or none",
        |config, value| config.options.preload_chats.chats = chats(value)?;
    "preload_chats_limit": "how many of them at most; default: 50",
        |config, value| config.options.preload_chats.limit = number(value)?;
    "whatsapp_version": "WhatsApp Web version to claim, such as 2.3000.1027934701; default: asked once per process",
        |config, value| config.options.whatsapp_version = Some(version(value)?);
    "lease_duration_ms": "time after which another instance takes over from one that died; default: 30000",
        |config, value| config.options.lease_duration = milliseconds(value)?;
    "lease_heartbeat_ms": "how often leases are renewed, at most half of lease_duration_ms; default: a third of it",
        |config, value| config.options.lease_heartbeat = Some(milliseconds(value)?);
    "store_patience_ms": "how long sockets stay open while the store is away; default: 20000",
        |config, value| config.options.store_patience = milliseconds(value)?;
    "send_timeout_ms": "how long a send waits for WhatsApp's acknowledgement; default: 30000",
        |config, value| config.options.send_timeout = milliseconds(value)?;
    "pre_key_count": "one-time pre-keys kept on WhatsApp's server; default: 812",
        |config, value| config.options.pre_key_count = at_most(value, 65_535)?;
    "reconnect_min_ms": "first pause after a lost connection; default: 1000",
        |config, value| config.options.reconnect_min = milliseconds(value)?;
    "reconnect_max_ms": "longest pause after a lost connection; default: 300000",
        |config, value| config.options.reconnect_max = milliseconds(value)?;
    "stable_after_ms": "a link must have been up this long before the pauses start over; default: 60000",
        |config, value| config.options.stable_after = milliseconds(value)?;
    "penalty_min_ms": "shortest pause after 429 or after another client took over; default: 120000",
        |config, value| config.options.penalty_min = milliseconds(value)?;
    "connect_concurrency": "sessions that connect at the same time; default: 32",
        |config, value| config.options.connect_concurrency = at_most(value, 65_535)?;
    "connects_per_s": "connections begun per second, all sessions together; 0: no limit; default: 50",
        |config, value| config.options.connects_per_s = number(value)?;
    "breaker_threshold": "sessions refused within breaker_window_ms that are an outage: all wait, one probes; 0: off; default: 5",
        |config, value| config.options.breaker_threshold = at_most(value, 1_000_000)?;
    "breaker_window_ms": "see breaker_threshold; default: 10000",
        |config, value| config.options.breaker_window = milliseconds(value)?;
    "breaker_pause_min_ms": "first pause of all sessions in an outage; it doubles; default: 5000",
        |config, value| config.options.breaker_pause_min = milliseconds(value)?;
    "breaker_pause_max_ms": "longest pause of all sessions; default: 120000",
        |config, value| config.options.breaker_pause_max = milliseconds(value)?;
    "silence_after_ms": "a connected session from which nothing comes for so long is pinged; default: 35000",
        |config, value| config.options.silence_after = milliseconds(value)?;
    "ping_timeout_ms": "how long that ping may take until the session is restarted; default: 10000",
        |config, value| config.options.ping_timeout = milliseconds(value)?;
    "send_stall_after_ms": "so long without any acknowledgement of what was sent, and the session is restarted; default: 25000",
        |config, value| config.options.send_stall_after = milliseconds(value)?;
    "park_idle_after_ms": "sessions without messages for so long are parked; never (default) or 1000 and more",
        |config, value| config.options.park_idle_after = or_never(value)?;
    "park_wake_every_ms": "how often parked sessions fetch what waits at WhatsApp; never (default) or 1000 and more",
        |config, value| config.options.park_wake_every = or_never(value)?;
    "park_awake_for_ms": "how long they stay up for it without a message; default: 20000",
        |config, value| config.options.park_awake_for = milliseconds(value)?;
    "rate_per_session": "messages a minute that a session may send, with a burst after /, such as 60/10; default: no limit",
        |config, value| config.options.rate_limits.per_session = Some(rate(value)?);
    "rate_per_recipient": "the same for the messages of a session to one chat; default: no limit",
        |config, value| config.options.rate_limits.per_recipient = Some(rate(value)?);
    "pause_after_429_ms": "first pause of a session's sends after WhatsApp said \"too many\"; it doubles; default: 60000",
        |config, value| config.options.rate_limits.pause_after_429 = milliseconds(value)?;
    "pause_after_463_ms": "how long no new contact is written to after WhatsApp refused one; default: 3600000",
        |config, value| config.options.rate_limits.pause_after_463 = milliseconds(value)?;
    "outbox_max_entries": "messages that may wait in a session's outbox; default: 1000",
        |config, value| config.options.outbox.max_entries = number(value)?;
    "outbox_max_text_bytes": "longest text that may wait; default: 65536",
        |config, value| config.options.outbox.max_text_bytes = at_most(value, 65_536)?;
    "durable_events": "true: log events for consumers that must miss none; alike in every process on the store; default: false",
        |config, value| config.log_events = flag(value)?;
    "durable_events_max_age_ms": "logged events older than this are cut off; default: 604800000, 7 days",
        |config, value| config.event_log.max_age = milliseconds(value)?;
    "durable_events_max_count": "so many logged events of a session are kept; default: 100000",
        |config, value| config.event_log.max_events_per_session = number(value)?;
    "durable_events_trim_interval_ms": "how often both bounds are enforced; default: 60000",
        |config, value| config.event_log.trim_interval = milliseconds(value)?;
    "durable_events_log_presence": "true: typing and presence are logged, too; default: false",
        |config, value| config.event_log.log_presence = flag(value)?;
}

#[cfg(feature = "stand-in")]
fn set_stand_in(config: &mut centralita_config, value: &str) -> Outcome<()> {
    config.options.stand_in_url = Some(value.to_owned());
    Ok(())
}

#[cfg(not(feature = "stand-in"))]
fn set_stand_in(_: &mut centralita_config, _: &str) -> Outcome<()> {
    Err(crate::error::invalid(
        "this library talks to WhatsApp alone; build one with the feature stand-in for tests",
    ))
}
