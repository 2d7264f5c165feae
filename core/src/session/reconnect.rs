//! How long to wait before the next connection.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::service::options::ServiceOptions;

/// Exponential pauses with full jitter, started over only by a link that stayed up.
#[derive(Debug)]
pub(crate) struct BackOff {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    penalty_min: Duration,
    failures: u32,
}

impl BackOff {
    pub(crate) fn new(options: &ServiceOptions) -> Self {
        Self {
            min: options.reconnect_min,
            max: options.reconnect_max,
            stable_after: options.stable_after,
            penalty_min: options.penalty_min,
            failures: 0,
        }
    }

    /// Failures in a row so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause after a connection that was up for `up` (zero: it never was).
    pub(crate) fn after_loss(&mut self, up: Duration, clock: &SharedClock) -> Duration {
        // A link that flaps must not start the pauses over each time.
        if up >= self.stable_after {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let ceiling = self.ceiling();
        let pause = ceiling.mul_f64(clock.random_unit());
        pause.max(self.min / 10)
    }

    /// The pause after WhatsApp asked for one, or another client took over: grows as well, and is never short.
    pub(crate) fn after_penalty(&mut self, clock: &SharedClock) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let doubled = self.penalty_min.saturating_mul(1 << self.failures.saturating_sub(1).min(5));
        doubled.mul_f64(1.0 + clock.random_unit() / 2.0)
    }

    fn ceiling(&self) -> Duration {
        self.min.saturating_mul(1 << self.failures.saturating_sub(1).min(20)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn back_off() -> BackOff {
        BackOff::new(&ServiceOptions::default())
    }

    #[test]
    fn pauses_grow_to_the_maximum_and_never_beyond() {
        let clock = SystemClock::shared();
        let mut back_off = back_off();
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            longest = longest.max(back_off.after_loss(Duration::ZERO, &clock));
        }
        let max = ServiceOptions::default().reconnect_max;
        assert!(longest <= max);
        // 190 uniform draws over the full range: the chance that none lies in its upper half is 2^-190.
        assert!(longest > max / 2);
    }

    #[test]
    fn a_flapping_link_does_not_start_over_but_a_stable_one_does() {
        let clock = SystemClock::shared();
        let mut back_off = back_off();
        for _ in 0..10 {
            back_off.after_loss(Duration::from_secs(3), &clock);
        }
        assert_eq!(back_off.failures(), 10);
        let pause = back_off.after_loss(Duration::from_secs(61), &clock);
        assert_eq!(back_off.failures(), 1);
        assert!(pause <= ServiceOptions::default().reconnect_min);
    }

    #[test]
    fn a_penalty_is_never_short() {
        let clock = SystemClock::shared();
        let mut back_off = back_off();
        let first = back_off.after_penalty(&clock);
        let fifth = (0..4).map(|_| back_off.after_penalty(&clock)).last().unwrap();
        assert!(first >= ServiceOptions::default().penalty_min);
        assert!(fifth >= first);
    }
}
