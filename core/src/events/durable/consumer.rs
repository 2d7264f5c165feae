//! A named reader of the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::LoggedEvent;
use super::cursor::Cursor;
use super::dead_letters::{find_event, put_aside};
use super::log::{DurableLog, Inbox, NameGuard, lock};
use super::options::ConsumerOptions;
use super::reader::Reader;
use super::runner;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{HeldLease, LeaseKeeper};
use crate::store::Position;
use crate::store::patience::is_outage;

/// How many events one batch may have.
const MAX_BATCH: usize = 10_000;
/// The pause before the store is asked again after it was away.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// A consumer with a name, open for reading. Every event of every session comes to it at least once, in order within a
/// session, across restarts and whichever process ran the session.
///
/// Either take batches ([`next_batch`](Self::next_batch), then [`ack`](Self::ack)) or have a handler called
/// ([`run`](Self::run)). One process at a time has it open. Cheap to clone; all clones are one consumer, which is
/// closed when the last one goes, or by [`close`](Self::close).
#[derive(Clone)]
pub struct DurableConsumer(Arc<Shared>);

struct Shared {
    consumer: Consumer,
    reader: AsyncMutex<Reader>,
    /// Whether a runner has the reader.
    running: AtomicBool,
    /// Ends the present run.
    run_stop: Mutex<CancellationToken>,
}

/// What an open consumer holds. The lease goes back when this goes.
pub(super) struct Consumer {
    pub(super) name: String,
    pub(super) log: Arc<DurableLog>,
    pub(super) options: ConsumerOptions,
    pub(super) inbox: Arc<Inbox>,
    pub(super) runtime: Handle,
    /// The service's.
    pub(super) stop: CancellationToken,
    /// Cancelled by [`DurableConsumer::close`].
    closed: CancellationToken,
    leases: Arc<LeaseKeeper>,
    held: HeldLease,
    taken: Mutex<Option<NameGuard>>,
}

impl std::fmt::Debug for DurableConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableConsumer").field("name", &self.0.consumer.name).finish_non_exhaustive()
    }
}

impl Consumer {
    #[allow(clippy::too_many_arguments, reason = "it is called once, with all that an open consumer is")]
    pub(super) fn new(
        name: String,
        log: Arc<DurableLog>,
        leases: Arc<LeaseKeeper>,
        held: HeldLease,
        taken: NameGuard,
        inbox: Arc<Inbox>,
        options: ConsumerOptions,
        runtime: Handle,
        stop: CancellationToken,
    ) -> Self {
        let (closed, taken) = (CancellationToken::new(), Mutex::new(Some(taken)));
        Self { name, log, options, inbox, runtime, stop, closed, leases, held, taken }
    }

    /// Completes when another process has become the reader.
    pub(super) async fn lost(&self) {
        self.held.lost.cancelled().await;
    }

    /// An error if this consumer may read no more.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.held.lost.is_cancelled() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("another process took the consumer {:?} over; nothing more is read here", self.name),
            ));
        }
        if self.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the service was shut down; build a new one"));
        }
        if self.closed.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the consumer was closed; open it again"));
        }
        Ok(())
    }

    /// Gives the lease back, the first time that it is called.
    async fn give_back(&self) {
        let taken = lock(&self.taken).take();
        if let Some(taken) = taken {
            release(Arc::clone(&self.leases), self.held.clone(), taken).await;
        }
    }
}

async fn release(leases: Arc<LeaseKeeper>, held: HeldLease, taken: NameGuard) {
    if let Err(error) = leases.release(&held).await {
        tracing::warn!(%error, "the lease of a consumer could not be released; it runs out by itself");
    }
    drop(taken);
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some(taken) = lock(&self.taken).take() else { return };
        let work = release(Arc::clone(&self.leases), self.held.clone(), taken);
        drop(self.runtime.spawn(self.log.tasks.track_future(work)));
    }
}

