//! The seed's `CleanupService`: removes what nobody uses, measures what runs, reports what is not well.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | intervals and limits |
//! | `rounds` | what one round does |
//! | `report` | what the health report says |

mod options;
mod report;
mod rounds;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use options::CleanupOptions;
pub use report::{HealthReport, MemoryReport, RoundReport, SessionHealth, SessionList, SessionMemory};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::RuntimeHandle;
use crate::session_manager::{CleanupReport, SessionManager};
use rounds::{Round, Worker};

/// Says what a session takes. The service implements it.
#[async_trait]
pub trait MemoryProbe: Send + Sync + 'static {
    /// The memory of a session that runs in this process, in bytes; `None` if it does not run here.
    async fn memory_bytes(&self, session: &str) -> Option<u64>;
}

/// Cleans up and checks health at intervals; cheap to clone.
///
/// A round that fails is logged, counted and tried again at the next time; it never ends the service. The rounds
/// end when [`stop`](CleanupService::stop) is called or the last clone is dropped.
#[derive(Clone)]
pub struct CleanupService(Arc<Handle>);

struct Handle {
    worker: Arc<Worker>,
    running: Mutex<Option<Running>>,
}

#[derive(Clone)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl CleanupService {
    /// A service that is not started yet. `Invalid` if an option is out of its range.
    pub fn new(
        manager: SessionManager,
        probe: Arc<dyn MemoryProbe>,
        options: CleanupOptions,
    ) -> Result<Self> {
        options.validate()?;
        let worker = Arc::new(Worker::new(manager, probe, options));
        Ok(Self(Arc::new(Handle { worker, running: Mutex::default() })))
    }

    /// Starts the rounds on `runtime`; does nothing if they run. The first of each kind comes after its interval, so
    /// that sessions that are being restored are not taken for abandoned ones.
    pub fn start(&self, runtime: &RuntimeHandle) {
        let mut running = self.0.running();
        if running.as_ref().is_some_and(|running| !running.stop.is_cancelled()) {
            return;
        }
        let new = Running { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for round in [Round::Cleanup, Round::HealthCheck] {
            let worker = self.0.worker.clone();
            let stop = new.stop.clone();
            new.tasks.spawn_on(async move { repeat(&worker, round, &stop).await }, runtime.tokio());
        }
        new.tasks.close();
        *running = Some(new);
    }

    /// Ends the rounds and waits for one that is under way. Idempotent; [`start`](CleanupService::start) begins
    /// anew.
    pub async fn stop(&self) {
        let running = self.0.running().clone();
        if let Some(running) = running {
            running.stop.cancel();
            running.tasks.wait().await;
        }
    }

    /// Whether the rounds run.
    pub fn is_running(&self) -> bool {
        self.0.running().as_ref().is_some_and(|running| !running.stop.is_cancelled())
    }

    /// Removes the sessions without activity for `days` now, or says which it would; see
    /// [`cleanup_inactive_sessions`](SessionManager::cleanup_inactive_sessions).
    pub async fn run_manual_cleanup(&self, days: u32, dry_run: bool) -> Result<CleanupReport> {
        self.0.worker.clean_up(days, dry_run).await
    }

    /// The state of the system at this moment.
    pub async fn get_health_report(&self) -> Result<HealthReport> {
        self.0.worker.report(self.is_running()).await
    }

    /// Sets the count of failed attempts to zero in every session that has at least `min_attempts`. Returns in how
    /// many. `Invalid` if `min_attempts` is 0.
    pub async fn reset_problematic_sessions(&self, min_attempts: u32) -> Result<u64> {
        self.0.worker.reset_problematic(min_attempts).await
    }
}

impl fmt::Debug for CleanupService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CleanupService").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

impl Handle {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(running) = &*self.running() {
            running.stop.cancel();
        }
    }
}

/// Runs one kind of round after each interval until `stop`.
async fn repeat(worker: &Worker, round: Round, stop: &CancellationToken) {
    let clock = worker.clock().clone();
    let interval: Duration = worker.interval(round);
    loop {
        // Asked for before it is announced, so that whoever sees the announcement can rely on the sleep.
        let sleep = clock.sleep(interval);
        worker.announce(round, Some(clock.now().plus(interval)));
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep => {}
        }
        let outcome = AssertUnwindSafe(worker.run(round)).catch_unwind().await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panic, "the round panicked; report it").during(round.name()))
        });
        worker.note(round, outcome);
    }
    worker.announce(round, None);
}

#[cfg(test)]
mod tests;
