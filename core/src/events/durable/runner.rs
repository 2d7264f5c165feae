//! Hands events to a handler: sessions side by side, each session's events one after the other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::LoggedEvent;
use super::consumer::Consumer;
use super::dead_letters::put_aside;
use super::log::DurableLog;
use super::options::ConsumerOptions;
use super::persist::persist;
use super::reader::Reader;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventKind;
use crate::store::Position;
use crate::store::patience::is_outage;

/// Events read in one go.
const EVENTS_AT_ONCE: u64 = 1_024;
/// Events read but not handled that may be in memory, beyond which only idle handlers' work is read.
const MAX_IN_MEMORY: usize = 4_096;
/// The pause before the store is asked again after it was away.
const STORE_PAUSE: Duration = Duration::from_millis(200);

/// What the jobs of one run share.
struct Handling<H> {
    handler: H,
    name: String,
    log: Arc<DurableLog>,
    options: ConsumerOptions,
    stop: CancellationToken,
    /// Only handlers at work count: a session that waits for its next attempt holds up no other.
    at_work: Semaphore,
    done: mpsc::UnboundedSender<Position>,
}

/// The work on some events of one session.
struct Job {
    session: String,
    /// The last event before them.
    after: u64,
    count: usize,
    /// The number of a dead letter that is replayed.
    replay: Option<u64>,
}

/// What became of one event.
enum Outcome {
    Handled { failures: u32 },
    GaveUp { failures: u32, reason: String },
    Stopped,
}

pub(super) async fn run<H, F, E>(
    consumer: &Consumer,
    reader: &mut Reader,
    stop: CancellationToken,
    handler: H,
) -> Result<()>
where
    H: Fn(LoggedEvent) -> F + Send + Sync + 'static,
    F: Future<Output = std::result::Result<(), E>> + Send + 'static,
    E: Display + 'static,
{
    let (done, mut finished) = mpsc::unbounded_channel();
    let handling = Arc::new(Handling {
        handler,
        name: consumer.name.clone(),
        log: Arc::clone(&consumer.log),
        options: consumer.options.clone(),
        stop: stop.clone(),
        at_work: Semaphore::new(consumer.options.concurrency),
        done,
    });
    let mut run = Run {
        consumer,
        handling,
        tasks: JoinSet::new(),
        jobs: HashMap::new(),
        acknowledged: BTreeMap::new(),
        flush: None,
    };
    let clock = &consumer.log.clock;
    let mut outcome = Ok(());
    // When to look for events next; at once if a session has become idle or there is news.
    let mut next_look = clock.monotonic();
    loop {
        if let Err(error) = consumer.check_open()
            && !stop.is_cancelled()
        {
            if error.kind() == ErrorKind::Conflict {
                outcome = Err(error);
            }
            stop.cancel();
        }
        if !stop.is_cancelled() && next_look <= clock.monotonic() {
            match run.start_jobs(reader).await {
                Ok(pause) => next_look = clock.monotonic() + pause,
                // The handlers at work may end, and what they did is written down.
                Err(error) => {
                    outcome = Err(error);
                    stop.cancel();
                }
            }
        }
        let stopping = stop.is_cancelled();
        run.start_flush();
        if stopping && run.jobs.is_empty() && run.flush.is_none() {
            break;
        }
        let pause = next_look.saturating_sub(clock.monotonic());
        let lately: OptionFuture<_> = run.flush.as_mut().into();
        tokio::select! {
            biased;
            Some(ended) = run.tasks.join_next_with_id() => {
                while let Ok(position) = finished.try_recv() {
                    run.acknowledge(reader, position);
                }
                run.job_ended(reader, ended)?;
                next_look = clock.monotonic();
            }
            Some(position) = finished.recv() => {
                run.acknowledge(reader, position);
                while let Ok(position) = finished.try_recv() {
                    run.acknowledge(reader, position);
                }
            }
            Some(flushed) = lately => {
                run.flush = None;
                flushed?;
            }
            () = stop.cancelled(), if !stopping => {}
            () = consumer.lost(), if !stopping => {}
            () = consumer.inbox.wake.notified(), if !stopping => next_look = clock.monotonic(),
            () = clock.sleep(pause), if !stopping => {}
        }
    }
    outcome
}

