//! Takes one session's events to the subscriptions, in order, so that nobody but the receiving side of a session ever
//! waits for a subscriber.
//!
//! A consumer that answers a message waits for the acknowledgement of his answer; if publishing what follows from that
//! waited for the same consumer, both would wait for ever.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::durable::{DurableLog, Entry, LogWriter};
use super::hub::EventHub;
use super::{Event, EventKind};
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};

/// Received messages that may wait for subscribers before the session stops taking more from WhatsApp.
const INBOUND_BACKLOG: usize = 1_024;
/// A session that waits for its readers longer than this says so.
const SLOW_READER: Duration = Duration::from_secs(30);

pub(crate) struct EventPump {
    session_id: String,
    clock: SharedClock,
    way: Way,
    inbound: Arc<Semaphore>,
}

type Direct = Mutex<(u64, mpsc::UnboundedSender<Item>)>;

/// How events come to the subscriptions.
enum Way {
    /// Straight. The last number given, and the queue: together, so that numbers are in the order of the queue.
    Direct(Direct),
    /// Through the log, which gives the numbers.
    Logged(mpsc::UnboundedSender<Entry>),
}

/// Something received that is stored already.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) kind: EventKind,
    /// The same when WhatsApp delivers it again.
    pub(crate) key: String,
    /// Whether it was stored for the first time.
    pub(crate) is_new: bool,
}

impl std::fmt::Debug for EventPump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventPump").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    Event { event: Event, holds_permit: bool },
    Flushed(oneshot::Sender<()>),
}

impl EventPump {
    /// Starts the pump. It ends when this is dropped; once `stop` is cancelled it waits for no subscriber any more.
    pub(crate) fn start(
        session_id: &str,
        clock: SharedClock,
        hub: Arc<EventHub>,
        log: Option<Arc<DurableLog>>,
        stop: CancellationToken,
        runtime: &Handle,
    ) -> Self {
        let (sender, mut items) = mpsc::unbounded_channel();
        let inbound = Arc::new(Semaphore::new(INBOUND_BACKLOG));
        let permits = Arc::clone(&inbound);
        let patience = stop.clone();
        runtime.spawn(async move {
            while let Some(item) = items.recv().await {
                match item {
                    Item::Event { event, holds_permit } => {
                        hub.publish(event, &patience).await;
                        if holds_permit {
                            permits.add_permits(1);
                        }
                    }
                    // Whoever asked may have gone.
                    Item::Flushed(done) => drop(done.send(())),
                }
            }
        });
        let way = match log {
            None => Way::Direct(Mutex::new((0, sender))),
            Some(log) => {
                let (entries, queue) = mpsc::unbounded_channel();
                let writer = LogWriter::new(session_id.to_owned(), log, sender, Arc::clone(&inbound), stop);
                runtime.spawn(writer.run(queue));
                Way::Logged(entries)
            }
        };
        Self { session_id: session_id.to_owned(), clock, way, inbound }
    }

    /// Queues an event; never waits.
    pub(crate) fn publish(&self, kind: EventKind) {
        match &self.way {
            Way::Direct(queue) => self.queue(queue, kind, false),
            Way::Logged(entries) => self.log(entries, Entry::Event { kind, at: self.clock.now() }),
        }
    }

    /// Queues events about something received, once there is room. With a log, waits until they are durable: what was
    /// received may then be acknowledged, and only then. Once `closed` that wait ends with an error: what was received
    /// comes again.
    pub(crate) async fn publish_received(
        &self,
        received: Vec<Received>,
        closed: &CancellationToken,
    ) -> Result<()> {
        match &self.way {
            Way::Direct(queue) => {
                for Received { kind, .. } in received.into_iter().filter(|received| received.is_new) {
                    // Only messages wait for room: what changes them is published as anything else.
                    let holds_permit = matches!(kind, EventKind::Message(_)) && self.acquire(1).await;
                    self.queue(queue, kind, holds_permit);
                }
                Ok(())
            }
            Way::Logged(entries) => {
                let logged = closed.run_until_cancelled(self.log_received(entries, received)).await;
                logged.unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, "the session was stopped")))
            }
        }
    }

    async fn log_received(
        &self,
        entries: &mpsc::UnboundedSender<Entry>,
        received: Vec<Received>,
    ) -> Result<()> {
        // New or not: if a crash came between the message and its event, it is logged now.
        let events: Vec<_> = received.into_iter().map(|received| (received.kind, received.key)).collect();
        let wanted = events.len().min(INBOUND_BACKLOG);
        let permits = if self.acquire(wanted).await { wanted } else { 0 };
        let (done, logged) = oneshot::channel();
        self.log(entries, Entry::Received { events, at: self.clock.now(), permits, done });
        logged.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Closed, "the runtime ended before an event was logged"))
        })
    }

    /// Waits until everything queued so far is with the subscriptions.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let sent = match &self.way {
            Way::Direct(queue) => lock(queue).1.send(Item::Flushed(done)).is_ok(),
            Way::Logged(entries) => entries.send(Entry::Flush(done)).is_ok(),
        };
        if sent && flushed.await.is_err() {
            tracing::debug!(session = %self.session_id, "the runtime ended before the last events were out");
        }
    }

    async fn acquire(&self, permits: usize) -> bool {
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        if let Ok(permit) = self.inbound.try_acquire_many(permits) {
            permit.forget();
            return true;
        }
        let mut room = pin!(self.inbound.acquire_many(permits));
        let permit = tokio::select! {
            biased;
            permit = &mut room => permit,
            () = self.clock.sleep(SLOW_READER) => {
                tracing::warn!(
                    session = %self.session_id,
                    "no message was taken for {} s: a consumer, or a subscription whose overflow is `wait`, does not read its events",
                    SLOW_READER.as_secs()
                );
                room.await
            }
        };
        // The semaphore is never closed.
        permit.map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    fn queue(&self, queue: &Direct, kind: EventKind, holds_permit: bool) {
        let mut queue = lock(queue);
        queue.0 += 1;
        let event = Event { seq: queue.0, session_id: self.session_id.clone(), at: self.clock.now(), kind };
        if queue.1.send(Item::Event { event, holds_permit }).is_err() {
            tracing::debug!(session = %self.session_id, "an event came after the runtime had ended");
        }
    }

    fn log(&self, entries: &mpsc::UnboundedSender<Entry>, entry: Entry) {
        if entries.send(entry).is_err() {
            tracing::debug!(session = %self.session_id, "an event came after the runtime had ended");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
