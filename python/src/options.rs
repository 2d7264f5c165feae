//! The options of a service as the package writes them: durations in seconds, names as in `ServiceOptions`.

use std::time::Duration;

use centralita::service::options::{PreloadChatsType, ServiceOptions};
use centralita::session::{Rate, RateLimits};
use centralita::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::durable::LogSettings;

/// A field that is absent keeps its default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    device_name: Option<String>,
    push_name: Option<String>,
    show_online: Option<bool>,
    preload_chats_type: Option<PreloadChatsType>,
    preload_chats_limit: Option<u32>,
    whatsapp_version: Option<(u32, u32, u32)>,
    pre_key_count: Option<usize>,
    lease_duration_s: Option<f64>,
    lease_heartbeat_s: Option<f64>,
    store_patience_s: Option<f64>,
    send_timeout_s: Option<f64>,
    reconnect_min_s: Option<f64>,
    reconnect_max_s: Option<f64>,
    stable_after_s: Option<f64>,
    penalty_min_s: Option<f64>,
    rate_limits: RateSettings,
    outbox_max_entries: Option<u32>,
    outbox_max_text_bytes: Option<usize>,
    per_session_metrics: Option<bool>,
    durable_events: Option<LogSettings>,
    connect_concurrency: Option<usize>,
    connects_per_s: Option<u32>,
    breaker_threshold: Option<usize>,
    breaker_window_s: Option<f64>,
    breaker_pause_min_s: Option<f64>,
    breaker_pause_max_s: Option<f64>,
    silence_after_s: Option<f64>,
    ping_timeout_s: Option<f64>,
    send_stall_after_s: Option<f64>,
    park_idle_after_s: Option<f64>,
    park_wake_every_s: Option<f64>,
    park_awake_for_s: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RateSettings {
    per_session: Option<RateSetting>,
    per_recipient: Option<RateSetting>,
    pause_after_429_s: Option<f64>,
    pause_after_463_s: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateSetting {
    per_minute: u32,
    burst: u32,
}

impl Settings {
    pub(crate) fn apply(self, options: &mut ServiceOptions) -> Result<()> {
        set(&mut options.device_name, self.device_name);
        set(&mut options.show_online, self.show_online);
        set(&mut options.preload_chats.chats, self.preload_chats_type);
        set(&mut options.preload_chats.limit, self.preload_chats_limit);
        set(&mut options.pre_key_count, self.pre_key_count);
        set(&mut options.outbox.max_entries, self.outbox_max_entries);
        set(&mut options.outbox.max_text_bytes, self.outbox_max_text_bytes);
        set(&mut options.per_session_metrics, self.per_session_metrics);
        set(&mut options.connect_concurrency, self.connect_concurrency);
        set(&mut options.connects_per_s, self.connects_per_s);
        set(&mut options.breaker_threshold, self.breaker_threshold);
        for (name, option, value) in [
            ("lease_duration", &mut options.lease_duration, self.lease_duration_s),
            ("store_patience", &mut options.store_patience, self.store_patience_s),
            ("send_timeout", &mut options.send_timeout, self.send_timeout_s),
            ("reconnect_min", &mut options.reconnect_min, self.reconnect_min_s),
            ("reconnect_max", &mut options.reconnect_max, self.reconnect_max_s),
            ("stable_after", &mut options.stable_after, self.stable_after_s),
            ("penalty_min", &mut options.penalty_min, self.penalty_min_s),
            ("breaker_window", &mut options.breaker_window, self.breaker_window_s),
            ("breaker_pause_min", &mut options.breaker_pause_min, self.breaker_pause_min_s),
            ("breaker_pause_max", &mut options.breaker_pause_max, self.breaker_pause_max_s),
            ("silence_after", &mut options.silence_after, self.silence_after_s),
            ("ping_timeout", &mut options.ping_timeout, self.ping_timeout_s),
            ("send_stall_after", &mut options.send_stall_after, self.send_stall_after_s),
            ("park_awake_for", &mut options.park_awake_for, self.park_awake_for_s),
        ] {
            set(option, seconds(name, value)?);
        }
        // Those that are off, or up to the library, unless they are given.
        options.whatsapp_version = self.whatsapp_version.or(options.whatsapp_version);
        options.push_name = self.push_name.or(options.push_name.take());
        options.lease_heartbeat = seconds("lease_heartbeat", self.lease_heartbeat_s)?;
        options.park_idle_after = seconds("park_idle_after", self.park_idle_after_s)?;
        options.park_wake_every = seconds("park_wake_every", self.park_wake_every_s)?;
        options.durable_events = self.durable_events.map(LogSettings::options).transpose()?;
        self.rate_limits.apply(&mut options.rate_limits)
    }
}

impl RateSettings {
    fn apply(self, limits: &mut RateLimits) -> Result<()> {
        let rate = |setting: RateSetting| Rate { per_minute: setting.per_minute, burst: setting.burst };
        limits.per_session = self.per_session.map(rate);
        limits.per_recipient = self.per_recipient.map(rate);
        set(&mut limits.pause_after_429, seconds("rate_limits.pause_after_429", self.pause_after_429_s)?);
        set(&mut limits.pause_after_463, seconds("rate_limits.pause_after_463", self.pause_after_463_s)?);
        Ok(())
    }
}

pub(crate) fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}

pub(crate) fn seconds(name: &str, value: Option<f64>) -> Result<Option<Duration>> {
    value.map(|value| duration(name, value)).transpose()
}

/// Seconds from Python, which may be anything that a float can be.
pub(crate) fn duration(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("{name} must be a number of seconds, 0 or more")))
}