impl DurableConsumer {
    pub(super) fn new(consumer: Consumer, reader: Reader) -> Self {
        Self(Arc::new(Shared {
            consumer,
            reader: AsyncMutex::new(reader),
            running: AtomicBool::new(false),
            run_stop: Mutex::new(CancellationToken::new()),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.consumer.name
    }

    /// The next events, of all sessions, in order within each: at most `max` (1 to 10,000), as soon as there is one.
    /// None if nothing has come within `patience`.
    ///
    /// What was handed out is not handed out again while this consumer is open; what was not acknowledged comes again
    /// once it was closed and opened, here or elsewhere.
    ///
    /// # Errors
    /// `Invalid` for a `max` out of range; `InvalidState` while a handler [runs](Self::run); `Conflict` if another
    /// process took the consumer over; `Unavailable` if the store stayed away; `Closed` after the end.
    pub async fn next_batch(&self, max: usize, patience: Duration) -> Result<Vec<LoggedEvent>> {
        const OP: &str = "next_batch";
        if !(1..=MAX_BATCH).contains(&max) {
            let message = format!("a batch must be of 1 to {MAX_BATCH} events");
            return Err(Error::new(ErrorKind::Invalid, message).during(OP));
        }
        let mut reader = self.reader().await.map_err(|error| error.during(OP))?;
        self.wait_for_batch(&mut reader, max, patience).await.map_err(|error| error.during(OP))
    }

    async fn wait_for_batch(
        &self,
        reader: &mut Reader,
        max: usize,
        patience: Duration,
    ) -> Result<Vec<LoggedEvent>> {
        let consumer = &self.0.consumer;
        let clock = &consumer.log.clock;
        let deadline = clock.monotonic().saturating_add(patience);
        loop {
            consumer.check_open()?;
            let (pause, nothing) = match batch(reader, max).await {
                Ok(events) if !events.is_empty() => return Ok(events),
                Ok(events) => (reader.until_poll(), Ok(events)),
                Err(error) if is_outage(&error) => (STORE_PAUSE, Err(error)),
                Err(error) => return Err(error),
            };
            let left = deadline.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return nothing;
            }
            tokio::select! {
                () = consumer.inbox.wake.notified() => {}
                () = clock.sleep(pause.min(left)) => {}
                () = consumer.stop.cancelled() => {}
                () = consumer.closed.cancelled() => {}
                () = consumer.lost() => {}
            }
        }
    }

    /// Says that this event and all before it of its session are done with: they do not come again. Durable on `Ok`. A
    /// replayed event is taken from the dead letters.
    pub async fn ack(&self, event: &LoggedEvent) -> Result<()> {
        self.ack_at(&event.cursor).await.map_err(|error| error.during("ack"))
    }

    /// As [`ack`](Self::ack), by the text of an event's [cursor](LoggedEvent::cursor), which may have been kept
    /// elsewhere meanwhile.
    ///
    /// # Errors
    /// `Invalid` if it is not a cursor, is another consumer's, or lies beyond the end of the log.
    pub async fn ack_cursor(&self, cursor: &str) -> Result<()> {
        let acknowledge = async { self.ack_at(&cursor.parse()?).await };
        acknowledge.await.map_err(|error| error.during("ack"))
    }

    async fn ack_at(&self, cursor: &Cursor) -> Result<()> {
        let consumer = &self.0.consumer;
        cursor.check_consumer(&consumer.name)?;
        let mut reader = self.reader().await?;
        let DurableLog { store, clock, .. } = &*consumer.log;
        if cursor.replayed {
            store.delete_dead_letters(&consumer.name, cursor.choice()).await?;
            reader.replayed(&cursor.session, cursor.seq);
            return Ok(());
        }
        if cursor.seq > reader.positions.last(&cursor.session) {
            let last = store.last_events(Some(&cursor.session)).await?.first().map_or(0, |mark| mark.seq);
            if cursor.seq > last {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "the cursor lies beyond the end of the log; it is of another database, or its session was deleted",
                )
                .of_session(&cursor.session));
            }
            reader.positions.learn(&cursor.session, last);
        }
        let position = Position { session: cursor.session.clone(), seq: cursor.seq };
        store.advance_positions(&consumer.name, &[position], clock.now()).await?;
        reader.positions.took(&cursor.session, cursor.seq);
        Ok(())
    }

    /// Puts an event aside as a dead letter, and acknowledges it. See [`DeadLetters`](super::DeadLetters).
    pub async fn reject(&self, event: &LoggedEvent, reason: &str) -> Result<()> {
        const OP: &str = "reject";
        let consumer = &self.0.consumer;
        let reject = async {
            event.cursor.check_consumer(&consumer.name)?;
            let mut reader = self.reader().await?;
            put_aside(&consumer.log, &consumer.name, event, event.attempt, reason).await?;
            reader.replayed(&event.cursor.session, event.cursor.seq);
            drop(reader);
            if event.replayed { Ok(()) } else { self.ack_at(&event.cursor).await }
        };
        reject.await.map_err(|error| error.during(OP))
    }

