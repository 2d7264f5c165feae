//! Takes one session's events to the subscriptions, in order, so that nobody but the receiving side of a session ever
//! waits for a subscriber.
//!
//! A consumer that answers a message waits for the acknowledgement of his answer; if publishing what follows from that
//! waited for the same consumer, both would wait for ever.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::hub::EventHub;
use super::{Event, EventKind};
use crate::clock::SharedClock;

/// Received messages that may wait for subscribers before the session stops taking more from WhatsApp.
const INBOUND_BACKLOG: usize = 1_024;

pub(crate) struct EventPump {
    session_id: String,
    clock: SharedClock,
    /// The last number given, and the queue: together, so that numbers are in the order of the queue.
    queue: Mutex<(u64, mpsc::UnboundedSender<Item>)>,
    inbound: Arc<Semaphore>,
}

impl std::fmt::Debug for EventPump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventPump").field("session_id", &self.session_id).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Item {
    Event { event: Event, holds_permit: bool },
    Flushed(oneshot::Sender<()>),
}

impl EventPump {
    /// Starts the pump. It ends when this is dropped; once `stop` is cancelled it waits for no subscriber any more.
    pub(crate) fn start(
        session_id: &str,
        clock: SharedClock,
        hub: Arc<EventHub>,
        stop: CancellationToken,
        runtime: &Handle,
    ) -> Self {
        let (sender, mut items) = mpsc::unbounded_channel();
        let inbound = Arc::new(Semaphore::new(INBOUND_BACKLOG));
        let permits = Arc::clone(&inbound);
        runtime.spawn(async move {
            while let Some(item) = items.recv().await {
                match item {
                    Item::Event { event, holds_permit } => {
                        hub.publish(event, &stop).await;
                        if holds_permit {
                            permits.add_permits(1);
                        }
                    }
                    // Whoever asked may have gone.
                    Item::Flushed(done) => drop(done.send(())),
                }
            }
        });
        Self { session_id: session_id.to_owned(), clock, queue: Mutex::new((0, sender)), inbound }
    }

    /// Queues an event; never waits.
    pub(crate) fn publish(&self, kind: EventKind) {
        self.queue(kind, false);
    }

    /// Queues an event about something received, once there is room.
    pub(crate) async fn publish_inbound(&self, kind: EventKind) {
        // The semaphore is never closed.
        let permit = self.inbound.acquire().await.ok();
        let holds_permit = permit.map(tokio::sync::SemaphorePermit::forget).is_some();
        self.queue(kind, holds_permit);
    }

    /// Waits until everything queued so far is with the subscriptions.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let sent = self.queue.lock().unwrap_or_else(PoisonError::into_inner).1.send(Item::Flushed(done));
        if sent.is_ok() && flushed.await.is_err() {
            tracing::debug!(session = %self.session_id, "the runtime ended before the last events were out");
        }
    }

    fn queue(&self, kind: EventKind, holds_permit: bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.0 += 1;
        let event = Event { seq: queue.0, session_id: self.session_id.clone(), at: self.clock.now(), kind };
        if queue.1.send(Item::Event { event, holds_permit }).is_err() {
            tracing::debug!(session = %self.session_id, "an event came after the runtime had ended");
        }
    }
}
