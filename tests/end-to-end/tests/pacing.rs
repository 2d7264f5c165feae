//! A fleet comes back in turn, and waits together when WhatsApp refuses it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use centralita::error::ErrorKind;
use centralita::events::{EventKind, Filter, SubscriptionOptions};
use centralita::service::options::ServiceOptions;
use centralita::service::{Session, WhatsAppService};
use centralita::session::pacing::BreakerState;
use centralita::session::status::Status;
use centralita::store::StatusDetail;
use centralita_end_to_end::*;
use centralita_stand_in::FailureDetails;

macro_rules! pacing_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

/// Links `count` sessions `s0`, `s1`, …, each to a phone of its own.
async fn fleet(world: &World, service: &WhatsAppService, count: usize) -> Vec<Session> {
    let mut sessions = Vec::new();
    for n in 0..count {
        let phone = world.stand_in.add_phone(Default::default()).unwrap();
        let session = service.create_session(&format!("s{n}")).await.unwrap();
        scan_first_qr(&session, &phone).await;
        session.wait_connected(PATIENCE).await.unwrap();
        sessions.push(session);
    }
    sessions
}

/// Reacts quickly to an outage.
fn alert(options: &mut ServiceOptions) {
    options.breaker_threshold = 3;
    options.breaker_pause_min = Duration::from_millis(400);
    options.breaker_pause_max = Duration::from_millis(800);
}

async fn breaker_where(service: &WhatsAppService, what: &str, fits: impl Fn(BreakerState) -> bool) {
    within(what, async {
        while !fits(service.pacing().breaker) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pacing_test!(a_restore_connects_the_most_recently_active_first_and_tells_who_is_connected, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    fleet(&world, &service, 4).await;
    // In this order they become active; the last is to come back first.
    for id in ["s2", "s0", "s3", "s1"] {
        service.stop_session(id).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    shut_down(service).await;

    // Slow enough that all but the first to arrive stand in line before the second may go.
    let service = world
        .service_with(|options| {
            options.connect_concurrency = 1;
            options.connects_per_s = 2;
        })
        .await;
    let mut steps = Vec::new();
    let report = service.restore_all_and_wait(PATIENCE, |step| steps.push(step.clone())).await.unwrap();
    assert_eq!(report.started, ["s1", "s3", "s0", "s2"]);
    let mut in_order = report.started.clone();
    in_order.retain(|id| *id != report.connected[0]);
    assert_eq!(report.connected[1..], in_order);
    let connected: Vec<u64> = steps.iter().map(|step| step.connected).collect();
    assert_eq!(connected, [0, 0, 0, 0, 1, 2, 3, 4]);
    assert!(steps.iter().all(|step| step.total == 4 && step.ended == 0));
    assert!(service.running_sessions().len() == 4 && service.pacing().admitted == 4);
    shut_down(service).await;
});

pacing_test!(a_fleet_that_is_refused_waits_together_says_so_and_comes_back, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(alert).await;
    let sessions = fleet(&world, &service, 8).await;
    let mut events = service.subscribe(SubscriptionOptions::from(Filter::all()).capacity(10_000)).unwrap();
    let before = service.pacing().admitted;
    world.stand_in.faults().refuse_logins(true);
    world.stand_in.faults().drop_all();
    let paused_until = event(&mut events, "the pause of the fleet", |event| match &event.kind {
        EventKind::Status { detail: Some(StatusDetail::FleetPaused { until }), .. } => Some(*until),
        _ => None,
    })
    .await;
    assert!(paused_until.unix_ms() > 0);
    // Probes fail and are few: the breaker opens again and again.
    breaker_where(&service, "three openings", |_| service.pacing().times_opened >= 3).await;
    let attempts = service.pacing().admitted - before;
    assert!(attempts <= 8 + 3, "{attempts} attempts against a server that refuses everybody");
    world.stand_in.faults().refuse_logins(false);
    for session in &sessions {
        session.wait_connected(PATIENCE).await.unwrap();
        assert_eq!(session.record().await.unwrap().status_detail, None);
    }
    breaker_where(&service, "the end of the outage", |state| state == BreakerState::Closed).await;
    shut_down(service).await;
});

pacing_test!(a_fleet_that_is_called_outdated_waits_and_nobody_ends_for_good, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(alert).await;
    let sessions = fleet(&world, &service, 6).await;
    let refusals = FailureDetails { count: Some(7), ..FailureDetails::default() };
    world.stand_in.faults().failure_on_next_login(None, 405, refusals);
    world.stand_in.faults().drop_all();
    breaker_where(&service, "the outage", |state| state.until().is_some()).await;
    for session in &sessions {
        session.wait_connected(PATIENCE).await.unwrap();
    }
    assert!(service.pacing().times_opened >= 1);
    shut_down(service).await;
});

pacing_test!(a_stop_takes_effect_at_once_while_the_fleet_pauses_or_its_turn_has_not_come, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world
        .service_with(|options| {
            alert(options);
            options.breaker_pause_min = Duration::from_secs(3_600);
            options.breaker_pause_max = Duration::from_secs(3_600);
        })
        .await;
    let sessions = fleet(&world, &service, 5).await;
    world.stand_in.faults().refuse_logins(true);
    world.stand_in.faults().drop_all();
    breaker_where(&service, "the outage", |state| state.until().is_some()).await;
    for session in &sessions {
        record_where(session, "the pause in its record", |record| {
            matches!(
                record.status_detail,
                Some(StatusDetail::FleetPaused { .. } | StatusDetail::BackOff { .. })
            )
        })
        .await;
    }
    let asked = tokio::time::Instant::now();
    for session in &sessions[..3] {
        session.stop().await.unwrap();
        let record = session.record().await.unwrap();
        assert_eq!((record.status, record.status_detail), (Status::Disconnected, None));
    }
    for session in &sessions[3..] {
        session.delete().await.unwrap();
        assert_eq!(session.record().await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(service.pacing().waiting, 0);
    shut_down(service).await;
});

pacing_test!(connections_per_second_keep_to_the_limit, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    fleet(&world, &service, 6).await;
    shut_down(service).await;
    let service = world.service_with(|options| options.connects_per_s = 4).await;
    let begun = tokio::time::Instant::now();
    let report = service.restore_all_and_wait(PATIENCE, |_| {}).await.unwrap();
    assert_eq!(report.connected.len(), 6);
    // Five steps of a quarter of a second.
    assert!(begun.elapsed() >= Duration::from_millis(1_250), "{:?}", begun.elapsed());
    shut_down(service).await;
});

pacing_test!(a_link_that_flaps_waits_longer_each_time, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (_, device) = world.link(&service, "ventas").await;
    for flap in 1..=4 {
        status_event(&mut events, Status::Connected).await;
        world.stand_in.faults().drop_connection(&device.jid);
        let detail = status_event(&mut events, Status::Disconnected).await;
        // Not one after another: it had been connected each time, but not for long.
        let Some(StatusDetail::BackOff { attempt, .. }) = detail else { panic!("{detail:?}") };
        assert_eq!(attempt, flap);
    }
    shut_down(service).await;
});

