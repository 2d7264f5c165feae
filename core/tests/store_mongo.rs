//! What only MongoDB has: the seed's own documents, damaged ones, indexes, commands counted, faults.

#![allow(clippy::unwrap_used)]

mod harness;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use centralita::ErrorKind;
use centralita::store::conformance::samples::{
    NOW, apply, generation, key, message, put, session, stored_session, value,
};
use centralita::store::conformance::{Harness, run};
use centralita::store::mongo::{MongoOptions, MongoStore};
use centralita::store::session::Counter;
use centralita::store::{
    Acquired, AuthStore, Direction, LeaseStore, MessagePage, MessageStore, PageRequest, SessionFilter,
    SessionPatch, SessionRecord, SessionStore, Store, Tenure, WriteBatch,
};
use futures::FutureExt as _;
use harness::{Mongo, patient};
use mongodb::bson::{Binary, Bson, DateTime, Document, doc, oid::ObjectId, spec::BinarySubtype};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::{Client, Database};

fn bytes(text: &str) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: text.as_bytes().to_vec() })
}

fn batch_of(count: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for id in 0..count {
        batch.put(key(&id.to_string()), Bytes::from_static(b"x"), 0);
    }
    batch
}

/// A store through a client of our own, and the write commands that it sends.
async fn watched(mongo: &Mongo) -> (MongoStore, Arc<Mutex<Vec<Document>>>) {
    let commands = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&commands);
    let mut options = mongodb::options::ClientOptions::parse(mongo.uri()).await.unwrap();
    options.command_event_handler = Some(EventHandler::callback(move |event| {
        if let CommandEvent::Started(started) = event {
            seen.lock().unwrap().push(started.command);
        }
    }));
    let client = Client::with_options(options).unwrap();
    let database = mongo.raw().await.name().to_owned();
    let store = MongoStore::from_client_with(client, &database, patient()).await.unwrap();
    commands.lock().unwrap().clear();
    (store, commands)
}

fn take(commands: &Mutex<Vec<Document>>) -> Vec<Document> {
    std::mem::take(&mut *commands.lock().unwrap())
}

fn names(commands: &[Document]) -> Vec<String> {
    let name = |command: &Document| {
        let (name, target) = command.iter().next().unwrap();
        format!("{name} {}", target.as_str().unwrap_or_default())
    };
    commands.iter().map(name).collect()
}

#[tokio::test]
async fn the_seeds_own_rows_are_read_written_and_deleted() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        let raw = mongo.raw().await;
        let rows = ["read", "write", "delete"].map(|id| {
            doc! { "_id": ObjectId::new(), "sessionId": "s", "type": "session", "id": id, "value": bytes("seed"),
                   "updatedAt": DateTime::now() }
        });
        raw.collection::<Document>("authkeys").insert_many(rows).await.unwrap();
        raw.collection::<Document>("authstates")
            .insert_one(doc! { "_id": ObjectId::new(), "sessionId": "s", "creds": bytes("seed") })
            .await
            .unwrap();
        let mine = Tenure::FIRST;
        assert_eq!(value(&*store, "s", mine, "read").await.unwrap(), "seed");
        let state = store.load_auth("s", mine, &[]).await.unwrap();
        assert_eq!((state.creds.unwrap(), state.entries.len()), (Bytes::from_static(b"seed"), 3));

        let mut batch = put("write", "ours");
        batch.set_creds(Bytes::from_static(b"ours")).delete(key("delete"));
        for _ in 0..2 {
            apply(&*store, "s", mine, &batch).await.unwrap();
        }
        assert_eq!(value(&*store, "s", mine, "write").await.unwrap(), "ours");
        assert_eq!(value(&*store, "s", mine, "delete").await, None);
        assert_eq!(store.load_creds("s", mine).await.unwrap().unwrap(), "ours");
        let count = raw.collection::<Document>("authkeys").count_documents(doc! {}).await.unwrap();
        assert_eq!(count, 2, "a row of the seed's is replaced, not doubled");

        // And they are fenced like any other.
        let thief = Tenure { generation: 2, fence: 2 };
        store.fence_auth("s", thief).await.unwrap();
        assert_eq!(store.list_auth("s", thief, "session").await.unwrap().len(), 2);
        let refused = apply(&*store, "s", mine, &put("read", "stale")).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    })
    .await;
}

