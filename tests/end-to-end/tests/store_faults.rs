//! Databases that refuse, are slow, lose answers, change their primary, may not be written, or are full.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use centralita::error::ErrorKind;
use centralita::service::WhatsAppService;
use centralita::session::Outgoing;
use centralita::session::status::Status;
use centralita::store::conformance::samples::{NOW, message, put, session, stored_session};
use centralita::store::mongo::MongoOptions;
use centralita::store::sqlite::SqliteOptions;
use centralita::store::{
    AuthStore, Direction, MessageStatus, MessageStore, MongoStore, RecordBatch, SqliteStore, Store, Tenure,
};
use centralita_end_to_end::proxy::{Mode, Proxy};
use centralita_end_to_end::*;
use mongodb::bson::{Document, doc};

async fn proxied(place: &Place) -> (Proxy, Arc<MongoStore>) {
    let uri = place.mongo_uri();
    let proxy = Proxy::before(&uri).await;
    let mut options = MongoOptions::default();
    options.deadline = Duration::from_secs(60);
    let options_of_uri = "serverSelectionTimeoutMS=1000&heartbeatFrequencyMS=500&appName=store_faults";
    let uri = format!("{}&{options_of_uri}", proxy.uri(&uri));
    let store = MongoStore::connect_with(&uri, options).await.unwrap();
    (proxy, Arc::new(store))
}

