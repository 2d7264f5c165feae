//! The state of a running session that its supervisor and its users share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::context::SessionContext;
use super::health::Vitals;
use super::link::{LinkStep, LinkStream};
use super::orders::Orders;
use super::outbox::SessionOutbox;
use super::rate_limit::RateLimiter;
use super::status::{Status, StatusEvent};
use crate::engine::connection::EngineConnection;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EventKind, EventPump, Received};
use crate::lease::HeldLease;
use crate::metrics::SessionSeries;
use crate::session_manager::StatusUpdate;
use crate::store::patience::until_available;
use crate::store::{MessageKey, SessionRecord};

/// What the user wants of a session that is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Run,
    Stop,
    LogOut,
}

/// Who started a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A user, who waits for it.
    Asked,
    /// A restore, as the `rank`th. It waits for the lease of an instance that is alive, ready to take over.
    Restored { rank: u64 },
}

/// How a session ended, for those who wait for it.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// As asked.
    AsAsked,
    /// For a reason of its own.
    Failed { kind: ErrorKind, message: String },
}

#[derive(Debug)]
pub(crate) struct LiveSession {
    pub(crate) id: String,
    pub(crate) context: Arc<SessionContext>,
    pub(crate) stop: CancellationToken,
    /// Ends a pause between connections.
    pub(crate) wake: Notify,
    pub(crate) outbox: SessionOutbox,
    pub(crate) limits: RateLimiter,
    /// The process that ran it last did not end it: its counters may lag behind its messages.
    ended_uncleanly: bool,
    origin: Origin,
    goal: Mutex<Goal>,
    lease: Mutex<Option<HeldLease>>,
    connection: watch::Sender<Option<Arc<EngineConnection>>>,
    connected: watch::Sender<bool>,
    link: watch::Sender<Option<LinkStep>>,
    status: watch::Sender<Status>,
    ended: watch::Sender<Option<Ended>>,
    own_jid: Mutex<String>,
    pub(crate) orders: Orders,
    pub(crate) activity: Activity,
    vitals: Mutex<Vitals>,
    /// Parked, or on its way back from it.
    parked: watch::Sender<bool>,
    events: EventPump,
    pub(crate) series: SessionSeries,
    sends: Mutex<Sends>,
}

/// Sends under way and those of late, by message id.
#[derive(Debug, Default)]
struct Sends {
    waiting: HashMap<String, oneshot::Sender<Option<String>>>,
    recent: HashMap<String, MessageKey>,
    recent_order: VecDeque<String>,
}

/// Receipts mostly come for what was sent lately; older ones are looked up in the store.
const RECENT_SENDS: usize = 1_024;
/// How long the last writes of a stopping session may take.
pub(super) const LAST_WRITES: Duration = Duration::from_secs(2);