#[tokio::test]
async fn the_seeds_own_sessions_are_patched_and_not_doubled() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        let raw = mongo.raw().await;
        let seed = doc! { "_id": ObjectId::new(), "sessionId": "s", "name": "Seed", "status": "connected",
        "isActive": true, "messagesSent": 4.0, "lastActivity": DateTime::from_millis(5) };
        raw.collection::<Document>("sessions").insert_one(seed).await.unwrap();
        let patch = SessionPatch { messages_sent: Some(Counter::Add(1)), ..Default::default() };
        let record = store.upsert_session(&SessionRecord::new("s", NOW), &patch).await.unwrap();
        assert_eq!((record.name.as_str(), record.messages_sent, record.messages_received), ("Seed", 5, 0));
        assert_eq!(store.count_sessions(&SessionFilter::default()).await.unwrap(), 1);
        assert_eq!(store.statistics().await.unwrap().messages_sent, 5);
        assert!(store.delete_session_record("s").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn damaged_documents_are_reported_and_touch_no_others() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        let raw = mongo.raw().await;
        session(&*store, "good").await;
        let damaged = [
            doc! { "_id": "status", "sessionId": "status", "status": "asleep", "lastActivity": DateTime::now() },
            doc! { "_id": "count", "sessionId": "count", "messagesSent": "many", "lastActivity": DateTime::now() },
            doc! { "_id": "when", "sessionId": "when", "lastActivity": "yesterday" },
        ];
        raw.collection::<Document>("sessions").insert_many(damaged).await.unwrap();
        for id in ["status", "count", "when"] {
            let error = store.get_session(id).await.unwrap_err();
            assert_eq!((error.kind(), error.session()), (ErrorKind::Corrupt, Some(id)));
        }
        for most_recently_active_first in [false, true] {
            let (mut items, mut malformed) = (Vec::new(), Vec::new());
            let mut page = PageRequest { limit: 1, after: None, most_recently_active_first };
            loop {
                let answer = store.list_sessions(&SessionFilter::default(), &page).await.unwrap();
                items.extend(answer.items.into_iter().map(|record| record.session_id));
                malformed.extend(answer.malformed);
                page.after = answer.next;
                if page.after.is_none() {
                    break;
                }
            }
            malformed.sort();
            assert_eq!((items, malformed), (vec!["good".to_owned()], ["count", "status", "when"].map(str::to_owned).to_vec()));
        }
        stored_session(&*store, "good").await;
        store.statistics().await.unwrap();

        apply(&*store, "good", Tenure::FIRST, &put("a", "x")).await.unwrap();
        let json = doc! { "sessionId": "bad", "type": "session", "id": "a", "value": { "keys": [1, 2] } };
        raw.collection::<Document>("authkeys").insert_one(json).await.unwrap();
        raw.collection::<Document>("authstates")
            .insert_one(doc! { "sessionId": "bad", "creds": "{\"noiseKey\":1}" })
            .await
            .unwrap();
        let kinds = [
            store.get_auth("bad", Tenure::FIRST, &[key("a")]).await.unwrap_err().kind(),
            store.load_auth("bad", Tenure::FIRST, &[]).await.unwrap_err().kind(),
            store.load_creds("bad", Tenure::FIRST).await.unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::Corrupt; 3]);
        assert_eq!(value(&*store, "good", Tenure::FIRST, "a").await.unwrap(), "x");

        store.record_messages("good", &[message("c", "1", Direction::In, 1)], &[], NOW).await.unwrap();
        let odd = doc! { "_id": "odd", "sessionId": "good", "chatId": "c", "sender": "x", "messageId": "2",
                         "timestamp": DateTime::from_millis(1), "direction": "sideways" };
        raw.collection::<Document>("messages").insert_one(odd).await.unwrap();
        let page = store.list_messages("good", &MessagePage::default()).await.unwrap();
        assert_eq!((page.items.len(), page.malformed.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_index_that_does_not_fit_is_named_and_left_alone() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let raw = mongo.raw().await;
        let create = |unique: bool| {
            doc! { "createIndexes": "authkeys", "indexes": [
                { "key": { "sessionId": 1, "type": 1, "id": 1 }, "name": "sessionId_1_type_1_id_1", "unique": unique } ] }
        };
        raw.run_command(create(false)).await.unwrap();
        let error = MongoStore::connect_with(&mongo.uri(), patient()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("sessionId_1_type_1_id_1"), "{error}");
        let kept = raw.collection::<Document>("authkeys").list_index_names().await.unwrap();
        assert!(kept.contains(&"sessionId_1_type_1_id_1".to_owned()));

        raw.collection::<Document>("authkeys").drop().await.unwrap();
        let row = || doc! { "sessionId": "s", "type": "t", "id": "i" };
        raw.collection::<Document>("authkeys").insert_many([row(), row()]).await.unwrap();
        let error = MongoStore::connect_with(&mongo.uri(), patient()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("duplicates"), "{error}");

        raw.collection::<Document>("authkeys").drop().await.unwrap();
        raw.run_command(create(true)).await.unwrap();
        for _ in 0..2 {
            MongoStore::connect_with(&mongo.uri(), patient()).await.unwrap().close().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn many_sessions_are_written_in_one_durable_command() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let (store, commands) = watched(&mongo).await;
        let ids: Vec<String> = (0..30).map(|index| format!("s{index}")).collect();
        let batch = batch_of(5);
        let calls: Vec<_> = ids.iter().map(|id| (id.as_str(), Tenure::FIRST, &batch)).collect();
        assert!(store.apply_auth(&calls).await.iter().all(Result::is_ok));
        let sent = take(&commands);
        assert_eq!(names(&sent), ["update authkeys"]);
        assert_eq!(sent[0].get_array("updates").unwrap().len(), 150);
        let concern = sent[0].get_document("writeConcern").unwrap();
        assert_eq!((concern.get_str("w").unwrap(), concern.get_bool("j").unwrap()), ("majority", true));

        let mut mixed = batch_of(2);
        mixed.set_creds(Bytes::from_static(b"creds")).delete(key("4"));
        let calls: Vec<_> = ids.iter().map(|id| (id.as_str(), Tenure::FIRST, &mixed)).collect();
        assert!(store.apply_auth(&calls).await.iter().all(Result::is_ok));
        let sent = take(&commands);
        assert_eq!(names(&sent), ["update authkeys", "delete authkeys", "find leases", "update authstates"]);

        store.load_auth("s1", Tenure::FIRST, &["pre-key"]).await.unwrap();
        let mut loaded = names(&take(&commands));
        loaded.sort();
        assert_eq!(loaded, ["find authkeys", "find authstates"]);

        session(&store, "s1").await;
        take(&commands);
        let messages: Vec<_> = (0..20).map(|id| message("c", &id.to_string(), Direction::In, id)).collect();
        store.record_messages("s1", &messages, &[], NOW).await.unwrap();
        assert_eq!(names(&take(&commands)), ["update messages"]);
        store.flush_counts().await.unwrap();
        let mut counted = names(&take(&commands));
        // Whether the server can write to both collections at once is asked for once.
        counted.retain(|name| name != "hello ");
        // That the chat is new is known only after the first.
        assert!(
            counted == ["bulkWrite ", "update sessions"]
                || counted == ["update chats", "update sessions", "update sessions"],
            "{counted:?}"
        );
        store.record_messages("s1", &messages, &[], NOW).await.unwrap();
        store.flush_counts().await.unwrap();
        assert_eq!(names(&take(&commands)), ["update messages"]);

        let mut leases = Vec::new();
        for id in &ids {
            match store.acquire_lease(id, "me", Duration::from_secs(600)).await.unwrap() {
                Acquired::Granted(lease) => leases.push(lease),
                other => panic!("{other:?}"),
            }
        }
        take(&commands);
        assert!(
            store.renew_leases(&leases, Duration::from_secs(600)).await.unwrap().iter().all(|ours| *ours)
        );
        assert_eq!(names(&take(&commands)), ["update leases"]);
        store.statistics().await.unwrap();
        assert_eq!(names(&take(&commands)), ["aggregate sessions"]);
    })
    .await;
}

