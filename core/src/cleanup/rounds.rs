//! What one round does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::report::{HealthReport, MemoryReport, RoundReport, SessionHealth, SessionList};
use super::{CleanupOptions, MemoryProbe};
use crate::clock::{SharedClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::session::status::Status;
use crate::session_manager::{CleanupReport, SessionManager};
use crate::store::{PageRequest, SessionFilter};

const BYTES_PER_MB: f64 = (1_u64 << 20) as f64;

/// How many health checks are written at once.
const AT_ONCE: usize = 16;

/// The two kinds of round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Cleanup,
    HealthCheck,
}

impl Round {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cleanup => "cleanup round",
            Self::HealthCheck => "health check round",
        }
    }
}

/// Does the work; knows nothing of when.
pub(super) struct Worker {
    manager: SessionManager,
    probe: Arc<dyn MemoryProbe>,
    options: CleanupOptions,
    seen: Mutex<Seen>,
    /// One cleanup at a time, be it asked for or due.
    cleaning: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Seen {
    cleanup: RoundReport,
    last_removed: u64,
    health_check: RoundReport,
    memory: MemoryReport,
}

impl Worker {
    pub(super) fn new(manager: SessionManager, probe: Arc<dyn MemoryProbe>, options: CleanupOptions) -> Self {
        let (seen, cleaning) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { manager, probe, options, seen, cleaning }
    }

    pub(super) fn clock(&self) -> &SharedClock {
        self.manager.clock()
    }

    pub(super) fn interval(&self, round: Round) -> Duration {
        match round {
            Round::Cleanup => self.options.cleanup_interval,
            Round::HealthCheck => self.options.health_check_interval,
        }
    }

    /// Says when the next round of this kind begins.
    pub(super) fn announce(&self, round: Round, next: Option<Timestamp>) {
        self.seen().of(round).next = next;
    }

    pub(super) async fn run(&self, round: Round) -> Result<()> {
        match round {
            Round::Cleanup => self.clean_up(self.options.inactive_days, false).await.and_then(|report| {
                match report.failed.first() {
                    None => Ok(()),
                    Some(first) => Err(Error::new(
                        ErrorKind::Store,
                        format!(
                            "{} sessions were not removed, the first: {}",
                            report.failed.len(),
                            first.message
                        ),
                    )),
                }
            }),
            Round::HealthCheck => self.check_health().await,
        }
    }

    /// Keeps what came of a round.
    pub(super) fn note(&self, round: Round, outcome: Result<()>) {
        let now = self.clock().now();
        let mut seen = self.seen();
        let of_round = seen.of(round);
        match outcome {
            Ok(()) => {
                of_round.succeeded += 1;
                of_round.last = Some(now);
                of_round.last_error = None;
            }
            Err(error) => {
                tracing::warn!(%error, round = round.name(), "a round failed; it is tried again next time");
                of_round.failed += 1;
                of_round.last_error = Some(error.to_string());
            }
        }
    }

    pub(super) async fn clean_up(&self, days: u32, dry_run: bool) -> Result<CleanupReport> {
        let _alone = self.cleaning.lock().await;
        let report = self.manager.cleanup_inactive_sessions(days, dry_run).await?;
        if !dry_run {
            tracing::info!(
                removed = report.removed.len(),
                held = report.held.len(),
                failed = report.failed.len(),
                days,
                "removed inactive sessions"
            );
            let mut seen = self.seen();
            seen.last_removed = report.removed.len() as u64;
            seen.cleanup.last = Some(self.clock().now());
        }
        Ok(report)
    }

    pub(super) async fn reset_problematic(&self, min_attempts: u32) -> Result<u64> {
        if min_attempts == 0 {
            let message = "min_attempts must be 1 or more";
            return Err(Error::new(ErrorKind::Invalid, message).during("reset problematic sessions"));
        }
        let filter = SessionFilter { min_connection_attempts: Some(min_attempts), ..Default::default() };
        let (mut reset, mut page) = (0, first_page());
        while page.is_some() {
            for id in self.next_ids(&filter, &mut page).await? {
                reset += u64::from(is_there(self.manager.reset_connection_attempts(&id).await)?);
            }
        }
        Ok(reset)
    }

