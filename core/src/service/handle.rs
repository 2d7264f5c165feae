//! `WhatsAppService`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::builder::{HEARTBEAT_PATIENCE, WhatsAppServiceBuilder};
use super::outbox_watch;
use super::restore::{self, RestoreProgress, RestoreReport};
use super::session_handle::Session;
use crate::cleanup::{CleanupOptions, CleanupService, MemoryProbe};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{EventKind, Subscription, SubscriptionOptions};
use crate::lease::Acquisition;
use crate::session::context::SessionContext;
use crate::session::health;
use crate::session::live::{Ended, Goal, LiveSession, Origin};
use crate::session::outbound::{Outgoing, SentMessage};
use crate::session::supervisor::supervise;
use crate::session_id::SessionId;
use crate::session_manager::{SessionData, SessionManager};
use crate::store::{SessionRecord, Store};

/// Holds WhatsApp sessions: links them, keeps them connected, stores what they receive, sends what they are told.
///
/// Cheap to clone; all clones are one service. Call [`shutdown`](Self::shutdown) before the end of the process:
/// a service that is merely dropped leaves its leases to run out.
#[derive(Debug, Clone)]
pub struct WhatsAppService {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) context: Arc<SessionContext>,
    live: Mutex<HashMap<String, Arc<LiveSession>>>,
    tasks: TaskTracker,
    heartbeat_stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.context.stop.cancel();
        self.heartbeat_stop.cancel();
        self.context.events.close();
    }
}

impl WhatsAppService {
    /// Starts building a service.
    pub fn builder() -> WhatsAppServiceBuilder {
        WhatsAppServiceBuilder::default()
    }

    pub(super) fn run(context: Arc<SessionContext>) -> Self {
        let inner = Arc::new(Inner {
            live: Mutex::default(),
            tasks: TaskTracker::new(),
            heartbeat_stop: CancellationToken::new(),
            context: Arc::clone(&context),
        });
        let stop = inner.heartbeat_stop.clone();
        let runtime = context.runtime.tokio().clone();
        if let Some(log) = context.durable.clone() {
            let stop = stop.clone();
            inner.tasks.spawn_on(async move { log.trim_until(stop).await }, &runtime);
        }
        let keeper = async move {
            tokio::join!(context.leases.beat(stop.clone()), context.leases.watch_standby(stop));
        };
        inner.tasks.spawn_on(keeper, &runtime);
        let weak = Arc::downgrade(&inner);
        let sessions = move || {
            let inner = weak.upgrade()?;
            let live = inner.live.lock().unwrap_or_else(PoisonError::into_inner);
            Some(live.values().filter(|live| !live.has_ended()).cloned().collect())
        };
        let stop = inner.heartbeat_stop.clone();
        inner.tasks.spawn_on(health::watch(Arc::clone(&inner.context), sessions, stop), &runtime);
        inner.tasks.spawn_on(outbox_watch::watch(Arc::downgrade(&inner)), &runtime);
        Self { inner }
    }

    /// The session records: the seed's `SessionManager`, on the same store and vault.
    pub fn manager(&self) -> &SessionManager {
        &self.inner.context.manager
    }

    /// The automatic cleanup and health checks of this service's sessions, started. It ends when it is stopped or its
    /// last clone is dropped; keep it as long as the service runs. `Invalid` if an option is out of its range.
    pub fn start_cleanup(&self, options: CleanupOptions) -> Result<CleanupService> {
        let cleanup = CleanupService::new(self.manager().clone(), Arc::new(self.clone()), options)
            .map_err(|error| error.during("start_cleanup"))?;
        cleanup.start(&self.inner.context.runtime);
        Ok(cleanup)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.context.store
    }

    /// The name of this instance in the leases.
    pub fn instance_id(&self) -> &str {
        self.inner.context.leases.owner()
    }

    /// Registers a session and starts it. One that exists is started with its credentials; one that runs
    /// already is simply returned: there is never a second socket.
    pub async fn create_session(&self, session_id: &str) -> Result<Session> {
        let id = SessionId::new(session_id).map_err(|error| error.during("create_session"))?;
        self.open()?;
        if self.live(id.as_str()).is_none() {
            let data = SessionData::default();
            self.manager()
                .create_or_update_session(id.as_str(), &data)
                .await
                .map_err(|error| error.of_session(session_id).during("create_session"))?;
        }
        self.start_known(id.as_str()).await
    }

    /// Starts a stored session. `NotFound` if it was never created; a running one is simply returned.
    pub async fn start_session(&self, session_id: &str) -> Result<Session> {
        self.open()?;
        self.start_known(session_id).await.map_err(|error| error.during("start_session"))
    }

    async fn start_known(&self, session_id: &str) -> Result<Session> {
        if let Some(live) = self.live(session_id) {
            if !live.has_ended() {
                live.wake_if_parked();
                return Ok(Session::new(self.clone(), session_id.to_owned()));
            }
            self.forget(&live);
        }
        let record = self.record(session_id).await?;
        self.spawn(&record, Origin::Asked)?;
        Ok(Session::new(self.clone(), session_id.to_owned()))
    }