    /// As [`reject`](Self::reject), by the text of an event's [cursor](LoggedEvent::cursor).
    ///
    /// # Errors
    /// `Invalid` if it is not a cursor or another consumer's; `NotFound` if its event is not in the log any more, or if
    /// it stood for such events ([`Missed`](crate::events::EventKind::Missed)): acknowledge it.
    pub async fn reject_cursor(&self, cursor: &str, reason: &str) -> Result<()> {
        let consumer = &self.0.consumer;
        let find = async {
            let cursor: Cursor = cursor.parse()?;
            cursor.check_consumer(&consumer.name)?;
            find_event(&consumer.log, cursor).await
        };
        let event = find.await.map_err(|error| error.during("reject"))?;
        self.reject(&event, reason).await
    }

    /// Calls `handler` for every event until [`stop`](Self::stop) or the service's shutdown: at the same time for
    /// different sessions, one after the other within a session.
    ///
    /// An event is acknowledged after the handler's `Ok`. After an `Err` or a panic the handler is called again, after
    /// a pause ([`RetryOptions`](super::RetryOptions)); the later events of that session wait, those of others do not.
    /// After the last attempt the event becomes a [dead letter](super::DeadLetters), and its session goes on.
    /// At the end the handlers at work are awaited.
    ///
    /// # Errors
    /// `InvalidState` if it runs already; `Conflict` if another process took the consumer over. A store that is away
    /// is waited for.
    pub async fn run<H, F, E>(&self, handler: H) -> Result<()>
    where
        H: Fn(LoggedEvent) -> F + Send + Sync + 'static,
        F: Future<Output = std::result::Result<(), E>> + Send + 'static,
        E: std::fmt::Display + 'static,
    {
        const OP: &str = "run";
        let shared = &self.0;
        let consumer = &shared.consumer;
        consumer.check_open().map_err(|error| error.during(OP))?;
        if shared.running.swap(true, Ordering::SeqCst) {
            return Err(being_run().during(OP));
        }
        let running = Running(&shared.running);
        let stop = consumer.stop.child_token();
        lock(&shared.run_stop).clone_from(&stop);
        let mut reader = shared.reader.lock().await;
        let run = async {
            let outcome = runner::run(consumer, &mut reader, stop, handler).await;
            if consumer.stop.is_cancelled() {
                // It is of no more use here: whoever stands by may go on at once.
                consumer.give_back().await;
            }
            outcome
        };
        let outcome = consumer.log.tasks.track_future(run).await;
        drop(reader);
        drop(running);
        outcome.map_err(|error| error.during(OP))
    }

    /// Ends the present [`run`](Self::run) once the handlers at work have ended. Without one it does nothing.
    pub fn stop(&self) {
        lock(&self.0.run_stop).cancel();
    }

    /// Ends it: another process may open it at once. What was not acknowledged comes again there.
    pub async fn close(&self) {
        let consumer = &self.0.consumer;
        consumer.closed.cancel();
        self.stop();
        // Whoever reads has it until he sees the end.
        drop(self.0.reader.lock().await);
        consumer.give_back().await;
    }

    async fn reader(&self) -> Result<MutexGuard<'_, Reader>> {
        self.0.consumer.check_open()?;
        if self.0.running.load(Ordering::SeqCst) {
            return Err(being_run());
        }
        Ok(self.0.reader.lock().await)
    }
}

/// Replays first, then what is new.
async fn batch(reader: &mut Reader, max: usize) -> Result<Vec<LoggedEvent>> {
    reader.learn().await?;
    let mut events = Vec::new();
    while events.len() < max
        && let Some((event, _)) = reader.next_replay(|_| false)
    {
        events.push(event);
    }
    let left = max.saturating_sub(events.len()) as u64;
    if events.is_empty() {
        events.extend(reader.read(left, |_| false).await?.into_iter().flatten());
    }
    Ok(events)
}

fn being_run() -> Error {
    Error::new(ErrorKind::InvalidState, "a handler runs on this consumer; stop it first")
}

struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
