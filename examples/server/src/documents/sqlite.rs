//! Documents in an SQLite file.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use centralita::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension};

use super::{Document, Documents};

/// One connection; its few statements are short.
#[derive(Debug, Clone)]
pub(crate) struct SqliteDocuments(Arc<Mutex<Option<Connection>>>);

impl SqliteDocuments {
    /// Opens or makes the file.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
                 CREATE TABLE IF NOT EXISTS documents (
                     kind TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, id)
                 ) WITHOUT ROWID;",
            )?;
            Ok(connection)
        };
        Ok(Self(Arc::new(Mutex::new(Some(open().map_err(refused)?)))))
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<T: Send + 'static>(
        &self,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        let outcome = tokio::task::spawn_blocking(move || match &*this.connection() {
            Some(connection) => statement(connection).map_err(refused),
            None => Err(Error::new(ErrorKind::Closed, "the server's own file is closed")),
        });
        outcome.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panic, "a statement on the server's own file panicked; report it"))
        })
    }
}

#[async_trait]
impl Documents for SqliteDocuments {
    async fn compare_and_set(
        &self,
        kind: &str,
        id: &str,
        expected: Option<&str>,
        new: Option<&str>,
    ) -> Result<bool> {
        let (kind, id) = (kind.to_owned(), id.to_owned());
        let (expected, new) = (expected.map(str::to_owned), new.map(str::to_owned));
        let changed = self
            .run(move |connection| match (expected, new) {
                (None, None) => Ok(0),
                (None, Some(new)) => connection.execute(
                    "INSERT INTO documents (kind, id, body) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    (kind, id, new),
                ),
                (Some(expected), None) => connection.execute(
                    "DELETE FROM documents WHERE kind = ?1 AND id = ?2 AND body = ?3",
                    (kind, id, expected),
                ),
                (Some(expected), Some(new)) => connection.execute(
                    "UPDATE documents SET body = ?4 WHERE kind = ?1 AND id = ?2 AND body = ?3",
                    (kind, id, expected, new),
                ),
            })
            .await?;
        Ok(changed > 0)
    }

    async fn get(&self, kind: &str, id: &str) -> Result<Option<String>> {
        let (kind, id) = (kind.to_owned(), id.to_owned());
        self.run(move |connection| {
            let query = "SELECT body FROM documents WHERE kind = ?1 AND id = ?2";
            connection.query_row(query, (kind, id), |row| row.get(0)).optional()
        })
        .await
    }

    async fn list(&self, kind: &str, after: Option<&str>, limit: u32) -> Result<Vec<Document>> {
        let (kind, after) = (kind.to_owned(), after.unwrap_or_default().to_owned());
        self.run(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT id, body FROM documents WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let rows = query.query_map((kind, after, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
        .await
    }

    async fn close(&self) {
        self.connection().take();
    }
}

fn refused(error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Store,
    };
    Error::new(kind, "the server's own SQLite file did not take a statement").caused_by(error)
}
