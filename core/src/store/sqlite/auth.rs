//! Credentials and keys.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::errors::{DbResult as _, to_sql};
use super::{SqliteStore, leases};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::auth::{AuthEntry, AuthKey, AuthState, AuthStore, AuthWrite, Tenure, WriteBatch};

#[async_trait]
impl AuthStore for SqliteStore {
    async fn load_auth(&self, session: &str, tenure: Tenure, except_kinds: &[&str]) -> Result<AuthState> {
        let session = session.to_owned();
        let except: Vec<String> = except_kinds.iter().map(|&kind| kind.to_owned()).collect();
        self.read("load_auth", move |conn| load(conn, &session, tenure, &except)).await
    }

    async fn load_creds(&self, session: &str, tenure: Tenure) -> Result<Option<Bytes>> {
        let session = session.to_owned();
        self.read("load_creds", move |conn| creds(conn, &session, tenure)).await
    }

    async fn get_auth(&self, session: &str, tenure: Tenure, keys: &[AuthKey]) -> Result<Vec<Option<Bytes>>> {
        let (session, keys) = (session.to_owned(), keys.to_vec());
        self.read("get_auth", move |conn| get(conn, &session, tenure, &keys)).await
    }

    async fn list_auth(&self, session: &str, tenure: Tenure, kind: &str) -> Result<Vec<AuthEntry>> {
        let (session, kind) = (session.to_owned(), kind.to_owned());
        self.read("list_auth", move |conn| list(conn, &session, tenure, &kind)).await
    }

    async fn has_auth_prefix(&self, session: &str, tenure: Tenure, kind: &str, prefix: &str) -> Result<bool> {
        let (session, kind, prefix) = (session.to_owned(), kind.to_owned(), prefix.to_owned());
        self.read("has_auth_prefix", move |conn| has_prefix(conn, &session, tenure, &kind, &prefix)).await
    }

    async fn apply_auth(&self, batches: &[(&str, Tenure, &WriteBatch)]) -> Vec<Result<()>> {
        let owned: Vec<(String, Tenure, WriteBatch)> = batches
            .iter()
            .map(|(session, tenure, batch)| ((*session).to_owned(), *tenure, (*batch).clone()))
            .collect();
        let now = self.clock.now();
        let one = move |conn: &Connection, (session, tenure, batch): &(String, Tenure, WriteBatch)| {
            apply(conn, session, *tenure, batch, now).map_err(|error| error.of_session(session))
        };
        self.write_each("apply_auth", owned, one).await
    }

    async fn delete_stamped_before(
        &self,
        session: &str,
        tenure: Tenure,
        kind: &str,
        cutoff_s: i64,
    ) -> Result<u64> {
        let (session, kind) = (session.to_owned(), kind.to_owned());
        self.write("delete_stamped_before", move |conn| {
            refuse_if_robbed(conn, &session, tenure)?;
            let sql = "DELETE FROM authkeys WHERE sessionId = ?1 AND type = ?2 AND stamp <> 0 AND stamp < ?3 \
                       AND generation <= ?4";
            let gone = conn
                .prepare_cached(sql)
                .db()?
                .execute(params![session, kind, cutoff_s, to_sql(tenure.generation)])
                .db()?;
            Ok(gone as u64)
        })
        .await
    }

    async fn delete_auth(&self, session: &str, tenure: Tenure) -> Result<u64> {
        let session = session.to_owned();
        self.write("delete_auth", move |conn| {
            refuse_if_newer(conn, &session, tenure)?;
            conn.execute("DELETE FROM autharchives WHERE sessionId = ?1", [&session]).db()?;
            delete_live(conn, &session)
        })
        .await
    }

    async fn fence_auth(&self, session: &str, tenure: Tenure) -> Result<()> {
        let session = session.to_owned();
        self.write("fence_auth", move |conn| fence(conn, &session, tenure)).await
    }

    async fn archive_auth(&self, session: &str, tenure: Tenure, reason: &str) -> Result<()> {
        let (session, reason, now) = (session.to_owned(), reason.to_owned(), self.clock.now());
        self.write("archive_auth", move |conn| archive(conn, &session, tenure, &reason, now)).await
    }
}

