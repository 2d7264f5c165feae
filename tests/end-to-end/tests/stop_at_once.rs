//! `stop` and `delete` take effect at once, whatever a session is doing.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::pin::pin;
use std::time::{Duration, Instant};

use centralita::events::EventKind;
use centralita::service::{Session, WhatsAppService};
use centralita::session::{LinkStep, Outgoing};
use centralita::store::MessageStatus;
use centralita_end_to_end::*;

/// Above what a stop may take on a busy machine, below every pause and patience of these sessions.
const AT_ONCE: Duration = Duration::from_secs(6);

macro_rules! stop_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

/// Stops, then deletes, and starts nothing new.
async fn ends_at_once(service: &WhatsAppService, session: &Session) {
    let asked = Instant::now();
    session.stop().await.unwrap();
    assert!(asked.elapsed() < AT_ONCE, "the stop took {:?}", asked.elapsed());
    assert!(service.running_sessions().is_empty());
    assert!(!session.is_connected());
}

stop_test!(while_a_code_waits_to_be_scanned, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let session = service.create_session("ventas").await.unwrap();
    let mut link = session.link().unwrap();
    assert!(matches!(within("a code", link.next()).await, Some(LinkStep::Qr { .. })));
    ends_at_once(&service, &session).await;
    let mut last = None;
    while let Some(step) = within("the end of the link", link.next()).await {
        last = Some(step);
    }
    assert!(matches!(last, Some(LinkStep::Failed { .. })), "{last:?}");
    session.delete().await.unwrap();
    shut_down(service).await;
});

stop_test!(in_a_handshake_that_is_never_answered, async {
    let world = World::new(StoreKind::Memory).await;
    // Takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let service =
        world.service_with(|options| options.stand_in_url = Some(format!("ws://{address}/ws/chat"))).await;
    let session = service.create_session("ventas").await.unwrap();
    let (_held, _) = within("its connection", silent.accept()).await.unwrap();
    ends_at_once(&service, &session).await;
    session.delete().await.unwrap();
    shut_down(service).await;
});

stop_test!(while_the_store_is_away, async {
    for silent in [false, true] {
        let world = World::new(StoreKind::Memory).await;
        let service = world.service().await;
        let (_, device) = world.link(&service, "ventas").await;
        let away = |away: bool| {
            if silent { world.place.memory().block(away) } else { world.place.memory().set_unavailable(away) }
        };
        away(true);
        let commands = world.place.memory().commands();
        world.contact.send_text(&world.phone.phone_number(), "durante").await.unwrap();
        world.place.memory().wait_for_commands(commands + 1).await;
        let asked = Instant::now();
        service.shutdown(PATIENCE).await.unwrap();
        // A silent store is given its chance to take the last commits and the last status.
        assert!(asked.elapsed() < AT_ONCE + Duration::from_secs(5), "{:?}", asked.elapsed());
        device.wait_disconnected(PATIENCE).await.unwrap();
        away(false);
        // Nothing is lost: it was not acknowledged.
        let service = world.service().await;
        let mut events = all_events(&service, "ventas");
        service.start_session("ventas").await.unwrap();
        text_event(&mut events, "durante").await;
        device.wait_settled(PATIENCE).await.unwrap();
        assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
        shut_down(service).await;
    }
});

stop_test!(before_the_store_has_answered_for_the_first_time, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (session, _) = world.link(&service, "ventas").await;
    session.stop().await.unwrap();
    let session = service.start_session("ventas").await.unwrap();
    world.place.memory().set_unavailable(true);
    ends_at_once(&service, &session).await;
    world.place.memory().set_unavailable(false);
    shut_down(service).await;
});

stop_test!(while_another_instance_holds_the_lease, async {
    let world = World::new(StoreKind::Memory).await;
    let owner = world.service_with(|options| options.lease_duration = Duration::from_secs(600)).await;
    world.link(&owner, "ventas").await;
    let other = world.service_with(|options| options.lease_duration = Duration::from_secs(600)).await;
    assert_eq!(other.restore_all(|_| {}).await.unwrap().started, ["ventas"]);
    let session = other.session("ventas").await.unwrap();
    ends_at_once(&other, &session).await;
    assert!(owner.session("ventas").await.unwrap().is_connected());
    shut_down(other).await;
    shut_down(owner).await;
});

stop_test!(while_a_receipt_waits_for_the_store, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let sent = session.send(Outgoing::text(world.contact.phone_number(), "léeme")).await.unwrap();
    event(&mut events, "its delivery", |event| match &event.kind {
        EventKind::MessageChanged(message) => (message.status == MessageStatus::Delivered).then_some(()),
        _ => None,
    })
    .await;
    let store = world.place.memory();
    store.set_unavailable(true);
    let commands = store.commands();
    world.contact.mark_read(&world.phone.phone_number(), std::slice::from_ref(&sent.key.message_id));
    store.wait_for_commands(commands + 1).await;
    // The engine has confirmed the receipt: WhatsApp will not say it again.
    device.wait_settled(PATIENCE).await.unwrap();
    let mut stopping = pin!(session.stop());
    assert!(futures::poll!(stopping.as_mut()).is_pending());
    store.set_unavailable(false);
    stopping.await.unwrap();
    let stored = service.store().get_messages("ventas", std::slice::from_ref(&sent.key)).await.unwrap();
    assert_eq!(stored[0].as_ref().unwrap().status, MessageStatus::Read);
    shut_down(service).await;
});
