//! What can be set about a service, each with its default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
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
    /// How many sessions connect at the same time in a restore. Default 32.
    pub connect_concurrency: usize,
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
            #[cfg(feature = "stand-in")]
            stand_in_url: std::env::var("CENTRALITA_STAND_IN_URL").ok(),
            push_name: None,
        }
    }
}

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
        within("store_patience", self.store_patience, second, day)?;
        within("send_timeout", self.send_timeout, Duration::from_millis(1), day)?;
        within("reconnect_min", self.reconnect_min, Duration::from_millis(1), day)?;
        within("reconnect_max", self.reconnect_max, self.reconnect_min, day)?;
        within("stable_after", self.stable_after, Duration::ZERO, day)?;
        within("penalty_min", self.penalty_min, Duration::from_millis(1), day)?;
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
