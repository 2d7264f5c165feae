//! A session that is connected but does not work is noticed and restarted; one that is merely quiet is left alone.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use centralita::error::ErrorKind;
use centralita::events::{EventKind, Subscription};
use centralita::service::options::ServiceOptions;
use centralita::session::Outgoing;
use centralita::session::health::{RestartReason, VitalState};
use centralita::session::status::Status;
use centralita_end_to_end::*;

macro_rules! health_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

fn attentive(options: &mut ServiceOptions) {
    options.silence_after = Duration::from_secs(1);
    options.ping_timeout = Duration::from_millis(500);
    options.send_stall_after = Duration::from_secs(1);
}

async fn restarted(events: &mut Subscription) -> RestartReason {
    event(events, "a restart", |event| match &event.kind {
        EventKind::Restarted { reason } => Some(*reason),
        _ => None,
    })
    .await
}

health_test!(a_zombie_is_restarted_and_a_quiet_session_is_not, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(attentive).await;
    let mut events = all_events(&service, "ventas");
    let mut texts = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    status_event(&mut events, Status::Connected).await;
    // Three times as long as silence may last: it is pinged, answers, and stays.
    let quiet_until = Instant::now() + Duration::from_secs(3);
    while let Some(left) = quiet_until.checked_duration_since(Instant::now()) {
        if let Ok(Some(event)) = events.next_within(left).await {
            assert!(!matches!(event.kind, EventKind::Restarted { .. }), "a quiet session was restarted");
        }
    }
    let health = session.health().await.unwrap();
    assert_eq!(
        (health.link.state, health.send.state, health.restarts),
        (VitalState::Good, VitalState::Good, 0)
    );
    assert!(health.memory_bytes.unwrap() > 0);

    assert_eq!(world.stand_in.faults().freeze(Some(&device.jid)), 1);
    world.contact.send_text(&world.phone.phone_number(), "¿hola?").await.unwrap();
    assert_eq!(restarted(&mut events).await, RestartReason::Zombie);
    status_event(&mut events, Status::Connected).await;
    text_event(&mut texts, "¿hola?").await;
    assert_eq!(session.health().await.unwrap().restarts, 1);
    device.wait_settled(PATIENCE).await.unwrap();
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    shut_down(service).await;
});

health_test!(sends_that_are_never_acknowledged_restart_the_session_and_are_sent_once, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(attentive).await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    status_event(&mut events, Status::Connected).await;
    world.stand_in.faults().lose_acks(true);
    let order = || Outgoing::text(world.contact.phone_number(), "pedido").idempotency_key("17");
    // Given up by its caller long before the stall is seen: it counts all the same.
    let error = session.send(order().timeout(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(restarted(&mut events).await, RestartReason::SendStall);
    world.stand_in.faults().lose_acks(false);
    status_event(&mut events, Status::Connected).await;
    let sent = session.send(order()).await.unwrap();
    world.contact.wait_for_message(PATIENCE, |m| m.id == sent.key.message_id).await.unwrap();
    assert_eq!(world.contact.received().len(), 1);
    assert_eq!(session.health().await.unwrap().send.state, VitalState::Good);
    assert!(device.is_connected());
    shut_down(service).await;
});

health_test!(health_says_what_is_wrong_with_a_session_that_is_not_connected, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(attentive).await;
    let (session, device) = world.link(&service, "ventas").await;
    world.stand_in.faults().refuse_logins(true);
    world.stand_in.faults().drop_connection(&device.jid);
    within("the end of its connection", async {
        while session.is_connected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let health = session.health().await.unwrap();
    assert_eq!((health.link.state, health.receive.state), (VitalState::Bad, VitalState::Unknown));
    assert!(health.link.reason.is_some());
    session.stop().await.unwrap();
    assert_eq!(session.health().await.unwrap_err().kind(), ErrorKind::InvalidState);
    shut_down(service).await;
});
