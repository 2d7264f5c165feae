//! Waiting for a session's turn to connect, and saying so in its status.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};

use super::live::LiveSession;
use super::pacing::{BreakerState, ConnectPermit, Priority};
use super::status::{Status, StatusEvent};
use super::supervisor::{detailed, ignore_written};
use crate::lease::HeldLease;
use crate::store::StatusDetail;
use crate::store::patience::until_available;

/// A wait shorter than this is not worth a write.
const SHOWN_AFTER: Duration = Duration::from_secs(3);

/// How the wait for a turn ended.
pub(super) enum Turn {
    Come(ConnectPermit),
    /// It was told to park instead.
    Park,
    /// It was stopped, or lost its lease.
    End,
}

/// Waits until the session may connect.
pub(super) async fn turn(live: &LiveSession, held: &HeldLease, priority: Priority) -> Turn {
    let pacer = &live.context.pacer;
    let mut breaker = pacer.breaker();
    let mut admitted = Box::pin(pacer.admit(&live.id, priority));
    let long_wait = live.context.clock.sleep(SHOWN_AFTER);
    tokio::pin!(long_wait);
    let mut waits_long = false;
    let mut shown: Option<StatusDetail> = None;
    // Written beside the wait: a slow store must not hold up the whole line.
    let mut writing: Option<BoxFuture<'_, ()>> = None;
    let turn = loop {
        let reason = match *breaker.borrow_and_update() {
            BreakerState::Open { until } => Some(StatusDetail::FleetPaused { until }),
            BreakerState::Closed | BreakerState::HalfOpen if waits_long => Some(StatusDetail::WaitingForTurn),
            _ => None,
        };
        tokio::select! {
            biased;
            () = live.stop.cancelled() => break Turn::End,
            () = held.lost.cancelled() => break Turn::End,
            permit = &mut admitted => break Turn::Come(permit),
            () = live.told_to_park() => break Turn::Park,
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
    // Who leaves the line must not hold it up.
    drop(admitted);
    if let Some(writing) = writing {
        // It must not land after what comes next.
        writing.await;
    }
    let Turn::Come(permit) = turn else { return turn };
    // A process that was paused for longer than its lease must not connect beside the new owner.
    let context = &live.context;
    let still_ours =
        until_available(&context.clock, &live.stop, |_| {}, || context.leases.confirm(held)).await;
    if still_ours.is_ok() { Turn::Come(permit) } else { Turn::End }
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
