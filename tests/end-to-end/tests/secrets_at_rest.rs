//! What a thief of the database or of the logs finds: nothing that opens an account or names anybody.
//!
//! Left out are the messages and chats, whose content is the product, and `sessions.phone`, which the seed defines
//! as a plain field (DESIGN.md, "What is not encrypted?").
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};

use centralita::clock::SystemClock;
use centralita::session::Outgoing;
use centralita::store::{Store, Tenure};
use centralita::vault::{Vault, data_key_row};
use centralita_end_to_end::*;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};

const WINDOW: usize = 16;
const TEXT: &str = "el secreto de la casa es el orégano";

#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that is sealed, opened with the key that only the test has.
async fn opened_secrets(store: &dyn Store) -> Vec<Vec<u8>> {
    let tenure = Tenure { generation: u64::MAX >> 1, fence: 0 };
    let state = store.load_auth("ventas", tenure, &[]).await.unwrap();
    let vault = Vault::encrypted(Arc::new(test_keys()), SystemClock::shared());
    let wrapped = state.entries.iter().find(|entry| entry.key == data_key_row()).expect("a data key");
    let opened = vault.reopen_session("ventas", Some(&wrapped.value)).await.unwrap();
    let mut secrets =
        vec![opened.vault.open("creds", "", &state.creds.expect("credentials")).unwrap().to_vec()];
    for entry in &state.entries {
        if entry.key != data_key_row() {
            secrets.push(opened.vault.open(&entry.key.kind, &entry.key.id, &entry.value).unwrap().to_vec());
        }
    }
    secrets
}

fn windows_of(secrets: &[Vec<u8>]) -> HashSet<&[u8]> {
    secrets
        .iter()
        .flat_map(|secret| secret.windows(WINDOW))
        // Runs of zeros and the like stand in any file.
        .filter(|window| window.iter().collect::<HashSet<_>>().len() > 8)
        .collect()
}

fn assert_clean(what: &str, dump: &[u8], secrets: &HashSet<&[u8]>, words: &[&str]) {
    assert!(dump.windows(6).any(|window| window == b"ventas"), "{what} is not what it should be");
    let found = dump.windows(WINDOW).find(|window| secrets.contains(window));
    assert!(found.is_none(), "{what} holds a piece of a secret");
    for word in words {
        let word = word.as_bytes();
        let found = dump.windows(word.len()).position(|window| window == word);
        if let Some(at) = found {
            let around =
                String::from_utf8_lossy(&dump[at.saturating_sub(60)..(at + 60).min(dump.len())]).into_owned();
            panic!("{what} holds {:?}: …{around}…", String::from_utf8_lossy(word));
        }
    }
}

/// A life with messages both ways, one to one and in a group, a stop and a restart. Returns the logs at debug.
async fn live(world: &World) -> (Vec<u8>, Vec<Vec<u8>>) {
    static LOGS: LazyLock<Logs> = LazyLock::new(Logs::default);
    let sink = LOGS.clone();
    let subscriber = tracing_subscriber::fmt()
        // Everything but the simulated server, which knows the phones.
        .with_env_filter("debug,centralita_stand_in=off")
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    // Both tests run in one process, and a process has one subscriber: whichever comes first installs it.
    drop(tracing::subscriber::set_global_default(subscriber));
    let group =
        world.stand_in.create_group(&world.contact, "Equipo", &[&world.phone.phone_number()]).unwrap();
    for round in 0..2 {
        let service = world.service().await;
        let mut events = all_events(&service, "ventas");
        let session = if round == 0 {
            world.link(&service, "ventas").await.0
        } else {
            service.start_session("ventas").await.unwrap()
        };
        session.wait_connected(PATIENCE).await.unwrap();
        world.contact.send_text(&world.phone.phone_number(), TEXT).await.unwrap();
        text_event(&mut events, TEXT).await;
        world.contact.send_text(&group, TEXT).await.unwrap();
        text_event(&mut events, TEXT).await;
        session.send(Outgoing::text(world.contact.phone_number(), TEXT)).await.unwrap();
        session.send(Outgoing::text(&group, TEXT)).await.unwrap();
        assert!(session.send(Outgoing::text("nobody", TEXT)).await.is_err());
        shut_down(service).await;
    }
    let store = world.place.open().await;
    let secrets = opened_secrets(store.as_ref()).await;
    store.close().await.unwrap();
    assert!(secrets.len() > 30, "credentials, pre-keys, sessions");
    let logs = LOGS.0.lock().unwrap().clone();
    (logs, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sqlite_file_and_the_logs_hold_nothing() {
    let world = World::new(StoreKind::Sqlite).await;
    let (logs, secrets) = live(&world).await;
    let windows = windows_of(&secrets);
    let own = world.phone.phone_number();
    let peer = world.contact.phone_number();
    let lids = [world.phone.lid(), world.contact.lid()].map(|lid| lid.split('@').next().unwrap().to_owned());
    let words = [TEXT, own.as_str(), peer.as_str(), lids[0].as_str(), lids[1].as_str()];

    // The tables that are allowed to know are emptied, with secure_delete, in a copy; the rest is searched raw.
    let copy = world.place.sqlite_file().with_extension("copy");
    std::fs::copy(world.place.sqlite_file(), &copy).unwrap();
    {
        let file = rusqlite::Connection::open(&copy).unwrap();
        let phone: String = file.query_row("SELECT phone FROM sessions", [], |row| row.get(0)).unwrap();
        assert_eq!(phone, own);
        file.execute_batch(
            "PRAGMA secure_delete = ON; DELETE FROM messages; DELETE FROM chats; UPDATE sessions SET phone = NULL; VACUUM;
             PRAGMA wal_checkpoint(TRUNCATE);",
        )
        .unwrap();
    }
    assert_clean("the SQLite file", &std::fs::read(&copy).unwrap(), &windows, &words);
    assert_clean("the log", &logs, &windows, &words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_all_collections_holds_nothing() {
    let world = World::new(StoreKind::Mongo).await;
    let (_, secrets) = live(&world).await;
    let windows = windows_of(&secrets);
    let own = world.phone.phone_number();
    let peer = world.contact.phone_number();
    let words = [TEXT, own.as_str(), peer.as_str()];
    let client = mongodb::Client::with_uri_str(world.place.mongo_uri()).await.unwrap();
    let database = client.default_database().unwrap();
    let mut dump = Vec::new();
    let mut names = database.list_collection_names().await.unwrap();
    names.sort();
    for wanted in ["authkeys", "authstates", "chats", "leases", "messages", "sessions"] {
        assert!(names.iter().any(|name| name == wanted), "no collection {wanted}");
    }
    for name in names.iter().filter(|name| !["messages", "chats"].contains(&name.as_str())) {
        let mut documents = database.collection::<Document>(name).find(doc! {}).await.unwrap();
        while let Some(mut document) = documents.try_next().await.unwrap() {
            if name == "sessions" {
                assert_eq!(
                    document.remove("phone").and_then(|phone| phone.as_str().map(str::to_owned)),
                    Some(own.clone())
                );
            }
            dump.extend(mongodb::bson::serialize_to_vec(&document).unwrap());
        }
    }
    assert_clean("the dump", &dump, &windows, &words);
    database.drop().await.unwrap();
}
