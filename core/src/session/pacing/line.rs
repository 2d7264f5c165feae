//! Who waits to connect: in turn, those whom a user waits for first.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use super::{Pacer, Priority};

/// The order of the line: by priority, then by arrival.
type Key = (Priority, u64);

#[derive(Default)]
pub(super) struct Line {
    waiting: BTreeMap<Key, Arc<Notify>>,
    arrivals: u64,
}

impl Line {
    fn join(&mut self, priority: Priority) -> (Key, Arc<Notify>) {
        self.arrivals += 1;
        let key = (priority, self.arrivals);
        let bell = Arc::new(Notify::new());
        self.waiting.insert(key, Arc::clone(&bell));
        (key, bell)
    }

    pub(super) fn is_first(&self, place: &Place) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| *first == place.key)
    }

    /// Takes a place out of the line; the next one is woken.
    pub(super) fn leave(&mut self, place: &Place) {
        if self.waiting.remove(&place.key).is_some() {
            self.wake_first();
        }
    }

    /// Only the first can go: nobody else need look.
    pub(super) fn wake_first(&self) {
        if let Some((_, bell)) = self.waiting.first_key_value() {
            bell.notify_one();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// A place in the line; dropping it leaves the line.
pub(super) struct Place {
    pacer: Arc<Pacer>,
    key: Key,
    bell: Arc<Notify>,
}

impl Place {
    pub(super) fn take(pacer: &Arc<Pacer>, priority: Priority) -> Self {
        let (key, bell) = pacer.inner().line.join(priority);
        Self { pacer: Arc::clone(pacer), key, bell }
    }

    pub(super) async fn woken(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pacer.inner().line.leave(self);
    }
}
