//! Opening, refusing to open, group commit and a full disk. The operations are the conformance suite's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::store::{AuthKey, AuthStore as _, Tenure, WriteBatch};

fn batch(id: &str, size: usize) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(AuthKey::new("session", id), Bytes::from(vec![7; size]), 0);
    batch
}

async fn put(store: &SqliteStore, session: &str, size: usize) -> Result<()> {
    store.apply_auth(&[(session, Tenure::FIRST, &batch("a", size))]).await.pop().unwrap()
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let first = SqliteStore::open(&path).unwrap();
    assert_eq!(SqliteStore::open(&path).unwrap_err().kind(), ErrorKind::Conflict);
    // The same file by another name.
    let roundabout = directory.path().join(".").join("a.db");
    assert_eq!(SqliteStore::open(roundabout).unwrap_err().kind(), ErrorKind::Conflict);
    put(&first, "s", 10).await.unwrap();
    first.close().await.unwrap();
    first.close().await.unwrap();
    assert_eq!(put(&first, "s", 10).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(first.ping().await.unwrap_err().kind(), ErrorKind::Closed);
    let second = SqliteStore::open(&path).unwrap();
    assert_eq!(second.list_auth("s", Tenure::FIRST, "session").await.unwrap().len(), 1);
    drop(second);
    SqliteStore::open(&path).unwrap();
}

#[test]
fn what_is_no_database_of_ours_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "not a database at all, but long enough to look like a header of one".repeat(40))
        .unwrap();
    let before = std::fs::read(&text).unwrap();
    assert_eq!(SqliteStore::open(&text).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let foreign = directory.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert_eq!(SqliteStore::open(&foreign).unwrap_err().kind(), ErrorKind::Store);
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    assert_eq!(SqliteStore::open(directory.path()).unwrap_err().kind(), ErrorKind::Store);
    let nowhere = directory.path().join("no").join("such").join("a.db");
    assert_eq!(SqliteStore::open(nowhere).unwrap_err().kind(), ErrorKind::Store);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO centralita_schema (version, appliedAt) VALUES (1000, 0)", [])
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(error.message().contains("upgrade"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("a.db")).unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
    drop(store);
}

#[tokio::test]
async fn a_full_database_refuses_what_does_not_fit_and_keeps_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions { max_file_bytes: Some(512 << 10), ..Default::default() };
    let store = Arc::new(SqliteStore::open_with(directory.path().join("a.db"), options).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..40 {
        let store = Arc::clone(&store);
        // Every tenth is far too large; the others fit together.
        let size = if index % 10 == 0 { 4 << 20 } else { 1_000 };
        tasks.spawn(async move { (size, put(&store, &format!("s{index}"), size).await) });
    }
    while let Some(outcome) = tasks.join_next().await {
        match outcome.unwrap() {
            (1_000, result) => result.unwrap(),
            (_, result) => assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable),
        }
    }
    assert_eq!(store.list_auth("s1", Tenure::FIRST, "session").await.unwrap().len(), 1);
    assert!(store.list_auth("s0", Tenure::FIRST, "session").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_queued_is_committed_together() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("a.db")).unwrap();
    let (held, hold) = std::sync::mpsc::channel::<()>();
    let hold = std::sync::Mutex::new(hold);
    let commits = |conn: &Connection| -> Result<i64> {
        use super::errors::DbResult as _;
        conn.query_row("SELECT count(*) FROM commits", [], |row| row.get(0)).db()
    };
    store
        .write("test", |conn| {
            use super::errors::DbResult as _;
            conn.execute_batch("CREATE TABLE commits (transactionId INTEGER UNIQUE)").db()
        })
        .await
        .unwrap();
    let started = Arc::new(AtomicBool::new(false));
    let running = Arc::clone(&started);
    let blocker = store.write("test", move |_| {
        running.store(true, Ordering::SeqCst);
        hold.lock().unwrap().recv().map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    });
    let queue_and_release = async {
        // Only once the first is being written do the others queue up behind it.
        while !started.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let queued = futures::future::join_all((0..50).map(|index| {
            store.write("test", move |conn| {
                use super::errors::DbResult as _;
                conn.execute("INSERT INTO commits VALUES (?1)", [index]).db()?;
                // Rows that the others of the group wrote are seen before they are committed.
                commits(conn)
            })
        }));
        let release = async {
            while store.writer.queued() < 50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(store.read("test", commits).await.unwrap(), 0);
            held.send(()).unwrap();
        };
        tokio::join!(queued, release).0
    };
    let (blocked, counts) = tokio::join!(blocker, queue_and_release);
    blocked.unwrap();
    let counts: Vec<i64> = counts.into_iter().map(Result::unwrap).collect();
    assert_eq!(counts, (1..=50).collect::<Vec<_>>());
    assert_eq!(store.read("test", commits).await.unwrap(), 50);
    assert_eq!(store.writer.groups(), 3);
}

#[tokio::test]
async fn a_panic_in_one_operation_touches_no_other() {
    let store = SqliteStore::open_in_memory().unwrap();
    let error = store.write::<(), _>("test", |_| panic!("on purpose")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    put(&store, "s", 10).await.unwrap();
}

#[test]
fn it_needs_no_runtime_to_open_and_serves_any() {
    let store = SqliteStore::open_in_memory().unwrap();
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(put(&store, "s", 10)).unwrap();
    }
}