fn load(conn: &Connection, session: &str, tenure: Tenure, except: &[String]) -> Result<AuthState> {
    let fence = to_sql(tenure.fence);
    let snapshot = conn.unchecked_transaction_if_none()?;
    let creds = creds(conn, session, tenure)?;
    let marks = vec!["?"; except.len()].join(", ");
    let sql = format!(
        "SELECT type, id, value, stamp FROM authkeys WHERE sessionId = ? AND generation >= ? AND type NOT IN ({marks})"
    );
    let mut values: Vec<rusqlite::types::Value> = vec![session.to_owned().into(), fence.into()];
    values.extend(except.iter().map(|kind| kind.clone().into()));
    let entries = conn
        .prepare_cached(&sql)
        .db()?
        .query_map(params_from_iter(values), entry)
        .db()?
        .collect::<rusqlite::Result<_>>()
        .db()?;
    drop(snapshot);
    Ok(AuthState { creds, entries })
}

fn creds(conn: &Connection, session: &str, tenure: Tenure) -> Result<Option<Bytes>> {
    let creds: Option<Vec<u8>> = conn
        .prepare_cached("SELECT creds FROM authstates WHERE sessionId = ?1 AND generation >= ?2")
        .db()?
        .query_row(params![session, to_sql(tenure.fence)], |row| row.get(0))
        .optional()
        .db()?;
    Ok(creds.map(Bytes::from))
}

/// Begins a read transaction unless the writer's is open already.
trait Snapshot {
    fn unchecked_transaction_if_none(&self) -> Result<Option<rusqlite::Transaction<'_>>>;
}

impl Snapshot for Connection {
    fn unchecked_transaction_if_none(&self) -> Result<Option<rusqlite::Transaction<'_>>> {
        if self.is_autocommit() { self.unchecked_transaction().db().map(Some) } else { Ok(None) }
    }
}

fn get(conn: &Connection, session: &str, tenure: Tenure, keys: &[AuthKey]) -> Result<Vec<Option<Bytes>>> {
    let sql =
        "SELECT value FROM authkeys WHERE sessionId = ?1 AND type = ?2 AND id = ?3 AND generation >= ?4";
    let mut statement = conn.prepare_cached(sql).db()?;
    keys.iter()
        .map(|key| {
            let value: Option<Vec<u8>> = statement
                .query_row(params![session, key.kind, key.id, to_sql(tenure.fence)], |row| row.get(0))
                .optional()
                .db()?;
            Ok(value.map(Bytes::from))
        })
        .collect()
}

fn list(conn: &Connection, session: &str, tenure: Tenure, kind: &str) -> Result<Vec<AuthEntry>> {
    let sql = "SELECT type, id, value, stamp FROM authkeys WHERE sessionId = ?1 AND type = ?2 \
               AND generation >= ?3 ORDER BY id";
    conn.prepare_cached(sql)
        .db()?
        .query_map(params![session, kind, to_sql(tenure.fence)], entry)
        .db()?
        .collect::<rusqlite::Result<_>>()
        .db()
}

fn has_prefix(conn: &Connection, session: &str, tenure: Tenure, kind: &str, prefix: &str) -> Result<bool> {
    // The first id from the prefix on has it, or none has. LIKE and GLOB would stop at a NUL.
    let sql = "SELECT id FROM authkeys WHERE sessionId = ?1 AND type = ?2 AND id >= ?3 AND generation >= ?4 \
               ORDER BY id LIMIT 1";
    let first: Option<String> = conn
        .prepare_cached(sql)
        .db()?
        .query_row(params![session, kind, prefix, to_sql(tenure.fence)], |row| row.get(0))
        .optional()
        .db()?;
    Ok(first.is_some_and(|id| id.starts_with(prefix)))
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<AuthEntry> {
    Ok(AuthEntry {
        key: AuthKey { kind: row.get(0)?, id: row.get(1)? },
        value: Bytes::from(row.get::<_, Vec<u8>>(2)?),
        stamp_s: row.get(3)?,
    })
}

fn apply(conn: &Connection, session: &str, tenure: Tenure, batch: &WriteBatch, now: Timestamp) -> Result<()> {
    refuse_if_robbed(conn, session, tenure)?;
    let generation = to_sql(tenure.generation);
    if let Some(creds) = batch.creds() {
        let sql = "INSERT INTO authstates (sessionId, creds, generation, updatedAt) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT DO UPDATE SET creds = ?2, generation = ?3, updatedAt = ?4 \
                   WHERE generation <= ?3";
        let written = conn
            .prepare_cached(sql)
            .db()?
            .execute(params![session, &creds[..], generation, now.unix_ms()])
            .db()?;
        refuse_unless(written == 1)?;
    }
    for write in batch.writes() {
        match write {
            AuthWrite::Put(entry) => {
                let sql = "INSERT INTO authkeys (sessionId, type, id, value, stamp, generation, updatedAt) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                           ON CONFLICT DO UPDATE SET value = ?4, stamp = ?5, generation = ?6, updatedAt = ?7 \
                           WHERE generation <= ?6";
                let AuthEntry { key, value, stamp_s } = entry;
                let written = conn
                    .prepare_cached(sql)
                    .db()?
                    .execute(params![
                        session,
                        key.kind,
                        key.id,
                        &value[..],
                        stamp_s,
                        generation,
                        now.unix_ms()
                    ])
                    .db()?;
                refuse_unless(written == 1)?;
            }
            AuthWrite::Delete(key) => {
                let newer: bool = conn
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM authkeys WHERE sessionId = ?1 AND type = ?2 AND id = ?3 \
                         AND generation > ?4)",
                    )
                    .db()?
                    .query_row(params![session, key.kind, key.id, generation], |row| row.get(0))
                    .db()?;
                refuse_unless(!newer)?;
                conn.prepare_cached("DELETE FROM authkeys WHERE sessionId = ?1 AND type = ?2 AND id = ?3")
                    .db()?
                    .execute(params![session, key.kind, key.id])
                    .db()?;
            }
        }
    }
    Ok(())
}

