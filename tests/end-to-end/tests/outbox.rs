//! Messages that wait: accepted while their session is down, sent once and in order when it is up.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use centralita::error::ErrorKind;
use centralita::events::{EventKind, Subscription};
use centralita::service::{Session, WhatsAppService};
use centralita::session::{OutboxOutcome, Outgoing, Rate, SentMessage};
use centralita::store::{MessageKey, MessageStatus, OutboxState, StoredMessage};
use centralita_end_to_end::*;

macro_rules! outbox_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

const HOUR: Duration = Duration::from_secs(3_600);

async fn queue(session: &Session, to: &str, text: &str) -> SentMessage {
    let sent = session.send(Outgoing::text(to, text).queue_for(HOUR)).await.unwrap();
    assert_eq!(sent.status, MessageStatus::Queued, "{text}");
    sent
}

async fn stored(service: &WhatsAppService, key: &MessageKey) -> StoredMessage {
    let found = service.store().get_messages("ventas", std::slice::from_ref(key)).await.unwrap();
    found.into_iter().next().flatten().expect("the message is stored")
}

async fn status_of_at_least(service: &WhatsAppService, key: &MessageKey, wanted: MessageStatus) {
    within("a status in the store", async {
        while stored(service, key).await.status < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn end_of(events: &mut Subscription, sent: &SentMessage) -> (OutboxOutcome, Option<String>) {
    event(events, "the end of a queued message", |event| match &event.kind {
        EventKind::OutboxEnded { message_id, key, outcome, reason } if *message_id == sent.key.message_id => {
            assert_eq!(key.as_ref(), Some(&sent.key));
            Some((*outcome, reason.clone()))
        }
        _ => None,
    })
    .await
}

fn texts(world: &World) -> Vec<String> {
    world.contact.received().into_iter().filter_map(|message| message.text).collect()
}

async fn entries(session: &Session) -> usize {
    session.outbox(1_000, None).await.unwrap().items.len()
}

async fn is_empty(session: &Session) {
    within("an empty outbox", async {
        while entries(session).await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn sent_in_order_once_up(kind: StoreKind) {
    let world = World::new(kind).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    session.stop().await.unwrap();

    let mut queued = Vec::new();
    for n in 0..5 {
        queued.push(queue(&session, &number, &format!("texto {n}")).await);
    }
    assert_eq!(stored(&service, &queued[0].key).await.status, MessageStatus::Queued);
    // In pages, in order, and nothing of it readable.
    let first = session.outbox(3, None).await.unwrap();
    let second = session.outbox(3, first.next.as_deref()).await.unwrap();
    let keys: Vec<_> = first.items.iter().chain(&second.items).map(|entry| entry.key.clone()).collect();
    assert_eq!(keys, queued.iter().map(|sent| sent.key.clone()).collect::<Vec<_>>());
    assert!(first.items.iter().all(|entry| entry.state == OutboxState::Queued && entry.attempts == 0));
    for entry in service.store().list_outbox("ventas", 10, 0).await.unwrap() {
        assert!(!entry.content.contains("texto") && !entry.content.contains(&number));
    }
    // The same send again is the same message, also before it was sent.
    let order = || Outgoing::text(&number, "pedido").idempotency_key("17").queue_for(HOUR);
    let (once, twice) = (session.send(order()).await.unwrap(), session.send(order()).await.unwrap());
    assert_eq!(once.key, twice.key);
    assert!(!once.repeated && twice.repeated);
    queued.push(once);

    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    // It waits for its turn behind them.
    session.send(Outgoing::text(&number, "directo")).await.unwrap();
    for sent in &queued {
        assert_eq!(end_of(&mut events, sent).await, (OutboxOutcome::Sent, None));
        assert!(stored(&service, &sent.key).await.status >= MessageStatus::Sent);
    }
    world.contact.wait_for_count(PATIENCE, 7).await.unwrap();
    assert_eq!(texts(&world), ["texto 0", "texto 1", "texto 2", "texto 3", "texto 4", "pedido", "directo"]);
    assert_eq!(entries(&session).await, 0);
    assert!(session.send(order()).await.unwrap().repeated);
    assert_eq!(world.stand_in.accounting().duplicated_from(&device.jid), 0);
    let record = record_where(&session, "the counters", |r| r.messages_sent == 7).await;
    assert_eq!(record.messages_sent, 7);
    shut_down(service).await;
}

outbox_test!(queued_while_down_sent_in_order_once_up_in_memory, sent_in_order_once_up(StoreKind::Memory));
outbox_test!(queued_while_down_sent_in_order_once_up_on_sqlite, sent_in_order_once_up(StoreKind::Sqlite));
outbox_test!(queued_while_down_sent_in_order_once_up_on_mongo, sent_in_order_once_up(StoreKind::Mongo));

outbox_test!(a_queue_outlives_a_restart_and_a_flapping_link, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    world.stand_in.faults().refuse_logins(true);
    world.stand_in.faults().drop_all();
    within("a lost link", async {
        while session.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for n in 0..20 {
        queue(&session, &number, &n.to_string()).await;
    }
    let reaction = Outgoing::reaction(&queue(&session, &number, "20").await.key, "👍");
    session.send(reaction.queue_for(HOUR)).await.unwrap();
    shut_down(service).await;

    world.stand_in.faults().refuse_logins(false);
    let service = world.service().await;
    service.restore_all(|_| {}).await.unwrap();
    let session = service.session("ventas").await.unwrap();
    for count in [5, 12] {
        world.contact.wait_for_count(PATIENCE, count).await.unwrap();
        world.stand_in.faults().drop_all();
    }
    is_empty(&session).await;
    world.contact.wait_for_count(PATIENCE, 22).await.unwrap();
    assert_eq!(texts(&world), (0..=20).map(|n| n.to_string()).collect::<Vec<_>>());
    let mut ids: Vec<String> = world.contact.received().into_iter().map(|message| message.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 22);
    // Only what was under way when the link was cut may have been written twice.
    assert!(world.stand_in.accounting().duplicated_from(&device.jid) <= 2);
    shut_down(service).await;
});

async fn killed_with_a_queue(kind: StoreKind) {
    const EACH: u32 = 15;
    let world = World::new(kind).await;
    let service = world.service().await;
    let (_, _device) = world.link(&service, "ventas").await;
    shut_down(service).await;
    let store = match kind {
        StoreKind::Mongo => world.place.mongo_uri(),
        _ => world.place.sqlite_file().to_string_lossy().into_owned(),
    };
    let folder = world.place.sqlite_file().parent().unwrap().to_owned();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_outbox_sender"));
    let number = world.contact.phone_number();
    let each = EACH.to_string();
    let mut received = 0;
    for round in 0..4_u32 {
        // Down at first, so that they queue; then up, and killed somewhere among them.
        world.stand_in.faults().refuse_logins(true);
        let first = (round * EACH).to_string();
        let arguments = [store.as_str(), &number, &first, &each];
        let mut sender =
            programs::Program::start_with(program, &arguments, &folder, &world.stand_in.web_socket_url());
        for n in 0..EACH {
            assert_eq!(sender.line().await, format!("queued {}", round * EACH + n));
        }
        world.stand_in.faults().refuse_logins(false);
        received += [4, 9, 1, 13][round as usize];
        world.contact.wait_for_count(PATIENCE, received).await.unwrap();
        sender.kill().await;
        received = world.contact.received().len();
    }
    let service = world.service().await;
    service.restore_all(|_| {}).await.unwrap();
    let session = service.session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    is_empty(&session).await;
    world.contact.wait_for_count(PATIENCE, 4 * EACH as usize).await.unwrap();
    let expected: Vec<String> = (0..4 * EACH).map(|n| n.to_string()).collect();
    assert_eq!(texts(&world), expected, "each once, and in order");
    for message in world.contact.received() {
        let key =
            MessageKey { chat_id: world.contact.jid(), sender: world.phone.jid(), message_id: message.id };
        assert!(stored(&service, &key).await.status >= MessageStatus::Sent);
    }
    let record = record_where(&session, "the counters", |r| r.messages_sent >= 60).await;
    assert_eq!(record.messages_sent, 60);
    shut_down(service).await;
}

outbox_test!(
    a_process_killed_with_a_queue_loses_and_doubles_nothing_on_sqlite,
    killed_with_a_queue(StoreKind::Sqlite)
);
outbox_test!(
    a_process_killed_with_a_queue_loses_and_doubles_nothing_on_mongo,
    killed_with_a_queue(StoreKind::Mongo)
);

outbox_test!(a_lost_acknowledgement_sends_the_same_message_again, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(|options| options.send_timeout = Duration::from_secs(1)).await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    session.send(Outgoing::text(&number, "antes").timeout(PATIENCE)).await.unwrap();
    // No receipt of the recipient may tell either, for a while.
    world.stand_in.faults().lose_acks(true);
    world.stand_in.faults().delay_stanzas_ms(Some(&device.jid), 3_000);
    // Written directly, not acknowledged: into the outbox, in doubt.
    let sent = queue(&session, &number, "¿llegó?").await;
    assert_eq!(stored(&service, &sent.key).await.status, MessageStatus::Indeterminate);
    let entry = session.outbox(10, None).await.unwrap().items.remove(0);
    assert_eq!((entry.state, &entry.key), (OutboxState::Sending, &sent.key));
    let error = session.cancel_queued(&sent.key.message_id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let behind = queue(&session, &number, "detrás").await;
    let refused = session.send(Outgoing::text(&number, "directo").timeout(Duration::from_millis(50))).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Timeout);

    world.stand_in.faults().clear();
    for sent in [&sent, &behind] {
        assert_eq!(end_of(&mut events, sent).await.0, OutboxOutcome::Sent);
    }
    world.contact.wait_for_count(PATIENCE, 3).await.unwrap();
    assert_eq!(texts(&world), ["antes", "¿llegó?", "detrás"]);
    let book = world.stand_in.accounting();
    let wire = book.by_companions.iter().find(|m| m.message_id == sent.key.message_id).unwrap();
    assert!(wire.times_received >= 2 && wire.from_device == device.jid);
    shut_down(service).await;
});

outbox_test!(what_is_never_acknowledged_ends_indeterminate_at_its_expiry, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(|options| options.send_timeout = Duration::from_millis(200)).await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    world.stand_in.faults().lose_acks(true);
    world.stand_in.faults().delay_stanzas_ms(Some(&device.jid), 30_000);
    let text = Outgoing::text(world.contact.phone_number(), "?").queue_for(Duration::from_millis(1_000));
    let sent = session.send(text).await.unwrap();
    assert_eq!(end_of(&mut events, &sent).await.0, OutboxOutcome::Indeterminate);
    assert_eq!(entries(&session).await, 0);
    shut_down(service).await;
});

outbox_test!(what_is_not_sent_in_time_expires_and_is_not_sent, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    let short = |text: &str| Outgoing::text(&number, text).queue_for(Duration::from_millis(200));

    // While the session tries to connect.
    world.stand_in.faults().refuse_logins(true);
    world.stand_in.faults().drop_all();
    device.wait_disconnected(PATIENCE).await.unwrap();
    within("a lost link", async {
        while session.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let late = session.send(short("tarde")).await.unwrap();
    assert_eq!(end_of(&mut events, &late).await.0, OutboxOutcome::Expired);
    assert_eq!(stored(&service, &late.key).await.status, MessageStatus::Expired);

    // While the session runs nowhere: no event, but the message says it.
    session.stop().await.unwrap();
    let orphan = session.send(short("huérfano")).await.unwrap();
    status_of_at_least(&service, &orphan.key, MessageStatus::Expired).await;
    assert_eq!(stored(&service, &orphan.key).await.status, MessageStatus::Expired);
    is_empty(&session).await;

    world.stand_in.faults().refuse_logins(false);
    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    session.send(Outgoing::text(&number, "ahora")).await.unwrap();
    world.contact.wait_for_count(PATIENCE, 1).await.unwrap();
    assert_eq!(texts(&world), ["ahora"]);
    shut_down(service).await;
});

outbox_test!(a_429_holds_the_outbox_and_refuses_direct_sends, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world
        .service_with(|options| options.rate_limits.pause_after_429 = Duration::from_millis(3_000))
        .await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    world.stand_in.faults().nack_next_send("429");
    let first = queue(&session, &number, "uno").await;
    assert_eq!(stored(&service, &first.key).await.status, MessageStatus::Queued);
    let error = session.send(Outgoing::text(&number, "directo")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after_hint().is_some_and(|wait| wait <= Duration::from_millis(3_000)));
    let second = queue(&session, &number, "dos").await;
    assert!(texts(&world).is_empty());
    for sent in [&first, &second] {
        assert_eq!(end_of(&mut events, sent).await.0, OutboxOutcome::Sent);
    }
    world.contact.wait_for_count(PATIENCE, 2).await.unwrap();
    assert_eq!(texts(&world), ["uno", "dos"]);
    assert_eq!(world.stand_in.accounting().duplicated_from(&device.jid), 0);
    shut_down(service).await;
});

outbox_test!(a_463_holds_new_contacts_and_nobody_else, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service =
        world.service_with(|options| options.rate_limits.pause_after_463 = Duration::from_secs(6)).await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    let stranger = world.stand_in.add_phone(Default::default()).unwrap();
    world.contact.send_text(&world.phone.phone_number(), "¿precio?").await.unwrap();
    text_event(&mut events, "¿precio?").await;

    world.stand_in.faults().nack_next_send("463");
    let held = queue(&session, &stranger.phone_number(), "hola, soy nueva").await;
    let error = session.send(Outgoing::text(stranger.phone_number(), "¿hola?")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after_hint().is_some());
    // Whoever has written gets an answer.
    session.send(Outgoing::text(world.contact.phone_number(), "10 pesos")).await.unwrap();
    world.contact.wait_for_count(PATIENCE, 1).await.unwrap();
    assert!(stranger.received().is_empty());
    assert_eq!(end_of(&mut events, &held).await.0, OutboxOutcome::Sent);
    stranger.wait_for_count(PATIENCE, 1).await.unwrap();
    shut_down(service).await;
});

outbox_test!(a_refusal_for_good_ends_as_failed, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    session.stop().await.unwrap();
    let (bad, good) = (queue(&session, &number, "malo").await, queue(&session, &number, "bueno").await);
    world.stand_in.faults().nack_next_send("479");
    let session = service.start_session("ventas").await.unwrap();
    let (outcome, reason) = end_of(&mut events, &bad).await;
    assert_eq!(outcome, OutboxOutcome::Failed);
    assert!(reason.unwrap().contains("479"));
    assert_eq!(stored(&service, &bad.key).await.status, MessageStatus::Failed);
    assert_eq!(end_of(&mut events, &good).await.0, OutboxOutcome::Sent);
    assert_eq!(entries(&session).await, 0);
    shut_down(service).await;
});

outbox_test!(a_cancelled_message_is_not_sent, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (session, _) = world.link(&service, "ventas").await;
    let number = world.contact.phone_number();
    session.stop().await.unwrap();
    let stays = queue(&session, &number, "queda").await;
    let goes = queue(&session, &number, "se va").await;
    session.cancel_queued(&goes.key.message_id).await.unwrap();
    assert_eq!(stored(&service, &goes.key).await.status, MessageStatus::Cancelled);
    for gone in [&goes.key.message_id, "3EB0000000000000000000"] {
        assert_eq!(session.cancel_queued(gone).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    // And in a session that runs.
    world.stand_in.faults().refuse_logins(true);
    let session = service.start_session("ventas").await.unwrap();
    let mut events = all_events(&service, "ventas");
    let live = queue(&session, &number, "tampoco").await;
    session.cancel_queued(&live.key.message_id).await.unwrap();
    assert_eq!(end_of(&mut events, &live).await.0, OutboxOutcome::Cancelled);
    world.stand_in.faults().refuse_logins(false);
    assert_eq!(end_of(&mut events, &stays).await.0, OutboxOutcome::Sent);
    session.send(Outgoing::text(&number, "fin")).await.unwrap();
    world.contact.wait_for_count(PATIENCE, 2).await.unwrap();
    assert_eq!(texts(&world), ["queda", "fin"]);
    shut_down(service).await;
});

outbox_test!(another_process_that_runs_the_session_sends_what_is_queued_here, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (_, device) = world.link(&service, "ventas").await;
    let other = world.service().await;
    let there = other.session("ventas").await.unwrap();
    let sent = queue(&there, &world.contact.phone_number(), "desde otro proceso").await;
    world.contact.wait_for_count(PATIENCE, 1).await.unwrap();
    is_empty(&there).await;
    assert!(stored(&other, &sent.key).await.status >= MessageStatus::Sent);
    assert_eq!(world.stand_in.accounting().duplicated_from(&device.jid), 0);
    shut_down(other).await;
    shut_down(service).await;
});

outbox_test!(limits_pace_the_outbox_and_refuse_direct_sends, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world
        .service_with(|options| {
            options.rate_limits.per_session = Some(Rate::per_minute(240).burst(3));
            options.rate_limits.per_recipient = Some(Rate::per_minute(60).burst(1));
        })
        .await;
    let (session, _) = world.link(&service, "ventas").await;
    let stranger = world.stand_in.add_phone(Default::default()).unwrap();
    let number = world.contact.phone_number();
    let start = std::time::Instant::now();
    session.send(Outgoing::text(&number, "0")).await.unwrap();
    // Its own allowance is a second away, however long the first took: it was taken just before it was written.
    let sent = session.send(Outgoing::text(&number, "1").queue_for(HOUR)).await.unwrap();
    let error = session.send(Outgoing::text(&number, "directo").timeout(Duration::from_millis(20))).await;
    let kind = error.unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::RateLimited | ErrorKind::Timeout), "{kind:?}");
    for n in 2..4 {
        session.send(Outgoing::text(&number, n.to_string()).queue_for(HOUR)).await.unwrap();
    }
    session.send(Outgoing::text(stranger.phone_number(), "otra")).await.unwrap();
    world.contact.wait_for_count(PATIENCE, 4).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(2_900), "one a second");
    status_of_at_least(&service, &sent.key, MessageStatus::Sent).await;
    assert_eq!(texts(&world), ["0", "1", "2", "3"]);
    shut_down(service).await;
});

