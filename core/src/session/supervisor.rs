//! The one task that runs a session: lease, auth state, connection after connection, until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, mpsc};

use super::auth::{self, LoadedAuth};
use super::inbound::commit;
use super::link::{LinkStep, Secret};
use super::live::{Ended, Goal, LiveSession};
use super::reconnect::BackOff;
use super::status::StatusEvent;
use super::updates::take_updates;
use crate::engine::connection::{EngineConnection, EngineSettings};
use crate::engine::events::{EndReason, EngineEvent};
use crate::engine::session_auth::SessionAuth;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EventKind, LinkCode};
use crate::lease::HeldLease;
use crate::qr::QrCode;
use crate::service::options::PreloadChatsType;
use crate::session_manager::StatusUpdate;
use crate::store::patience::until_available;
use crate::store::{SessionPatch, StatusDetail};

/// How long a session that is stopped may take to flush and close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(8);
/// How long the server gets to close after it said why.
const SERVER_CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Events taken in one go, so that their changes are one write.
const EVENTS_AT_ONCE: usize = 256;

/// Runs the session until its end and says why it ended. The lease is released on every path but a lost one.
pub(crate) async fn supervise(live: Arc<LiveSession>) -> Ended {
    let held = match acquire(&live).await {
        Ok(held) => held,
        Err(error) => return refused_start(&live, error).await,
    };
    let outcome = run(&live, &held).await;
    live.set_connected(false);
    live.set_connection(None);
    let ended = match outcome {
        Ok(()) => Ended::AsAsked,
        Err(error) => Ended::Failed { kind: error.kind(), message: error.message().to_owned() },
    };
    if let Err(error) = live.context.leases.release(&held).await {
        tracing::warn!(session = %live.id, %error, "the lease could not be released; it runs out by itself");
    }
    ended
}

async fn acquire(live: &LiveSession) -> Result<HeldLease> {
    let context = &live.context;
    until_available(&context.clock, &live.stop, |_| {}, || context.leases.acquire(&live.id)).await
}

async fn refused_start(live: &LiveSession, error: Error) -> Ended {
    if error.kind() == ErrorKind::Closed {
        return Ended::AsAsked;
    }
    tracing::warn!(session = %live.id, %error, "the session was not started");
    // The record is the other owner's business; only a failure of our own is written into it.
    if error.kind() != ErrorKind::Conflict {
        let update = StatusUpdate::detail(StatusDetail::Failed { message: error.to_string() });
        ignore_written(live.apply_status(StatusEvent::Failed, update).await);
    }
    Ended::Failed { kind: error.kind(), message: error.message().to_owned() }
}

/// `apply_status` has logged it; at these places the session goes on, or ends, all the same.
fn ignore_written(outcome: Result<()>) {
    drop(outcome);
}

/// What to do after a connection or a client has ended.
enum Next {
    /// Connect again with the same client, after a pause.
    Reconnect(Duration),
    /// Load the auth state anew and build a new client, after a pause.
    Rebuild(Duration),
    /// The end, as asked or with the status written already.
    End(Result<()>),
}

async fn run(live: &Arc<LiveSession>, held: &HeldLease) -> Result<()> {
    let mut back_off = BackOff::new(&live.context.options);
    loop {
        ignore_written(live.apply_status(StatusEvent::Started, StatusUpdate::starting()).await);
        let next = match auth::load(live, held).await {
            Ok(loaded) => run_client(live, held, loaded, &mut back_off).await,
            Err(error) => Err(error),
        };
        let next = match next {
            Ok(next) => next,
            Err(error) => fail(live, held, error).await,
        };
        match next {
            Next::End(outcome) => return outcome,
            Next::Reconnect(pause) | Next::Rebuild(pause) => {
                if !rest(live, held, pause).await {
                    return stopped(live, held).await;
                }
            }
        }
    }
}

/// Sleeps. False if the session must end instead.
async fn rest(live: &LiveSession, held: &HeldLease, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = live.stop.cancelled() => false,
        () = held.lost.cancelled() => false,
        () = live.wake.notified() => true,
        () = live.context.clock.sleep(pause) => true,
    }
}