    /// A handle on a stored session, running or not. `NotFound` if there is none.
    pub async fn session(&self, session_id: &str) -> Result<Session> {
        if self.live(session_id).is_none() {
            self.record(session_id).await?;
        }
        Ok(Session::new(self.clone(), session_id.to_owned()))
    }

    async fn record(&self, session_id: &str) -> Result<SessionRecord> {
        self.manager().get_session(session_id).await.map_err(|error| error.of_session(session_id))
    }

    /// The ids of the sessions that run in this process, connected or not.
    pub fn running_sessions(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.running().iter().map(|live| live.id.clone()).collect();
        ids.sort();
        ids
    }

    /// Ends the connection and releases the session; the credentials stay. Effective at once in every state.
    pub async fn stop_session(&self, session_id: &str) -> Result<()> {
        self.end(session_id, Goal::Stop).await.map_err(|error| error.during("stop_session"))
    }

    /// Removes this device from the account and deletes the credentials; record, messages and chats stay.
    /// `NotFound` if there is no such session, `InvalidState` if it does not run here.
    pub async fn log_out_session(&self, session_id: &str) -> Result<()> {
        const OP: &str = "log_out_session";
        if self.live(session_id).is_some_and(|live| !live.has_ended()) {
            return self.end(session_id, Goal::LogOut).await.map_err(|error| error.during(OP));
        }
        self.record(session_id).await.map_err(|error| error.during(OP))?;
        Err(Error::new(
            ErrorKind::InvalidState,
            "only a running session can tell WhatsApp that it leaves; start it, or delete it and remove the device on the phone",
        )
        .of_session(session_id)
        .during(OP))
    }

    async fn end(&self, session_id: &str, goal: Goal) -> Result<()> {
        let Some(live) = self.live(session_id) else {
            self.record(session_id).await?;
            return Ok(());
        };
        live.end(goal);
        let ended = live.wait_ended().await;
        self.forget(&live);
        match ended {
            Ended::Failed { kind, message } if goal == Goal::LogOut => {
                Err(Error::new(kind, message).of_session(session_id))
            }
            _ => Ok(()),
        }
    }

    /// Stops a session and deletes all of it: record, credentials, keys, messages, chats. If it runs it is
    /// logged out first, so that the phone does not list it any more.
    pub async fn delete_session(&self, session_id: &str) -> Result<()> {
        const OP: &str = "delete_session";
        if let Some(live) = self.live(session_id) {
            live.end(if live.is_connected() { Goal::LogOut } else { Goal::Stop });
            live.wait_ended().await;
            self.forget(&live);
        }
        let acquired = self.inner.context.leases.acquire(session_id).await;
        let held =
            acquired.and_then(Acquisition::ours).map_err(|error| error.of_session(session_id).during(OP))?;
        let deleted = self.manager().delete_session(session_id, Some(held.lease.tenure())).await;
        self.inner.context.leases.release(&held).await.map_err(|error| error.during(OP))?;
        deleted.map(drop).map_err(|error| error.of_session(session_id).during(OP))
    }

    /// Starts every stored session that is active and was linked, the most recently active first. Returns once all
    /// are started; they connect a few at a time. A session that cannot be started is in the report and holds up no
    /// other. One that another instance runs stands by here, and takes over should that instance go away.
    pub async fn restore_all(&self, progress: impl FnMut(&RestoreProgress) + Send) -> Result<RestoreReport> {
        self.open()?;
        restore::restore_all(self, progress).await.map_err(|error| error.during("restore_all"))
    }

    /// As [`restore_all`](Self::restore_all), and then waits until every session that was started is connected or has
    /// ended, or `patience` is over. `progress` is told of each; those that wait for their turn, for WhatsApp or for
    /// another instance's lease go on after this has returned.
    pub async fn restore_all_and_wait(
        &self,
        patience: Duration,
        progress: impl FnMut(&RestoreProgress) + Send,
    ) -> Result<RestoreReport> {
        self.open()?;
        restore::restore_all_and_wait(self, patience, progress)
            .await
            .map_err(|error| error.during("restore_all_and_wait"))
    }

