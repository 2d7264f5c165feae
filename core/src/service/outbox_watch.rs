//! One look at the store for the outboxes of all sessions, now and then.

use std::sync::{Arc, Weak};

use super::handle::Inner;
use crate::session::outbox::{LOOK_EVERY, expire_orphans, wake};

/// Wakes the senders of sessions that run here, and ends what has expired for those that run nowhere. Ends with the
/// service.
pub(super) async fn watch(service: Weak<Inner>) {
    let Some(context) = service.upgrade().map(|inner| Arc::clone(&inner.context)) else { return };
    loop {
        match context.store.outbox_backlog().await {
            Ok(found) => {
                context.outboxes.replace(&found);
                let now = context.clock.now();
                for backlog in found {
                    let Some(inner) = service.upgrade() else { return };
                    let has_expired = backlog.first_expiry <= now;
                    match inner.live(&backlog.session).filter(|live| !live.has_ended()) {
                        Some(live) if live.is_connected() || has_expired => wake(&live),
                        Some(_) => {}
                        None if has_expired => {
                            if let Err(error) = expire_orphans(&context, &backlog.session).await {
                                tracing::warn!(session = %backlog.session, %error, "expired messages could not be taken out of the outbox; trying again");
                            }
                        }
                        None => {}
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the outboxes could not be looked at; trying again"),
        }
        if context.stop.run_until_cancelled(context.clock.sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}
