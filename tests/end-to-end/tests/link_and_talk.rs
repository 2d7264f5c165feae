//! The main job: link a phone, talk, restart without a QR code, get what came meanwhile. On every store.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use centralita::session::Outgoing;
use centralita::session::status::Status;
use centralita::store::MessageStatus;
use centralita_end_to_end::*;

macro_rules! on_every_store {
    ($($name:ident),* $(,)?) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::StoreKind::Memory).await })* }
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::StoreKind::Sqlite).await })* }
        mod mongo { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::StoreKind::Mongo).await })* }
    };
}

on_every_store!(
    links_talks_and_resumes,
    talks_in_a_group_and_resumes,
    two_companions_of_one_account,
    nothing_is_lost_or_doubled_under_duplicates_and_reordering,
);

async fn links_talks_and_resumes(kind: StoreKind) {
    let world = World::new(kind).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;

    let record = session.record().await.unwrap();
    assert_eq!(record.status, Status::Connected);
    assert!(record.is_connected);
    assert_eq!(record.phone.as_deref(), Some(world.phone.phone_number().as_str()));
    assert_eq!(record.platform.as_deref(), Some("android"));
    assert!(record.version.is_some() && record.qr_code.is_none());
    assert_eq!(record.connection_attempts, 0);

    world.contact.send_text(&world.phone.phone_number(), "hola").await.unwrap();
    let received = text_event(&mut events, "hola").await;
    assert_eq!(received.key.chat_id, world.contact.jid());
    assert_eq!(received.sender_name.as_deref(), Some("Clienta"));

    let sent = session.send(Outgoing::text(world.contact.phone_number(), "¿qué tal?")).await.unwrap();
    assert!(sent.status >= MessageStatus::Sent);
    let read =
        world.contact.wait_for_message(PATIENCE, |m| m.text.as_deref() == Some("¿qué tal?")).await.unwrap();
    assert_eq!(read.id, sent.key.message_id);
    event(&mut events, "the delivery receipt", |event| match &event.kind {
        centralita::events::EventKind::MessageChanged(message)
            if message.key == sent.key && message.status >= MessageStatus::Delivered =>
        {
            Some(())
        }
        _ => None,
    })
    .await;
    device.wait_settled(PATIENCE).await.unwrap();
    shut_down(service).await;

    for text in ["mientras", "no", "estabas"] {
        world.contact.send_text(&world.phone.phone_number(), text).await.unwrap();
    }

    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let report = service.restore_all(|_| {}).await.unwrap();
    assert_eq!(report.started, ["ventas"]);
    let session = service.session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    for text in ["mientras", "no", "estabas"] {
        text_event(&mut events, text).await;
    }
    session.send(Outgoing::text(world.contact.jid(), "aquí estoy")).await.unwrap();
    world.contact.wait_for_message(PATIENCE, |m| m.text.as_deref() == Some("aquí estoy")).await.unwrap();
    device.wait_settled(PATIENCE).await.unwrap();

    let record =
        record_where(&session, "the counters", |r| r.messages_received == 4 && r.messages_sent == 2).await;
    assert_eq!(record.total_chats, 1);
    let texts = stored_texts(service.store().as_ref(), "ventas").await;
    assert_eq!(texts.len(), 6, "{texts:?}");
    let accounting = world.stand_in.accounting();
    assert_eq!(accounting.lost_to(&device.jid), 0);
    assert_eq!(accounting.duplicated_from(&device.jid), 0);
    assert_eq!(world.phone.devices().len(), 1, "no second link");
    shut_down(service).await;
    world.stand_in.shutdown().await;
}

async fn talks_in_a_group_and_resumes(kind: StoreKind) {
    let world = World::new(kind).await;
    let third = world.stand_in.add_phone(Default::default()).unwrap();
    let group = world
        .stand_in
        .create_group(&world.contact, "Equipo", &[&world.phone.phone_number(), &third.phone_number()])
        .unwrap();
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;

    world.contact.send_text(&group, "reunión").await.unwrap();
    let received = text_event(&mut events, "reunión").await;
    assert_eq!(received.key.chat_id, group);
    assert_eq!(received.key.sender, world.contact.jid());

    session.send(Outgoing::text(&group, "voy")).await.unwrap();
    for member in [&world.contact, &third] {
        let read = member.wait_for_message(PATIENCE, |m| m.text.as_deref() == Some("voy")).await.unwrap();
        assert_eq!(read.chat, group);
    }
    device.wait_settled(PATIENCE).await.unwrap();
    shut_down(service).await;

    third.send_text(&group, "empezamos").await.unwrap();
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    let missed = text_event(&mut events, "empezamos").await;
    assert_eq!(missed.key.sender, third.jid());
    session.send(Outgoing::text(&group, "ya llego")).await.unwrap();
    third.wait_for_message(PATIENCE, |m| m.text.as_deref() == Some("ya llego")).await.unwrap();
    let chats = service.store().list_chats("ventas", 10, None).await.unwrap();
    assert!(chats.items.iter().any(|chat| chat.chat_id == group && chat.is_group));
    shut_down(service).await;
}

async fn two_companions_of_one_account(kind: StoreKind) {
    let world = World::new(kind).await;
    let service = world.service().await;
    let mut ventas = all_events(&service, "ventas");
    let mut soporte = all_events(&service, "soporte");
    let (first, _) = world.link(&service, "ventas").await;
    let (second, _) = world.link(&service, "soporte").await;
    assert_eq!(world.phone.devices().len(), 2);

    world.contact.send_text(&world.phone.phone_number(), "¿hay alguien?").await.unwrap();
    text_event(&mut ventas, "¿hay alguien?").await;
    text_event(&mut soporte, "¿hay alguien?").await;

    // What one companion sends, the other sees as the account's own.
    let sent = first.send(Outgoing::text(world.contact.phone_number(), "sí, ventas")).await.unwrap();
    let copy = text_event(&mut soporte, "sí, ventas").await;
    assert!(copy.from_me);
    assert_eq!(copy.key, sent.key);
    second.send(Outgoing::text(world.contact.phone_number(), "y soporte")).await.unwrap();
    text_event(&mut ventas, "y soporte").await;
    world.contact.wait_for_message(PATIENCE, |m| m.text.as_deref() == Some("y soporte")).await.unwrap();
    shut_down(service).await;
}

async fn nothing_is_lost_or_doubled_under_duplicates_and_reordering(kind: StoreKind) {
    let world = World::new(kind).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().duplicate_messages(2);
    world.stand_in.faults().reorder(4);
    let wanted: Vec<String> = (0..24).map(|n| format!("mensaje {n}")).collect();
    for text in &wanted {
        world.contact.send_text(&world.phone.phone_number(), text).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < wanted.len() {
        seen.push(
            event(&mut events, "a message", |event| match &event.kind {
                centralita::events::EventKind::Message(message) => text_of(message).map(str::to_owned),
                _ => None,
            })
            .await,
        );
    }
    world.stand_in.faults().clear();
    device.wait_settled(PATIENCE).await.unwrap();
    let mut stored = stored_texts(service.store().as_ref(), "ventas").await;
    stored.sort();
    seen.sort();
    let mut expected = wanted.clone();
    expected.sort();
    assert_eq!(stored, expected);
    assert_eq!(seen, expected, "each was published once");
    assert_eq!(session.record().await.unwrap().messages_received, 24);
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    shut_down(service).await;
}