#[tokio::test]
async fn a_thief_that_died_before_it_fenced_is_told_again_that_it_stole() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        let short = Duration::from_millis(30);
        let Acquired::Granted(old) = store.acquire_lease("s", "old", short).await.unwrap() else {
            panic!("free")
        };
        while store.database_now().await.unwrap() <= old.expires_at {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let long = Duration::from_secs(600);
        for _ in 0..2 {
            assert!(matches!(store.acquire_lease("s", "thief", long).await.unwrap(), Acquired::Stolen(_)));
        }
        store.fence_auth("s", Tenure { generation: 2, fence: 2 }).await.unwrap();
        assert!(matches!(store.acquire_lease("s", "thief", long).await.unwrap(), Acquired::Granted(_)));
    })
    .await;
}

#[tokio::test]
async fn a_recount_brings_back_chats_that_a_crash_left_out() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        session(&*store, "s").await;
        let messages = [message("c", "1", Direction::In, 7), message("d", "2", Direction::Out, 3)];
        store.record_messages("s", &messages, &[], NOW).await.unwrap();
        mongo.raw().await.collection::<Document>("chats").delete_one(doc! { "chatId": "c" }).await.unwrap();
        assert_eq!(store.recount("s", NOW).await.unwrap(), (1, 1, 2));
        let chat = store.get_chat("s", "c").await.unwrap().unwrap();
        assert_eq!(chat.last_message_at, Some(messages[0].timestamp));
    })
    .await;
}

