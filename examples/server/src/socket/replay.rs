//! Hands frames to clients in order, and tells those that come back what they missed.

use std::collections::HashMap;

use centralita::Result;
use centralita::events::Event;
use centralita::store::Store;
use serde::Serialize;
use serde_json::Value;
use socketioxide::SocketIo;
use tokio::sync::Mutex;

use super::clients;
use super::frame::Frame;
use super::journal::Journal;
use super::log;

/// How often a client's look at the log is repeated because more came meanwhile, before those who publish wait for it.
const LOOKS: u32 = 4;

/// What a client missed of one session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Missed {
    /// The number of the last event that this answer covers.
    pub(super) seq: u64,
    /// Events since the number asked for, oldest first.
    pub(super) events: Vec<Value>,
    /// True if some are no longer kept: read the rest over HTTP.
    pub(super) incomplete: bool,
    /// True if there are more; this session is not subscribed to yet. Ask again from `seq`.
    pub(super) more: bool,
}

impl Missed {
    /// Nothing, up to this number.
    pub(super) fn nothing(seq: u64) -> Self {
        Self { seq, events: Vec::new(), incomplete: false, more: false }
    }
}

/// Where missed frames come from. No frame is emitted between a client's look at what it missed and its joining.
#[derive(Debug)]
pub(crate) struct Replay(Mutex<Source>);

#[derive(Debug)]
enum Source {
    /// The log of events, and the last number of each session that was emitted here.
    Log(HashMap<String, u64>),
    Memory(Journal),
}

impl Replay {
    /// From the log if there is one.
    pub(crate) fn new(is_logged: bool) -> Self {
        let source = if is_logged { Source::Log(HashMap::new()) } else { Source::Memory(Journal::default()) };
        Self(Mutex::new(source))
    }

    pub(super) async fn epoch(&self) -> String {
        match &*self.0.lock().await {
            Source::Log(_) => log::EPOCH.to_owned(),
            Source::Memory(journal) => journal.epoch().to_owned(),
        }
    }

    /// Emits an event of the library.
    pub(super) async fn publish(&self, io: &SocketIo, event: &Event) {
        let Some(mut frame) = Frame::of_event(&event.session_id, event.at, &event.kind) else { return };
        let mut source = self.0.lock().await;
        if frame.is_kept {
            frame = match &mut *source {
                Source::Memory(journal) => journal.keep(&event.session_id, frame),
                Source::Log(emitted) => {
                    emitted.insert(event.session_id.clone(), event.seq);
                    frame.numbered(event.seq)
                }
            };
        }
        clients::emit(io, &frame);
    }

    /// Emits what has no number.
    pub(crate) async fn tell(&self, io: &SocketIo, frame: &Frame) {
        let _turn = self.0.lock().await;
        clients::emit(io, frame);
    }

    /// Events were lost on the way here. Those who listen come back and ask for them.
    pub(super) async fn lost(&self, io: &SocketIo) {
        let mut source = self.0.lock().await;
        if let Source::Memory(journal) = &mut *source {
            journal.restart();
        }
        clients::disconnect_all(io);
    }

    /// What was missed of each session, and then `join` before anything else is emitted.
    pub(super) async fn catch_up(
        &self,
        store: &dyn Store,
        asked: &[(&str, Option<u64>)],
        epoch: Option<&str>,
        join: impl FnOnce(&HashMap<String, Missed>),
    ) -> Result<HashMap<String, Missed>> {
        if let Source::Memory(journal) = &*self.0.lock().await {
            let missed: HashMap<String, Missed> = asked
                .iter()
                .map(|(id, since)| ((*id).to_owned(), journal.missed(id, *since, epoch)))
                .collect();
            join(&missed);
            return Ok(missed);
        }
        for _ in 0..LOOKS {
            // Without the lock: a database that takes its time holds up no other client.
            let missed = log::missed(store, asked, epoch).await?;
            let source = self.0.lock().await;
            if is_up_to_date(&source, &missed) {
                join(&missed);
                return Ok(missed);
            }
        }
        let _source = self.0.lock().await;
        let missed = log::missed(store, asked, epoch).await?;
        join(&missed);
        Ok(missed)
    }
}

/// Whether nothing was emitted after the log was read.
fn is_up_to_date(source: &Source, missed: &HashMap<String, Missed>) -> bool {
    let Source::Log(emitted) = source else { return true };
    missed.iter().all(|(id, missed)| missed.more || emitted.get(id).is_none_or(|seq| *seq <= missed.seq))
}
