//! What follows when a connection ends: the table of DESIGN.md, "A session's life".

use std::time::Duration;

use super::connection_run::{CLOSE_PATIENCE, ConnectionRun};
use super::live::Goal;
use super::reconnect::BackOff;
use super::status::StatusEvent;
use super::supervisor::{Next, detailed, ignore_written};
use crate::engine::events::EndReason;
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
        tracing::info!(session = %live.id, ?reason, "the connection ended");
        match reason {
            EndReason::RestartRequired => Next::Reconnect(Duration::ZERO),
            EndReason::Lost => {
                Next::Reconnect(self.pause_after_loss(back_off, "the connection was lost").await)
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
            EndReason::ClientOutdated => {
                let detail = StatusDetail::ClientOutdated;
                self.end_for_good(
                    detail,
                    ErrorKind::Protocol,
                    "WhatsApp wants a newer client version; update it",
                )
                .await
            }
            EndReason::Refused { code } => {
                let message =
                    format!("WhatsApp refused the login with code {code}; it will not help to try again");
                let detail = StatusDetail::Failed { message: message.clone() };
                self.end_for_good(detail, ErrorKind::Protocol, &message).await
            }
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

    pub(super) async fn close_as_asked(&self) -> Result<()> {
        let live = self.live;
        if live.goal() == Goal::LogOut {
            self.connection.log_out(CLOSE_PATIENCE).await;
            live.context.store.delete_auth(&live.id, self.auth.tenure()).await?;
            let update = detailed(StatusDetail::LoggedOut);
            ignore_written(live.apply_status(StatusEvent::ConnectionEnded, update).await);
        } else {
            self.connection.close(CLOSE_PATIENCE).await;
            ignore_written(live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::default()).await);
        }
        Ok(())
    }
}

/// The update at an end that counts as a failed attempt.
fn ended(detail: StatusDetail, why: &str) -> StatusUpdate {
    StatusUpdate {
        detail: Some(detail),
        disconnect_reason: Some(why.to_owned()),
        attempt_failed: true,
        ..StatusUpdate::default()
    }
}
