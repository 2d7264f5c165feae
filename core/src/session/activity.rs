//! When a session last did something: what idleness and stalls are told by. Lock-free: it is noted with each message.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// Where a ping of the health monitor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ping {
    None = 0,
    UnderWay = 1,
    Failed = 2,
}

const NEVER: u64 = u64::MAX;

/// All times are the clock's monotonic one.
#[derive(Debug)]
pub(crate) struct Activity {
    traffic_ms: AtomicU64,
    unacked_ms: AtomicU64,
    ping: AtomicU8,
    /// Woken to fetch what waits, not because somebody wants something.
    on_schedule: AtomicBool,
}

impl Activity {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            traffic_ms: AtomicU64::new(ms(now)),
            unacked_ms: AtomicU64::new(NEVER),
            ping: AtomicU8::new(Ping::None as u8),
            on_schedule: AtomicBool::new(false),
        }
    }

    /// A message came in or is being sent, or the session has just connected.
    pub(crate) fn traffic(&self, now: Duration) {
        self.traffic_ms.fetch_max(ms(now), Ordering::Relaxed);
    }

    pub(crate) fn idle_for(&self, now: Duration) -> Duration {
        Duration::from_millis(ms(now).saturating_sub(self.traffic_ms.load(Ordering::Relaxed)))
    }

    /// A message was written whose acknowledgement has not come.
    pub(crate) fn written(&self, now: Duration) {
        // The first since the last acknowledgement counts.
        let _first = self.unacked_ms.compare_exchange(NEVER, ms(now), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// An acknowledgement came, or there is no connection on which one can.
    pub(crate) fn acknowledged(&self) {
        self.unacked_ms.store(NEVER, Ordering::Relaxed);
    }

    pub(crate) fn unacked_since(&self) -> Option<Duration> {
        let since = self.unacked_ms.load(Ordering::Relaxed);
        (since != NEVER).then(|| Duration::from_millis(since))
    }

    pub(crate) fn ping(&self) -> Ping {
        match self.ping.load(Ordering::Relaxed) {
            1 => Ping::UnderWay,
            2 => Ping::Failed,
            _ => Ping::None,
        }
    }

    pub(crate) fn set_ping(&self, ping: Ping) {
        self.ping.store(ping as u8, Ordering::Relaxed);
    }

    pub(crate) fn woken_on_schedule(&self) -> bool {
        self.on_schedule.load(Ordering::Relaxed)
    }

    pub(crate) fn set_woken_on_schedule(&self, on_schedule: bool) {
        self.on_schedule.store(on_schedule, Ordering::Relaxed);
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}
