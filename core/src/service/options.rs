//! What can be set about a service, each with its default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::events::durable::DurableEventOptions;
use crate::session::{OutboxOptions, RateLimits};

/// Which chats of the phone's history are stored at linking: the seed's `PRELOAD_CHATS_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PreloadChatsType {
    /// Contacts and groups.
    #[default]
    All,
    /// Contacts only.
    Contacts,
    /// Groups only.
    Groups,
    /// None: the phone is not asked for its history.
    None,
}

/// How much of the phone's history is stored at linking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreloadChats {
    /// The seed's `PRELOAD_CHATS_TYPE`.
    pub chats: PreloadChatsType,
    /// The seed's `PRELOAD_CHATS_LIMIT`: that many chats at most, the newest first.
    pub limit: u32,
}

impl Default for PreloadChats {
    fn default() -> Self {
        Self { chats: PreloadChatsType::All, limit: 50 }
    }
}

/// Everything about a service but where it stores and runs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// The name under which phones list this device. Default `centralita`.
    pub device_name: String,
    /// Whether accounts are shown as online. Default false: phones stop ringing while a companion is online.
    pub show_online: bool,
    /// What of the phone's history is stored.
    pub preload_chats: PreloadChats,
    /// The WhatsApp Web version to claim; default: asked once per process.
    pub whatsapp_version: Option<(u32, u32, u32)>,
    /// How long a lease lasts without a heartbeat: the time after which another instance takes over. Default 30 s.
    pub lease_duration: Duration,
    /// How often leases are renewed; at most half of `lease_duration`. Default: a third of it.
    pub lease_heartbeat: Option<Duration>,
    /// How long a session keeps its socket open while the store is away. Default 20 s; then WhatsApp queues.
    pub store_patience: Duration,
    /// How long `send` waits for WhatsApp's acknowledgement. Default 30 s.
    pub send_timeout: Duration,
    /// One-time pre-keys kept ready on WhatsApp's server. Default 812, as WhatsApp Web does.
    pub pre_key_count: usize,
    /// The first pause after a lost connection; it doubles up to `reconnect_max`. Default 1 s.
    pub reconnect_min: Duration,
    /// The longest pause. Default 5 min.
    pub reconnect_max: Duration,
    /// A link must have been up this long before the pauses start over. Default 60 s.
    pub stable_after: Duration,
    /// The shortest pause after WhatsApp said "too many" (429) or that another client took over. Default 2 min.
    pub penalty_min: Duration,
    /// How fast each session may send. Default: as fast as WhatsApp lets it.
    pub rate_limits: RateLimits,
    /// Bounds of each session's outbox.
    pub outbox: OutboxOptions,
    /// Whether [metrics](crate::metrics) of a session carry its id as the label `session`. Default false: thousands of
    /// sessions are thousands of series.
    pub per_session_metrics: bool,
    /// Log events in the store, for consumers that must miss none; see [`events::durable`](crate::events::durable). Set
    /// it alike in every process on the store: sessions that run where it is off are not logged. Default: off.
    pub durable_events: Option<DurableEventOptions>,
    /// How many sessions connect at the same time. Default 32.
    pub connect_concurrency: usize,
    /// How many connections the whole service begins per second at most; 0 for no limit. Default 50.
    pub connects_per_s: u32,
    /// So many distinct sessions refused by WhatsApp (405, 429, 503, no connection) within `breaker_window`, and among
    /// the last twice as many outcomes, are an outage: all wait, one probes, the others follow slowly. 0 switches that
    /// off. Default 5.
    pub breaker_threshold: usize,
    /// See `breaker_threshold`. Default 10 s.
    pub breaker_window: Duration,
    /// The first pause of all sessions in an outage; it doubles up to `breaker_pause_max`. Default 5 s.
    pub breaker_pause_min: Duration,
    /// The longest pause of all sessions. Default 2 min.
    pub breaker_pause_max: Duration,
    /// A connected session that has received nothing for this long is pinged. The engine pings an idle socket each 15
    /// to 30 s, so that a healthy one is never silent for the default of 35 s.
    pub silence_after: Duration,
    /// How long that ping may take; then the session is a zombie and is restarted. Default 10 s.
    pub ping_timeout: Duration,
    /// Messages written and none acknowledged for this long, though other things come in: the session is restarted.
    /// Default 25 s, less than `send_timeout`.
    pub send_stall_after: Duration,
    /// Sessions without a message in or out for this long are parked; see `WhatsAppService::park_session`. At least
    /// 1 s. Default `None`: never.
    pub park_idle_after: Option<Duration>,
    /// How often parked sessions connect to fetch what waits at WhatsApp. At least 1 s. Default `None`: only on demand.
    pub park_wake_every: Option<Duration>,
    /// How long a session that was woken by `park_wake_every` stays up without a message. Default 20 s.
    pub park_awake_for: Duration,
    /// Where the stand-in listens, such as `ws://127.0.0.1:4000/ws/chat`. Loopback only. Default:
    /// `CENTRALITA_STAND_IN_URL`.
    #[cfg(feature = "stand-in")]
    pub stand_in_url: Option<String>,
    /// The push name shown until the phone tells its own. The stand-in picks the phone by it.
    pub push_name: Option<String>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            device_name: "centralita".to_owned(),
            show_online: false,
            preload_chats: PreloadChats::default(),
            whatsapp_version: None,
            lease_duration: Duration::from_secs(30),
            lease_heartbeat: None,
            store_patience: Duration::from_secs(20),
            send_timeout: Duration::from_secs(30),
            pre_key_count: 812,
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(300),
            stable_after: Duration::from_secs(60),
            penalty_min: Duration::from_secs(120),
            rate_limits: RateLimits::default(),
            outbox: OutboxOptions::default(),
            connect_concurrency: 32,
            per_session_metrics: false,
            durable_events: None,
            connects_per_s: 50,
            breaker_threshold: 5,
            breaker_window: Duration::from_secs(10),
            breaker_pause_min: Duration::from_secs(5),
            breaker_pause_max: Duration::from_secs(120),
            silence_after: Duration::from_secs(35),
            ping_timeout: Duration::from_secs(10),
            send_stall_after: Duration::from_secs(25),
            park_idle_after: None,
            park_wake_every: None,
            park_awake_for: Duration::from_secs(20),
            #[cfg(feature = "stand-in")]
            stand_in_url: std::env::var("CENTRALITA_STAND_IN_URL").ok(),
            push_name: None,
        }
    }
}

