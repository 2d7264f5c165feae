//! Bad input gets a typed error that says what to do, and nothing is changed.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use centralita::error::ErrorKind;
use centralita::service::WhatsAppService;
use centralita::service::options::ServiceOptions;
use centralita::session::Outgoing;
use centralita::session::status::Status;
use centralita::store::{MemoryStore, SqliteStore};
use centralita::vault::KeyRing;
use centralita_end_to_end::*;

macro_rules! bad_input_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

bad_input_test!(session_ids, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let long = "x".repeat(129);
    for id in ["", " ", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "\"x\"", "$gt", "{}", "a b", long.as_str()]
    {
        let error = service.create_session(id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{id:?}");
        assert!(service.start_session(id).await.is_err(), "{id:?}");
    }
    for id in ["ventas", "Ventas-1_2.3:4@x+5", "日本", "ñandú"] {
        service.create_session(id).await.unwrap();
    }
    assert_eq!(service.manager().get_statistics().await.unwrap().total_sessions, 4);
    shut_down(service).await;
});

bad_input_test!(unknown_sessions, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    assert_eq!(service.start_session("nadie").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(service.session("nadie").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(service.stop_session("nadie").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(service.delete_session("nadie").await.unwrap_err().kind(), ErrorKind::NotFound);
    let error = service.send("nadie", Outgoing::text("5491155550000", "hola")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(service.manager().get_statistics().await.unwrap().total_sessions, 0);
    shut_down(service).await;
});

bad_input_test!(sends, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let session = service.create_session("ventas").await.unwrap();
    let error = session.send(Outgoing::text("5491155550000", "hola")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    scan_first_qr(&session, &world.phone).await;
    session.wait_connected(PATIENCE).await.unwrap();
    let big = "x".repeat(65_537);
    for (to, text) in
        [("nobody", "x"), ("", "x"), ("123", "x"), ("5491155550000", ""), ("5491155550000", big.as_str())]
    {
        let error = session.send(Outgoing::text(to, text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{to:?}");
        assert!(!error.to_string().contains("5491155550000"), "{error}");
    }
    let error = session.send(Outgoing::text("5491155550000", "x").idempotency_key("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(stored_texts(service.store().as_ref(), "ventas").await.is_empty());
    shut_down(service).await;
});

bad_input_test!(a_service_without_store_or_key_says_what_to_pass, async {
    let error = WhatsAppService::builder().keys(test_keys()).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains(".store("));
    let error = WhatsAppService::builder().store(MemoryStore::new()).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Crypto);
    assert!(error.message().contains("CENTRALITA_KEYS"));
});

bad_input_test!(options_out_of_bounds, async {
    let changes: [fn(&mut ServiceOptions); 6] = [
        |o| o.lease_duration = std::time::Duration::ZERO,
        |o| o.reconnect_max = std::time::Duration::ZERO,
        |o| o.pre_key_count = 1,
        |o| o.connect_concurrency = 0,
        |o| o.device_name = String::new(),
        |o| o.stand_in_url = Some("ws://10.1.2.3/ws/chat".into()),
    ];
    for change in changes {
        let outcome = WhatsAppService::builder()
            .store(MemoryStore::new())
            .keys(test_keys())
            .configure(change)
            .start()
            .await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Invalid);
    }
});

bad_input_test!(a_wrong_key_stops_only_that_session_and_overwrites_nothing, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (_, device) = world.link(&service, "ventas").await;
    shut_down(service).await;
    let wrong = || KeyRing::parse("test://////////////////////////////////////////8=").unwrap();
    let missing = || KeyRing::parse("other://////////////////////////////////////////8=").unwrap();
    for keys in [wrong(), missing()] {
        let service = WhatsAppService::builder()
            .shared_store(world.place.open().await)
            .keys(keys)
            .options(world.options())
            .start()
            .await
            .unwrap();
        let session = service.start_session("ventas").await.unwrap();
        let error = session.wait_connected(PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Crypto, "{error}");
        assert_eq!(session.record().await.unwrap().status, Status::Error);
        shut_down(service).await;
    }
    // With the right key everything is as it was.
    let service = world.service().await;
    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    assert!(device.is_connected());
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(service).await;
});

bad_input_test!(a_tampered_value_stops_only_that_session, async {
    let world = World::new(StoreKind::Sqlite).await;
    let other_phone = world.stand_in.add_phone(Default::default()).unwrap();
    let service = world.service().await;
    world.link(&service, "ventas").await;
    let other = service.create_session("soporte").await.unwrap();
    scan_first_qr(&other, &other_phone).await;
    other.wait_connected(PATIENCE).await.unwrap();
    shut_down(service).await;
    {
        let file = rusqlite::Connection::open(world.place.sqlite_file()).unwrap();
        let changed = file
            .execute("UPDATE authstates SET creds = CAST(substr(creds, 1, length(creds) - 1) || x'00' AS BLOB) WHERE sessionId = 'ventas'", [])
            .unwrap();
        assert_eq!(changed, 1);
    }
    let service = world.service().await;
    service.restore_all(|_| {}).await.unwrap();
    let broken = service.session("ventas").await.unwrap();
    let error = broken.wait_connected(PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Crypto);
    service.session("soporte").await.unwrap().wait_connected(PATIENCE).await.unwrap();
    assert_eq!(broken.record().await.unwrap().status, Status::Error);
    shut_down(service).await;
});

bad_input_test!(values_swapped_between_sessions_do_not_open, async {
    let world = World::new(StoreKind::Sqlite).await;
    let other_phone = world.stand_in.add_phone(Default::default()).unwrap();
    let service = world.service().await;
    world.link(&service, "ventas").await;
    let other = service.create_session("soporte").await.unwrap();
    scan_first_qr(&other, &other_phone).await;
    other.wait_connected(PATIENCE).await.unwrap();
    shut_down(service).await;
    {
        let file = rusqlite::Connection::open(world.place.sqlite_file()).unwrap();
        file.execute_batch(
            "UPDATE authstates SET creds = (SELECT creds FROM authstates WHERE sessionId = 'soporte') WHERE sessionId = 'ventas'",
        )
        .unwrap();
    }
    let service = world.service().await;
    let session = service.start_session("ventas").await.unwrap();
    assert_eq!(session.wait_connected(PATIENCE).await.unwrap_err().kind(), ErrorKind::Crypto);
    shut_down(service).await;
});

bad_input_test!(a_malformed_document_hurts_no_other_session, async {
    let world = World::new(StoreKind::Mongo).await;
    let service = world.service().await;
    let (session, _) = world.link(&service, "ventas").await;
    let client = mongodb::Client::with_uri_str(world.place.mongo_uri()).await.unwrap();
    let database = client.default_database().unwrap();
    let sessions = database.collection::<mongodb::bson::Document>("sessions");
    sessions
        .insert_one(mongodb::bson::doc! {"_id": "rota", "sessionId": "rota", "isActive": true, "status": "disconnected",
            "phone": "1", "messagesSent": "many", "lastActivity": "yesterday"})
        .await
        .unwrap();
    let report = service.restore_all(|_| {}).await.unwrap();
    assert_eq!(report.malformed, ["rota"]);
    assert_eq!(service.start_session("rota").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(session.is_connected());
    let listed = service.manager().get_active_sessions(&Default::default()).await.unwrap();
    assert_eq!(listed.malformed, ["rota"]);
    assert_eq!(listed.items.len(), 1);
    shut_down(service).await;
});

bad_input_test!(malformed_keys_credentials_and_messages_hurt_no_other_session, async {
    use mongodb::bson::{Document, doc};
    let world = World::new(StoreKind::Mongo).await;
    let service = world.service().await;
    let other_phone = world.stand_in.add_phone(Default::default()).unwrap();
    let other = service.create_session("soporte").await.unwrap();
    scan_first_qr(&other, &other_phone).await;
    other.wait_connected(PATIENCE).await.unwrap();
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "hola").await.unwrap();
    text_event(&mut events, "hola").await;
    session.stop().await.unwrap();
    let client = mongodb::Client::with_uri_str(world.place.mongo_uri()).await.unwrap();
    let database = client.default_database().unwrap();
    for (collection, filter, field) in [
        ("authkeys", doc! {"sessionId": "ventas", "type": "session"}, "value"),
        ("authstates", doc! {"sessionId": "ventas"}, "creds"),
    ] {
        let documents = database.collection::<Document>(collection);
        let before = documents.find_one(filter.clone()).await.unwrap().expect("there is one");
        documents
            .update_one(doc! {"_id": before.get("_id")}, doc! {"$set": {field: "no longer what it was"}})
            .await
            .unwrap();
        let session = service.start_session("ventas").await.unwrap();
        let error = session.wait_connected(PATIENCE).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Crypto), "{collection}: {error}");
        record_where(&session, "the error", |r| r.status == Status::Error).await;
        assert!(other.is_connected());
        documents.replace_one(doc! {"_id": before.get("_id")}, before.clone()).await.unwrap();
    }
    // Mended, it goes on where it was.
    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();

    let messages = database.collection::<Document>("messages");
    messages
        .insert_one(doc! {"_id": "broken", "sessionId": "ventas", "chatId": 17, "timestamp": "yesterday"})
        .await
        .unwrap();
    let page = service.store().list_messages("ventas", &Default::default()).await.unwrap();
    assert_eq!(page.items.iter().filter_map(text_of).collect::<Vec<_>>(), ["hola"]);
    world.contact.send_text(&world.phone.phone_number(), "sigue").await.unwrap();
    text_event(&mut events, "sigue").await;
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(service).await;
});

bad_input_test!(databases_that_cannot_be_used, async {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.db");
    let first = SqliteStore::open(&file).unwrap();
    let error = SqliteStore::open(&file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    drop(first);
    std::fs::write(
        folder.path().join("no.db"),
        b"this is no database, and longer than a header has to be ............",
    )
    .unwrap();
    let error = SqliteStore::open(folder.path().join("no.db")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Store), "{error}");
    let error = SqliteStore::open(folder.path().join("not/there/x.db")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Store | ErrorKind::NotFound | ErrorKind::Invalid), "{error}");

    let unreachable = "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=300&connectTimeoutMS=300";
    let outcome = async { centralita::store::MongoStore::connect(unreachable).await };
    let error = within("the error", outcome).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = centralita::store::MongoStore::connect("not a uri").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
});
