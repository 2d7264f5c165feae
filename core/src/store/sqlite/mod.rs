//! [`SqliteStore`]: one file, one process, no server. The default.
//!
//! One thread writes and takes everything that is queued in one transaction, so that a single sync serves
//! many sessions (`writer`). A few threads read (`readers`). No runtime is needed to open it, and it may
//! be called from any. A lock on `<path>.lock` keeps a second process out (`lock`).

mod auth;
mod chats;
mod connection;
mod consumers;
mod errors;
mod event_log;
mod leases;
mod lock;
mod messages;
mod options;
mod outbox;
mod readers;
mod schema;
mod sessions;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use rusqlite::Connection;

use self::lock::FileLock;
pub use self::options::SqliteOptions;
use self::readers::Readers;
use self::writer::Writer;
use super::Store;
use super::rules::{Arrivals, same_error};
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};

/// Sessions in one SQLite file, or in memory.
///
/// Dropping it waits for what is queued and lets go of the file, as [`close`](Store::close) does.
pub struct SqliteStore {
    /// `None` in memory: a second connection would see another database.
    readers: Option<Readers>,
    writer: Writer,
    clock: SharedClock,
    arrivals: Arc<Arrivals>,
    /// See [`EventLog::event_revision`](super::EventLog::event_revision): one process has the file.
    event_revision: AtomicU64,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("in_memory", &self.readers.is_none())
            .field("groups", &self.writer.groups())
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens or creates the database at `path`.
    ///
    /// # Errors
    /// `Conflict` if it is open already, here or in another process; `Store` if it cannot be written, belongs
    /// to another program or to a newer version of this one; `Corrupt` if it is no SQLite database. The file
    /// is left as it was.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// Opens or creates the database at `path`, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        let path = lock::canonical(path.as_ref())?;
        let lock = FileLock::take(&path)?;
        let conn = connection::open_for_writing(&path, &options)?;
        leases::release_all(&conn, options.clock.now())?;
        let readers = Readers::start(&path, &options)?;
        Ok(Self {
            readers: Some(readers),
            writer: Writer::start(conn, Some(lock))?,
            clock: options.clock.clone(),
            arrivals: Arc::default(),
            event_revision: AtomicU64::new(0),
        })
    }

    /// A database that is gone when the store is. For tests and trials.
    ///
    /// # Errors
    /// `Store` if a thread cannot be started.
    pub fn open_in_memory() -> Result<Self> {
        Self::open_in_memory_with(SqliteOptions::default())
    }

    /// As [`open_in_memory`](Self::open_in_memory), with options.
    ///
    /// # Errors
    /// As [`open_in_memory`](Self::open_in_memory).
    pub fn open_in_memory_with(options: SqliteOptions) -> Result<Self> {
        let conn = connection::open_in_memory(&options)?;
        Ok(Self {
            readers: None,
            writer: Writer::start(conn, None)?,
            clock: options.clock.clone(),
            arrivals: Arc::default(),
            event_revision: AtomicU64::new(0),
        })
    }

    /// Runs `work` in the next transaction and answers once it is durable. It may run twice.
    async fn write<T, W>(&self, op: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        self.writer.run(work).await.map_err(|error| error.during(op))
    }

    /// Runs `work` for each of `batches` in the next transaction. A refused one is undone alone.
    async fn write_each<B, T, W>(&self, op: &'static str, batches: Vec<B>, work: W) -> Vec<Result<T>>
    where
        B: Send + 'static,
        T: Send + 'static,
        W: Fn(&Connection, &B) -> Result<T> + Send + 'static,
    {
        let count = batches.len();
        let outcome = self
            .write(op, move |conn| {
                let mut results = Vec::with_capacity(batches.len());
                for batch in &batches {
                    let mut result = None;
                    let kept = writer::in_savepoint(conn, |conn| {
                        let outcome = work(conn, batch).map_err(|error| error.during(op));
                        result.insert(outcome).is_ok()
                    });
                    if let Err(lost) = kept {
                        // Why the whole transaction was undone (a full disk) says more than that it was.
                        return Err(result.and_then(Result::err).unwrap_or(lost));
                    }
                    results.extend(result);
                }
                Ok(results)
            })
            .await;
        outcome.unwrap_or_else(|error| (0..count).map(|_| Err(same_error(&error))).collect())
    }

    /// Runs `work` on a connection that sees every write that was answered.
    async fn read<T, W>(&self, op: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.run(work).await,
            None => self.writer.run(work).await,
        }
        .map_err(|error| error.during(op))
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn commands_sent(&self) -> Option<u64> {
        Some(self.writer.groups())
    }

    fn groups_writes(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        self.write("ping", schema::touch).await
    }

    async fn close(&self) -> Result<()> {
        // Readers first: the last connection to go folds the log back into the file.
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        self.writer.close().await;
        Ok(())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Some(readers) = &self.readers {
            readers.close_blocking();
        }
        self.writer.close_blocking();
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed; open it again")
}
