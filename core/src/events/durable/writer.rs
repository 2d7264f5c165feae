//! Puts one session's events into the log, in order, then hands them on to the subscriptions.
//!
//! What has queued up while the store was at work goes in with the next call: one command, however many events.

use std::sync::Arc;
use std::time::Duration;

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
/// How long the last number is taken for granted. A process that was paused for longer may have been robbed of its
/// session, and the numbers after its last may be given and cut off by now.
const TRUSTED: Duration = Duration::from_secs(10);

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
    /// The last number in the log, and when that was so; `None` until it was read.
    last: Option<(u64, Duration)>,
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
                drop(done.send(outcome.as_ref().copied().map_err(same_error)));
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
        let before = self.last.map_or(0, |(last, _)| last);
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
            self.last = Some((newest, self.log.clock.monotonic()));
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
        let now = clock.monotonic();
        let last = match self.last {
            Some((last, at)) if now.saturating_sub(at) < TRUSTED => last,
            _ => {
                let marks = persist(clock, &self.stop, || store.last_events(Some(session))).await?;
                let last = marks.first().map_or(0, |mark| mark.seq);
                self.last = Some((last, now));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::events::durable::DurableEventOptions;
    use crate::events::{EventHub, EventPump, LinkCode, Received, Subscription, SubscriptionOptions};
    use crate::store::{EventLog as _, EventRange, MemoryStore};

    struct World {
        store: Arc<MemoryStore>,
        hub: Arc<EventHub>,
        log: Arc<DurableLog>,
        events: Subscription,
        stop: CancellationToken,
    }

    impl World {
        fn new() -> Self {
            let store = Arc::new(MemoryStore::new());
            let hub = Arc::new(EventHub::default());
            let options = DurableEventOptions::default();
            let log = DurableLog::new(Arc::clone(&store) as _, SystemClock::shared(), options);
            let events = hub.subscribe(SubscriptionOptions::default()).unwrap();
            Self { store, hub, log: Arc::new(log), events, stop: CancellationToken::new() }
        }

        /// The pump of one life of the session.
        fn pump(&self) -> EventPump {
            EventPump::start(
                "s",
                SystemClock::shared(),
                Arc::clone(&self.hub),
                Some(Arc::clone(&self.log)),
                self.stop.clone(),
                &tokio::runtime::Handle::current(),
            )
        }

        async fn receive(&self, pump: &EventPump, key: &str, is_new: bool) -> Result<()> {
            let received = Received { kind: EventKind::Undecryptable, key: key.to_owned(), is_new };
            pump.publish_received(vec![received], &self.stop.child_token()).await
        }

        async fn next(&mut self) -> (u64, EventKind) {
            let event = self.events.next_within(Duration::from_secs(5)).await.unwrap().unwrap();
            (event.seq, event.kind.clone())
        }

        async fn logged(&self) -> usize {
            let all = EventRange { session: "s".into(), after: 0, upto: 1_000 };
            self.store.read_events(&[all]).await.unwrap().len()
        }
    }

    #[tokio::test]
    async fn numbers_go_on_in_the_next_life_and_secrets_stay_out_of_the_log() {
        let mut world = World::new();
        for life in 0..2 {
            let pump = world.pump();
            pump.publish(EventKind::Panicked);
            pump.publish(EventKind::Code(LinkCode::PasskeyChallenge { request_options_json: "x".into() }));
            pump.publish(EventKind::Undecryptable);
            pump.flush().await;
            assert_eq!(world.next().await, (2 * life + 1, EventKind::Panicked));
            assert!(matches!(world.next().await, (number, EventKind::Code(_)) if number == 2 * life + 1));
            assert_eq!(world.next().await, (2 * life + 2, EventKind::Undecryptable));
        }
        assert_eq!(world.logged().await, 4);
    }

    #[tokio::test]
    async fn a_redelivery_is_logged_and_published_once_whatever_a_crash_came_between() {
        let mut world = World::new();
        let pump = world.pump();
        world.receive(&pump, "one", true).await.unwrap();
        world.receive(&pump, "one", false).await.unwrap();
        // Stored in an earlier life, which ended before it was logged.
        let pump = world.pump();
        world.receive(&pump, "two", false).await.unwrap();
        world.receive(&pump, "one", false).await.unwrap();
        world.receive(&pump, "three", true).await.unwrap();
        pump.flush().await;
        for number in 1..=3 {
            assert_eq!(world.next().await.0, number);
        }
        assert_eq!(world.logged().await, 3);
    }

    #[tokio::test]
    async fn what_was_received_is_durable_before_it_is_acknowledged() {
        let world = World::new();
        let pump = world.pump();
        world.store.set_unavailable(true);
        let mut receiving = Box::pin(world.receive(&pump, "one", true));
        assert!(futures::poll!(&mut receiving).is_pending());
        world.store.wait_for_commands(2).await;
        assert!(futures::poll!(&mut receiving).is_pending());
        world.store.set_unavailable(false);
        receiving.await.unwrap();
        assert_eq!(world.logged().await, 1);
    }

    #[tokio::test]
    async fn a_session_that_closes_waits_no_longer_and_is_told() {
        let world = World::new();
        let pump = world.pump();
        world.store.block(true);
        let mut receiving = Box::pin(world.receive(&pump, "one", true));
        assert!(futures::poll!(&mut receiving).is_pending());
        world.stop.cancel();
        assert_eq!(receiving.await.unwrap_err().kind(), ErrorKind::Closed);
        world.store.block(false);
    }

    #[tokio::test]
    async fn the_last_events_of_a_session_that_stops_are_logged() {
        let world = World::new();
        let pump = world.pump();
        world.stop.cancel();
        pump.publish(EventKind::Panicked);
        pump.flush().await;
        assert_eq!(world.logged().await, 1);
    }
}