pacing_test!(a_code_that_no_retry_mends_is_never_retried, async {
    for code in [401, 403, 405, 418] {
        let world = World::new(StoreKind::Memory).await;
        let service = world.service_with(|options| options.breaker_threshold = 0).await;
        let (session, device) = world.link(&service, "ventas").await;
        let admitted = service.pacing().admitted;
        let refusal = FailureDetails::default();
        world.stand_in.faults().failure_on_next_login(Some(&device.jid), code, refusal);
        world.stand_in.faults().drop_connection(&device.jid);
        within("the end of the session", async {
            while !service.running_sessions().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(service.pacing().admitted, admitted + 1, "{code} was retried");
        assert_eq!(session.record().await.unwrap().status, Status::Error);
        shut_down(service).await;
    }
});

pacing_test!(limits_beyond_reason_are_refused_by_name, async {
    let world = World::new(StoreKind::Memory).await;
    type Change = fn(&mut ServiceOptions);
    let wrong: [(&str, Change); 9] = [
        ("lease_heartbeat", |options| options.lease_heartbeat = Some(options.lease_duration)),
        ("silence_after", |options| options.silence_after = Duration::ZERO),
        ("send_stall_after", |options| options.send_stall_after = Duration::from_millis(1)),
        ("park_idle_after", |options| options.park_idle_after = Some(Duration::ZERO)),
        ("park_wake_every", |options| options.park_wake_every = Some(Duration::ZERO)),
        ("connects_per_s", |options| options.connects_per_s = 1_000_000),
        ("connect_concurrency", |options| options.connect_concurrency = 0),
        ("breaker_window", |options| options.breaker_window = Duration::ZERO),
        ("breaker_pause_max", |options| options.breaker_pause_max = Duration::from_millis(1)),
    ];
    for (name, change) in wrong {
        let mut options = world.options();
        change(&mut options);
        let error = options.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(name), "{error}");
    }
});