    /// Closes a session's socket and frees its memory, but keeps it: WhatsApp queues what comes, and a send, a start or
    /// the schedule (`park_wake_every`) wakes it. Its status is `disconnected`, detail `parked`. Returns once it is
    /// parked; `InvalidState` if it does not run here or was never linked.
    pub async fn park_session(&self, session_id: &str) -> Result<()> {
        let live = self.live(session_id).filter(|live| !live.has_ended()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidState, "the session does not run in this process; start it first")
                .of_session(session_id)
                .during("park_session")
        })?;
        live.park().await
    }

    /// Sends a message and waits until WhatsApp's server has it. See [`Session::send`].
    pub async fn send(&self, session_id: &str, outgoing: Outgoing) -> Result<SentMessage> {
        self.session(session_id).await.map_err(|error| error.during("send"))?.send(outgoing).await
    }

    /// Events from now on, for one session, some, or all.
    pub fn subscribe(&self, options: impl Into<SubscriptionOptions>) -> Result<Subscription> {
        self.open()?;
        self.inner.context.events.subscribe(options.into()).map_err(|error| error.during("subscribe"))
    }

    /// Stops all sessions within `patience`: what was received is stored and acknowledged, what was not stored
    /// WhatsApp delivers again. `Timeout` if some did not end in time; they were cut off then. The store stays open.
    pub async fn shutdown(&self, patience: Duration) -> Result<()> {
        let inner = &self.inner;
        inner.context.stop.cancel();
        let sessions: Vec<Arc<LiveSession>> = self.live_map().values().cloned().collect();
        let all_ended = async {
            for live in &sessions {
                live.wait_ended().await;
            }
            if let Some(log) = &inner.context.durable {
                log.settled().await;
            }
        };
        let in_time = tokio::time::timeout(patience, all_ended).await.is_ok();
        self.live_map().clear();
        inner.heartbeat_stop.cancel();
        inner.tasks.close();
        let tasks_ended = tokio::time::timeout(HEARTBEAT_PATIENCE, inner.tasks.wait()).await.is_ok();
        inner.context.events.close();
        if in_time && tasks_ended {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Timeout,
                "some sessions did not end in time and were cut off; nothing is lost: WhatsApp delivers again what was not stored",
            )
            .during("shutdown"))
        }
    }

    pub(super) fn context(&self) -> &Arc<SessionContext> {
        &self.inner.context
    }

    pub(super) fn open(&self) -> Result<()> {
        if self.inner.context.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the service was shut down; build a new one"));
        }
        Ok(())
    }

    /// Starts the supervisor of a session unless it runs already.
    pub(super) fn spawn(&self, record: &SessionRecord, origin: Origin) -> Result<()> {
        let context = &self.inner.context;
        let live = {
            let mut sessions = self.live_map();
            if let Some(live) = sessions.get(&record.session_id)
                && !live.has_ended()
            {
                return Ok(());
            }
            let live = Arc::new(LiveSession::new(record, Arc::clone(context), origin));
            sessions.insert(record.session_id.clone(), Arc::clone(&live));
            live
        };
        self.inner.tasks.spawn_on(run_guarded(live), context.runtime.tokio());
        Ok(())
    }

    pub(super) fn live(&self, session_id: &str) -> Option<Arc<LiveSession>> {
        self.inner.live(session_id)
    }

    pub(super) fn running(&self) -> Vec<Arc<LiveSession>> {
        self.live_map().values().filter(|live| !live.has_ended()).cloned().collect()
    }

    fn forget(&self, ended: &Arc<LiveSession>) {
        let mut sessions = self.live_map();
        if sessions.get(&ended.id).is_some_and(|live| Arc::ptr_eq(live, ended)) {
            sessions.remove(&ended.id);
        }
    }

    fn live_map(&self) -> MutexGuard<'_, HashMap<String, Arc<LiveSession>>> {
        self.inner.live_map()
    }
}

impl Inner {
    pub(super) fn live(&self, session_id: &str) -> Option<Arc<LiveSession>> {
        self.live_map().get(session_id).cloned()
    }

    fn live_map(&self) -> MutexGuard<'_, HashMap<String, Arc<LiveSession>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl MemoryProbe for WhatsAppService {
    async fn memory_bytes(&self, session_id: &str) -> Option<u64> {
        let live = self.live(session_id)?;
        let engine = live.engine().ok()?;
        let bytes = engine.memory_bytes().await;
        live.series.memory(bytes);
        Some(bytes)
    }
}

/// What every line of a session's own tasks is logged under, those of its engine included.
fn session_span(id: &str) -> tracing::Span {
    tracing::info_span!("session", session = %id)
}

/// A panic of one session's supervisor ends in an event and a new supervisor, never in another session.
async fn run_guarded(live: Arc<LiveSession>) {
    let runtime = live.context.runtime.tokio().clone();
    loop {
        match runtime.spawn(supervise(Arc::clone(&live)).instrument(session_span(&live.id))).await {
            Ok(ended) => {
                if live.stop.is_cancelled() {
                    // Whoever stops a session may shut the service down next, and with it the subscriptions.
                    live.flush_events().await;
                }
                live.set_ended(ended);
                return;
            }
            Err(_) => {
                tracing::error!(session = %live.id, "the supervisor of a session panicked; it is started anew");
                live.publish(EventKind::Panicked);
                let pause = live.context.clock.sleep(live.context.options.reconnect_max.min(PANIC_PAUSE));
                if live.stop.run_until_cancelled(pause).await.is_none() {
                    let message = "the session had panicked before it was stopped".to_owned();
                    live.set_ended(Ended::Failed { kind: ErrorKind::Panic, message });
                    return;
                }
            }
        }
    }
}

const PANIC_PAUSE: Duration = Duration::from_secs(5);
