//! The circuit breaker of the fleet: many sessions refused at once are one outage, not many accidents.
//!
//! Closed: connections are made. Open: none is, until a pause is over. Half-open: one probes; each that gets through
//! lets one more try at the same time, so that the number doubles with each round, until the breaker is closed again.
//! A failure in between opens it anew, for longer.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// When it opens, and for how long.
#[derive(Debug, Clone)]
pub(super) struct BreakerRules {
    /// Distinct sessions that must be refused within `window`; 0 switches the breaker off.
    pub(super) threshold: usize,
    pub(super) window: Duration,
    pub(super) pause_min: Duration,
    pub(super) pause_max: Duration,
    /// Closed for this long, the pauses start over.
    pub(super) stable_after: Duration,
    /// So many at the same time and it is closed again.
    pub(super) all: usize,
}

/// Where it stands. All times are the clock's monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { allowed: usize },
}

#[derive(Debug)]
pub(super) struct Breaker {
    rules: BreakerRules,
    state: State,
    /// The last outcomes, twice as many as the threshold: who was refused, or `None` for one that got through.
    recent: VecDeque<(Duration, Option<Arc<str>>)>,
    /// Openings in a row: what the pause grows with.
    openings: u32,
    closed_at: Duration,
    /// Rises with each opening, so that what was begun before it is not taken for a probe.
    epoch: u64,
}

