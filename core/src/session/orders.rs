//! What a running session is told to do, besides ending.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::health::RestartReason;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Close the socket, free the memory, wait to be woken.
    Park,
    /// Start over with a new engine.
    Restart(RestartReason),
}

/// One order at a time; a newer one replaces one that was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pending: Mutex<Option<Order>>,
    given: Notify,
}

impl Orders {
    pub(crate) fn give(&self, order: Order) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.given.notify_one();
    }

    /// Completes with the next order; cancel-safe: it is taken only when this completes.
    pub(super) async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.take() {
                return order;
            }
            self.given.notified().await;
        }
    }

    /// An order that no longer makes sense is dropped.
    pub(super) fn clear(&self) {
        let _moot = self.take();
    }

    fn take(&self) -> Option<Order> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
