//! Where each store keeps the data of one test.

use std::sync::Arc;

use async_trait::async_trait;
use centralita::store::Store;
use centralita::store::conformance::Harness;
use centralita::store::memory::MemoryStore;
use centralita::store::sqlite::SqliteStore;

#[derive(Default)]
pub struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    fn can_reopen(&self) -> bool {
        false
    }
}

pub struct Sqlite(tempfile::TempDir);

impl Sqlite {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(self.0.path().join("test.db")).unwrap())
    }
}

pub struct SqliteInMemory;

#[async_trait]
impl Harness for SqliteInMemory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open_in_memory().unwrap())
    }

    fn can_reopen(&self) -> bool {
        false
    }
}
