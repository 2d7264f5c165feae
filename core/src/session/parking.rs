//! A parked session: no socket, no engine, no keys in memory; still ours, and woken on demand. WhatsApp queues what
//! comes meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::live::LiveSession;
use super::orders::Order;
use super::pacing::Priority;
use super::status::{Status, StatusEvent};
use super::supervisor::{detailed, ignore_written};
use crate::engine::connection::EngineConnection;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::HeldLease;
use crate::store::StatusDetail;

/// How long a session that is told to park may take.
const PARK_PATIENCE: Duration = Duration::from_secs(15);

/// Stays parked until it is woken; returns with what priority it comes back. `None` if it must end instead.
pub(super) async fn stay_parked(live: &LiveSession, held: &HeldLease) -> Option<Priority> {
    let clock = &live.context.clock;
    let schedule = live.context.options.park_wake_every;
    let until = schedule.map(|every| clock.now().plus(every));
    ignore_written(
        live.apply_status(StatusEvent::ConnectionEnded, detailed(StatusDetail::Parked { until })).await,
    );
    let due = async {
        match schedule {
            Some(every) => clock.sleep(every).await,
            None => std::future::pending().await,
        }
    };
    let woken = tokio::select! {
        biased;
        () = live.stop.cancelled() => None,
        () = held.lost.cancelled() => None,
        () = live.wake.notified() => Some(Priority::Asked),
        () = due => Some(Priority::Returning),
    };
    live.activity.set_woken_on_schedule(woken == Some(Priority::Returning));
    live.orders.clear();
    // Whoever wants something goes on waiting for it: the flag falls once it is connected, or could not connect.
    woken
}

impl LiveSession {
    /// From here on whoever wants something wakes it. A wake-up from before is not meant for this sleep.
    pub(super) fn begin_parking(&self) {
        let _stale = self.wake.notified().now_or_never();
        self.set_parked(true);
    }

    /// Completes when it is told to park; a restart that was asked for is moot without a connection.
    pub(super) async fn told_to_park(&self) {
        while self.orders.next().await != Order::Park {}
        self.begin_parking();
    }

    /// Whether it has been idle for long enough, and nobody waits for anything.
    pub(crate) fn may_park(&self) -> bool {
        let options = &self.context.options;
        let limit = if self.activity.woken_on_schedule() {
            Some(options.park_awake_for)
        } else {
            options.park_idle_after
        };
        let idle = self.activity.idle_for(self.context.clock.monotonic());
        limit.is_some_and(|limit| idle >= limit)
            && self.is_connected()
            && self.awaits_no_ack()
            && !self.context.outboxes.has(&self.id)
    }

    /// Has the session parked, and waits until it is.
    pub(crate) async fn park(&self) -> Result<()> {
        const OP: &str = "park_session";
        if self.own_jid().is_empty() || self.status() == Status::Error {
            return Err(Error::new(
                ErrorKind::InvalidState,
                "only a session that is linked and well can be parked; stop this one instead",
            )
            .of_session(&self.id)
            .during(OP));
        }
        let mut parked = self.parked();
        self.orders.give(Order::Park);
        let wait = async {
            tokio::select! {
                biased;
                outcome = parked.wait_for(|parked| *parked) => outcome.is_ok(),
                _ended = self.wait_ended() => false,
            }
        };
        match tokio::time::timeout(PARK_PATIENCE, wait).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(ErrorKind::InvalidState, "the session has ended; start it first")),
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, "the session could not be parked at present; try again"))
            }
        }
        .map_err(|error| error.of_session(&self.id).during(OP))
    }

    /// The engine of a session that is logged in; one that is parked is woken and waited for.
    pub(crate) async fn awake_engine(&self, patience: Duration) -> Result<Arc<EngineConnection>> {
        self.activity.traffic(self.context.clock.monotonic());
        if self.wake_if_parked() {
            self.wait_connected(patience).await?;
        }
        self.connected_engine()
    }

    /// True if it was parked and is on its way back.
    pub(crate) fn wake_if_parked(&self) -> bool {
        let parked = self.is_parked();
        if parked {
            self.wake.notify_one();
        }
        parked
    }
}
