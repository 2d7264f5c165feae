//! What the sessions and the consumers of one process share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::options::DurableEventOptions;
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// The log of events as this process sees it.
pub(crate) struct DurableLog {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: SharedClock,
    pub(super) options: DurableEventOptions,
    inboxes: Mutex<Vec<Weak<Inbox>>>,
    /// Names of consumers that are open in this process.
    names: Mutex<HashSet<String>>,
    /// What must be waited for at the end: runners, and leases on their way back.
    pub(super) tasks: TaskTracker,
}

/// What a consumer has not looked at yet.
pub(super) struct Inbox {
    consumer: String,
    news: Mutex<News>,
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct News {
    /// The last event of sessions that logged something.
    pub(super) last: HashMap<String, u64>,
    /// Whether dead letters are to be replayed.
    pub(super) replays: bool,
}

impl std::fmt::Debug for DurableLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableLog").field("options", &self.options).finish_non_exhaustive()
    }
}

impl DurableLog {
    pub(crate) fn new(store: Arc<dyn Store>, clock: SharedClock, options: DurableEventOptions) -> Self {
        Self {
            store,
            clock,
            options,
            inboxes: Mutex::default(),
            names: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Tells all consumers of this process how far a session's log goes now.
    pub(super) fn announce(&self, session: &str, last: u64) {
        self.tell(
            |_| true,
            |news| {
                news.last.insert(session.to_owned(), last);
            },
        );
    }

    /// Tells one consumer, if it is open in this process, that dead letters are to be replayed.
    pub(super) fn announce_replay(&self, consumer: &str) {
        self.tell(|inbox| inbox.consumer == consumer, |news| news.replays = true);
    }

    fn tell(&self, whom: impl Fn(&Inbox) -> bool, note: impl Fn(&mut News)) {
        lock(&self.inboxes).retain(|inbox| {
            let Some(inbox) = inbox.upgrade() else { return false };
            if whom(&inbox) {
                note(&mut lock(&inbox.news));
                inbox.wake.notify_one();
            }
            true
        });
    }

    pub(super) fn open_inbox(&self, consumer: &str) -> Arc<Inbox> {
        let inbox =
            Arc::new(Inbox { consumer: consumer.to_owned(), news: Mutex::default(), wake: Notify::new() });
        lock(&self.inboxes).push(Arc::downgrade(&inbox));
        inbox
    }

    /// Waits until all runners have ended, and all leases of consumers that were closed are back.
    pub(crate) async fn settled(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Takes a name for this process. `Conflict` if it is taken.
    pub(super) fn take_name(self: &Arc<Self>, name: &str) -> Result<NameGuard> {
        if lock(&self.names).insert(name.to_owned()) {
            return Ok(NameGuard { log: Arc::clone(self), name: name.to_owned() });
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the consumer {name:?} is open in this process already; use that one, or close it first"),
        ))
    }
}

impl Inbox {
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *lock(&self.news))
    }
}

/// Gives the name back when it goes.
pub(super) struct NameGuard {
    log: Arc<DurableLog>,
    name: String,
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        lock(&self.log.names).remove(&self.name);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