#[tokio::test]
async fn an_owner_that_slept_adds_nothing_to_what_the_next_one_counted() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let (slept, next) = (mongo.open().await, mongo.open().await);
        session(&*slept, "s").await;
        let received = || async { next.get_session("s").await.unwrap().unwrap().messages_received };
        let short = Duration::from_millis(30);
        let Acquired::Granted(old) = slept.acquire_lease("s", "slept", short).await.unwrap() else {
            panic!("free")
        };
        record(&*slept, "1").await;
        while slept.database_now().await.unwrap() <= old.expires_at {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let long = Duration::from_secs(600);
        assert!(matches!(next.acquire_lease("s", "next", long).await.unwrap(), Acquired::Stolen(_)));
        assert_eq!(next.recount("s", NOW).await.unwrap(), (0, 1, 1));
        slept.flush_counts().await.unwrap();
        assert_eq!(received().await, 1);

        // Stored behind the next owner's back: his next flush finds it.
        record(&*slept, "2").await;
        slept.flush_counts().await.unwrap();
        record(&*next, "3").await;
        next.flush_counts().await.unwrap();
        assert_eq!(received().await, 3);
        record(&*next, "4").await;
        next.flush_counts().await.unwrap();
        assert_eq!(received().await, 4);
    })
    .await;
}

async fn record(store: &dyn Store, id: &str) {
    store.record_messages("s", &[message("c", id, Direction::In, 7)], &[], NOW).await.unwrap();
}