fn fence(conn: &Connection, session: &str, tenure: Tenure) -> Result<()> {
    refuse_if_robbed(conn, session, tenure)?;
    let generation = to_sql(tenure.generation);
    // What lies below the last fence that was completed came from an owner that had been robbed already:
    // raising it would bring it back.
    let fenced_to = leases::fenced_to(conn, session)?;
    for table in ["authstates", "authkeys"] {
        conn.execute(
            &format!("DELETE FROM {table} WHERE sessionId = ?1 AND generation < ?2"),
            params![session, fenced_to],
        )
        .db()?;
        conn.execute(
            &format!("UPDATE {table} SET generation = ?2 WHERE sessionId = ?1 AND generation < ?2"),
            params![session, generation],
        )
        .db()?;
    }
    leases::set_fenced_to(conn, session, generation)
}

fn archive(conn: &Connection, session: &str, tenure: Tenure, reason: &str, now: Timestamp) -> Result<()> {
    refuse_if_newer(conn, session, tenure)?;
    let live: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM authstates WHERE sessionId = ?1) \
                 OR EXISTS (SELECT 1 FROM authkeys WHERE sessionId = ?1)",
            [session],
            |row| row.get(0),
        )
        .db()?;
    // Nothing to keep: a repeated call must not replace the archive by an empty one.
    if !live {
        return Ok(());
    }
    conn.execute("DELETE FROM autharchives WHERE sessionId = ?1", [session]).db()?;
    let fence = to_sql(tenure.fence);
    conn.execute(
        "INSERT INTO autharchives (sessionId, type, id, value, reason, archivedAt) \
         SELECT sessionId, '', '', creds, ?3, ?4 FROM authstates WHERE sessionId = ?1 AND generation >= ?2",
        params![session, fence, reason, now.unix_ms()],
    )
    .db()?;
    conn.execute(
        "INSERT OR REPLACE INTO autharchives (sessionId, type, id, value, reason, archivedAt) \
         SELECT sessionId, type, id, value, ?3, ?4 FROM authkeys WHERE sessionId = ?1 AND generation >= ?2",
        params![session, fence, reason, now.unix_ms()],
    )
    .db()?;
    delete_live(conn, session).map(|_| ())
}

fn delete_live(conn: &Connection, session: &str) -> Result<u64> {
    let creds = conn.execute("DELETE FROM authstates WHERE sessionId = ?1", [session]).db()?;
    let keys = conn.execute("DELETE FROM authkeys WHERE sessionId = ?1", [session]).db()?;
    Ok((creds + keys) as u64)
}

/// Refuses if a newer generation holds the lease.
fn refuse_if_robbed(conn: &Connection, session: &str, tenure: Tenure) -> Result<()> {
    let newer: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM leases WHERE sessionId = ?1 AND generation > ?2)")
        .db()?
        .query_row(params![session, to_sql(tenure.generation)], |row| row.get(0))
        .db()?;
    refuse_unless(!newer)
}

/// Refuses if a newer generation holds the lease or wrote any row.
fn refuse_if_newer(conn: &Connection, session: &str, tenure: Tenure) -> Result<()> {
    refuse_if_robbed(conn, session, tenure)?;
    let newer: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM authstates WHERE sessionId = ?1 AND generation > ?2) \
                 OR EXISTS (SELECT 1 FROM authkeys WHERE sessionId = ?1 AND generation > ?2)",
            params![session, to_sql(tenure.generation)],
            |row| row.get(0),
        )
        .db()?;
    refuse_unless(!newer)
}

fn refuse_unless(ours: bool) -> Result<()> {
    if ours {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "a newer owner has the session; stop it here"))
}
