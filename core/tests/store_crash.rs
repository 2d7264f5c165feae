//! What a store has acknowledged is there after its process was killed with signal 9.
//!
//! Without arguments it is the test: it starts itself anew as a writer, reads what the writer says was
//! acknowledged, kills it, and opens the data. As `writer <kind> <place>` it is the writer.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod harness;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use centralita::clock::Timestamp;
use centralita::store::conformance::Harness;
use centralita::store::conformance::samples::{apply, key, message, put, session, stored_session};
use centralita::store::mongo::MongoStore;
use centralita::store::sqlite::SqliteStore;
use centralita::store::{Acquired, Direction, Store, Tenure};

/// Writes that are acknowledged before the kill, and kills.
const ACKNOWLEDGED: usize = 40;
const KILLS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.iter().position(|argument| argument == "writer") {
        Some(at) => runtime.block_on(write(&arguments[at + 1], &arguments[at + 2])),
        None => runtime.block_on(check()),
    }
}

async fn open(kind: &str, place: &str) -> Arc<dyn Store> {
    match kind {
        "sqlite" => Arc::new(SqliteStore::open(place).unwrap()),
        "mongo" => Arc::new(MongoStore::connect_with(place, harness::patient()).await.unwrap()),
        other => panic!("no such store: {other}"),
    }
}

/// Writes for ever from several tasks and prints the number of each write once it is acknowledged.
async fn write(kind: &str, place: &str) {
    let store = open(kind, place).await;
    let round = std::env::var("ROUND").unwrap();
    let Acquired::Granted(lease) =
        store.acquire_lease("s0", "writer", std::time::Duration::from_secs(600)).await.unwrap()
    else {
        panic!("the writer is the only owner");
    };
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (store, round) = (Arc::clone(&store), round.clone());
        // The lease of the first is taken anew in each round, and its generation rises.
        let tenure = if task == 0 { lease.tenure() } else { Tenure::FIRST };
        tasks.spawn(async move {
            let name = format!("s{task}");
            session(&*store, &name).await;
            for number in 0.. {
                let id = format!("{round}-{number}");
                let mut batch = put(&id, &id);
                batch.set_creds(Bytes::from(id.clone()));
                apply(&*store, &name, tenure, &batch).await.unwrap();
                let incoming = [message("c", &id, Direction::In, number)];
                store.record_messages(&name, &incoming, &[], Timestamp::from_unix_s(1)).await.unwrap();
                // One write, so that lines of several tasks do not mix.
                std::io::stdout().write_all(format!("{name} {id}\n").as_bytes()).unwrap();
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
}

async fn check() {
    let sqlite = tempfile::tempdir().unwrap();
    let place = sqlite.path().join("crash.db").to_str().unwrap().to_owned();
    check_store("sqlite", &place).await;

    let mongo = harness::Mongo::new();
    check_store("mongo", &mongo.uri()).await;
    mongo.clean_up().await;
}

async fn check_store(kind: &str, place: &str) {
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for round in 0..KILLS {
        acknowledged.extend(kill_a_writer(kind, place, round));
        let store = open(kind, place).await;
        for (name, id) in &acknowledged {
            let value = store.get_auth(name, Tenure::FIRST, &[key(id)]).await.unwrap().remove(0);
            assert_eq!(value.as_deref(), Some(id.as_bytes()), "{kind}: an acknowledged value is lost");
            let stored = store.get_messages(name, &[message("c", id, Direction::In, 0).key]).await.unwrap();
            assert!(stored[0].is_some(), "{kind}: an acknowledged message is lost");
        }
        for task in 0..4 {
            let name = format!("s{task}");
            let creds = store.load_creds(&name, Tenure::FIRST).await.unwrap();
            assert!(creds.is_some() || !acknowledged.iter().any(|(session, _)| *session == name));
            if store.get_session(&name).await.unwrap().is_none() {
                continue;
            }
            let (sent, received, chats) = store.recount(&name, Timestamp::from_unix_s(2)).await.unwrap();
            let own = acknowledged.iter().filter(|(session, _)| *session == name).count() as u64;
            assert!(sent == 0 && received >= own && chats <= 1);
            let record = stored_session(&*store, &name).await;
            assert_eq!((record.messages_received, record.total_chats), (received, chats));
        }
        // The killed writer's, or free at once where only one process can have the store open.
        let lease = store.get_lease("s0").await.unwrap().unwrap();
        assert!(lease.owner == "writer" || lease.owner.is_empty(), "{lease:?}");
        store.close().await.unwrap();
    }
    println!("{kind}: {} acknowledged writes, {KILLS} kills, none lost", acknowledged.len());
}

/// Returns what the writer had acknowledged when it was killed.
fn kill_a_writer(kind: &str, place: &str, round: usize) -> Vec<(String, String)> {
    let mut writer: Child = Command::new(std::env::current_exe().unwrap())
        .args(["writer", kind, place])
        .env("ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut seen: Vec<String> = lines.by_ref().take(ACKNOWLEDGED).map(Result::unwrap).collect();
    assert_eq!(seen.len(), ACKNOWLEDGED, "the writer ended by itself: {:?}", writer.wait());
    // `kill` is signal 9 on Unix: no destructor runs.
    writer.kill().unwrap();
    writer.wait().unwrap();
    // What it had printed before it died was acknowledged too.
    seen.extend(lines.map_while(Result::ok));
    seen.iter()
        .filter_map(|line| line.split_once(' ').map(|(name, id)| (name.to_owned(), id.to_owned())))
        .collect()
}