async fn apply(store: &dyn Store, id: &str, value: &str) -> centralita::Result<()> {
    store.apply_auth(&[("s", Tenure::FIRST, &put(id, value))]).await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_connections_is_unavailable_and_nothing_is_taken_for_absent() {
    let place = Place::new(StoreKind::Mongo);
    let (proxy, store) = proxied(&place).await;
    session(&*store, "s").await;
    apply(&*store, "a", "there").await.unwrap();
    store.record_messages("s", &[message("c", "1", Direction::In, 1)], &[], NOW).await.unwrap();
    proxy.set(Mode::Away);
    let kinds = [
        store.load_creds("s", Tenure::FIRST).await.unwrap_err().kind(),
        apply(&*store, "a", "lost?").await.unwrap_err().kind(),
        store
            .record_messages("s", &[message("c", "2", Direction::In, 2)], &[], NOW)
            .await
            .unwrap_err()
            .kind(),
        store.flush_counts().await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Unavailable; 4]);
    proxy.set(Mode::Open);
    // The same calls again, as every caller does.
    within("the database", async { while apply(&*store, "a", "after").await.is_err() {} }).await;
    let again = [message("c", "2", Direction::In, 2)];
    assert_eq!(store.record_messages("s", &again, &[], NOW).await.unwrap().inserted, [true]);
    assert_eq!(stored_session(&*store, "s").await.messages_received, 2);
    assert_eq!(store.get_chat("s", "c").await.unwrap().unwrap().unread_count, 2);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_makes_nothing_count_twice() {
    let place = Place::new(StoreKind::Mongo);
    let (proxy, store) = proxied(&place).await;
    for name in ["s", "s2"] {
        session(&*store, name).await;
    }
    let first = ["1", "2"].map(|id| message("c", id, Direction::In, 1));
    let second = [message("d", "3", Direction::Out, 3), message("c", "4", Direction::In, 4)];
    for (messages, others) in [(&first, &second), (&second, &first)] {
        proxy.cut_answer_to("update");
        let batch = |session, messages| RecordBatch { session, messages, names: &[], now: NOW };
        let recorded = store.record_many(&[batch("s", &messages[..]), batch("s2", &others[..])]).await;
        for recorded in recorded {
            assert_eq!(recorded.unwrap().inserted, [true, true]);
        }
        // Also those of what follows: both ways in which chats and counters may be written.
        proxy.cut_answer_to("bulkWrite");
        store.flush_counts().await.unwrap();
    }
    for name in ["s", "s2"] {
        let record = stored_session(&*store, name).await;
        assert_eq!((record.messages_received, record.messages_sent, record.total_chats), (3, 1, 2));
        assert_eq!(store.get_chat(name, "c").await.unwrap().unwrap().unread_count, 3);
        assert_eq!(store.get_chat(name, "d").await.unwrap().unwrap().unread_count, 0);
    }
    proxy.cut_answer_to("update");
    apply(&*store, "a", "value").await.unwrap();
    assert_eq!(store.list_auth("s", Tenure::FIRST, "session").await.unwrap().len(), 1);
    assert!(proxy.has_cut_all());
    store.close().await.unwrap();
}

async fn service_on(world: &World, store: Arc<dyn Store>) -> WhatsAppService {
    WhatsAppService::builder()
        .shared_store(store)
        .keys(test_keys())
        .options(world.options())
        // A slow heartbeat is a heartbeat.
        .configure(|options| options.lease_duration = Duration::from_secs(30))
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_two_seconds_a_command_loses_and_doubles_nothing() {
    let world = World::new(StoreKind::Mongo).await;
    let (proxy, store) = proxied(&world.place).await;
    let service = service_on(&world, store).await;
    let (session, device) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "antes").await.unwrap();
    device.wait_settled(PATIENCE).await.unwrap();
    proxy.set(Mode::Slow(Duration::from_secs(2)));
    let texts: Vec<String> = (0..8).map(|n| format!("lento {n}")).collect();
    for text in &texts {
        world.contact.send_text(&world.phone.phone_number(), text).await.unwrap();
    }
    let unhurried =
        Outgoing::text(world.contact.phone_number(), "sin prisa").timeout(Duration::from_secs(120));
    let sent = session.send(unhurried).await.unwrap();
    device.wait_settled(PATIENCE * 4).await.unwrap();
    assert!(device.is_connected(), "slow is not away");
    proxy.set(Mode::Open);
    let mut stored = stored_texts(service.store().as_ref(), "ventas").await;
    stored.sort();
    let mut expected = texts;
    expected.extend(["antes".to_owned(), "sin prisa".to_owned()]);
    expected.sort();
    assert_eq!(stored, expected);
    let record = session.record().await.unwrap();
    assert_eq!((record.messages_received, record.messages_sent), (9, 1));
    assert!(sent.status >= MessageStatus::Sent);
    world.contact.wait_for_message(PATIENCE, |m| m.id == sent.key.message_id).await.unwrap();
    assert_eq!(world.contact.received().len(), 1);
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    shut_down(service).await;
}

async fn fail(place: &Place, times: i32, mut data: Document) {
    data.insert("appName", "store_faults");
    let command = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    let client = mongodb::Client::with_uri_str(place.mongo_uri()).await.unwrap();
    client.database("admin").run_command(command).await.unwrap();
}

async fn heal(place: &Place) {
    let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let client = mongodb::Client::with_uri_str(place.mongo_uri()).await.unwrap();
    client.database("admin").run_command(command).await.unwrap();
}

// A fail point is the server's: what uses it is one test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stepdown_is_an_outage_and_a_missing_right_is_final() {
    let world = World::new(StoreKind::Mongo).await;
    let (_proxy, store) = proxied(&world.place).await;
    let service = service_on(&world, store.clone()).await;
    let (session, device) = world.link(&service, "ventas").await;
    let writes = ["update", "bulkWrite", "findAndModify", "delete"];
    // NotWritablePrimary, InterruptedDueToReplStateChange, PrimarySteppedDown.
    for (round, code) in [10_107, 11_602, 189].into_iter().enumerate() {
        fail(&world.place, 8, doc! { "failCommands": writes.to_vec(), "errorCode": code }).await;
        for n in 0..3 {
            let text = format!("ronda {round} {n}");
            world.contact.send_text(&world.phone.phone_number(), &text).await.unwrap();
        }
        device.wait_settled(PATIENCE).await.unwrap();
        heal(&world.place).await;
    }
    let record = record_where(&session, "all counted", |record| record.messages_received == 9).await;
    assert_eq!(record.status, Status::Connected);
    assert_eq!(stored_texts(&*store, "ventas").await.len(), 9);

    // What the database refuses for good ends the session with what to do, and acknowledges nothing.
    fail(&world.place, 1_000, doc! { "failCommands": ["update", "bulkWrite"], "errorCode": 13 }).await;
    world.contact.send_text(&world.phone.phone_number(), "sin permiso").await.unwrap();
    device.wait_disconnected(PATIENCE).await.unwrap();
    heal(&world.place).await;
    let record = within("the end of the session", async {
        loop {
            let record = session.record().await.unwrap();
            if !service.running_sessions().contains(&"ventas".to_owned()) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let reason = record.last_disconnect_reason.unwrap_or_default();
    assert!(record.status != Status::Error || reason.contains("readWrite"), "{reason}");
    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    let record = record_where(&session, "the message", |record| record.messages_received == 10).await;
    assert_eq!(record.messages_received, 10);
    assert_eq!(world.phone.devices().len(), 1, "it was not linked anew");
    device.wait_settled(PATIENCE).await.unwrap();
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    shut_down(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.db");
    let open = |max_file_bytes| {
        let mut options = SqliteOptions::default();
        options.max_file_bytes = max_file_bytes;
        SqliteStore::open_with(&path, options).unwrap()
    };
    let store = open(Some(600 << 10));
    session(&store, "s").await;
    apply(&store, "filler", &"x".repeat(200 << 10)).await.unwrap();
    let mut stored = 0;
    let refused = loop {
        let mut one = message("c", &stored.to_string(), Direction::In, stored);
        one.sender_name = Some("n".repeat(4_000));
        match store.record_messages("s", &[one.clone()], &[], NOW).await {
            Ok(recorded) => assert_eq!(recorded.inserted, [true]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.message().contains("make room"), "{error}");
                break one;
            }
        }
        stored += 1;
    };
    // Nothing of the refused one remains, and what was acknowledged is there.
    assert_eq!(store.get_messages("s", std::slice::from_ref(&refused.key)).await.unwrap(), [None]);
    assert_eq!(stored_session(&store, "s").await.messages_received, stored as u64);
    store.close().await.unwrap();
    // Room is made; the caller's repeat counts once.
    let store = open(None);
    assert_eq!(store.record_messages("s", &[refused], &[], NOW).await.unwrap().inserted, [true]);
    assert_eq!(store.recount("s", NOW).await.unwrap(), (0, stored as u64 + 1, 1));
    store.close().await.unwrap();
}