/// One run of a consumer.
struct Run<'a, H> {
    consumer: &'a Consumer,
    handling: Arc<Handling<H>>,
    /// The number of the last event that is done with.
    tasks: JoinSet<u64>,
    jobs: HashMap<Id, Job>,
    /// Positions that are not written yet.
    acknowledged: BTreeMap<String, u64>,
    flush: Option<BoxFuture<'static, Result<()>>>,
}

impl<H, F, E> Run<'_, H>
where
    H: Fn(LoggedEvent) -> F + Send + Sync + 'static,
    F: Future<Output = std::result::Result<(), E>> + Send + 'static,
    E: Display + 'static,
{
    /// Reads what is new and starts the work on it. Says how long to wait if nothing happens.
    async fn start_jobs(&mut self, reader: &mut Reader) -> Result<Duration> {
        match self.read_and_start(reader).await {
            Ok(()) => Ok(reader.until_poll()),
            Err(error) if is_outage(&error) => Ok(STORE_PAUSE),
            Err(error) => Err(error),
        }
    }

    async fn read_and_start(&mut self, reader: &mut Reader) -> Result<()> {
        reader.learn().await?;
        while let Some((event, letter)) =
            reader.next_replay(|session| self.jobs.values().any(|job| job.session == session))
        {
            let earlier = letter.attempts;
            self.start(event.cursor.session.clone(), event.event.seq, vec![event], Some(earlier));
        }
        loop {
            let in_memory: usize = self.jobs.values().map(|job| job.count).sum();
            let most = EVENTS_AT_ONCE.min(MAX_IN_MEMORY.saturating_sub(in_memory) as u64);
            if most == 0 {
                return Ok(());
            }
            let busy: HashSet<&str> = self.jobs.values().map(|job| job.session.as_str()).collect();
            let read = reader.read(most, |session| busy.contains(session)).await?;
            drop(busy);
            if read.is_empty() {
                return Ok(());
            }
            for events in read {
                let Some(first) = events.first() else { continue };
                let (session, after) = (first.cursor.session.clone(), before(first));
                self.start(session, after, events, None);
            }
        }
    }

    /// `replayed` is how often a dead letter had failed before.
    fn start(&mut self, session: String, after: u64, events: Vec<LoggedEvent>, replayed: Option<u32>) {
        let count = events.len();
        let handling = Arc::clone(&self.handling);
        let work = match replayed {
            None => handling.work(after, events).boxed(),
            Some(earlier) => handling.replay(after, events, earlier).boxed(),
        };
        let id = self.tasks.spawn_on(work, &self.consumer.runtime).id();
        self.jobs.insert(id, Job { session, after, count, replay: replayed.map(|_| after) });
    }

    fn job_ended(
        &mut self,
        reader: &mut Reader,
        ended: std::result::Result<(Id, u64), tokio::task::JoinError>,
    ) -> Result<()> {
        let (id, reached) = match ended {
            Ok((id, reached)) => (id, Some(reached)),
            Err(error) => (error.id(), None),
        };
        let Some(job) = self.jobs.remove(&id) else { return Ok(()) };
        match job.replay {
            Some(seq) => reader.replayed(&job.session, seq),
            // What was not reached is read again.
            None => reader.positions.rewind(&job.session, reached.unwrap_or(job.after)),
        }
        match reached {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Internal, "the work on an event panicked; report it")
                .of_session(&job.session)),
        }
    }

    fn acknowledge(&mut self, reader: &Reader, position: Position) {
        // Of a session that was deleted meanwhile: its next log begins at 1.
        if reader.positions.last(&position.session) < position.seq {
            return;
        }
        let seq = self.acknowledged.entry(position.session).or_default();
        *seq = (*seq).max(position.seq);
    }

    /// One write at a time; what is done meanwhile goes into the next.
    fn start_flush(&mut self) {
        if self.flush.is_some() || self.acknowledged.is_empty() {
            return;
        }
        let positions: Vec<Position> = std::mem::take(&mut self.acknowledged)
            .into_iter()
            .map(|(session, seq)| Position { session, seq })
            .collect();
        let (log, name) = (Arc::clone(&self.handling.log), self.handling.name.clone());
        let stop = self.consumer.stop.clone();
        self.flush = Some(
            async move {
                let DurableLog { store, clock, .. } = &*log;
                persist(clock, &stop, || store.advance_positions(&name, &positions, clock.now())).await
            }
            .boxed(),
        );
    }
}