#[tokio::test]
async fn an_archive_that_was_broken_off_is_brought_to_its_end() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        let raw = mongo.raw().await;
        let archived = || async {
            let archives = raw.collection::<Document>("autharchives");
            archives.count_documents(doc! { "sessionId": "s" }).await.unwrap()
        };
        let link = |ids: &'static [&'static str]| {
            let mut batch = WriteBatch::new();
            batch.set_creds(Bytes::from_static(b"creds"));
            for id in ids {
                batch.put(key(id), Bytes::from_static(b"x"), 0);
            }
            batch
        };
        apply(&*store, "s", Tenure::FIRST, &link(&["old 1", "old 2", "old 3"])).await.unwrap();
        store.archive_auth("s", Tenure::FIRST, "first").await.unwrap();
        assert_eq!(archived().await, 4);

        apply(&*store, "s", Tenure::FIRST, &link(&["a", "b"])).await.unwrap();
        // As if the process had died after it had copied both and deleted one.
        let mark = doc! { "$set": { "archiving": "run" } };
        raw.collection::<Document>("authstates").update_one(doc! { "sessionId": "s" }, mark).await.unwrap();
        let copy = doc! { "_id": "s/session/a", "sessionId": "s", "run": "run", "value": bytes("x") };
        raw.collection::<Document>("autharchives").insert_one(copy).await.unwrap();
        raw.collection::<Document>("authkeys").delete_one(doc! { "id": "a" }).await.unwrap();
        for _ in 0..2 {
            store.archive_auth("s", Tenure::FIRST, "second").await.unwrap();
            assert_eq!(archived().await, 3, "credentials, a and b, and nothing of the first");
        }
        store.delete_auth("s", Tenure::FIRST).await.unwrap();
        assert_eq!(archived().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        let batch = batch_of(40);
        let gone =
            tokio::time::timeout(Duration::from_millis(1), apply(&*store, "s", Tenure::FIRST, &batch)).await;
        assert!(gone.is_err(), "forty durable writes take longer than that");
        // Closing waits for what is under way.
        store.close().await.unwrap();
        let store = mongo.open().await;
        assert_eq!(store.list_auth("s", Tenure::FIRST, "session").await.unwrap().len(), 40);
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable_and_a_bad_uri_invalid() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let uri = format!("mongodb://user:hunter2@127.0.0.1:{port}/x?serverSelectionTimeoutMS=200");
    let error = MongoStore::connect(&uri).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    for bad in ["not a uri", "mongodb://user:hunter2@:x/", "mongodb://hunter2@h/?w=-1&j=maybe"] {
        let error = MongoStore::connect(bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn outside_a_runtime_it_says_so_instead_of_panicking() {
    let error = MongoStore::connect("mongodb://127.0.0.1:1").now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
}

/// A fail point is the server's: one test at a time.
static FAULTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn fail(raw: &Database, app: &str, times: i32, mut data: Document) {
    data.insert("appName", app);
    let command = doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data };
    raw.client().database("admin").run_command(command).await.unwrap();
}

async fn heal(raw: &Database) {
    let command = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    raw.client().database("admin").run_command(command).await.unwrap();
}

#[tokio::test]
async fn faults_are_survived_or_told_apart() {
    let _one_at_a_time = FAULTS.lock().await;
    let mongo = Mongo::new();
    run(&mongo, async {
        let raw = mongo.raw().await;
        let uri = format!("{}&appName=faults&heartbeatFrequencyMS=500", mongo.uri());
        let store = MongoStore::connect_with(&uri, patient()).await.unwrap();
        session(&store, "s").await;
        let mine = Tenure::FIRST;

        // No primary, once or twice: tried again. The code is that of a step-down.
        for code in [10_107, 189, 11_600] {
            fail(&raw, "faults", 1, doc! { "failCommands": ["update", "find"], "errorCode": code }).await;
            apply(&store, "s", mine, &put("a", &code.to_string())).await.unwrap();
            assert_eq!(value(&store, "s", mine, "a").await.unwrap(), code.to_string());
        }
        // The connection is lost.
        fail(&raw, "faults", 1, doc! { "failCommands": ["update"], "closeConnection": true }).await;
        apply(&store, "s", mine, &put("a", "after")).await.unwrap();
        // A write that was applied and not confirmed is written again, and messages still count as new.
        let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
        fail(&raw, "faults", 1, doc! { "failCommands": ["update"], "writeConcernError": concern.clone() })
            .await;
        let messages = [message("c", "1", Direction::In, 1), message("c", "2", Direction::In, 2)];
        let recorded = store.record_messages("s", &messages, &[], NOW).await.unwrap();
        assert_eq!(recorded.inserted, [true, true]);
        assert_eq!(stored_session(&store, "s").await.messages_received, 2);

        // Away for longer: `Unavailable`, and nothing is taken for absent.
        fail(&raw, "faults", 100, doc! { "failCommands": ["update", "find"], "errorCode": 91 }).await;
        let error = apply(&store, "s", mine, &put("a", "no")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(store.load_creds("s", mine).await.unwrap_err().kind(), ErrorKind::Unavailable);
        heal(&raw).await;
        assert_eq!(value(&store, "s", mine, "a").await.unwrap(), "after");

        // Refused for good.
        fail(&raw, "faults", 1, doc! { "failCommands": ["update"], "errorCode": 13 }).await;
        assert_eq!(apply(&store, "s", mine, &put("a", "no")).await.unwrap_err().kind(), ErrorKind::Store);
        heal(&raw).await;
        store.close().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn counters_that_could_not_be_raised_are_counted_anew() {
    let mongo = Mongo::new();
    run(&mongo, async {
        let store = mongo.open().await;
        session(&*store, "s").await;
        store.record_messages("s", &[message("c", "1", Direction::In, 1)], &[], NOW).await.unwrap();
        // Nothing can be added to text: the message is stored, its counter refused.
        let text = doc! { "$set": { "messagesReceived": "text" } };
        mongo.raw().await.collection::<Document>("sessions").update_one(doc! {}, text).await.unwrap();
        let recorded =
            store.record_messages("s", &[message("d", "2", Direction::In, 2)], &[], NOW).await.unwrap();
        assert_eq!(recorded.inserted, [true]);
        store.record_messages("s", &[message("c", "3", Direction::Out, 3)], &[], NOW).await.unwrap();
        let record = stored_session(&*store, "s").await;
        assert_eq!((record.messages_sent, record.messages_received, record.total_chats), (1, 2, 2));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_at_the_deadline() {
    let _one_at_a_time = FAULTS.lock().await;
    let mongo = Mongo::new();
    run(&mongo, async {
        let raw = mongo.raw().await;
        let mut options = MongoOptions::default();
        options.deadline = Duration::from_secs(2);
        let uri = format!("{}&appName=deadline", mongo.uri());
        let store = MongoStore::connect_with(&uri, {
            options.create_indexes = false;
            options
        })
        .await
        .unwrap();
        let block = doc! { "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 6_000 };
        fail(&raw, "deadline", 1, block).await;
        let start = std::time::Instant::now();
        let error = store.load_creds("s", Tenure::FIRST).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(start.elapsed() < Duration::from_secs(5));
        heal(&raw).await;
        assert_eq!(store.load_creds("s", generation(1)).await.unwrap(), None);
        store.close().await.unwrap();
        assert_eq!(store.get_session("s").await.unwrap_err().kind(), ErrorKind::Closed);
    })
    .await;
}
