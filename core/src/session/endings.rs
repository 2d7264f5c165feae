//! What follows when a connection ends: the table of DESIGN.md, "A session's life".

use std::time::Duration;

use tokio::sync::mpsc;

use super::connection_run::{CLOSE_PATIENCE, ConnectionRun};
use super::live::Goal;
use super::pacing::Refusal;
use super::reconnect::BackOff;
use super::status::StatusEvent;
use super::supervisor::{Next, detailed, ignore_written};
use crate::engine::events::{EndReason, EngineEvent};
use crate::error::{Error, ErrorKind, Result};
use crate::session_manager::StatusUpdate;
use crate::store::StatusDetail;
use crate::store::patience::until_available;

impl ConnectionRun<'_> {
    /// The table of what follows on each end.
    pub(super) async fn after_end(&mut self, said: Option<EndReason>, back_off: &mut BackOff) -> Next {
        let live = self.live;
        if self.link_over && !self.connection.is_linked() {
            self.connection.close(CLOSE_PATIENCE).await;
            let update = StatusUpdate {
                detail: Some(StatusDetail::LinkTimedOut),
                disconnect_reason: Some("nobody used the code in time".to_owned()),
                ..StatusUpdate::default()
            };
            ignore_written(live.apply_status(StatusEvent::LinkEnded, update).await);
            return Next::End(Err(Error::new(
                ErrorKind::Timeout,
                "the session was not linked in time; start it again",
            )));
        }
        let reason = match (self.end.take(), said) {
            // The event knows more (how long a ban lasts) unless it only says that the link is gone.
            (Some(EndReason::Lost) | None, Some(said)) => said,
            (Some(reason), _) => reason,
            (None, None) => EndReason::Lost,
        };
        tracing::info!(?reason, "the connection ended");
        live.series.disconnected(reason.name());
        let fleet_pauses = self.tell_pacer(&reason);
        match reason {
            EndReason::RestartRequired => Next::Reconnect(Duration::ZERO),
            EndReason::Lost => {
                Next::Reconnect(self.pause_after_loss(back_off, "the connection was lost").await)
            }
            EndReason::Overloaded => {
                Next::Reconnect(self.pause_after_loss(back_off, "WhatsApp is overloaded").await)
            }
            EndReason::RateLimited => {
                let pause = back_off.after_penalty(&live.context.clock);
                self.wait_status(
                    StatusEvent::ConnectionEnded,
                    back_off,
                    pause,
                    "WhatsApp asked to slow down",
                )
                .await;
                Next::Reconnect(pause)
            }
            EndReason::Replaced => {
                let pause = back_off.after_penalty(&live.context.clock);
                let update = ended(StatusDetail::Replaced, "another client logged in with these credentials");
                ignore_written(live.apply_status(StatusEvent::TakenOver, update).await);
                Next::Reconnect(pause)
            }
            EndReason::LoggedOut { code } => self.logged_out(code).await,
            EndReason::Banned { lasts } => self.banned(lasts).await,
            EndReason::ClientOutdated => self.outdated(fleet_pauses).await,
            EndReason::Refused { code } => {
                let message =
                    format!("WhatsApp refused the login with code {code}; it will not help to try again");
                let detail = StatusDetail::Failed { message: message.clone() };
                self.end_for_good(detail, ErrorKind::Protocol, &message).await
            }
        }
    }

    /// Lets the fleet learn from this end. True if WhatsApp refuses so many that all pause.
    fn tell_pacer(&mut self, reason: &EndReason) -> bool {
        let refusal = match reason {
            EndReason::ClientOutdated => Some(Refusal::Outdated),
            EndReason::RateLimited => Some(Refusal::RateLimited),
            EndReason::Overloaded => Some(Refusal::Overloaded),
            // Without a permit it had been answered before.
            EndReason::Lost if self.permit.is_some() => Some(Refusal::Unreachable),
            _ => None,
        };
        match (self.permit.take(), refusal) {
            (Some(permit), Some(refusal)) => permit.refused(refusal),
            (Some(permit), None) => {
                permit.answered();
                false
            }
            (None, Some(refusal)) => self.live.context.pacer.refused(&self.live.id, refusal),
            (None, None) => false,
        }
    }

    /// One session called outdated is the end of it; the whole fleet called so waits for a version that is taken.
    async fn outdated(&self, fleet_pauses: bool) -> Next {
        let live = self.live;
        self.connection.close(CLOSE_PATIENCE).await;
        if !fleet_pauses {
            let update = ended(StatusDetail::ClientOutdated, OUTDATED);
            ignore_written(live.apply_status(StatusEvent::Failed, update).await);
            if !self.others_follow().await {
                return Next::End(Err(Error::new(ErrorKind::Protocol, OUTDATED).of_session(&live.id)));
            }
        }
        live.context.forget_version().await;
        Next::Rebuild(Duration::ZERO)
    }

    /// Waits a little for the breaker: the first few of an outage cannot know that they are the first of many.
    async fn others_follow(&self) -> bool {
        let context = &self.live.context;
        if context.options.breaker_threshold == 0 {
            return false;
        }
        let mut breaker = context.pacer.breaker();
        tokio::select! {
            biased;
            () = self.live.stop.cancelled() => false,
            () = self.held.lost.cancelled() => false,
            opened = breaker.wait_for(|state| state.until().is_some()) => opened.is_ok(),
            () = context.clock.sleep(context.options.breaker_window) => false,
        }
    }

    pub(super) async fn pause_after_loss(&mut self, back_off: &mut BackOff, why: &str) -> Duration {
        let clock = &self.live.context.clock;
        let up = self.connected_at.map_or(Duration::ZERO, |at| clock.monotonic().saturating_sub(at));
        let pause = back_off.after_loss(up, clock);
        self.wait_status(StatusEvent::ConnectionEnded, back_off, pause, why).await;
        pause
    }

    async fn wait_status(&self, event: StatusEvent, back_off: &BackOff, pause: Duration, why: &str) {
        let until = self.live.context.clock.now().plus(pause);
        let detail = StatusDetail::BackOff { until, attempt: back_off.failures() };
        let update = ended(detail, why);
        ignore_written(self.live.apply_status(event, update).await);
    }

    async fn logged_out(&mut self, code: i32) -> Next {
        let live = self.live;
        self.connection.abandon().await;
        let reason = format!("the phone removed this device (code {code})");
        let context = &live.context;
        let archived = until_available(
            &context.clock,
            &live.stop,
            |_| {},
            || context.store.archive_auth(&live.id, self.auth.tenure(), &reason),
        )
        .await;
        if let Err(error) = archived {
            tracing::error!(session = %live.id, %error, "the credentials of a logged-out session were not archived");
        }
        self.end_for_good(
            StatusDetail::LoggedOut,
            ErrorKind::LoggedOut,
            "the phone removed this device; link it anew",
        )
        .await
    }

    async fn banned(&mut self, lasts: Option<Duration>) -> Next {
        let live = self.live;
        let until = lasts.map(|lasts| live.context.clock.now().plus(lasts));
        if let Some(lasts) = lasts {
            live.limits.banned_for(lasts);
        }
        let Some(lasts) = lasts else {
            let detail = StatusDetail::Banned { until };
            return self
                .end_for_good(
                    detail,
                    ErrorKind::Banned,
                    "WhatsApp locked the account; see to it on the phone",
                )
                .await;
        };
        let update = ended(StatusDetail::Banned { until }, "WhatsApp banned the account for a time");
        ignore_written(live.apply_status(StatusEvent::Failed, update).await);
        self.connection.close(CLOSE_PATIENCE).await;
        Next::Rebuild(lasts)
    }

    async fn end_for_good(&self, detail: StatusDetail, kind: ErrorKind, message: &str) -> Next {
        self.connection.close(CLOSE_PATIENCE).await;
        let update = ended(detail, message);
        ignore_written(self.live.apply_status(StatusEvent::Failed, update).await);
        Next::End(Err(Error::new(kind, message.to_owned()).of_session(&self.live.id)))
    }

    pub(super) async fn close_as_asked(
        &self,
        events: &mut mpsc::UnboundedReceiver<Box<EngineEvent>>,
    ) -> Result<()> {
        let live = self.live;
        if live.goal() == Goal::LogOut {
            let removed = self.connection.log_out(CLOSE_PATIENCE).await;
            if let Err(error) = removed {
                ignore_written(
                    live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::default()).await,
                );
                return Err(error.of_session(&live.id));
            }
            live.context.store.delete_auth(&live.id, self.auth.tenure()).await?;
            let update = detailed(StatusDetail::LoggedOut);
            ignore_written(live.apply_status(StatusEvent::ConnectionEnded, update).await);
        } else {
            if self.auth.waiting_since().borrow().is_some() {
                // Nothing can be committed: what came in stays unacknowledged, and WhatsApp delivers it again.
                self.connection.abandon().await;
            } else {
                self.connection.close(CLOSE_PATIENCE).await;
            }
            self.take_last(events).await;
            ignore_written(live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::default()).await);
        }
        Ok(())
    }
}

const OUTDATED: &str = "WhatsApp wants a newer client version; update it";

/// The update at an end that counts as a failed attempt.
fn ended(detail: StatusDetail, why: &str) -> StatusUpdate {
    StatusUpdate {
        detail: Some(detail),
        disconnect_reason: Some(why.to_owned()),
        attempt_failed: true,
        ..StatusUpdate::default()
    }
}