/// The end of a session that had no connection when it was told to end, or lost its lease.
async fn stopped(live: &LiveSession, held: &HeldLease) -> Result<()> {
    if held.lost.is_cancelled() {
        return Err(lost_lease(live).await);
    }
    ignore_written(live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::stopped()).await);
    Ok(())
}

async fn lost_lease(live: &LiveSession) -> Error {
    // The new owner writes the record from now on; here only the subscribers hear of it.
    let status = super::status::Status::Disconnected;
    live.publish(EventKind::Status { status, detail: Some(StatusDetail::OwnedElsewhere) }).await;
    Error::new(ErrorKind::Conflict, "another instance took the session over; nothing more is written here")
        .of_session(&live.id)
}

/// An error that no new connection mends.
async fn fail(live: &LiveSession, held: &HeldLease, error: Error) -> Next {
    if live.stop.is_cancelled() || error.kind() == ErrorKind::Closed {
        return Next::End(stopped(live, held).await);
    }
    if error.kind() == ErrorKind::Conflict {
        held.lost.cancel();
        return Next::End(Err(lost_lease(live).await));
    }
    tracing::error!(session = %live.id, %error, "the session cannot go on");
    let update = StatusUpdate::detail(StatusDetail::Failed { message: error.message().to_owned() })
        .because(error.message().to_owned());
    ignore_written(live.apply_status(StatusEvent::Failed, update).await);
    Next::End(Err(error))
}

async fn run_client(
    live: &Arc<LiveSession>,
    held: &HeldLease,
    loaded: LoadedAuth,
    back_off: &mut BackOff,
) -> Result<Next> {
    let LoadedAuth { auth } = loaded;
    let context = &live.context;
    let settings = EngineSettings {
        version: context.whatsapp_version().await,
        device_name: context.options.device_name.clone(),
        pre_key_count: context.options.pre_key_count,
        take_history: context.options.preload_chats.chats != PreloadChatsType::None,
        push_name: context.options.push_name.clone(),
    };
    let (connection, mut events) = EngineConnection::build(
        Arc::clone(&auth),
        &settings,
        context.sockets.clone(),
        commit(live, auth.closed()),
        context.runtime.tokio().clone(),
    )
    .await?;
    let connection = Arc::new(connection);
    if let Some(jid) = connection.identity().jid {
        live.set_own_jid(&jid);
    }
    live.set_connection(Some(Arc::clone(&connection)));
    loop {
        let mut run = ConnectionRun::new(live, held, &auth, &connection);
        let next = run.until_its_end(&mut events, back_off).await;
        live.set_connected(false);
        match next {
            Next::Reconnect(pause) => {
                if !rest(live, held, pause).await {
                    connection.close(CLOSE_PATIENCE).await;
                    return Ok(Next::End(stopped(live, held).await));
                }
            }
            next => {
                live.set_connection(None);
                return Ok(next);
            }
        }
    }
}

/// One connection, from the socket to its end.
struct ConnectionRun<'a> {
    live: &'a Arc<LiveSession>,
    held: &'a HeldLease,
    auth: &'a Arc<SessionAuth>,
    connection: &'a Arc<EngineConnection>,
    /// One of the few that may be connecting at the same time; given back once this one is through.
    permit: Option<SemaphorePermit<'a>>,
    end: Option<EndReason>,
    connected_at: Option<Duration>,
    link_over: bool,
}

/// Why the loop over a connection's events was left.
enum Left {
    /// The engine's `run` returned.
    Ended(Option<EndReason>),
    /// The engine's task panicked.
    Panicked,
    Stopped,
    LeaseLost,
    AuthClosed,
    StoreAway,
}

impl<'a> ConnectionRun<'a> {
    fn new(
        live: &'a Arc<LiveSession>,
        held: &'a HeldLease,
        auth: &'a Arc<SessionAuth>,
        connection: &'a Arc<EngineConnection>,
    ) -> Self {
        Self { live, held, auth, connection, permit: None, end: None, connected_at: None, link_over: false }
    }

