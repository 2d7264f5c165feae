//! Where each store keeps the data of one test.

// Each test file uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use centralita::store::Store;
use centralita::store::conformance::Harness;
use centralita::store::memory::MemoryStore;
use centralita::store::mongo::{MongoOptions, MongoStore};
use centralita::store::sqlite::SqliteStore;

pub(crate) struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    fn can_reopen(&self) -> bool {
        false
    }
}

pub(crate) struct Sqlite(tempfile::TempDir);

impl Sqlite {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.0.path().join("test.db")).unwrap())
    }
}

pub(crate) struct SqliteInMemory;

#[async_trait]
impl Harness for SqliteInMemory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open_in_memory().unwrap())
    }

    fn can_reopen(&self) -> bool {
        false
    }
}

/// A database of its own on the test server.
pub(crate) struct Mongo {
    uri: String,
    database: String,
}

impl Mongo {
    pub(crate) fn new() -> Self {
        let uri = std::env::var("TEST_MONGODB_URI").expect(
            "TEST_MONGODB_URI is not set: run ./test, which starts a server, or tests/mongo-server run cargo test ...",
        );
        let database = format!("centralita_test_{:016x}", rand::random::<u64>());
        Self { uri, database }
    }

    /// The test server's URI, naming this test's database.
    pub(crate) fn uri(&self) -> String {
        let (scheme, rest) = self.uri.split_once("://").expect("a URI has a scheme");
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let hosts = hosts.split('/').next().expect("split gives one part at least");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        format!("{scheme}://{hosts}/{}{query}", self.database)
    }

    /// The driver's own view of the database, to put in what no store would write.
    pub(crate) async fn raw(&self) -> mongodb::Database {
        mongodb::Client::with_uri_str(&self.uri).await.unwrap().database(&self.database)
    }
}

/// The stand-in server syncs once a statement: a large batch takes it tens of seconds.
pub(crate) fn patient() -> MongoOptions {
    let mut options = MongoOptions::default();
    options.deadline = Duration::from_secs(240);
    options.write_timeout = Duration::from_secs(120);
    options
}

#[async_trait]
impl Harness for Mongo {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(MongoStore::connect_with(&self.uri(), patient()).await.unwrap())
    }

    async fn clean_up(&self) {
        self.raw().await.drop().await.unwrap();
    }
}
