//! What can be done with messages, seen from both ends of the wire.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use centralita::error::ErrorKind;
use centralita::events::EventKind;
use centralita::session::Outgoing;
use centralita::store::{Direction, MessageKey, MessageKind, MessageStatus};
use centralita_end_to_end::*;
use centralita_stand_in::{HistoryChat, HistoryMessage, PhoneOptions};

macro_rules! message_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

async fn stored(
    service: &centralita::service::WhatsAppService,
    key: &MessageKey,
) -> centralita::store::StoredMessage {
    let found = service.store().get_messages("ventas", std::slice::from_ref(key)).await.unwrap();
    found.into_iter().next().flatten().expect("the message is stored")
}

async fn changed(
    events: &mut centralita::events::Subscription,
    key: &MessageKey,
    fits: impl Fn(&centralita::store::StoredMessage) -> bool,
) -> centralita::store::StoredMessage {
    event(events, "a change of the message", |event| match &event.kind {
        EventKind::MessageChanged(message) if &message.key == key && fits(message) => {
            Some((**message).clone())
        }
        _ => None,
    })
    .await
}

message_test!(replies_reactions_edits_and_revocations_arrive_and_are_stored, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "¿precio?").await.unwrap();
    let question = text_event(&mut events, "¿precio?").await;

    let reply = session.send(Outgoing::reply(&question.key, "10 pesos")).await.unwrap();
    let seen = world.contact.wait_for_message(PATIENCE, |m| m.id == reply.key.message_id).await.unwrap();
    let context = seen.message.extended_text_message.as_option().unwrap().context_info.as_option().unwrap();
    assert_eq!(context.stanza_id.as_deref(), Some(question.key.message_id.as_str()));
    assert_eq!(
        stored(&service, &reply.key).await.content,
        MessageKind::Text { text: "10 pesos".into(), quoted: Some(question.key.clone()) }
    );

    let reaction = session.send(Outgoing::reaction(&question.key, "👍")).await.unwrap();
    let seen = world.contact.wait_for_message(PATIENCE, |m| m.id == reaction.key.message_id).await.unwrap();
    let wire = seen.message.reaction_message.as_option().unwrap();
    assert_eq!(wire.text.as_deref(), Some("👍"));
    assert_eq!(wire.key.as_option().unwrap().id.as_deref(), Some(question.key.message_id.as_str()));

    session.send(Outgoing::edit(&reply.key, "12 pesos")).await.unwrap();
    world
        .contact
        .wait_for_message(PATIENCE, |m| {
            m.message.protocol_message.as_option().is_some_and(|p| {
                p.key.as_option().is_some_and(|key| key.id.as_deref() == Some(&reply.key.message_id))
                    && p.edited_message.is_set()
            })
        })
        .await
        .unwrap();
    let edited = stored(&service, &reply.key).await;
    assert_eq!(text_of(&edited), Some("12 pesos"));
    assert!(edited.edited_at.is_some());

    session.send(Outgoing::revoke(&reply.key)).await.unwrap();
    world
        .contact
        .wait_for_message(PATIENCE, |m| {
            m.message
                .protocol_message
                .as_option()
                .is_some_and(|p| !p.edited_message.is_set() && p.r#type.is_some_and(|t| t as i32 == 0))
        })
        .await
        .unwrap();
    let revoked = stored(&service, &reply.key).await;
    assert!(revoked.revoked_at.is_some());
    assert_eq!(text_of(&revoked).unwrap_or_default(), "");

    // And the other way round.
    world.contact.send_reply(&world.phone.phone_number(), &reply.key.message_id, "caro").await.unwrap();
    let answer = text_event(&mut events, "caro").await;
    assert!(
        matches!(&answer.content, MessageKind::Text { quoted: Some(quoted), .. } if quoted.message_id == reply.key.message_id)
    );
    world.contact.send_edit(&world.phone.phone_number(), &answer.key.message_id, "barato").await.unwrap();
    let edited = changed(&mut events, &answer.key, |m| m.edited_at.is_some()).await;
    assert_eq!(text_of(&edited), Some("barato"));
    world.contact.send_reaction(&world.phone.phone_number(), &reply.key.message_id, "❤️").await.unwrap();
    event(&mut events, "the reaction", |event| match &event.kind {
        EventKind::Message(m) => match &m.content {
            MessageKind::Reaction { target, emoji } if emoji == "❤️" => {
                assert_eq!(target, &reply.key);
                Some(())
            }
            _ => None,
        },
        _ => None,
    })
    .await;
    world.contact.send_revoke(&world.phone.phone_number(), &answer.key.message_id).await.unwrap();
    changed(&mut events, &answer.key, |m| m.revoked_at.is_some()).await;
    shut_down(service).await;
});

