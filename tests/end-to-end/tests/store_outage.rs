//! The store away is neither a logout nor a lost message: it is waited for.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use centralita::error::ErrorKind;
use centralita::session::Outgoing;
use centralita::session::status::Status;
use centralita_end_to_end::*;

macro_rules! outage_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

async fn until_a_command_waits(world: &World) {
    let before = world.place.memory().commands();
    within("a command to the store that is away", async {
        while world.place.memory().commands() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

outage_test!(messages_that_come_during_a_short_outage_are_all_stored_once, async {
    for silent in [false, true] {
        let world = World::new(StoreKind::Memory).await;
        let stranger = world.stand_in.add_phone(Default::default()).unwrap();
        let service = world.service().await;
        let mut events = all_events(&service, "ventas");
        let (session, device) = world.link(&service, "ventas").await;
        world.contact.send_text(&world.phone.phone_number(), "antes").await.unwrap();
        text_event(&mut events, "antes").await;
        device.wait_settled(PATIENCE).await.unwrap();

        // Refused at once, or never answered.
        let away = |away: bool| {
            if silent { world.place.memory().block(away) } else { world.place.memory().set_unavailable(away) }
        };
        away(true);
        for n in 0..5 {
            world.contact.send_text(&world.phone.phone_number(), &format!("durante {n}")).await.unwrap();
        }
        stranger.send_text(&world.phone.phone_number(), "soy nueva").await.unwrap();
        until_a_command_waits(&world).await;
        assert!(device.is_connected());
        away(false);
        text_event(&mut events, "durante 4").await;
        device.wait_settled(PATIENCE).await.unwrap();
        let mut texts = stored_texts(service.store().as_ref(), "ventas").await;
        texts.sort();
        assert_eq!(
            texts,
            ["antes", "durante 0", "durante 1", "durante 2", "durante 3", "durante 4", "soy nueva"]
        );
        assert_eq!(session.record().await.unwrap().messages_received, 7);
        assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
        shut_down(service).await;
    }
});

outage_test!(a_long_outage_closes_the_socket_and_everything_comes_afterwards, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(|options| options.store_patience = Duration::from_secs(1)).await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    world.place.memory().set_unavailable(true);
    for n in 0..3 {
        world.contact.send_text(&world.phone.phone_number(), &format!("durante {n}")).await.unwrap();
    }
    device.wait_disconnected(PATIENCE).await.unwrap();
    for n in 3..6 {
        world.contact.send_text(&world.phone.phone_number(), &format!("durante {n}")).await.unwrap();
    }
    world.place.memory().set_unavailable(false);
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.push(
            event(&mut events, "a message", |event| match &event.kind {
                centralita::events::EventKind::Message(message) => text_of(message).map(str::to_owned),
                _ => None,
            })
            .await,
        );
    }
    seen.sort();
    assert_eq!(seen, (0..6).map(|n| format!("durante {n}")).collect::<Vec<_>>());
    device.wait_settled(PATIENCE).await.unwrap();
    let record = record_where(&session, "connected", |r| r.status == Status::Connected).await;
    assert_eq!(record.messages_received, 6);
    assert_eq!(world.phone.devices().len(), 1, "it was not linked anew");
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    shut_down(service).await;
});

outage_test!(a_send_during_an_outage_ends_at_its_deadline_and_can_be_repeated, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (session, _) = world.link(&service, "ventas").await;
    world.place.memory().set_unavailable(true);
    let order = || Outgoing::text(world.contact.phone_number(), "pedido").idempotency_key("17");
    let error = session.send(order().timeout(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_retryable());
    world.place.memory().set_unavailable(false);
    let sent = session.send(order()).await.unwrap();
    world.contact.wait_for_message(PATIENCE, |m| m.id == sent.key.message_id).await.unwrap();
    assert_eq!(world.contact.received().len(), 1);
    shut_down(service).await;
});

outage_test!(a_restart_with_the_store_away_waits_and_makes_no_new_credentials, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    session.stop().await.unwrap();
    let session = service.start_session("ventas").await.unwrap();
    world.place.memory().set_unavailable(true);
    until_a_command_waits(&world).await;
    world.place.memory().set_unavailable(false);
    session.wait_connected(PATIENCE).await.unwrap();
    assert!(device.is_connected());
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(service).await;
});
