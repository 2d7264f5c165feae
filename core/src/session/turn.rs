//! Waiting for a session's turn to connect, and saying so in its status.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use super::live::LiveSession;
use super::pacing::{BreakerState, ConnectPermit, Priority};
use super::status::{Status, StatusEvent};
use super::supervisor::{detailed, ignore_written};
use crate::lease::HeldLease;
use crate::store::StatusDetail;

/// A wait shorter than this is not worth a write.
const SHOWN_AFTER: Duration = Duration::from_secs(3);

/// Waits until the session may connect. `None` if it must end instead.
pub(super) async fn turn(live: &LiveSession, held: &HeldLease, priority: Priority) -> Option<ConnectPermit> {
    let pacer = &live.context.pacer;
    let mut breaker = pacer.breaker();
    let admitted = pacer.admit(&live.id, priority);
    tokio::pin!(admitted);
    let long_wait = live.context.clock.sleep(SHOWN_AFTER);
    tokio::pin!(long_wait);
    let mut waits_long = false;
    let mut shown: Option<StatusDetail> = None;
    // Written beside the wait: a slow store must not hold up the whole line.
    let mut writing: Option<BoxFuture<'_, ()>> = None;
    let permit = loop {
        let reason = match *breaker.borrow_and_update() {
            BreakerState::Open { until } => Some(StatusDetail::FleetPaused { until }),
            BreakerState::Closed | BreakerState::HalfOpen if waits_long => Some(StatusDetail::WaitingForTurn),
            _ => None,
        };
        tokio::select! {
            biased;
            () = live.stop.cancelled() => break None,
            () = held.lost.cancelled() => break None,
            permit = &mut admitted => break Some(permit),
            () = poll_if_some(&mut writing) => writing = None,
            // The sender lives in the pacer, which this session holds.
            _ = breaker.changed() => {}
            () = &mut long_wait, if !waits_long => waits_long = true,
            () = std::future::ready(()), if writing.is_none() && reason.is_some() && reason != shown => {
                shown = reason.clone();
                writing = reason.map(|reason| say_why(live, reason).boxed());
            }
        }
    };
    if let Some(writing) = writing {
        // It must not land after what comes next.
        writing.await;
    }
    permit
}

async fn poll_if_some(future: &mut Option<BoxFuture<'_, ()>>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn say_why(live: &LiveSession, detail: StatusDetail) {
    let event = match live.status() {
        Status::Pending => StatusEvent::Started,
        _ => StatusEvent::ConnectionEnded,
    };
    ignore_written(live.apply_status(event, detailed(detail)).await);
}