message_test!(receipts_raise_the_status_and_read_receipts_reach_the_author, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    let sent = session.send(Outgoing::text(world.contact.phone_number(), "léeme")).await.unwrap();
    changed(&mut events, &sent.key, |m| m.status == MessageStatus::Delivered).await;
    world.contact.mark_read(&world.phone.phone_number(), std::slice::from_ref(&sent.key.message_id));
    changed(&mut events, &sent.key, |m| m.status == MessageStatus::Read).await;
    assert_eq!(stored(&service, &sent.key).await.status, MessageStatus::Read);

    world.contact.send_text(&world.phone.phone_number(), "¿lo viste?").await.unwrap();
    let received = text_event(&mut events, "¿lo viste?").await;
    let chat = service.store().get_chat("ventas", &received.key.chat_id).await.unwrap().unwrap();
    assert_eq!((chat.unread_count, chat.name.as_deref()), (1, Some("Clienta")));
    session.mark_read(std::slice::from_ref(&received.key)).await.unwrap();
    world
        .contact
        .wait_for_receipt(PATIENCE, |r| {
            r.kind == centralita_stand_in::ReceiptKind::Read
                && r.message_ids.contains(&received.key.message_id)
        })
        .await
        .unwrap();
    let chat = service.store().get_chat("ventas", &received.key.chat_id).await.unwrap().unwrap();
    assert_eq!(chat.unread_count, 0);
    shut_down(service).await;
});

message_test!(typing_is_seen_both_ways, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut ventas = all_events(&service, "ventas");
    let mut clienta = all_events(&service, "clienta");
    let (ours, _) = world.link(&service, "ventas").await;
    let theirs = service.create_session("clienta").await.unwrap();
    scan_first_qr(&theirs, &world.contact).await;
    theirs.wait_connected(PATIENCE).await.unwrap();
    let pairs = [
        (&ours, &mut clienta, world.contact.jid(), world.phone.jid()),
        (&theirs, &mut ventas, world.phone.jid(), world.contact.jid()),
    ];
    for (writer, events, to, from) in pairs {
        for wanted in [true, false] {
            writer.set_typing(&to, wanted).await.unwrap();
            event(events, "typing", |event| match &event.kind {
                EventKind::Typing { chat_id, composing, .. } if *composing == wanted => {
                    assert_eq!(chat_id, &from);
                    Some(())
                }
                _ => None,
            })
            .await;
        }
    }
    shut_down(service).await;
});

message_test!(an_idempotency_key_makes_a_repeated_send_the_same_message, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    let order = || Outgoing::text(world.contact.phone_number(), "pedido 17").idempotency_key("pedido-17");
    let first = session.send(order()).await.unwrap();
    let again = session.send(order()).await.unwrap();
    assert_eq!(first.key, again.key);
    assert!(!first.repeated && again.repeated);
    world.contact.wait_for_message(PATIENCE, |m| m.id == first.key.message_id).await.unwrap();

    // The acknowledgement is lost: the outcome is unknown, and the same key makes sure.
    world.stand_in.faults().lose_acks(true);
    let lost = || {
        Outgoing::text(world.contact.phone_number(), "pedido 18")
            .idempotency_key("pedido-18")
            .timeout(Duration::from_millis(400))
    };
    let unknown = session.send(lost()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Timeout);
    assert!(unknown.is_retryable());
    world.stand_in.faults().clear();
    let sure = session.send(lost().timeout(PATIENCE)).await.unwrap();
    world.contact.wait_for_message(PATIENCE, |m| m.id == sure.key.message_id).await.unwrap();
    world.contact.send_text(&world.phone.phone_number(), "fin").await.unwrap();

    let texts = stored_texts(service.store().as_ref(), "ventas").await;
    assert_eq!(texts.iter().filter(|text| *text == "pedido 18").count(), 1);
    let received = world.contact.received();
    assert_eq!(received.iter().filter(|m| m.text.as_deref() == Some("pedido 17")).count(), 1);
    assert_eq!(received.iter().filter(|m| m.text.as_deref() == Some("pedido 18")).count(), 1);
    let record = record_where(&session, "the counters", |r| r.messages_sent == 2).await;
    assert_eq!(record.messages_sent, 2);
    device.wait_settled(PATIENCE).await.unwrap();
    shut_down(service).await;
});

message_test!(a_refused_message_is_an_error_and_is_stored_as_failed, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    for (code, kind) in [("479", ErrorKind::Protocol), ("463", ErrorKind::RateLimited)] {
        world.stand_in.faults().nack_next_send(code);
        let error = session.send(Outgoing::text(world.contact.phone_number(), code)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(code));
        event(&mut events, "the failure", |event| match &event.kind {
            EventKind::MessageChanged(m) if text_of(m) == Some(code) && m.status == MessageStatus::Failed => {
                Some(())
            }
            _ => None,
        })
        .await;
    }
    shut_down(service).await;
});

