//! What a consumer reads next, of which session: numbers only.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::store::{EventRange, Position};

/// How far each session was read, and how far its log goes.
#[derive(Debug, Default)]
pub(super) struct Positions {
    places: BTreeMap<String, Place>,
    /// Sessions with something to read.
    ready: BTreeSet<String>,
    /// The session that was served last: the next one is first now.
    turn: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    /// The last event that was handed out.
    read: u64,
    /// The last event that is known to be in the log.
    last: u64,
}

impl Positions {
    /// Starts where the store says.
    pub(super) fn new(stored: Vec<Position>) -> Self {
        let places =
            stored.into_iter().map(|Position { session, seq }| (session, Place { read: seq, last: seq }));
        Self { places: places.collect(), ..Self::default() }
    }

    /// A session's log now goes up to `last`. `false` if it ends before what was read: then it is a new log, whose
    /// session was deleted in between, and is read from its beginning.
    pub(super) fn learn(&mut self, session: &str, last: u64) -> bool {
        let place = self.places.entry(session.to_owned()).or_default();
        let goes_on = place.read <= last;
        if goes_on {
            place.last = place.last.max(last);
        } else {
            *place = Place { read: 0, last };
        }
        self.note(session);
        goes_on
    }

    /// Forgets sessions that are in no log any more, and says which.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let gone: Vec<String> = self.places.keys().filter(|session| !is_there(session)).cloned().collect();
        for session in &gone {
            self.places.remove(session);
            self.ready.remove(session);
        }
        gone
    }

    /// The last event known of a session.
    pub(super) fn last(&self, session: &str) -> u64 {
        self.places.get(session).map_or(0, |place| place.last)
    }

    /// What to read now: `most` events at most, of sessions that are not `busy`, a fair share of each.
    pub(super) fn plan(&mut self, most: u64, busy: impl Fn(&str) -> bool) -> Vec<EventRange> {
        let after = (Bound::Excluded(&self.turn), Bound::Unbounded);
        let wanted: Vec<&String> = self
            .ready
            .range::<String, _>(after)
            .chain(self.ready.range::<String, _>(..=&self.turn))
            .filter(|session| !busy(session))
            .collect();
        let share = (most / (wanted.len() as u64).max(1)).max(1);
        let mut left = most;
        let mut ranges = Vec::new();
        for session in wanted {
            let Some(Place { read, last }) = self.places.get(session).copied() else { continue };
            let count = (last - read).min(share).min(left);
            if count == 0 {
                break;
            }
            left -= count;
            ranges.push(EventRange { session: session.clone(), after: read, upto: read + count });
        }
        for range in &mut ranges {
            let more = (self.last(&range.session) - range.upto).min(left);
            left -= more;
            range.upto += more;
        }
        if let Some(range) = ranges.last() {
            self.turn.clone_from(&range.session);
        }
        ranges
    }

    /// Events up to `seq` were handed out.
    pub(super) fn took(&mut self, session: &str, seq: u64) {
        if let Some(place) = self.places.get_mut(session) {
            place.read = place.read.max(seq);
            place.last = place.last.max(seq);
        }
        self.note(session);
    }

    /// Of what was handed out only the events up to `seq` were taken: the others are read again.
    pub(super) fn rewind(&mut self, session: &str, seq: u64) {
        if let Some(place) = self.places.get_mut(session) {
            place.read = place.read.min(seq);
        }
        self.note(session);
    }

    /// What was said to be in a session's log is not to be seen yet: ask again when more is learnt of it.
    pub(super) fn nothing_yet(&mut self, session: &str) {
        if let Some(place) = self.places.get_mut(session) {
            place.last = place.read;
        }
        self.note(session);
    }

    fn note(&mut self, session: &str) {
        let is_ready = self.places.get(session).is_some_and(|place| place.read < place.last);
        if !is_ready {
            self.ready.remove(session);
        } else if !self.ready.contains(session) {
            self.ready.insert(session.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// What may happen to a consumer, with a session's number.
    #[derive(Debug, Clone)]
    enum Step {
        Append(u8, u64),
        Read { most: u64, busy: u8, taken: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8, 1..20_u64).prop_map(|(session, count)| Step::Append(session, count)),
            (1..12_u64, 0..6_u8, 0..12_u64).prop_map(|(most, busy, taken)| Step::Read { most, busy, taken }),
        ]
    }

    proptest! {
        /// Whatever is appended, read and rewound: each session's events come out once, in order, none left out.
        #[test]
        fn every_event_once_and_in_order(steps in prop::collection::vec(step(), 0..60), start in 0..5_u64) {
            let stored = vec![Position { session: "s0".into(), seq: start }];
            let mut positions = Positions::new(stored);
            let mut logs: HashMap<String, u64> = HashMap::from([("s0".into(), start)]);
            let mut taken_of: HashMap<String, u64> = HashMap::from([("s0".into(), start)]);
            let drain = std::iter::repeat_n(Step::Read { most: 50, busy: 9, taken: 50 }, 20);
            for step in steps.into_iter().chain(drain) {
                match step {
                    Step::Append(session, count) => {
                        let session = format!("s{session}");
                        let last = logs.entry(session.clone()).or_default();
                        *last += count;
                        prop_assert!(positions.learn(&session, *last));
                    }
                    Step::Read { most, busy, taken } => {
                        let busy = format!("s{busy}");
                        let ranges = positions.plan(most, |session| session == busy);
                        prop_assert!(ranges.iter().map(|range| range.upto - range.after).sum::<u64>() <= most);
                        for range in ranges {
                            prop_assert!(range.session != busy && range.after < range.upto);
                            prop_assert!(range.upto <= logs[&range.session]);
                            let done = taken_of.entry(range.session.clone()).or_default();
                            prop_assert_eq!(range.after, *done);
                            positions.took(&range.session, range.upto);
                            *done = range.upto.min(range.after + taken);
                            positions.rewind(&range.session, *done);
                        }
                    }
                }
            }
            for (session, last) in logs {
                prop_assert_eq!(taken_of.get(&session).copied().unwrap_or_default(), last);
            }
        }
    }

    #[test]
    fn a_session_with_much_does_not_hold_up_one_with_little() {
        let mut positions = Positions::default();
        positions.learn("a", 1_000_000);
        positions.learn("b", 1);
        let ranges = positions.plan(10, |_| false);
        assert_eq!(
            ranges.iter().map(|range| (range.session.as_str(), range.upto)).collect::<Vec<_>>(),
            [("a", 9), ("b", 1)]
        );
        // With room for one only they take turns.
        let mut positions = Positions::default();
        for session in ["a", "b", "c"] {
            positions.learn(session, 10);
        }
        let turns: Vec<String> = (0..6)
            .map(|_| {
                let range = positions.plan(1, |_| false).remove(0);
                positions.took(&range.session, range.upto);
                range.session
            })
            .collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
    }

    #[test]
    fn a_log_that_begins_anew_is_read_from_its_beginning() {
        let mut positions = Positions::new(vec![Position { session: "s".into(), seq: 9 }]);
        assert!(positions.learn("s", 9));
        assert!(positions.plan(10, |_| false).is_empty());
        assert!(!positions.learn("s", 3));
        assert_eq!(positions.plan(10, |_| false), [EventRange { session: "s".into(), after: 0, upto: 3 }]);
    }

    #[test]
    fn what_is_not_to_be_seen_yet_is_asked_for_again_later() {
        let mut positions = Positions::default();
        positions.learn("s", 3);
        positions.nothing_yet("s");
        assert!(positions.plan(10, |_| false).is_empty());
        positions.learn("s", 3);
        assert_eq!(positions.plan(10, |_| false).len(), 1);
    }
}