    async fn check_health(&self) -> Result<()> {
        let (mut memory, mut page) = (MemoryReport::default(), first_page());
        let active = SessionFilter { is_active: Some(true), ..Default::default() };
        while page.is_some() {
            let ids = self.next_ids(&active, &mut page).await?;
            // Boxed: the compiler cannot see that the unboxed futures may move between threads.
            let measures = ids.into_iter().map(|id| self.measure(id).boxed());
            let mut measured = stream::iter(measures).buffer_unordered(AT_ONCE);
            while let Some(measured) = measured.try_next().await? {
                if let Some((id, memory_mb)) = measured {
                    memory.add(&id, memory_mb);
                }
            }
        }
        self.seen().memory = memory;
        let disconnected = self.manager.count_sessions(&self.too_long_disconnected()).await?;
        if disconnected > 0 {
            let after_s = self.options.disconnected_alert_after.as_secs();
            tracing::warn!(disconnected, after_s, "sessions have been disconnected for too long");
        }
        Ok(())
    }

    /// Measures one session and notes it. `None` if it does not run here or was deleted meanwhile.
    async fn measure(&self, session: String) -> Result<Option<(String, f64)>> {
        let Some(bytes) = self.probe.memory_bytes(&session).await else { return Ok(None) };
        let memory_mb = bytes as f64 / BYTES_PER_MB;
        let there = is_there(self.manager.update_health_check(&session, memory_mb).await)?;
        Ok(there.then_some((session, memory_mb)))
    }

    pub(super) async fn report(&self, running: bool) -> Result<HealthReport> {
        let problematic = SessionFilter {
            problematic_from_attempts: Some(self.options.problematic_min_attempts),
            ..Default::default()
        };
        let disconnected = self.too_long_disconnected();
        let (statistics, problematic, disconnected) = futures::try_join!(
            self.manager.get_statistics(),
            self.list(&problematic),
            self.list(&disconnected),
        )?;
        let seen = self.seen();
        Ok(HealthReport {
            generated_at: self.clock().now(),
            running,
            statistics,
            problematic,
            disconnected,
            memory: seen.memory.clone(),
            cleanup: seen.cleanup.clone(),
            last_removed: seen.last_removed,
            health_check: seen.health_check.clone(),
        })
    }

    fn too_long_disconnected(&self) -> SessionFilter {
        let since = self.clock().now().minus(self.options.disconnected_alert_after);
        SessionFilter {
            is_active: Some(true),
            is_connected: Some(false),
            statuses: vec![Status::Disconnected],
            // The end of a connection is activity, and failed attempts are not.
            last_activity_before: Some(since),
            ..Default::default()
        }
    }

    async fn list(&self, filter: &SessionFilter) -> Result<SessionList> {
        let page = PageRequest { limit: self.options.report_limit, ..Default::default() };
        let (total, found) = futures::try_join!(
            self.manager.count_sessions(filter),
            self.manager.list_sessions(filter, &page)
        )?;
        Ok(SessionList { total, sessions: found.items.into_iter().map(SessionHealth::from).collect() })
    }

    /// The ids of the next page of sessions that match; `page` becomes `None` after the last.
    async fn next_ids(&self, filter: &SessionFilter, page: &mut Option<PageRequest>) -> Result<Vec<String>> {
        let Some(request) = page else { return Ok(Vec::new()) };
        let found = self.manager.list_sessions(filter, request).await?;
        match found.next {
            None => *page = None,
            next => request.after = next,
        }
        Ok(found.items.into_iter().map(|record| record.session_id).collect())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn of(&mut self, round: Round) -> &mut RoundReport {
        match round {
            Round::Cleanup => &mut self.cleanup,
            Round::HealthCheck => &mut self.health_check,
        }
    }
}

fn first_page() -> Option<PageRequest> {
    Some(PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() })
}

/// A session that was deleted since it was listed is no failure.
fn is_there<T>(changed: Result<T>) -> Result<bool> {
    match changed {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