/// The number before an event; before one that tells what was missed, the number before that.
fn before(event: &LoggedEvent) -> u64 {
    let missed = match event.event.kind {
        EventKind::Missed { count } => count,
        _ => 1,
    };
    event.event.seq.saturating_sub(missed)
}

impl<H, F, E> Handling<H>
where
    H: Fn(LoggedEvent) -> F + Send + Sync + 'static,
    F: Future<Output = std::result::Result<(), E>> + Send + 'static,
    E: Display + 'static,
{
    /// Handles events one after the other. Returns the number of the last that is done with.
    async fn work(self: Arc<Self>, after: u64, events: Vec<LoggedEvent>) -> u64 {
        let mut reached = after;
        for event in events {
            let failures = match self.handle(&event).await {
                Outcome::Handled { failures } => failures,
                Outcome::GaveUp { failures, reason } => {
                    let put = || put_aside(&self.log, &self.name, &event, failures, &reason);
                    if let Err(error) = persist(&self.log.clock, &self.stop, put).await {
                        tracing::warn!(
                            kind = error.kind().name(),
                            "an event was not put aside; it comes again"
                        );
                        return reached;
                    }
                    failures
                }
                Outcome::Stopped => return reached,
            };
            reached = event.event.seq;
            let position = Position { session: event.cursor.session.clone(), seq: reached };
            // The receiver lives as long as the run.
            drop(self.done.send(position));
            if failures > 0 {
                // While it failed the later ones lay in memory; whoever is next reads them again.
                return reached;
            }
        }
        reached
    }

    /// Handles a dead letter once more.
    async fn replay(self: Arc<Self>, seq: u64, events: Vec<LoggedEvent>, earlier: u32) -> u64 {
        for event in events {
            let store = &self.log.store;
            let outcome = match self.handle(&event).await {
                Outcome::Handled { .. } => {
                    let choice = event.cursor.choice();
                    let remove = || store.delete_dead_letters(&self.name, choice);
                    persist(&self.log.clock, &self.stop, remove).await.map(drop)
                }
                Outcome::GaveUp { failures, reason } => {
                    let attempts = earlier.saturating_add(failures);
                    let put = || put_aside(&self.log, &self.name, &event, attempts, &reason);
                    persist(&self.log.clock, &self.stop, put).await
                }
                Outcome::Stopped => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::warn!(
                    kind = error.kind().name(),
                    "a replay's outcome was not stored; it comes again"
                );
            }
        }
        seq
    }

    /// Calls the handler until it takes the event, or for the last time.
    async fn handle(&self, event: &LoggedEvent) -> Outcome {
        let mut failures = 0;
        loop {
            // The semaphore is never closed.
            let permit = match self.stop.run_until_cancelled(self.at_work.acquire()).await {
                Some(Ok(permit)) if !self.stop.is_cancelled() => permit,
                _ => return Outcome::Stopped,
            };
            let called = self.call(LoggedEvent { attempt: failures + 1, ..event.clone() }).await;
            drop(permit);
            let Err(reason) = called else { return Outcome::Handled { failures } };
            failures += 1;
            let (session, seq) = (&event.cursor.session, event.event.seq);
            if failures >= self.options.retry.max_attempts {
                tracing::warn!(consumer = %self.name, session, seq, failures, "a handler gave up on an event");
                return Outcome::GaveUp { failures, reason };
            }
            tracing::debug!(consumer = %self.name, session, seq, failures, "a handler failed; trying again");
            let pause = self.options.retry.pause(failures, &self.log.clock);
            if self.stop.run_until_cancelled(self.log.clock.sleep(pause)).await.is_none() {
                return Outcome::Stopped;
            }
        }
    }

    async fn call(&self, event: LoggedEvent) -> std::result::Result<(), String> {
        // The handler itself may panic before it gives a future.
        let handled =
            AssertUnwindSafe(async { (self.handler)(event).await.map_err(|error| error.to_string()) })
                .catch_unwind()
                .map(|outcome| outcome.unwrap_or_else(|_| Err("the handler panicked".to_owned())));
        match self.options.handler_timeout {
            None => handled.await,
            Some(timeout) => tokio::select! {
                outcome = handled => outcome,
                () = self.log.clock.sleep(timeout) => {
                    Err(format!("the handler took longer than {} s", timeout.as_secs_f64()))
                }
            },
        }
    }
}