    async fn until_its_end(
        &mut self,
        events: &mut mpsc::UnboundedReceiver<EngineEvent>,
        back_off: &mut BackOff,
    ) -> Next {
        let live = self.live;
        let permit = live.stop.run_until_cancelled(live.context.connecting.acquire()).await;
        // The semaphore is never closed; `None` is a stop, which the loop below sees at once.
        self.permit = permit.and_then(std::result::Result::ok);
        match self.follow(events).await {
            Ok(Left::Ended(said)) => self.after_end(said, back_off).await,
            Ok(Left::Panicked) => {
                tracing::error!(session = %live.id, "a task of the engine panicked; the session is built anew");
                live.publish(EventKind::Panicked).await;
                self.connection.abandon().await;
                Next::Rebuild(self.pause_after_loss(back_off, "a task of the engine panicked").await)
            }
            Ok(Left::Stopped) => Next::End(self.close_as_asked().await),
            Ok(Left::LeaseLost) => {
                self.connection.abandon().await;
                Next::End(Err(lost_lease(live).await))
            }
            Ok(Left::AuthClosed) => {
                self.connection.abandon().await;
                let error = match self.auth.failure() {
                    Some(cause) => Error::new(cause.kind(), cause.message().to_owned()),
                    None => Error::new(ErrorKind::Closed, "the session was stopped"),
                };
                fail(live, self.held, error).await
            }
            Ok(Left::StoreAway) => {
                tracing::warn!(session = %live.id, "the store has been away for long; the socket is closed until it is back");
                self.connection.abandon().await;
                Next::Rebuild(Duration::ZERO)
            }
            Err(error) => {
                self.connection.abandon().await;
                fail(live, self.held, error).await
            }
        }
    }

    async fn follow(&mut self, events: &mut mpsc::UnboundedReceiver<EngineEvent>) -> Result<Left> {
        let engine = Arc::clone(self.connection);
        let runtime = self.live.context.runtime.tokio().clone();
        let mut running = runtime.spawn(async move { engine.run().await });
        let auth_closed = self.auth.closed();
        let mut batch = Vec::new();
        loop {
            let closing = self.end.is_some() || self.link_over;
            let left = tokio::select! {
                biased;
                () = self.live.stop.cancelled() => Some(Left::Stopped),
                () = self.held.lost.cancelled() => Some(Left::LeaseLost),
                () = auth_closed.cancelled() => Some(Left::AuthClosed),
                () = self.store_away() => Some(Left::StoreAway),
                count = events.recv_many(&mut batch, EVENTS_AT_ONCE) => {
                    if count == 0 {
                        return Err(Error::new(ErrorKind::Internal, "the engine stopped reporting; report it"));
                    }
                    None
                }
                outcome = &mut running => Some(match outcome {
                    Ok(said) => Left::Ended(said),
                    Err(error) if error.is_panic() => Left::Panicked,
                    Err(_) => Left::Ended(None),
                }),
                () = self.live.context.clock.sleep(SERVER_CLOSE_PATIENCE), if closing => {
                    // It has said why, but keeps the socket open.
                    Some(Left::Ended(None))
                }
            };
            self.take(std::mem::take(&mut batch)).await?;
            if let Some(left) = left {
                // What was reported before the end belongs to this connection.
                while let Ok(event) = events.try_recv() {
                    batch.push(event);
                }
                if matches!(left, Left::Ended(_)) {
                    self.take(std::mem::take(&mut batch)).await?;
                }
                return Ok(left);
            }
        }
    }

    /// Completes once a call has waited for the store longer than a socket is kept open.
    async fn store_away(&self) {
        let clock = &self.live.context.clock;
        let mut waiting = self.auth.waiting_since();
        loop {
            let since = *waiting.borrow_and_update();
            let changed = waiting.changed();
            match since {
                None => {
                    if changed.await.is_err() {
                        return std::future::pending().await;
                    }
                }
                Some(since) => {
                    let left =
                        (since + self.live.context.options.store_patience).saturating_sub(clock.monotonic());
                    tokio::select! {
                        _ = changed => {}
                        () = clock.sleep(left) => return,
                    }
                }
            }
        }
    }

