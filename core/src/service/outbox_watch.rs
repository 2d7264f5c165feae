//! One look at the store for the outboxes of all sessions, now and then.

use std::sync::{Arc, Weak};

use super::handle::Inner;
use crate::error::Result;
use crate::session::context::SessionContext;
use crate::session::outbox::{LOOK_EVERY, expire_orphans, wake};
use crate::store::OutboxBacklog;

/// Wakes the senders of sessions that run here, and ends what has expired for those that run nowhere. Ends with the
/// service.
pub(super) async fn watch(service: Weak<Inner>) {
    let Some(context) = service.upgrade().map(|inner| Arc::clone(&inner.context)) else { return };
    let rounds = async {
        loop {
            match context.store.outbox_backlog().await {
                Ok(found) => {
                    context.outboxes.replace(&found);
                    for backlog in found {
                        attend_to(&service, &context, &backlog).await;
                    }
                }
                Err(error) => tracing::debug!(%error, "the outboxes could not be looked at; trying again"),
            }
            context.clock.sleep(LOOK_EVERY).await;
        }
    };
    // `None`: the service has ended.
    let _: Option<()> = context.stop.run_until_cancelled(rounds).await;
}

async fn attend_to(service: &Weak<Inner>, context: &SessionContext, backlog: &OutboxBacklog) {
    let session = &backlog.session;
    let has_expired = backlog.first_expiry <= context.clock.now();
    let live = service.upgrade().and_then(|inner| inner.live(session)).filter(|live| !live.has_ended());
    let ended: Result<()> = match live {
        Some(live) if live.is_connected() || has_expired => {
            wake(&live);
            Ok(())
        }
        Some(live) if live.is_parked() => {
            live.wake_if_parked();
            Ok(())
        }
        None if has_expired => expire_orphans(context, session).await,
        _ => Ok(()),
    };
    if let Err(error) = ended {
        tracing::warn!(session = %session, %error, "expired messages could not be taken out of the outbox; trying again");
    }
}