impl LiveSession {
    pub(crate) fn new(record: &SessionRecord, context: Arc<SessionContext>, origin: Origin) -> Self {
        let id = record.session_id.as_str();
        let stop = context.stop.child_token();
        let activity = Activity::new(context.clock.monotonic());
        let vitals = Mutex::new(Vitals::new(context.clock.now()));
        let events = EventPump::start(
            id,
            Arc::clone(&context.clock),
            Arc::clone(&context.events),
            context.durable.clone(),
            stop.clone(),
            context.runtime.tokio(),
        );
        let series = SessionSeries::new(id, record.status, context.options.per_session_metrics);
        Self {
            id: id.to_owned(),
            stop,
            limits: RateLimiter::new(context.options.rate_limits, Arc::clone(&context.clock)),
            context,
            events,
            series,
            wake: Notify::new(),
            outbox: SessionOutbox::default(),
            ended_uncleanly: record.is_connected,
            origin,
            goal: Mutex::new(Goal::Run),
            lease: Mutex::default(),
            connection: watch::Sender::new(None),
            connected: watch::Sender::new(false),
            link: watch::Sender::new(None),
            status: watch::Sender::new(record.status),
            ended: watch::Sender::new(None),
            own_jid: Mutex::default(),
            orders: Orders::default(),
            activity,
            vitals,
            parked: watch::Sender::new(false),
            sends: Mutex::default(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    pub(crate) fn ended_uncleanly(&self) -> bool {
        self.ended_uncleanly
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn stands_by(&self) -> bool {
        matches!(self.origin, Origin::Restored { .. })
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    pub(crate) fn connected_changes(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    pub(crate) fn link(&self) -> LinkStream {
        LinkStream::new(self.link.subscribe())
    }

    pub(crate) fn set_link(&self, step: LinkStep) {
        self.link.send_replace(Some(step));
    }

    /// Where the link stands, if one was begun.
    pub(crate) fn link_step(&self) -> Option<LinkStep> {
        self.link.borrow().clone()
    }

    pub(crate) fn goal(&self) -> Goal {
        *lock(&self.goal)
    }

    /// Asks the supervisor to end; [`wait_ended`](Self::wait_ended) tells when it has.
    pub(crate) fn end(&self, goal: Goal) {
        let mut current = lock(&self.goal);
        if *current != Goal::LogOut {
            *current = goal;
        }
        drop(current);
        self.stop.cancel();
    }

    pub(crate) fn set_ended(&self, ended: Ended) {
        self.connected.send_replace(false);
        self.set_parked(false);
        self.connection.send_replace(None);
        if !self.link.borrow().as_ref().is_some_and(LinkStep::is_last) {
            let (kind, message) = match &ended {
                Ended::AsAsked => (ErrorKind::Closed, "the session was stopped".to_owned()),
                Ended::Failed { kind, message } => (*kind, message.clone()),
            };
            self.set_link(LinkStep::Failed { kind, message });
        }
        self.ended.send_replace(Some(ended));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) async fn wait_ended(&self) -> Ended {
        let mut ended = self.ended.subscribe();
        // The sender lives in self: it cannot be gone while this runs.
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ended::AsAsked),
            Err(_) => Ended::AsAsked,
        }
    }

    /// Waits until the session is connected; an end of the session is an error.
    pub(crate) async fn wait_connected(&self, patience: Duration) -> Result<()> {
        let mut connected = self.connected.subscribe();
        let wait = async {
            tokio::select! {
                biased;
                outcome = connected.wait_for(|connected| *connected) => match outcome {
                    Ok(_) => Ok(()),
                    Err(_) => Err(Error::new(ErrorKind::Closed, "the session was stopped")),
                },
                ended = self.wait_ended() => Err(match ended {
                    Ended::AsAsked => Error::new(ErrorKind::Closed, "the session was stopped"),
                    Ended::Failed { kind, message } => Error::new(kind, message),
                }),
            }
        };
        tokio::time::timeout(patience, wait)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Timeout, "the session was not connected in that time"))
            })
            .map_err(|error| error.of_session(&self.id).during("wait_connected"))
    }

    pub(crate) fn set_connection(&self, connection: Option<Arc<EngineConnection>>) {
        self.connection.send_replace(connection);
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.send_replace(connected);
        if connected {
            self.activity.traffic(self.context.clock.monotonic());
            self.set_parked(false);
        } else {
            // Their acknowledgement can no longer come on this connection.
            lock(&self.sends).waiting.clear();
            self.activity.acknowledged();
        }
    }

    /// Parked, or on its way back from it.
    pub(crate) fn is_parked(&self) -> bool {
        *self.parked.borrow()
    }

    pub(crate) fn parked(&self) -> watch::Receiver<bool> {
        self.parked.subscribe()
    }

    pub(crate) fn set_parked(&self, parked: bool) {
        self.parked.send_if_modified(|now| std::mem::replace(now, parked) != parked);
    }

