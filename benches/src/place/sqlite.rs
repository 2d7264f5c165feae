//! An SQLite file, read beside the process that writes it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};

use super::{AuthRow, LeaseRow, MessageRow, SessionRow};
use crate::Result;

const BUSY_PATIENCE: Duration = Duration::from_secs(30);
/// Where the index of the write-ahead log counts transactions (SQLite's `WalIndexHdr.iChange`).
const CHANGES_AT: std::ops::Range<usize> = 8..12;

#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Holds the write lock during an outage.
    held: Mutex<Option<Connection>>,
}

impl File {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, held: Mutex::new(None) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(BUSY_PATIENCE)?;
        Ok(conn)
    }

    pub(super) fn transactions(&self) -> Result<u64> {
        let mut name = self.path.as_os_str().to_owned();
        name.push("-shm");
        let index = std::fs::read(PathBuf::from(name))?;
        let changes = index.get(CHANGES_AT).and_then(|bytes| bytes.try_into().ok());
        Ok(u32::from_ne_bytes(changes.ok_or("the index of the write-ahead log is too short")?).into())
    }

    pub(super) fn hold(&self) -> Result<()> {
        let conn = self.open()?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(conn);
        Ok(())
    }

    pub(super) fn let_go(&self) -> Result<()> {
        if let Some(conn) = self.held.lock().unwrap_or_else(PoisonError::into_inner).take() {
            conn.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    fn all<T>(&self, sql: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let conn = self.open()?;
        let mut statement = conn.prepare(sql)?;
        let rows = statement.query_map([], |row| read(row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn messages(&self) -> Result<Vec<MessageRow>> {
        self.all("SELECT sessionId, messageId, direction, content FROM messages", |row| {
            let content: String = row.get(3)?;
            let content: serde_json::Value = serde_json::from_str(&content).unwrap_or_default();
            Ok(MessageRow {
                session: row.get(0)?,
                message_id: row.get(1)?,
                outgoing: row.get::<_, String>(2)? == "out",
                text: content["text"].as_str().map(str::to_owned),
            })
        })
    }

    pub(super) fn sessions(&self) -> Result<Vec<SessionRow>> {
        let sql = "SELECT sessionId, messagesReceived, messagesSent, isConnected, status FROM sessions";
        self.all(sql, |row| {
            Ok(SessionRow {
                session: row.get(0)?,
                received: row.get::<_, i64>(1)?.unsigned_abs(),
                sent: row.get::<_, i64>(2)?.unsigned_abs(),
                connected: row.get(3)?,
                status: row.get(4)?,
            })
        })
    }

    pub(super) fn auth(&self) -> Result<Vec<AuthRow>> {
        let sql = "SELECT sessionId, type || '/' || id, generation FROM authkeys \
                   UNION ALL SELECT sessionId, 'creds', generation FROM authstates";
        self.all(sql, |row| Ok(AuthRow { session: row.get(0)?, key: row.get(1)?, generation: row.get(2)? }))
    }

    pub(super) fn leases(&self) -> Result<Vec<LeaseRow>> {
        self.all("SELECT sessionId, owner, generation, fence FROM leases", |row| {
            Ok(LeaseRow {
                session: row.get(0)?,
                owner: row.get(1)?,
                generation: row.get(2)?,
                fence: row.get(3)?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_counted_by_the_log_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = File::new(folder.path().join("a.db"));
        let conn = Connection::open(file.path()).expect("it opens");
        conn.pragma_update(None, "journal_mode", "WAL").expect("it can");
        conn.execute_batch("CREATE TABLE t (x)").expect("it can");
        let before = file.transactions().expect("the index is there");
        for _ in 0..7 {
            conn.execute_batch("BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT")
                .expect("it can");
        }
        assert_eq!(file.transactions().expect("the index is there") - before, 7);

        conn.busy_timeout(Duration::from_millis(10)).expect("it can");
        file.hold().expect("nobody else holds it");
        assert!(conn.execute_batch("INSERT INTO t VALUES (3)").is_err());
        file.let_go().expect("it is held");
        conn.execute_batch("INSERT INTO t VALUES (3)").expect("it is free again");
    }
}
