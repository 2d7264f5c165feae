//! Numbers the frames of each session and keeps the last of them, for clients that come back.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use socketioxide::SocketIo;
use tokio::sync::{Mutex, MutexGuard};

use super::Frame;
use super::clients;

/// Frames kept for one session.
const PER_SESSION: usize = 500;
/// Frames kept in all.
const IN_ALL: usize = 50_000;

/// The frames of late. Numbers begin anew with each process, hence the epoch: numbers of another mean nothing.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<Kept>);

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Kept {
    epoch: String,
    /// Under `None` the frames of the whole server.
    streams: HashMap<Option<String>, Stream>,
    /// Whose the kept frames are, and their numbers, oldest first.
    order: VecDeque<(Option<String>, u64)>,
}

#[derive(Debug, Default)]
struct Stream {
    last: u64,
    /// The highest number that was kept once and is no longer.
    forgotten: u64,
    frames: VecDeque<(u64, Value)>,
}

/// What a client missed of one session.
#[derive(Debug, PartialEq)]
pub(super) struct Missed {
    /// The number of the last frame; what follows is higher.
    pub(super) last: u64,
    /// Kept frames since the number asked for, oldest first.
    pub(super) frames: Vec<Value>,
    /// Whether there were others that are no longer kept: read the rest over HTTP.
    pub(super) is_incomplete: bool,
}

impl Default for Journal {
    fn default() -> Self {
        Self(Mutex::new(Kept { epoch: new_epoch(), streams: HashMap::new(), order: VecDeque::new() }))
    }
}

fn new_epoch() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Journal {
    /// Numbers a frame, keeps it, and emits it to the clients that may see it. No frame is emitted between a client's
    /// look at what it missed and its joining the room.
    pub(crate) async fn publish(&self, io: &SocketIo, frame: Frame) {
        let mut kept = self.0.lock().await;
        let frame = kept.keep(frame);
        clients::emit(io, &frame);
    }

    /// Something was lost: what clients have counted so far means nothing any more.
    pub(super) async fn restart(&self) {
        let mut kept = self.0.lock().await;
        kept.epoch = new_epoch();
        kept.streams.clear();
        kept.order.clear();
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().await
    }
}

impl Kept {
    pub(super) fn epoch(&self) -> &str {
        &self.epoch
    }

    fn keep(&mut self, frame: Frame) -> Frame {
        let stream = self.streams.entry(frame.session_id.clone()).or_default();
        stream.last += 1;
        let seq = stream.last;
        let frame = frame.numbered(seq);
        if frame.is_kept {
            stream.frames.push_back((seq, frame.body.clone()));
            if stream.frames.len() > PER_SESSION {
                stream.forgotten = stream.frames.pop_front().map_or(stream.forgotten, |(seq, _)| seq);
            }
            self.order.push_back((frame.session_id.clone(), seq));
            if self.order.len() > IN_ALL {
                self.forget_oldest();
            }
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
    pub(super) fn missed(&self, session: Option<&str>, since: Option<u64>, epoch: Option<&str>) -> Missed {
        let empty = Stream::default();
        let stream = self.streams.get(&session.map(str::to_owned)).unwrap_or(&empty);
        let Some(since) = since else {
            return Missed { last: stream.last, frames: Vec::new(), is_incomplete: false };
        };
        if epoch != Some(self.epoch.as_str()) || since > stream.last {
            let frames = stream.frames.iter().map(|(_, body)| body.clone()).collect();
            return Missed { last: stream.last, frames, is_incomplete: true };
        }
        let frames: Vec<Value> =
            stream.frames.iter().filter(|(seq, _)| *seq > since).map(|(_, body)| body.clone()).collect();
        Missed { last: stream.last, frames, is_incomplete: stream.forgotten > since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(session: &str, is_kept: bool) -> Frame {
        Frame {
            name: "message",
            session_id: Some(session.to_owned()),
            is_secret: false,
            is_kept,
            body: serde_json::json!({}),
        }
    }

    fn numbers(missed: &Missed) -> Vec<u64> {
        missed.frames.iter().map(|body| body["seq"].as_u64().unwrap()).collect()
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_came_meanwhile() {
        let journal = Journal::default();
        let mut kept = journal.lock().await;
        let epoch = kept.epoch().to_owned();
        for is_kept in [true, true, false, true] {
            kept.keep(frame("a", is_kept));
        }
        kept.keep(frame("b", true));
        let missed = kept.missed(Some("a"), Some(1), Some(&epoch));
        assert_eq!((numbers(&missed), missed.last, missed.is_incomplete), (vec![2, 4], 4, false));
        let first_time = kept.missed(Some("a"), None, None);
        assert_eq!((first_time.frames.len(), first_time.last), (0, 4));
        let unknown = kept.missed(Some("c"), None, None);
        assert_eq!((unknown.last, unknown.is_incomplete), (0, false));
    }

    #[tokio::test]
    async fn who_was_away_too_long_or_before_a_restart_is_told() {
        let journal = Journal::default();
        let mut kept = journal.lock().await;
        let epoch = kept.epoch().to_owned();
        for _ in 0..PER_SESSION + 10 {
            kept.keep(frame("a", true));
        }
        let missed = kept.missed(Some("a"), Some(3), Some(&epoch));
        assert_eq!((missed.frames.len(), missed.is_incomplete), (PER_SESSION, true));
        let enough = kept.missed(Some("a"), Some(10), Some(&epoch));
        assert_eq!((enough.frames.len(), enough.is_incomplete), (PER_SESSION, false));
        assert!(kept.missed(Some("a"), Some(10), Some("another")).is_incomplete);
        assert!(kept.missed(Some("a"), Some(100_000), Some(&epoch)).is_incomplete);
        drop(kept);
        journal.restart().await;
        let kept = journal.lock().await;
        assert!(kept.missed(Some("a"), Some(10), Some(&epoch)).is_incomplete);
    }
}