    pub(crate) fn vitals(&self) -> MutexGuard<'_, Vitals> {
        lock(&self.vitals)
    }

    /// The engine, whether or not it is logged in; `InvalidState` if the session is between two.
    pub(crate) fn engine(&self) -> Result<Arc<EngineConnection>> {
        self.connection.borrow().clone().ok_or_else(|| self.not_connected())
    }

    /// Waits for the engine: right after a start there is none yet.
    pub(crate) async fn engine_soon(&self, patience: Duration) -> Result<Arc<EngineConnection>> {
        let mut connection = self.connection.subscribe();
        let wait = async {
            tokio::select! {
                biased;
                found = connection.wait_for(Option::is_some) => found.ok().and_then(|found| found.clone()),
                _ended = self.wait_ended() => None,
            }
        };
        tokio::time::timeout(patience, wait).await.ok().flatten().ok_or_else(|| self.not_connected())
    }

    /// The engine of a session that is logged in.
    pub(crate) fn connected_engine(&self) -> Result<Arc<EngineConnection>> {
        if self.is_connected() { self.engine() } else { Err(self.not_connected()) }
    }

    fn not_connected(&self) -> Error {
        Error::new(
            ErrorKind::InvalidState,
            format!("the session is not connected (status {}); start it and wait until it is", self.status()),
        )
        .of_session(&self.id)
    }

    /// The account's JID without device; empty until it was linked.
    pub(crate) fn own_jid(&self) -> String {
        lock(&self.own_jid).clone()
    }

    pub(crate) fn set_own_jid(&self, jid: &str) {
        *lock(&self.own_jid) = jid.to_owned();
    }

    /// The lease under which the session runs from now on.
    pub(crate) fn set_lease(&self, lease: Option<HeldLease>) {
        *lock(&self.lease) = lease;
    }

    /// Publishes; never waits for a subscriber.
    pub(crate) fn publish(&self, kind: EventKind) {
        self.series.published(&kind);
        self.events.publish(kind);
    }

    /// Publishes something received: here, and only here, a slow subscriber holds a session up. With durable events,
    /// returns once they are logged, and errs once `closed`.
    pub(crate) async fn publish_received(
        &self,
        received: Vec<Received>,
        closed: &CancellationToken,
    ) -> Result<()> {
        self.activity.traffic(self.context.clock.monotonic());
        for received in received.iter().filter(|received| received.is_new) {
            self.series.published(&received.kind);
        }
        self.events.publish_received(received, closed).await
    }

    /// Waits until all that was published is with the subscriptions.
    pub(crate) async fn flush_events(&self) {
        self.events.flush().await;
    }

    /// Moves the status by the transition table and tells everybody. Waits while the store is away, except at
    /// the end of a session, when it waits a little.
    pub(crate) async fn apply_status(&self, event: StatusEvent, update: StatusUpdate) -> Result<()> {
        let manager = &self.context.manager;
        let detail = update.detail.clone();
        let lease = lock(&self.lease).clone();
        let write = || async {
            // The fence guards credentials, not records: a process that wakes up late must not write over the status
            // of the new owner.
            if let Some(held) = &lease {
                self.context.leases.confirm(held).await?;
            }
            manager.apply_status(&self.id, event, update.clone()).await
        };
        let written = if self.stop.is_cancelled() {
            tokio::time::timeout(LAST_WRITES, write()).await.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    "the store did not take the last status of a stopping session",
                ))
            })
        } else {
            until_available(&self.context.clock, &self.stop, |_| {}, write).await
        };
        let record = written.inspect_err(|error| {
            tracing::warn!(session = %self.id, %error, ?event, "the status could not be written");
        })?;
        self.series.set_status(record.status);
        self.status.send_replace(record.status);
        self.publish(EventKind::Status { status: record.status, detail });
        Ok(())
    }

    /// Registers a send before it is written, so that no acknowledgement can come too early.
    pub(crate) fn expect_ack(&self, key: &MessageKey) -> oneshot::Receiver<Option<String>> {
        let (sender, receiver) = oneshot::channel();
        let mut sends = lock(&self.sends);
        sends.waiting.insert(key.message_id.clone(), sender);
        if sends.recent.insert(key.message_id.clone(), key.clone()).is_none() {
            sends.recent_order.push_back(key.message_id.clone());
        }
        while sends.recent_order.len() > RECENT_SENDS {
            if let Some(oldest) = sends.recent_order.pop_front() {
                sends.recent.remove(&oldest);
            }
        }
        receiver
    }

    /// The message has been written: from now on an acknowledgement is due, unless it has come already.
    pub(crate) fn note_written(&self, message_id: &str) {
        if lock(&self.sends).waiting.contains_key(message_id) {
            self.activity.written(self.context.clock.monotonic());
        }
    }

    /// Whether no send is under way.
    pub(crate) fn awaits_no_ack(&self) -> bool {
        lock(&self.sends).waiting.is_empty()
    }

    pub(crate) fn forget_ack(&self, message_id: &str) {
        lock(&self.sends).waiting.remove(message_id);
    }

    /// Takes an acknowledgement to whoever waits for it. False if nobody does.
    pub(crate) fn acknowledge(&self, message_id: &str, error: Option<String>) -> bool {
        let waiting = lock(&self.sends).waiting.remove(message_id);
        self.activity.acknowledged();
        waiting.is_some_and(|sender| sender.send(error).is_ok())
    }

    /// The key of a message sent lately.
    pub(crate) fn recent_send(&self, message_id: &str) -> Option<MessageKey> {
        lock(&self.sends).recent.get(message_id).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
