//! One connection of a session: what the engine reports until it ends.

use std::sync::Arc;
use std::time::Duration;
use std::vec;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::health::RestartReason;
use super::link::{LinkStep, Secret};
use super::live::{LAST_WRITES, LiveSession};
use super::orders::Order;
use super::pacing::ConnectPermit;
use super::reconnect::BackOff;
use super::status::StatusEvent;
use super::supervisor::{Next, detailed, fail, lost_lease};
use super::updates::take_updates;
use crate::engine::connection::EngineConnection;
use crate::engine::events::{EndReason, EngineEvent};
use crate::engine::session_auth::SessionAuth;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EventKind, LinkCode};
use crate::lease::HeldLease;
use crate::qr::QrCode;
use crate::session_manager::StatusUpdate;
use crate::store::patience::{stopped, until_available};
use crate::store::{SessionPatch, StatusDetail};

/// How long a session that is stopped may take to flush and close.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the server gets to close after it said why.
const SERVER_CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Events taken in one go, so that their changes are one write.
const EVENTS_AT_ONCE: usize = 256;

/// One connection, from the socket to its end.
pub(super) struct ConnectionRun<'a> {
    pub(super) live: &'a Arc<LiveSession>,
    pub(super) held: &'a HeldLease,
    pub(super) auth: &'a Arc<SessionAuth>,
    pub(super) connection: &'a Arc<EngineConnection>,
    /// One of the few that may be connecting at the same time; given back once this one is through.
    pub(super) permit: Option<ConnectPermit>,
    pub(super) end: Option<EndReason>,
    pub(super) connected_at: Option<Duration>,
    started_at: Duration,
    pub(super) link_over: bool,
    /// The engine's run; it goes on while the connection is being closed, and not after that.
    running: Option<AbortHandle>,
}

impl Drop for ConnectionRun<'_> {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// Why the loop over a connection's events was left.
enum Left {
    /// The engine's `run` returned.
    Ended(Option<EndReason>),
    /// The engine's task panicked.
    Panicked,
    Stopped,
    LeaseLost,
    Ordered(Order),
    AuthClosed,
    StoreAway,
}

impl<'a> ConnectionRun<'a> {
    pub(super) fn new(
        live: &'a Arc<LiveSession>,
        held: &'a HeldLease,
        auth: &'a Arc<SessionAuth>,
        connection: &'a Arc<EngineConnection>,
        permit: Option<ConnectPermit>,
    ) -> Self {
        Self {
            live,
            held,
            auth,
            connection,
            permit,
            end: None,
            connected_at: None,
            started_at: live.context.clock.monotonic(),
            link_over: false,
            running: None,
        }
    }

    pub(super) async fn until_its_end(
        &mut self,
        events: &mut mpsc::UnboundedReceiver<Box<EngineEvent>>,
        back_off: &mut BackOff,
    ) -> Next {
        let live = self.live;
        match self.follow(events).await {
            Ok(Left::Ended(said)) => self.after_end(said, back_off).await,
            Ok(Left::Panicked) => {
                tracing::error!(session = %live.id, "a task of the engine panicked; the session is built anew");
                live.publish(EventKind::Panicked);
                self.connection.abandon().await;
                Next::Rebuild(self.pause_after_loss(back_off, "a task of the engine panicked").await)
            }
            Ok(Left::Stopped) => Next::End(self.close_as_asked(events).await),
            Ok(Left::LeaseLost) => {
                self.connection.abandon().await;
                Next::End(Err(lost_lease(live).await))
            }
            Ok(Left::Ordered(Order::Park)) => {
                live.begin_parking();
                live.set_connected(false);
                self.connection.close(CLOSE_PATIENCE).await;
                self.take_last(events).await;
                Next::Park
            }
            Ok(Left::Ordered(Order::Restart(reason))) => {
                live.set_connected(false);
                live.publish(EventKind::Restarted { reason });
                match reason {
                    // Nobody is there to take what is left to say.
                    RestartReason::Zombie => self.connection.abandon().await,
                    RestartReason::SendStall => self.connection.close(CLOSE_PATIENCE).await,
                }
                self.take_last(events).await;
                Next::Rebuild(self.pause_after_loss(back_off, reason.explain()).await)
            }
            Ok(Left::AuthClosed) => {
                self.connection.abandon().await;
                let error = match self.auth.failure() {
                    Some(cause) => Error::new(cause.kind(), cause.message().to_owned()),
                    None => stopped(),
                };
                fail(live, self.held, error).await
            }
            Ok(Left::StoreAway) => {
                tracing::warn!(session = %live.id, "the store has been away for long; the socket is closed until it is back");
                self.connection.abandon().await;
                Next::Rebuild(Duration::ZERO)
            }
            // The stop came while an event was being stored: it ends as asked all the same.
            Err(error) if error.kind() == ErrorKind::Closed && live.stop.is_cancelled() => {
                Next::End(self.close_as_asked(events).await)
            }
            Err(error) => {
                self.connection.abandon().await;
                fail(live, self.held, error).await
            }
        }
    }