message_test!(a_message_that_cannot_be_decrypted_is_asked_for_again, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (_, device) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "primero").await.unwrap();
    text_event(&mut events, "primero").await;
    world.stand_in.faults().corrupt_next_message(Some(&device.jid));
    world.contact.send_text(&world.phone.phone_number(), "segundo").await.unwrap();
    text_event(&mut events, "segundo").await;
    device.wait_settled(PATIENCE).await.unwrap();
    // In the same second, so in either order.
    let mut texts = stored_texts(service.store().as_ref(), "ventas").await;
    texts.sort();
    assert_eq!(texts, ["primero", "segundo"]);
    shut_down(service).await;
});

message_test!(the_phones_history_fills_chats_and_messages_but_no_counters, async {
    let history = (0..3_u64)
        .map(|n| HistoryChat {
            chat: format!("54911000000{n}"),
            name: Some(format!("Contacto {n}")),
            messages: vec![
                HistoryMessage {
                    from_me: false,
                    text: format!("antes {n}"),
                    timestamp: 1_700_000_000 + n,
                    ..Default::default()
                },
                HistoryMessage {
                    from_me: true,
                    text: format!("respuesta {n}"),
                    timestamp: 1_700_000_100 + n,
                    ..Default::default()
                },
            ],
            unread: 1,
        })
        .collect();
    let phone = PhoneOptions { push_name: "Ventas".into(), history, ..PhoneOptions::default() };
    let world = World::with_phone(StoreKind::Sqlite, phone).await;
    let service = world.service_with(|options| options.preload_chats.limit = 2).await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    let (chats, messages) = event(&mut events, "the history", |event| match event.kind {
        EventKind::History { chats, messages } if chats > 0 => Some((chats, messages)),
        _ => None,
    })
    .await;
    // The limit holds: the two newest chats.
    assert_eq!((chats, messages), (2, 4));
    let chats = service.store().list_chats("ventas", 10, None).await.unwrap().items;
    assert_eq!(
        chats.iter().map(|c| c.name.clone().unwrap()).collect::<Vec<_>>(),
        ["Contacto 2", "Contacto 1"]
    );
    let page =
        centralita::store::MessagePage { chat_id: Some(chats[0].chat_id.clone()), ..Default::default() };
    let messages = service.store().list_messages("ventas", &page).await.unwrap().items;
    assert_eq!(text_of(&messages[0]), Some("respuesta 2"));
    assert!(messages[0].from_me && messages[0].direction == Direction::Out && messages[0].from_history);
    let record = session.record().await.unwrap();
    assert_eq!((record.messages_received, record.messages_sent, record.total_chats), (0, 0, 2));
    shut_down(service).await;
});

message_test!(no_history_is_stored_if_none_is_wanted, async {
    let history = vec![HistoryChat {
        chat: "5491100000000".into(),
        name: None,
        messages: vec![HistoryMessage { text: "antes".into(), ..Default::default() }],
        unread: 0,
    }];
    let phone = PhoneOptions { push_name: "Ventas".into(), history, ..PhoneOptions::default() };
    let world = World::with_phone(StoreKind::Memory, phone).await;
    let none = centralita::service::options::PreloadChatsType::None;
    let service = world.service_with(|options| options.preload_chats.chats = none).await;
    let mut events = all_events(&service, "ventas");
    let (_, device) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "ahora").await.unwrap();
    text_event(&mut events, "ahora").await;
    device.wait_settled(PATIENCE).await.unwrap();
    assert_eq!(stored_texts(service.store().as_ref(), "ventas").await, ["ahora"]);
    shut_down(service).await;
});

message_test!(a_lid_migrated_account_talks_and_its_chats_are_named_by_number, async {
    let phone = PhoneOptions { push_name: "Ventas".into(), is_lid_migrated: true, ..PhoneOptions::default() };
    let world = World::with_phone(StoreKind::Sqlite, phone).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.lid(), "por LID").await.unwrap();
    let received = text_event(&mut events, "por LID").await;
    assert_eq!(received.key.chat_id, world.contact.jid(), "users know numbers");
    let sent = session.send(Outgoing::reply(&received.key, "recibido")).await.unwrap();
    world.contact.wait_for_message(PATIENCE, |m| m.id == sent.key.message_id).await.unwrap();
    changed(&mut events, &sent.key, |m| m.status >= MessageStatus::Delivered).await;
    device.wait_settled(PATIENCE).await.unwrap();
    let chats = service.store().list_chats("ventas", 10, None).await.unwrap().items;
    assert_eq!(chats.len(), 1);
    shut_down(service).await;
});
