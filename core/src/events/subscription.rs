//! A bounded queue of events with a stated policy for when it is full.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::Stream;
use tokio::sync::Notify;

use super::{Event, EventKind};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// What happens when a subscription's queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The session waits, and after it WhatsApp: nothing is dropped, but a consumer that hangs holds up its sessions.
    Wait,
    /// The oldest event goes; an [`EventKind::Lagged`] in its place says how many went.
    #[default]
    DropOldest,
    /// The subscription ends with an error.
    Close,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    sessions: Option<Vec<String>>,
}

impl Filter {
    /// Events of all sessions.
    pub fn all() -> Self {
        Self::default()
    }

    /// Events of one session.
    pub fn session(session_id: impl Into<String>) -> Self {
        Self { sessions: Some(vec![session_id.into()]) }
    }

    /// Events of these sessions.
    pub fn sessions(session_ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { sessions: Some(session_ids.into_iter().map(Into::into).collect()) }
    }

    pub(super) fn admits(&self, event: &Event) -> bool {
        self.sessions.as_ref().is_none_or(|sessions| sessions.contains(&event.session_id))
    }
}

/// How a subscription queues.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionOptions {
    /// Which events.
    pub filter: Filter,
    /// Events that wait at most; at least 1.
    pub capacity: usize,
    /// What happens beyond that.
    pub overflow: Overflow,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        Self { filter: Filter::all(), capacity: 1_024, overflow: Overflow::DropOldest }
    }
}

impl From<Filter> for SubscriptionOptions {
    fn from(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }
}

impl SubscriptionOptions {
    /// Another capacity.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Another policy.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) options: SubscriptionOptions,
    state: Mutex<State>,
    pub(super) readable: Notify,
    pub(super) writable: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    dropped: u64,
    closed: Option<Closed>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    ByUser,
    Overflowed,
    ServiceEnded,
}

/// What became of an event that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offered {
    Taken,
    Full,
    Gone,
}

impl Queue {
    pub(super) fn new(options: SubscriptionOptions) -> Self {
        Self { options, state: Mutex::default(), readable: Notify::new(), writable: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn offer(&self, event: &Arc<Event>) -> Offered {
        let mut state = self.state();
        if state.closed.is_some() {
            return Offered::Gone;
        }
        if state.events.len() >= self.options.capacity {
            match self.options.overflow {
                Overflow::Wait => return Offered::Full,
                Overflow::DropOldest => {
                    state.events.pop_front();
                    state.dropped += 1;
                    crate::metrics::event_dropped();
                }
                Overflow::Close => {
                    state.closed = Some(Closed::Overflowed);
                    drop(state);
                    self.readable.notify_one();
                    return Offered::Gone;
                }
            }
        }
        state.events.push_back(Arc::clone(event));
        drop(state);
        self.readable.notify_one();
        Offered::Taken
    }

    /// Counts an event that could not be queued.
    pub(super) fn drop_one(&self) {
        self.state().dropped += 1;
        crate::metrics::event_dropped();
        self.readable.notify_one();
    }

    pub(super) fn close(&self, why: Closed) {
        self.state().closed.get_or_insert(why);
        self.readable.notify_one();
        self.writable.notify_waiters();
    }

    fn take(&self) -> Option<Result<Option<Arc<Event>>>> {
        let mut state = self.state();
        if state.dropped > 0 {
            let dropped = std::mem::take(&mut state.dropped);
            let next = state.events.front();
            // It stands where the dropped ones stood: in front of the next, with no number of its own.
            let lagged = Event {
                seq: 0,
                session_id: String::new(),
                at: next.map_or(Timestamp::default(), |event| event.at),
                kind: EventKind::Lagged { dropped },
            };
            return Some(Ok(Some(Arc::new(lagged))));
        }
        if let Some(event) = state.events.pop_front() {
            drop(state);
            self.writable.notify_waiters();
            return Some(Ok(Some(event)));
        }
        match state.closed {
            None => None,
            Some(Closed::Overflowed) => Some(Err(Error::new(
                ErrorKind::RateLimited,
                "the subscription fell behind and was closed; subscribe again, or with a larger capacity",
            ))),
            Some(Closed::ByUser | Closed::ServiceEnded) => Some(Ok(None)),
        }
    }
}

/// A stream of events. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next event; `None` once the service has ended and all events were taken. An error ends it too.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>> {
        loop {
            let readable = self.queue.readable.notified();
            if let Some(outcome) = self.queue.take() {
                return outcome;
            }
            readable.await;
        }
    }

    /// Like [`next`](Self::next), with a deadline: `Timeout` if nothing came.
    pub async fn next_within(&mut self, patience: Duration) -> Result<Option<Arc<Event>>> {
        tokio::time::timeout(patience, self.next())
            .await
            .map_err(|_| Error::new(ErrorKind::Timeout, "no event in that time"))?
    }

    /// As a [`Stream`], for combinators.
    pub fn into_stream(self) -> impl Stream<Item = Result<Arc<Event>>> {
        futures::stream::unfold(self, |mut subscription| async move {
            subscription.next().await.transpose().map(|item| (item, subscription))
        })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close(Closed::ByUser);
    }
}
