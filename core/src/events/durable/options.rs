//! How much is logged, and how it is read.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The log of events: what is logged and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurableEventOptions {
    /// Events older than this are cut off, by the database's clock. 7 days; 1 minute to 10 years.
    pub max_age: Duration,
    /// So many events of a session are kept. 100,000; at least 1.
    pub max_events_per_session: u64,
    /// How often both bounds are enforced; until then there may be more. 1 minute; 1 s to 1 day.
    pub trim_interval: Duration,
    /// Whether typing and presence are logged, too. False: they are many, and stale when they are read later.
    pub log_presence: bool,
}

impl Default for DurableEventOptions {
    fn default() -> Self {
        Self {
            max_age: 7 * DAY,
            max_events_per_session: 100_000,
            trim_interval: Duration::from_secs(60),
            log_presence: false,
        }
    }
}

impl DurableEventOptions {
    /// `Invalid` names the option that is out of its range.
    pub fn validate(&self) -> Result<()> {
        check(&[
            (
                (Duration::from_secs(60)..=3_650 * DAY).contains(&self.max_age),
                "option durable_events.max_age must be between 1 minute and 3650 days",
            ),
            (
                self.max_events_per_session >= 1,
                "option durable_events.max_events_per_session must be at least 1",
            ),
            (
                (Duration::from_secs(1)..=DAY).contains(&self.trim_interval),
                "option durable_events.trim_interval must be between 1 s and 1 day",
            ),
        ])
    }
}

/// Where a consumer starts that is opened for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartFrom {
    /// With the oldest events that are in the log.
    #[default]
    Oldest,
    /// With what happens from now on.
    Newest,
}

/// What happens with an event on which the handler fails.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// How often the handler is called for one event before it becomes a dead letter. 10; at least 1.
    pub max_attempts: u32,
    /// The longest pause before the second attempt; it doubles with each. 1 s; the pause is random up to it.
    pub min_pause: Duration,
    /// The longest pause of all. 5 minutes; up to 1 day.
    pub max_pause: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { max_attempts: 10, min_pause: Duration::from_secs(1), max_pause: Duration::from_secs(5 * 60) }
    }
}

impl RetryOptions {
    /// The pause after so many failures in a row: exponential with full jitter.
    pub(super) fn pause(&self, failures: u32, clock: &SharedClock) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let longest = self.min_pause.saturating_mul(1 << doublings).min(self.max_pause);
        longest.mul_f64(clock.random_unit())
    }
}

/// How a consumer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerOptions {
    /// Where it starts the first time. Later it goes on where it was.
    pub start: StartFrom,
    /// If another process runs the consumer: wait until that one ends, instead of answering `Conflict`. False.
    pub stand_by: bool,
    /// How long events of sessions that run in other processes may go unseen. 1 s; 10 ms to 1 hour. What happens in
    /// this process is seen at once.
    pub poll_interval: Duration,
    /// How many handlers [`run`](super::DurableConsumer::run) lets work at the same time, each for another session.
    /// 64; at least 1.
    pub concurrency: usize,
    /// How long one call of the handler may take before it counts as failed. Unlimited: a handler that hangs holds up
    /// its session for ever.
    pub handler_timeout: Option<Duration>,
    /// What happens with an event on which the handler fails.
    pub retry: RetryOptions,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            start: StartFrom::Oldest,
            stand_by: false,
            poll_interval: Duration::from_secs(1),
            concurrency: 64,
            handler_timeout: None,
            retry: RetryOptions::default(),
        }
    }
}

impl ConsumerOptions {
    /// `Invalid` names the option that is out of its range.
    pub fn validate(&self) -> Result<()> {
        check(&[
            (
                (Duration::from_millis(10)..=Duration::from_secs(3_600)).contains(&self.poll_interval),
                "option poll_interval must be between 10 ms and 1 hour",
            ),
            ((1..=100_000).contains(&self.concurrency), "option concurrency must be between 1 and 100000"),
            (
                self.handler_timeout.is_none_or(|timeout| !timeout.is_zero()),
                "option handler_timeout must be more than zero, or none",
            ),
            (self.retry.max_attempts >= 1, "option retry.max_attempts must be at least 1"),
            (
                self.retry.min_pause <= self.retry.max_pause,
                "option retry.min_pause must not be more than retry.max_pause",
            ),
            (self.retry.max_pause <= DAY, "option retry.max_pause must be at most 1 day"),
        ])
    }
}

fn check(rules: &[(bool, &'static str)]) -> Result<()> {
    match rules.iter().find(|(kept, _)| !kept) {
        None => Ok(()),
        Some((_, rule)) => Err(Error::new(ErrorKind::Invalid, *rule)),
    }
}

/// Refuses a name that no consumer can have.
pub(super) fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_alphanumeric() || "-_.:@+".contains(c);
    if (1..=128).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Invalid,
        "the name of a consumer is 1 to 128 bytes of letters, digits and any of - _ . : @ +; choose another",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn pauses_grow_to_the_longest_and_never_beyond() {
        let clock = SystemClock::shared();
        let retry = RetryOptions::default();
        for _ in 0..200 {
            assert!(retry.pause(1, &clock) <= retry.min_pause);
            assert!(retry.pause(3, &clock) <= retry.min_pause * 4);
            assert!(retry.pause(u32::MAX, &clock) <= retry.max_pause);
        }
        // 200 uniform draws: the chance that none lies in the upper half is 2^-200.
        assert!((0..200).any(|_| retry.pause(40, &clock) > retry.max_pause / 2));
    }

    #[test]
    fn each_rule_names_its_option() {
        DurableEventOptions::default().validate().unwrap();
        ConsumerOptions::default().validate().unwrap();
        let log = DurableEventOptions::default;
        for (options, name) in [
            (DurableEventOptions { max_age: Duration::ZERO, ..log() }, "max_age"),
            (DurableEventOptions { max_events_per_session: 0, ..log() }, "max_events_per_session"),
            (DurableEventOptions { trim_interval: Duration::ZERO, ..log() }, "trim_interval"),
        ] {
            let error = options.validate().unwrap_err();
            assert!(error.kind() == ErrorKind::Invalid && error.message().contains(name));
        }
        let consumer = ConsumerOptions::default;
        let retry = |change: fn(&mut RetryOptions)| {
            let mut options = consumer();
            change(&mut options.retry);
            options
        };
        for (options, name) in [
            (ConsumerOptions { poll_interval: Duration::ZERO, ..consumer() }, "poll_interval"),
            (ConsumerOptions { concurrency: 0, ..consumer() }, "concurrency"),
            (ConsumerOptions { handler_timeout: Some(Duration::ZERO), ..consumer() }, "handler_timeout"),
            (retry(|retry| retry.max_attempts = 0), "max_attempts"),
            (retry(|retry| retry.min_pause = Duration::from_secs(301)), "min_pause"),
            (retry(|retry| retry.max_pause = DAY * 2), "max_pause"),
        ] {
            let error = options.validate().unwrap_err();
            assert!(error.kind() == ErrorKind::Invalid && error.message().contains(name));
        }
    }

    #[test]
    fn a_name_is_fit_for_a_key_and_a_log() {
        for good in ["crm", "Año:2026", &"x".repeat(128)] {
            check_name(good).unwrap();
        }
        for bad in ["", "a b", "a/b", "a\0", &"x".repeat(129)] {
            assert_eq!(check_name(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
    }
}
