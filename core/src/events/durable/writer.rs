//! Puts one session's events into the log, in order, then hands them on to the subscriptions.
//!
//! What has queued up while the store was at work goes in with the next call: one command, however many events.

use std::sync::Arc;

use serde::Deserialize as _;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::entry::{fresh_key, is_logged};
use super::log::DurableLog;
use super::persist::persist;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::events::pump::Item;
use crate::events::{Event, EventKind};
use crate::store::NewEvent;
use crate::store::rules::same_error;

/// Events that one call to the store takes at most.
const AT_ONCE: usize = 256;

/// What a session has for the log.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Something happened.
    Event { kind: EventKind, at: Timestamp },
    /// Messages were received and are stored: `done` is told once their events are durable.
    Received {
        /// Each with its key.
        events: Vec<(EventKind, String)>,
        at: Timestamp,
        /// How many of them hold a permit of the inbound backlog.
        permits: usize,
        done: oneshot::Sender<Result<()>>,
    },
    /// Everything before it is with the subscriptions.
    Flush(oneshot::Sender<()>),
}

/// One event on its way.
struct Passing {
    kind: EventKind,
    at: Timestamp,
    /// `None` if it is not logged.
    key: Option<String>,
    received: bool,
    holds_permit: bool,
}

/// The task of one session between its event pump and the subscriptions.
pub(crate) struct LogWriter {
    pub(crate) session_id: String,
    pub(crate) log: Arc<DurableLog>,
    pub(crate) hub: mpsc::UnboundedSender<Item>,
    pub(crate) inbound: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    /// The last number in the log; `None` until it was read.
    last: Option<u64>,
}

impl LogWriter {
    pub(crate) fn new(
        session_id: String,
        log: Arc<DurableLog>,
        hub: mpsc::UnboundedSender<Item>,
        inbound: Arc<Semaphore>,
        stop: CancellationToken,
    ) -> Self {
        Self { session_id, log, hub, inbound, stop, last: None }
    }

    /// Runs until the session is gone.
    pub(crate) async fn run(mut self, mut entries: mpsc::UnboundedReceiver<Entry>) {
        let mut batch = Vec::new();
        while entries.recv_many(&mut batch, AT_ONCE).await > 0 {
            let (mut passing, mut waiting, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
            for entry in batch.drain(..) {
                match entry {
                    Entry::Event { kind, at } => {
                        let key = is_logged(&kind, &self.log.options).then(|| fresh_key(&self.log.clock));
                        passing.push(Passing { kind, at, key, received: false, holds_permit: false });
                    }
                    Entry::Received { events, at, permits, done } => {
                        passing.extend(events.into_iter().enumerate().map(|(index, (kind, key))| Passing {
                            kind,
                            at,
                            key: Some(key),
                            received: true,
                            holds_permit: index < permits,
                        }));
                        waiting.push(done);
                    }
                    Entry::Flush(done) => flushes.push(done),
                }
            }
            let outcome = self.pass(passing).await;
            for done in waiting {
                // Whoever waited may have been cut off; then WhatsApp delivers again.
                drop(done.send(outcome.as_ref().map(|()| ()).map_err(same_error)));
            }
            for done in flushes {
                drop(self.hub.send(Item::Flushed(done)));
            }
        }
    }

    /// Logs events and hands them on. What could not be logged is handed on all the same, except what WhatsApp will
    /// deliver again.
    async fn pass(&mut self, passing: Vec<Passing>) -> Result<()> {
        if passing.is_empty() {
            return Ok(());
        }
        let logged = self.append(&passing).await;
        let mut numbers = match &logged {
            Ok(numbers) => numbers.iter(),
            Err(error) => {
                tracing::warn!(session = %self.session_id, kind = error.kind().name(), "events were not logged");
                [].iter()
            }
        };
        // Above what was there before, and rising: a number that does not rise is that of an earlier delivery.
        let before = self.last.unwrap_or(0);
        let mut newest = before;
        for Passing { kind, at, key, received, holds_permit } in passing {
            let number = if key.is_some() { numbers.next().copied() } else { None };
            let again = number.is_some_and(|number| number <= newest);
            newest = newest.max(number.unwrap_or(0));
            if again || (received && logged.is_err()) {
                if holds_permit {
                    self.inbound.add_permits(1);
                }
                continue;
            }
            let event = Event { seq: newest, session_id: self.session_id.clone(), at, kind };
            if self.hub.send(Item::Event { event, holds_permit }).is_err() {
                tracing::debug!(session = %self.session_id, "an event came after the runtime had ended");
            }
        }
        if newest > before {
            self.last = Some(newest);
            self.log.announce(&self.session_id, newest);
        }
        logged.map(drop)
    }

    async fn append(&mut self, passing: &[Passing]) -> Result<Vec<u64>> {
        let DurableLog { store, clock, .. } = &*self.log;
        let new: Vec<NewEvent> = passing
            .iter()
            .filter_map(|passing| Some((passing, passing.key.clone()?)))
            .map(|(Passing { kind, at, .. }, key)| Ok(NewEvent { key, at: *at, payload: encode(kind)? }))
            .collect::<Result<_>>()?;
        let session = self.session_id.as_str();
        let last = match self.last {
            Some(last) => last,
            None => {
                let marks = persist(clock, &self.stop, || store.last_events(Some(session))).await?;
                let last = marks.first().map_or(0, |mark| mark.seq);
                self.last = Some(last);
                last
            }
        };
        if new.is_empty() {
            return Ok(Vec::new());
        }
        persist(clock, &self.stop, || store.append_events(session, last, &new)).await
    }
}

fn encode(kind: &EventKind) -> Result<serde_json::Value> {
    serde_json::to_value(kind)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot encode an event").caused_by(error))
}

/// The kind of a logged event. One of a later version of this library is handed out as it is.
pub(super) fn decode(payload: serde_json::Value) -> EventKind {
    EventKind::deserialize(&payload).unwrap_or(EventKind::Unknown { raw: payload })
}
