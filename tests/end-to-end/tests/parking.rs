//! A parked session costs nothing, loses nothing, and is there when somebody wants it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::{Duration, Instant};

use centralita::error::ErrorKind;
use centralita::session::Outgoing;
use centralita::session::status::Status;
use centralita::store::{MessageStatus, StatusDetail};
use centralita_end_to_end::*;

macro_rules! parking_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

parking_test!(a_send_wakes_a_parked_session_and_what_came_meanwhile_is_there, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    session.park().await.unwrap();
    device.wait_disconnected(PATIENCE).await.unwrap();
    let record = record_where(&session, "parked", |r| r.status_detail.is_some()).await;
    assert_eq!(record.status, Status::Disconnected);
    assert_eq!(record.status_detail, Some(StatusDetail::Parked { until: None }));
    let health = session.health().await.unwrap();
    assert!(health.parked && health.memory_bytes.is_none());
    for n in 0..3 {
        world.contact.send_text(&world.phone.phone_number(), &format!("mientras {n}")).await.unwrap();
    }
    assert!(!device.is_connected());

    // Two at the same time: the one that wakes it and the one that finds it waking up.
    let send = |text: &str| session.send(Outgoing::text(world.contact.phone_number(), text.to_owned()));
    let (one, other) = tokio::join!(send("uno"), send("dos"));
    one.unwrap();
    other.unwrap();
    for n in 0..3 {
        text_event(&mut events, &format!("mientras {n}")).await;
    }
    device.wait_settled(PATIENCE).await.unwrap();
    world.contact.wait_for_count(PATIENCE, 2).await.unwrap();
    assert_eq!(session.record().await.unwrap().messages_received, 3);
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    assert!(!session.is_parked());
    shut_down(service).await;
});

parking_test!(an_idle_session_is_parked_and_fetches_what_waits_on_schedule, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world
        .service_with(|options| {
            options.park_idle_after = Some(Duration::from_secs(1));
            options.park_wake_every = Some(Duration::from_secs(2));
            options.park_awake_for = Duration::from_secs(1);
        })
        .await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let record = record_where(&session, "parked", |r| {
        matches!(r.status_detail, Some(StatusDetail::Parked { until: Some(_) }))
    })
    .await;
    assert_eq!(record.status, Status::Disconnected);
    device.wait_disconnected(PATIENCE).await.unwrap();
    world.contact.send_text(&world.phone.phone_number(), "en la cola").await.unwrap();
    // Nobody asks for it: the schedule does.
    text_event(&mut events, "en la cola").await;
    record_where(&session, "parked again", |r| matches!(r.status_detail, Some(StatusDetail::Parked { .. })))
        .await;
    device.wait_settled(PATIENCE).await.unwrap();
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    shut_down(service).await;
});

parking_test!(a_parked_session_is_started_stopped_and_restored_like_any_other, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    session.park().await.unwrap();
    service.start_session("ventas").await.unwrap().wait_connected(PATIENCE).await.unwrap();
    session.park().await.unwrap();
    let asked = Instant::now();
    session.stop().await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(3));
    assert_eq!(session.record().await.unwrap().status_detail, None);
    service.start_session("ventas").await.unwrap().wait_connected(PATIENCE).await.unwrap();
    session.park().await.unwrap();
    shut_down(service).await;
    let service = world.service().await;
    let report = service.restore_all_and_wait(PATIENCE, |_| {}).await.unwrap();
    assert_eq!(report.connected, ["ventas"]);
    assert!(device.is_connected());
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(service).await;
});

parking_test!(a_session_in_a_pause_can_be_parked_and_one_that_was_never_linked_cannot, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world
        .service_with(|options| {
            options.reconnect_min = Duration::from_secs(3_600);
            options.reconnect_max = Duration::from_secs(3_600);
        })
        .await;
    let (session, device) = world.link(&service, "ventas").await;
    world.stand_in.faults().drop_connection(&device.jid);
    record_where(&session, "a pause", |r| matches!(r.status_detail, Some(StatusDetail::BackOff { .. })))
        .await;
    session.park().await.unwrap();
    record_where(&session, "parked", |r| r.status_detail == Some(StatusDetail::Parked { until: None })).await;
    session.reconnect_now().unwrap();
    session.wait_connected(PATIENCE).await.unwrap();

    let unlinked = service.create_session("nueva").await.unwrap();
    assert_eq!(unlinked.park().await.unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(service.park_session("nadie").await.unwrap_err().kind(), ErrorKind::InvalidState);
    shut_down(service).await;
});

parking_test!(a_message_that_may_wait_is_queued_at_once_and_wakes_the_session, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    session.park().await.unwrap();
    device.wait_disconnected(PATIENCE).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let text = Outgoing::text(world.contact.phone_number(), "cuando puedas").queue_for(hour);
    let queued = session.send(text).await.unwrap();
    assert_eq!(queued.status, MessageStatus::Queued);
    world.contact.wait_for_message(PATIENCE, |m| m.id == queued.key.message_id).await.unwrap();
    assert_eq!(world.contact.received().len(), 1);
    shut_down(service).await;
});
