use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::session::status::StatusEvent;
use crate::session_manager::{SessionData, StatusUpdate};
use crate::store::MemoryStore;
use crate::testing::ManualClock;
use crate::vault::Vault;

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);
const MB: u64 = 1 << 20;

#[derive(Default)]
struct Probe {
    sizes: HashMap<&'static str, u64>,
    panics: AtomicBool,
}

#[async_trait]
impl MemoryProbe for Probe {
    async fn memory_bytes(&self, session: &str) -> Option<u64> {
        assert!(!self.panics.load(Ordering::SeqCst), "a test's panic");
        self.sizes.get(session).copied()
    }
}

struct World {
    clock: ManualClock,
    store: Arc<MemoryStore>,
    manager: SessionManager,
    probe: Arc<Probe>,
    service: CleanupService,
}

impl World {
    async fn new(sessions: &[&str], sizes: &[(&'static str, u64)]) -> Self {
        let clock = ManualClock::new();
        let store = Arc::new(MemoryStore::with_clock(clock.shared()));
        let manager = SessionManager::new(store.clone(), Vault::plaintext_dangerously(), clock.shared());
        for id in sessions {
            manager.create_or_update_session(id, &SessionData::default()).await.unwrap();
        }
        let probe = Arc::new(Probe { sizes: sizes.iter().copied().collect(), ..Default::default() });
        let service = CleanupService::new(manager.clone(), probe.clone(), CleanupOptions::default()).unwrap();
        Self { clock, store, manager, probe, service }
    }

    fn start(&self) {
        self.service.start(&crate::runtime::RuntimeHandle::current().unwrap());
    }

    async fn event(&self, session: &str, event: StatusEvent) {
        self.manager.apply_status(session, event, StatusUpdate::default()).await.unwrap();
    }

    /// Moves the clock once both rounds sleep, and waits until they sleep again.
    async fn pass(&self, time: Duration) {
        self.clock.wait_for_sleepers(2).await;
        self.clock.advance(time);
        self.clock.wait_for_sleepers(2).await;
    }

    async fn report(&self) -> HealthReport {
        self.service.get_health_report().await.unwrap()
    }

    async fn ids(&self) -> Vec<String> {
        let page = self.manager.get_active_sessions(&Default::default()).await.unwrap();
        page.items.into_iter().map(|record| record.session_id).collect()
    }
}

#[tokio::test]
async fn inactive_sessions_go_at_the_interval_and_not_at_the_start() {
    let world = World::new(&["old", "connected"], &[]).await;
    world.event("connected", StatusEvent::LoggedIn).await;
    world.clock.advance(HOUR * 24 * 31);
    world.start();
    world.pass(HOUR * 6 - MINUTE).await;
    assert_eq!(world.ids().await, ["connected", "old"]);
    world.pass(MINUTE).await;
    assert_eq!(world.ids().await, ["connected"]);
    let report = world.report().await;
    assert_eq!((report.last_removed, report.cleanup.succeeded), (1, 1));
    assert_eq!(report.cleanup.last, Some(report.generated_at));
    assert_eq!(report.cleanup.next, Some(report.generated_at.plus(HOUR * 6)));
    world.service.stop().await;
}

#[tokio::test]
async fn health_checks_measure_what_runs_here() {
    let world = World::new(&["a", "b", "elsewhere"], &[("a", 3 * MB), ("b", MB / 2)]).await;
    world.start();
    world.pass(MINUTE * 5).await;
    let (a, elsewhere) = (world.manager.get_session("a").await.unwrap(), "elsewhere");
    assert_eq!((a.memory_usage, a.last_health_check), (3.0, a.updated_at));
    assert_eq!(world.manager.get_session(elsewhere).await.unwrap().memory_usage, 0.0);
    let memory = world.report().await.memory;
    assert_eq!((memory.sessions, memory.total_mb), (2, 3.5));
    assert_eq!(memory.largest.unwrap().session_id, "a");
    world.service.stop().await;
}

#[tokio::test]
async fn the_report_names_what_is_not_well() {
    let world = World::new(&["away", "broken", "down", "fine"], &[]).await;
    world.event("away", StatusEvent::PutAway).await;
    world.event("broken", StatusEvent::Failed).await;
    for session in ["down", "fine"] {
        world.event(session, StatusEvent::LoggedIn).await;
    }
    world.event("down", StatusEvent::ConnectionEnded).await;
    world.clock.advance(MINUTE * 5);
    assert_eq!(world.report().await.disconnected.total, 0);
    world.clock.advance(MINUTE);

    let report = world.report().await;
    assert_eq!((report.disconnected.total, report.disconnected.sessions[0].session_id.as_str()), (1, "down"));
    assert_eq!((report.problematic.total, report.problematic.sessions[0].session_id.as_str()), (1, "broken"));
    assert!(!report.running);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["statistics"]["totalSessions"], 4);
    assert_eq!(json["healthCheck"]["lastError"], serde_json::Value::Null);
    assert_eq!(serde_json::from_value::<HealthReport>(json).unwrap(), report);
}

#[tokio::test]
async fn a_failing_round_is_counted_and_tried_again() {
    let world = World::new(&["a"], &[("a", MB)]).await;
    world.start();
    world.clock.wait_for_sleepers(2).await;
    world.store.set_unavailable(true);
    world.pass(MINUTE * 5).await;
    world.store.set_unavailable(false);
    let failed = world.report().await.health_check;
    assert_eq!((failed.failed, failed.succeeded, failed.last), (1, 0, None));
    assert!(failed.last_error.is_some());

    world.pass(MINUTE * 5).await;
    let mended = world.report().await.health_check;
    assert_eq!((mended.failed, mended.succeeded, mended.last_error), (1, 1, None));
    world.service.stop().await;
}

#[tokio::test]
async fn a_panic_in_a_round_does_not_end_the_service() {
    let world = World::new(&["a"], &[("a", MB)]).await;
    world.start();
    world.probe.panics.store(true, Ordering::SeqCst);
    world.pass(MINUTE * 5).await;
    world.probe.panics.store(false, Ordering::SeqCst);
    world.pass(MINUTE * 5).await;
    let rounds = world.report().await.health_check;
    assert_eq!((rounds.failed, rounds.succeeded), (1, 1));
    world.service.stop().await;
}

#[tokio::test]
async fn stop_waits_for_the_round_under_way_and_start_begins_anew() {
    let world = World::new(&["a"], &[("a", MB)]).await;
    world.start();
    world.start();
    world.clock.wait_for_sleepers(2).await;
    assert_eq!(world.clock.sleepers(), 2, "a second start starts nothing");

    world.store.block(true);
    let before = world.store.commands();
    world.clock.advance(MINUTE * 5);
    world.store.wait_for_commands(before + 1).await;
    let mut stop = Box::pin(world.service.stop());
    assert!(futures::poll!(&mut stop).is_pending());
    let mut again = Box::pin(world.service.stop());
    assert!(futures::poll!(&mut again).is_pending());
    world.store.block(false);
    stop.await;
    again.await;
    world.service.stop().await;

    let report = world.report().await;
    assert_eq!((report.running, report.health_check.succeeded), (false, 1));
    assert_eq!((report.health_check.next, report.cleanup.next), (None, None));
    world.start();
    world.pass(MINUTE * 5).await;
    assert_eq!(world.report().await.health_check.succeeded, 2);
    world.service.stop().await;
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_rounds() {
    let world = World::new(&[], &[]).await;
    world.start();
    world.clock.wait_for_sleepers(2).await;
    let tasks = world.service.0.running().clone().unwrap().tasks;
    drop(world.service.clone());
    assert_eq!(world.clock.sleepers(), 2);
    drop(world.service);
    tasks.wait().await;
    assert_eq!(world.clock.sleepers(), 0);
}

#[tokio::test]
async fn a_manual_cleanup_reports_and_a_dry_run_leaves_no_trace() {
    let world = World::new(&["old"], &[]).await;
    world.clock.advance(HOUR * 24 * 3);
    let would = world.service.run_manual_cleanup(2, true).await.unwrap();
    assert_eq!((would.dry_run, would.removed), (true, vec!["old".to_owned()]));
    assert_eq!(world.report().await.cleanup.last, None);
    let did = world.service.run_manual_cleanup(2, false).await.unwrap();
    assert_eq!(did.removed, ["old"]);
    let report = world.report().await;
    assert_eq!((report.last_removed, report.cleanup.last), (1, Some(report.generated_at)));
}

#[tokio::test]
async fn only_sessions_with_enough_attempts_are_reset() {
    let world = World::new(&["few", "many"], &[]).await;
    for (session, attempts) in [("few", 2), ("many", 3)] {
        for _ in 0..attempts {
            world.manager.record_connection_attempt(session, false, None).await.unwrap();
        }
    }
    assert_eq!(world.service.reset_problematic_sessions(3).await.unwrap(), 1);
    assert_eq!(world.manager.get_session("many").await.unwrap().connection_attempts, 0);
    assert_eq!(world.manager.get_session("few").await.unwrap().connection_attempts, 2);
    let error = world.service.reset_problematic_sessions(0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