outbox_test!(a_temporary_ban_holds_the_outbox_and_says_how_long, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    let details = centralita_stand_in::FailureDetails {
        code: Some("101".into()),
        expire_s: Some(2),
        ..Default::default()
    };
    world.stand_in.faults().failure_on_next_login(None, 402, details);
    world.stand_in.faults().drop_connection(&device.jid);
    status_event(&mut events, centralita::session::status::Status::Error).await;
    let error = session.send(Outgoing::text(world.contact.phone_number(), "directo")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Banned);
    assert!(error.retry_after_hint().is_some_and(|wait| wait <= Duration::from_secs(2)));
    let held = queue(&session, &world.contact.phone_number(), "después").await;
    assert_eq!(end_of(&mut events, &held).await.0, OutboxOutcome::Sent);
    shut_down(service).await;
});

outbox_test!(bad_input_gets_a_typed_error, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world
        .service_with(|options| {
            options.outbox.max_entries = 2;
            options.outbox.max_text_bytes = 10;
        })
        .await;
    let number = world.contact.phone_number();
    let never_linked = service.create_session("nueva").await.unwrap();
    let error = never_linked.send(Outgoing::text(&number, "hola").queue_for(HOUR)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    never_linked.stop().await.unwrap();

    let (session, _) = world.link(&service, "ventas").await;
    session.stop().await.unwrap();
    let past = service.manager().clock().now();
    for (wrong, kind) in [
        (Outgoing::text(&number, "hola").queue_until(past), ErrorKind::Invalid),
        (Outgoing::text(&number, "hola").queue_for(Duration::ZERO), ErrorKind::Invalid),
        (Outgoing::text(&number, "hola").queue_for(HOUR * 24 * 31), ErrorKind::Invalid),
        (Outgoing::text(&number, "demasiado largo").queue_for(HOUR), ErrorKind::Invalid),
        (Outgoing::text("nadie", "hola").queue_for(HOUR), ErrorKind::Invalid),
        (Outgoing::text(&number, "").queue_for(HOUR), ErrorKind::Invalid),
        (Outgoing::text(&number, "hola"), ErrorKind::InvalidState),
    ] {
        let error = session.send(wrong.clone()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{wrong:?}: {error}");
    }
    queue(&session, &number, "uno").await;
    queue(&session, &number, "dos").await;
    let full = session.send(Outgoing::text(&number, "tres").queue_for(HOUR)).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::RateLimited);
    assert_eq!(session.outbox(0, None).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(session.outbox(1, Some("x")).await.unwrap_err().kind(), ErrorKind::Invalid);
    session.delete().await.unwrap();
    assert!(service.store().outbox_backlog().await.unwrap().is_empty());

    type Change = fn(&mut centralita::service::options::ServiceOptions);
    let cases: [(Change, &str); 4] = [
        (|o| o.outbox.max_entries = 0, "outbox.max_entries"),
        (|o| o.outbox.max_text_bytes = 1 << 20, "outbox.max_text_bytes"),
        (|o| o.rate_limits.per_session = Some(Rate::per_minute(0)), "rate_limits.per_session.per_minute"),
        (
            |o| o.rate_limits.per_recipient = Some(Rate { per_minute: 1, burst: 9_999_999 }),
            "rate_limits.per_recipient.burst",
        ),
    ];
    for (change, name) in cases {
        let started = WhatsAppService::builder()
            .shared_store(world.place.open().await)
            .keys(test_keys())
            .options(world.options())
            .configure(change)
            .start()
            .await;
        let error = started.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(name), "{error}");
    }
    shut_down(service).await;
});