    async fn follow(&mut self, events: &mut mpsc::UnboundedReceiver<Box<EngineEvent>>) -> Result<Left> {
        let engine = Arc::clone(self.connection);
        let runtime = self.live.context.runtime.tokio().clone();
        let mut running = runtime.spawn(async move { engine.run().await });
        self.running = Some(running.abort_handle());
        let auth_closed = self.auth.closed();
        let mut batch = Vec::new();
        loop {
            let closing = self.end.is_some() || self.link_over;
            let left = tokio::select! {
                biased;
                () = self.live.stop.cancelled() => Some(Left::Stopped),
                () = self.held.lost.cancelled() => Some(Left::LeaseLost),
                () = auth_closed.cancelled() => Some(Left::AuthClosed),
                // Nothing is parked or restarted while a user links it.
                order = self.live.orders.next(), if self.connected_at.is_some() => Some(Left::Ordered(order)),
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
            self.take(std::mem::take(&mut batch).into_iter()).await?;
            if let Some(left) = left {
                if matches!(left, Left::Ended(_)) {
                    // What was reported before the end belongs to this connection.
                    while let Ok(event) = events.try_recv() {
                        batch.push(event);
                    }
                    self.take(std::mem::take(&mut batch).into_iter()).await?;
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
    async fn take(&mut self, batch: vec::IntoIter<Box<EngineEvent>>) -> Result<()> {
        let mut updates = Vec::new();
        for event in batch {
            if let Some(update) = self.act_on(*event).await? {
                updates.push(update);
            }
        }
        self.store_updates(updates).await
    }

    /// Stores the receipts and the like that came before a connection was closed: the engine has confirmed them, so
    /// WhatsApp will not say them again.
    pub(super) async fn take_last(&self, events: &mut mpsc::UnboundedReceiver<Box<EngineEvent>>) {
        let mut updates = Vec::new();
        while let Ok(event) = events.try_recv() {
            updates.push(*event);
        }
        if let Err(error) = self.store_updates(updates).await {
            tracing::warn!(session = %self.live.id, %error, "the last receipts and acknowledgements were not stored");
        }
    }

    /// A stop gives them a last chance; a lost lease does not.
    async fn store_updates(&self, updates: Vec<EngineEvent>) -> Result<()> {
        if updates.is_empty() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.held.lost.cancelled() => Ok(()),
            stored = take_updates(self.live, self.connection, updates) => stored,
            () = self.given_up() => Err(stopped()),
        }
    }

    /// Completes when a stop has waited long enough for the last writes.
    async fn given_up(&self) {
        self.live.stop.cancelled().await;
        self.live.context.clock.sleep(LAST_WRITES).await;
    }

    async fn act_on(&mut self, event: EngineEvent) -> Result<Option<EngineEvent>> {
        let live = self.live;
        match event {
            EngineEvent::QrCode { code, valid_for } => {
                self.answered();
                let expires_at = live.context.clock.now().plus(valid_for);
                live.set_link(LinkStep::Qr { code: QrCode::new(&code)?, expires_at });
                live.apply_status(StatusEvent::CodeReady, coded(&code, None)).await?;
                live.publish(EventKind::Code(LinkCode::Qr { text: code, expires_at }));
            }
            EngineEvent::PairCode { code, valid_for } => {
                let expires_at = live.context.clock.now().plus(valid_for);
                live.set_link(LinkStep::PairCode { code: Secret::new(&code), expires_at });
                let detail = StatusDetail::PairCode { expires_at };
                live.apply_status(StatusEvent::CodeReady, coded(&code, Some(detail))).await?;
                live.publish(EventKind::Code(LinkCode::PairCode { code, expires_at }));
            }
            EngineEvent::PasskeyChallenge { request_options_json } => {
                let secret = Secret::new(&request_options_json);
                live.set_link(LinkStep::PasskeyChallenge { request_options_json: secret });
                let update = detailed(StatusDetail::PasskeyRequired);
                live.apply_status(StatusEvent::CodeReady, update).await?;
                live.publish(EventKind::Code(LinkCode::PasskeyChallenge { request_options_json }));
            }
            EngineEvent::PasskeyConfirmation { code, shown } => {
                live.set_link(LinkStep::PasskeyConfirmation {
                    code: Secret::new(&code),
                    must_compare: shown,
                });
                live.publish(EventKind::Code(LinkCode::PasskeyConfirmation { code, must_compare: shown }));
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
                // The number first: a record with one is restored at the next start, and if the device was not
                // saved by then, that start simply asks for a new code.
                let patch = SessionPatch {
                    phone: Some(self.connection.identity().phone),
                    platform: Some(Some(platform).filter(|platform| !platform.is_empty())),
                    ..SessionPatch::default()
                };
                self.patch_record(&patch).await?;
                // Linked on the phone from this moment on: the engine itself would save some seconds later.
                self.save().await?;
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
        self.answered();
        let now = live.context.clock.monotonic();
        self.connected_at = Some(now);
        crate::metrics::connected(now.saturating_sub(self.started_at));
        live.series.logged_in();
        self.auth.drop_read_ahead();
        let identity = self.connection.identity();
        if let Some(jid) = &identity.jid {
            live.set_own_jid(jid);
        }
        self.hide_if_wanted().await;
        let (major, minor, patch) = live.context.whatsapp_version().await;
        let update = StatusUpdate {
            name: Some(identity.name).filter(|name| !name.is_empty()),
            phone: identity.phone,
            version: Some(format!("{major}.{minor}.{patch}")),
            user_agent: Some(live.context.options.device_name.clone()),
            ..StatusUpdate::default()
        };
        live.apply_status(StatusEvent::LoggedIn, update).await?;
        live.set_connected(true);
        super::outbox::connected(live);
        live.set_link(LinkStep::Linked);
        Ok(())
    }

    /// Saves the device; a stop gives it a last chance.
    async fn save(&self) -> Result<()> {
        tokio::select! {
            biased;
            saved = self.connection.save() => saved,
            () = self.given_up() => Err(stopped()),
        }
    }

    /// WhatsApp lets this one in: the next may try.
    fn answered(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.answered();
        }
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
}

fn coded(code: &str, detail: Option<StatusDetail>) -> StatusUpdate {
    StatusUpdate { qr_code: Some(code.to_owned()), detail, ..StatusUpdate::default() }
}