/// One start each 100 µs: beyond that a limit means nothing.
const MAX_CONNECTS_PER_S: u32 = 10_000;

impl ServiceOptions {
    /// `Invalid` that names the option and its bounds.
    pub fn validate(&self) -> Result<()> {
        let second = Duration::from_secs(1);
        let day = Duration::from_secs(86_400);
        let within = |name: &str, value: Duration, least: Duration, most: Duration| {
            if value < least || value > most {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "option {name} must be between {} and {} s",
                        least.as_secs_f64(),
                        most.as_secs_f64()
                    ),
                ));
            }
            Ok(())
        };
        within("lease_duration", self.lease_duration, second, day)?;
        if let Some(heartbeat) = self.lease_heartbeat
            && (heartbeat.is_zero() || heartbeat > self.lease_duration / 2)
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                "option lease_heartbeat must be more than 0 s and at most half of lease_duration: \
                 a lease that runs out between two heartbeats is taken over from an owner that lives",
            ));
        }
        within("store_patience", self.store_patience, second, day)?;
        within("send_timeout", self.send_timeout, Duration::from_millis(1), day)?;
        within("reconnect_min", self.reconnect_min, Duration::from_millis(1), day)?;
        within("reconnect_max", self.reconnect_max, self.reconnect_min, day)?;
        within("stable_after", self.stable_after, Duration::ZERO, day)?;
        within("penalty_min", self.penalty_min, Duration::from_millis(1), day)?;
        within("silence_after", self.silence_after, second, day)?;
        within("ping_timeout", self.ping_timeout, Duration::from_millis(100), day)?;
        within("send_stall_after", self.send_stall_after, second, day)?;
        within("park_awake_for", self.park_awake_for, second, day)?;
        if let Some(idle) = self.park_idle_after {
            within("park_idle_after", idle, second, 365 * day)?;
        }
        if let Some(every) = self.park_wake_every {
            within("park_wake_every", every, second, 14 * day)?;
        }
        within("breaker_window", self.breaker_window, second, day)?;
        within("breaker_pause_min", self.breaker_pause_min, Duration::from_millis(1), day)?;
        within("breaker_pause_max", self.breaker_pause_max, self.breaker_pause_min, day)?;
        if self.connects_per_s > MAX_CONNECTS_PER_S {
            return Err(Error::new(
                ErrorKind::Invalid,
                "option connects_per_s must be at most 10000; 0 means no limit",
            ));
        }
        if let Some(durable_events) = &self.durable_events {
            durable_events.validate()?;
        }
        if !(5..=65_535).contains(&self.pre_key_count) {
            return Err(Error::new(ErrorKind::Invalid, "option pre_key_count must be between 5 and 65535"));
        }
        self.rate_limits.validate()?;
        self.outbox.validate()?;
        if self.connect_concurrency == 0 {
            return Err(Error::new(ErrorKind::Invalid, "option connect_concurrency must be at least 1"));
        }
        if self.device_name.is_empty() || self.device_name.len() > 64 {
            return Err(Error::new(ErrorKind::Invalid, "option device_name must have 1 to 64 bytes"));
        }
        Ok(())
    }
}