    /// Sorts a batch of events: those about the connection are acted on here, in order, the others stored.
    async fn take(&mut self, batch: Vec<EngineEvent>) -> Result<()> {
        let mut updates = Vec::new();
        for event in batch {
            if let Some(update) = self.act_on(event).await? {
                updates.push(update);
            }
        }
        if !updates.is_empty() {
            take_updates(self.live, self.connection, updates).await?;
        }
        Ok(())
    }

    async fn act_on(&mut self, event: EngineEvent) -> Result<Option<EngineEvent>> {
        let live = self.live;
        match event {
            EngineEvent::QrCode { code, valid_for } => {
                self.permit = None;
                let expires_at = live.context.clock.now().plus(valid_for);
                live.set_link(LinkStep::Qr { code: QrCode::new(&code), expires_at });
                live.apply_status(StatusEvent::CodeReady, StatusUpdate::code(&code, None)).await?;
                live.publish(EventKind::Code(LinkCode::Qr { text: code, expires_at })).await;
            }
            EngineEvent::PairCode { code, valid_for } => {
                let expires_at = live.context.clock.now().plus(valid_for);
                live.set_link(LinkStep::PairCode { code: Secret::new(&code), expires_at });
                let detail = StatusDetail::PairCode { expires_at };
                live.apply_status(StatusEvent::CodeReady, StatusUpdate::code(&code, Some(detail))).await?;
                live.publish(EventKind::Code(LinkCode::PairCode { code, expires_at })).await;
            }
            EngineEvent::PasskeyChallenge { request_options_json } => {
                let secret = Secret::new(&request_options_json);
                live.set_link(LinkStep::PasskeyChallenge { request_options_json: secret });
                let update = StatusUpdate::detail(StatusDetail::PasskeyRequired);
                live.apply_status(StatusEvent::CodeReady, update).await?;
                live.publish(EventKind::Code(LinkCode::PasskeyChallenge { request_options_json })).await;
            }
            EngineEvent::PasskeyConfirmation { code, shown } => {
                live.set_link(LinkStep::PasskeyConfirmation {
                    code: Secret::new(&code),
                    must_compare: shown,
                });
                live.publish(EventKind::Code(LinkCode::PasskeyConfirmation { code, must_compare: shown }))
                    .await;
            }
            EngineEvent::PasskeyRefused | EngineEvent::PairRefused => {
                self.link_failed(
                    "WhatsApp or the phone refused the link; start the session again and use a fresh code",
                )
                .await?
            }
            EngineEvent::PairCodeRefused { retry_after } => {
                tracing::info!(session = %live.id, wait_s = ?retry_after.map(|wait| wait.as_secs()), "no pair code was given");
            }
            EngineEvent::QrCodesUsedUp => {
                self.link_over = true;
                live.set_link(LinkStep::TimedOut);
            }
            EngineEvent::Paired { platform } => {
                // Linked on the phone from this moment on: it must be in the store before anything else happens.
                self.connection.save().await?;
                let patch = SessionPatch {
                    platform: Some(Some(platform).filter(|platform| !platform.is_empty())),
                    ..SessionPatch::default()
                };
                self.patch_record(&patch).await?;
            }
            EngineEvent::Connected => self.connected().await?,
            EngineEvent::Ended(reason) => {
                self.end = Some(reason);
            }
            EngineEvent::OwnName(name) => {
                let patch = SessionPatch { name: Some(name), ..SessionPatch::default() };
                self.patch_record(&patch).await?;
                // The engine goes online when it learns the name.
                self.hide_if_wanted().await;
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    async fn connected(&mut self) -> Result<()> {
        let live = self.live;
        self.permit = None;
        self.connected_at = Some(live.context.clock.monotonic());
        self.auth.drop_read_ahead();
        let identity = self.connection.identity();
        if let Some(jid) = &identity.jid {
            live.set_own_jid(jid);
        }
        self.hide_if_wanted().await;
        let (major, minor, patch) = live.context.whatsapp_version().await;
        let update = StatusUpdate::connected()
            .named(identity.name, identity.phone)
            .client(format!("{major}.{minor}.{patch}"), live.context.options.device_name.clone());
        live.apply_status(StatusEvent::LoggedIn, update).await?;
        live.set_connected(true);
        live.set_link(LinkStep::Linked);
        Ok(())
    }

    async fn hide_if_wanted(&self) {
        if let Err(error) = self.connection.set_available(self.live.context.options.show_online).await {
            tracing::debug!(session = %self.live.id, %error, "the presence was not sent");
        }
    }

    async fn patch_record(&self, patch: &SessionPatch) -> Result<()> {
        let live = self.live;
        let context = &live.context;
        until_available(
            &context.clock,
            &live.stop,
            |_| {},
            || context.store.patch_session(&live.id, patch, context.clock.now()),
        )
        .await?;
        Ok(())
    }

    async fn link_failed(&mut self, message: &'static str) -> Result<()> {
        self.live.set_link(LinkStep::Failed { kind: ErrorKind::Protocol, message: message.to_owned() });
        self.link_over = true;
        Ok(())
    }

    /// The table of what follows on each end.
    async fn after_end(&mut self, said: Option<EndReason>, back_off: &mut BackOff) -> Next {
        let live = self.live;
        if self.link_over && !self.connection.is_linked() {
            self.connection.close(CLOSE_PATIENCE).await;
            let update = StatusUpdate::detail(StatusDetail::LinkTimedOut)
                .without_code()
                .because("nobody used the code in time".to_owned());
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
                let update = StatusUpdate::detail(StatusDetail::Replaced)
                    .failed_attempt()
                    .because("another client logged in with these credentials".to_owned());
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

    async fn pause_after_loss(&mut self, back_off: &mut BackOff, why: &str) -> Duration {
        let clock = &self.live.context.clock;
        let up = self.connected_at.map_or(Duration::ZERO, |at| clock.monotonic().saturating_sub(at));
        let pause = back_off.after_loss(up, clock);
        self.wait_status(StatusEvent::ConnectionEnded, back_off, pause, why).await;
        pause
    }

    async fn wait_status(&self, event: StatusEvent, back_off: &BackOff, pause: Duration, why: &str) {
        let until = self.live.context.clock.now().plus(pause);
        let detail = StatusDetail::BackOff { until, attempt: back_off.failures() };
        let update = StatusUpdate::detail(detail).without_code().failed_attempt().because(why.to_owned());
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
        let update = StatusUpdate::detail(StatusDetail::Banned { until })
            .failed_attempt()
            .because("WhatsApp banned the account for a time".to_owned());
        ignore_written(live.apply_status(StatusEvent::Failed, update).await);
        self.connection.close(CLOSE_PATIENCE).await;
        Next::Rebuild(lasts)
    }

    async fn end_for_good(&self, detail: StatusDetail, kind: ErrorKind, message: &str) -> Next {
        self.connection.close(CLOSE_PATIENCE).await;
        let update = StatusUpdate::detail(detail).without_code().failed_attempt().because(message.to_owned());
        ignore_written(self.live.apply_status(StatusEvent::Failed, update).await);
        Next::End(Err(Error::new(kind, message.to_owned()).of_session(&self.live.id)))
    }

    async fn close_as_asked(&self) -> Result<()> {
        let live = self.live;
        if live.goal() == Goal::LogOut {
            self.connection.log_out(CLOSE_PATIENCE).await;
            live.context.store.delete_auth(&live.id, self.auth.tenure()).await?;
            let update = StatusUpdate::detail(StatusDetail::LoggedOut).without_code();
            ignore_written(live.apply_status(StatusEvent::ConnectionEnded, update).await);
        } else {
            self.connection.close(CLOSE_PATIENCE).await;
            ignore_written(live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::stopped()).await);
        }
        Ok(())
    }
}
