//! The frames of late, in memory: what clients missed if the log of events is off. A restart empties it.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::frame::Frame;
use super::replay::Missed;

/// Frames kept for one session.
const PER_SESSION: usize = 500;
/// Frames kept in all.
const IN_ALL: usize = 50_000;

/// Numbers frames and keeps the last of them. Numbers begin anew with each process, hence the epoch: numbers of another
/// mean nothing.
#[derive(Debug)]
pub(super) struct Journal {
    epoch: String,
    streams: HashMap<String, Stream>,
    /// Whose the kept frames are, and their numbers, oldest first.
    order: VecDeque<(String, u64)>,
}

#[derive(Debug, Default)]
struct Stream {
    last: u64,
    /// The highest number that was kept once and is no longer.
    forgotten: u64,
    frames: VecDeque<(u64, Value)>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { epoch: new_epoch(), streams: HashMap::new(), order: VecDeque::new() }
    }
}

fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Journal {
    pub(super) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Something was lost: what clients have counted so far means nothing any more.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Numbers a frame and keeps it.
    pub(super) fn keep(&mut self, session: &str, frame: Frame) -> Frame {
        let stream = self.streams.entry(session.to_owned()).or_default();
        stream.last += 1;
        let seq = stream.last;
        let frame = frame.numbered(seq);
        stream.frames.push_back((seq, frame.body.clone()));
        if stream.frames.len() > PER_SESSION {
            stream.forgotten = stream.frames.pop_front().map_or(stream.forgotten, |(seq, _)| seq);
        }
        self.order.push_back((session.to_owned(), seq));
        if self.order.len() > IN_ALL {
            self.forget_oldest();
        }
        frame
    }

    fn forget_oldest(&mut self) {
        let Some((session, seq)) = self.order.pop_front() else { return };
        // It may be gone already, for its session's own bound.
        if let Some(stream) = self.streams.get_mut(&session)
            && stream.frames.front().is_some_and(|(oldest, _)| *oldest == seq)
        {
            stream.frames.pop_front();
            stream.forgotten = seq;
        }
    }

    /// What came after `since`; without a number only where the stream stands.
    pub(super) fn missed(&self, session: &str, since: Option<u64>, epoch: Option<&str>) -> Missed {
        let empty = Stream::default();
        let stream = self.streams.get(session).unwrap_or(&empty);
        let Some(since) = since else { return Missed::nothing(stream.last) };
        if epoch != Some(self.epoch.as_str()) || since > stream.last {
            let events = stream.frames.iter().map(|(_, body)| body.clone()).collect();
            return Missed { events, incomplete: true, ..Missed::nothing(stream.last) };
        }
        let events =
            stream.frames.iter().filter(|(seq, _)| *seq > since).map(|(_, body)| body.clone()).collect();
        Missed { events, incomplete: stream.forgotten > since, ..Missed::nothing(stream.last) }
    }
}

#[cfg(test)]
mod tests {
    use centralita::clock::Timestamp;
    use centralita::events::EventKind;

    use super::*;

    fn frame(session: &str) -> Frame {
        Frame::of_event(session, Timestamp::from_unix_ms(1), &EventKind::Undecryptable).unwrap()
    }

    fn numbers(missed: &Missed) -> Vec<u64> {
        missed.events.iter().map(|body| body["seq"].as_u64().unwrap()).collect()
    }

    #[test]
    fn who_comes_back_gets_what_came_meanwhile() {
        let mut journal = Journal::default();
        let epoch = journal.epoch().to_owned();
        for _ in 0..3 {
            journal.keep("a", frame("a"));
        }
        journal.keep("b", frame("b"));
        let missed = journal.missed("a", Some(1), Some(&epoch));
        assert_eq!((numbers(&missed), missed.seq, missed.incomplete), (vec![2, 3], 3, false));
        assert_eq!(journal.missed("a", None, None), Missed::nothing(3));
        assert_eq!(journal.missed("c", None, None), Missed::nothing(0));
    }

    #[test]
    fn who_was_away_too_long_or_before_a_restart_is_told() {
        let mut journal = Journal::default();
        let epoch = journal.epoch().to_owned();
        for _ in 0..PER_SESSION + 10 {
            journal.keep("a", frame("a"));
        }
        let missed = journal.missed("a", Some(3), Some(&epoch));
        assert_eq!((missed.events.len(), missed.incomplete), (PER_SESSION, true));
        let enough = journal.missed("a", Some(10), Some(&epoch));
        assert_eq!((enough.events.len(), enough.incomplete), (PER_SESSION, false));
        assert!(journal.missed("a", Some(10), Some("another")).incomplete);
        assert!(journal.missed("a", Some(100_000), Some(&epoch)).incomplete);
        journal.restart();
        assert!(journal.missed("a", Some(10), Some(&epoch)).incomplete);
    }
}