impl Breaker {
    pub(super) fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            state: State::Closed,
            recent: VecDeque::new(),
            openings: 0,
            closed_at: Duration::ZERO,
            epoch: 0,
        }
    }

    /// The state at `now`: a pause that is over lets a probe through.
    pub(super) fn at(&mut self, now: Duration) -> State {
        if let State::Open { until } = self.state
            && now >= until
        {
            self.state = State::HalfOpen { allowed: 1 };
        }
        self.state
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How often it has opened since the service started.
    pub(super) fn opened(&self) -> u64 {
        self.epoch
    }

    /// One that was let through in `epoch` was answered.
    pub(super) fn succeeded(&mut self, now: Duration, epoch: u64) {
        self.note(now, None);
        if epoch != self.epoch {
            return;
        }
        if let State::HalfOpen { allowed } = self.state {
            let allowed = allowed + 1;
            self.state = State::HalfOpen { allowed };
            if allowed >= self.rules.all {
                self.close(now);
            }
        }
    }

    /// Ends the slow return, if one is under way.
    pub(super) fn close(&mut self, now: Duration) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Closed;
            self.closed_at = now;
            self.recent.clear();
        }
    }

    /// `session` was refused; `attempt` is the epoch in which it was let through, if it was on its way and not
    /// connected already. `random` in `0.0..1.0` spreads the pause. True if this opened the breaker.
    pub(super) fn refused(
        &mut self,
        now: Duration,
        session: &Arc<str>,
        attempt: Option<u64>,
        random: f64,
    ) -> bool {
        if self.rules.threshold == 0 {
            return false;
        }
        self.note(now, Some(Arc::clone(session)));
        let opens = match self.state {
            State::Open { .. } => false,
            State::HalfOpen { .. } if attempt == Some(self.epoch) => true,
            State::HalfOpen { .. } | State::Closed => self.is_outage(),
        };
        if opens {
            self.open(now, random);
        }
        opens
    }

    /// Many distinct sessions refused: half of the last outcomes at least, since no more of them are kept.
    fn is_outage(&self) -> bool {
        let refused: HashSet<&Arc<str>> = self.recent.iter().filter_map(|(_, who)| who.as_ref()).collect();
        refused.len() >= self.rules.threshold
    }

    fn open(&mut self, now: Duration, random: f64) {
        if self.state == State::Closed && now.saturating_sub(self.closed_at) >= self.rules.stable_after {
            self.openings = 0;
        }
        let longest =
            self.rules.pause_min.saturating_mul(1 << self.openings.min(20)).min(self.rules.pause_max);
        self.openings = self.openings.saturating_add(1);
        self.epoch += 1;
        self.recent.clear();
        // At least half: a pause of nothing would be none. The rest spreads the instances of one fleet.
        self.state = State::Open { until: now + longest.mul_f64(0.5 + random / 2.0) };
    }

    fn note(&mut self, now: Duration, refused: Option<Arc<str>>) {
        self.recent.push_back((now, refused));
        let horizon = now.saturating_sub(self.rules.window);
        while self.recent.len() > 2 * self.rules.threshold
            || self.recent.front().is_some_and(|(at, _)| *at < horizon)
        {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> BreakerRules {
        BreakerRules {
            threshold: 3,
            window: 10 * SECOND,
            pause_min: 4 * SECOND,
            pause_max: 60 * SECOND,
            stable_after: 60 * SECOND,
            all: 4,
        }
    }

    fn name(n: usize) -> Arc<str> {
        format!("s{n}").into()
    }

    /// Opened at `now` by three sessions.
    fn opened(now: Duration) -> Breaker {
        let mut breaker = Breaker::new(rules());
        for n in 0..3 {
            assert_eq!(breaker.refused(now, &name(n), Some(0), 0.0), n == 2);
        }
        breaker
    }

    #[test]
    fn one_session_refused_again_and_again_is_no_outage() {
        let mut breaker = Breaker::new(rules());
        for n in 0..100 {
            assert!(!breaker.refused(SECOND * n, &name(0), Some(0), 0.5));
        }
        assert_eq!(breaker.at(SECOND * 100), State::Closed);
    }

    #[test]
    fn a_few_refused_among_many_that_get_through_are_no_outage() {
        let mut breaker = Breaker::new(rules());
        for n in 0..20 {
            breaker.succeeded(SECOND, 0);
            breaker.succeeded(SECOND, 0);
            assert!(!breaker.refused(SECOND, &name(n), Some(0), 0.0));
        }
        // That all was well a moment ago is no reason to wait.
        assert!(breaker.refused(SECOND, &name(20), Some(0), 0.0));
    }

    #[test]
    fn refusals_far_apart_are_no_outage() {
        let mut breaker = Breaker::new(rules());
        for n in 0..20 {
            assert!(!breaker.refused(SECOND * 6 * (n as u32), &name(n), Some(0), 0.0));
        }
    }

    #[test]
    fn one_probes_and_the_number_grows_with_each_that_gets_through() {
        let mut breaker = opened(SECOND);
        assert_eq!(breaker.at(SECOND), State::Open { until: 3 * SECOND });
        assert_eq!(breaker.at(3 * SECOND), State::HalfOpen { allowed: 1 });
        // Begun before the opening: says nothing about now.
        breaker.succeeded(3 * SECOND, 0);
        assert_eq!(breaker.at(3 * SECOND), State::HalfOpen { allowed: 1 });
        for allowed in 2..4 {
            breaker.succeeded(3 * SECOND, 1);
            assert_eq!(breaker.at(3 * SECOND), State::HalfOpen { allowed });
        }
        breaker.succeeded(3 * SECOND, 1);
        assert_eq!(breaker.at(3 * SECOND), State::Closed);
    }

    #[test]
    fn pauses_grow_with_each_failed_probe_and_start_over_only_after_a_calm_time() {
        let mut breaker = opened(SECOND);
        let mut now = SECOND;
        for longest in [4, 8, 16, 32, 60, 60] {
            let State::Open { until } = breaker.at(now) else { panic!("it is open") };
            assert_eq!(until - now, SECOND * longest / 2);
            now = until;
            assert_eq!(breaker.at(now), State::HalfOpen { allowed: 1 });
            assert!(breaker.refused(now, &name(7), Some(breaker.epoch()), 0.0));
        }
        let State::Open { until } = breaker.at(now) else { panic!("it is open") };
        breaker.at(until);
        for _ in 0..3 {
            breaker.succeeded(until, breaker.epoch());
        }
        assert_eq!(breaker.at(until), State::Closed);
        // Straight after: goes on growing. After a calm time: starts over.
        for (calm, longest) in [(SECOND, 60), (61 * SECOND, 4)] {
            let mut breaker = Breaker { recent: VecDeque::new(), ..clone(&breaker) };
            let now = until + calm;
            for n in 0..3 {
                breaker.refused(now, &name(n), Some(breaker.epoch()), 0.0);
            }
            assert_eq!(breaker.at(now), State::Open { until: now + SECOND * longest / 2 });
        }
    }

    fn clone(breaker: &Breaker) -> Breaker {
        Breaker { rules: breaker.rules.clone(), recent: breaker.recent.clone(), ..*breaker }
    }

    #[test]
    fn switched_off_it_never_opens() {
        let mut breaker = Breaker::new(BreakerRules { threshold: 0, ..rules() });
        for n in 0..50 {
            assert!(!breaker.refused(SECOND, &name(n), Some(0), 0.0));
        }
    }

    proptest! {
        #[test]
        fn it_never_stays_shut_longer_than_the_longest_pause(
            steps in proptest::collection::vec((0_u64..5_000, 0_usize..6, proptest::bool::ANY, 0.0..1.0_f64), 1..200)
        ) {
            let mut breaker = Breaker::new(rules());
            let mut now = Duration::ZERO;
            for (ms, who, through, random) in steps {
                now += Duration::from_millis(ms);
                let state = breaker.at(now);
                if through {
                    breaker.succeeded(now, breaker.epoch());
                } else if breaker.refused(now, &name(who), Some(breaker.epoch()), random) {
                    prop_assert!(!matches!(state, State::Open { .. }), "it was open");
                }
                if let State::Open { until } = breaker.at(now) {
                    prop_assert!(until > now && until - now <= rules().pause_max);
                }
                if let State::HalfOpen { allowed } = breaker.at(now) {
                    prop_assert!((1..rules().all).contains(&allowed));
                }
            }
        }
    }
}
