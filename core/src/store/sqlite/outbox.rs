//! Outboxes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::SqliteStore;
use super::errors::{DbResult as _, corrupt, from_sql, to_sql};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::outbox::{
    OutboxBacklog, OutboxEntry, OutboxState, OutboxStep, OutboxStore, Pushed, Stepped, position_after,
    taken_over,
};
use crate::store::rules::check_limit;

const COLUMNS: &str = "messageId, position, content, state, attempts, generation, queuedAt, expiresAt";

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn push_outbox(&self, session: &str, entry: &OutboxEntry, most: u64) -> Result<Pushed> {
        let (session, entry) = (session.to_owned(), entry.clone());
        self.write("push_outbox", move |conn| push(conn, &session, &entry, most)).await
    }

    async fn list_outbox(&self, session: &str, limit: u32, after: u64) -> Result<Vec<OutboxEntry>> {
        check_limit(limit)?;
        let session = session.to_owned();
        self.read("list_outbox", move |conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM outbox WHERE sessionId = ?1 AND position > ?2 ORDER BY position LIMIT ?3"
            );
            let mut statement = conn.prepare_cached(&sql).db()?;
            let mut rows = statement.query(params![session, to_sql(after), limit]).db()?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next().db()? {
                entries.push(read(row)?);
            }
            Ok(entries)
        })
        .await
    }

    async fn get_outbox(&self, session: &str, message_id: &str) -> Result<Option<OutboxEntry>> {
        let (session, message_id) = (session.to_owned(), message_id.to_owned());
        self.read("get_outbox", move |conn| get(conn, &session, &message_id)).await
    }

    async fn step_outbox(&self, session: &str, message_id: &str, step: OutboxStep) -> Result<Stepped> {
        let (session, message_id) = (session.to_owned(), message_id.to_owned());
        self.write("step_outbox", move |conn| take_step(conn, &session, &message_id, step)).await
    }

    async fn remove_outbox(&self, session: &str, message_id: &str, generation: Option<u64>) -> Result<bool> {
        let (session, message_id) = (session.to_owned(), message_id.to_owned());
        self.write("remove_outbox", move |conn| {
            let Some(entry) = get(conn, &session, &message_id)? else { return Ok(false) };
            if generation.is_some_and(|mine| mine < entry.generation) {
                return Err(taken_over());
            }
            let sql = "DELETE FROM outbox WHERE sessionId = ?1 AND messageId = ?2";
            conn.prepare_cached(sql).db()?.execute([&session, &message_id]).db()?;
            Ok(true)
        })
        .await
    }

    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>> {
        self.read("outbox_backlog", |conn| {
            let sql = "SELECT sessionId, count(*), min(expiresAt) FROM outbox GROUP BY sessionId ORDER BY sessionId";
            let mut statement = conn.prepare_cached(sql).db()?;
            let mut rows = statement.query([]).db()?;
            let mut backlog = Vec::new();
            while let Some(row) = rows.next().db()? {
                backlog.push(OutboxBacklog {
                    session: row.get(0).db()?,
                    entries: from_sql(row.get(1).db()?)?,
                    first_expiry: Timestamp::from_unix_ms(row.get(2).db()?),
                });
            }
            Ok(backlog)
        })
        .await
    }

    async fn delete_outbox(&self, session: &str) -> Result<u64> {
        let session = session.to_owned();
        self.write("delete_outbox", move |conn| {
            Ok(conn.execute("DELETE FROM outbox WHERE sessionId = ?1", [&session]).db()? as u64)
        })
        .await
    }
}

fn push(conn: &Connection, session: &str, entry: &OutboxEntry, most: u64) -> Result<Pushed> {
    if let Some(known) = get(conn, session, &entry.message_id)? {
        return Ok(Pushed::Known(known));
    }
    let sql = "SELECT count(*), max(position) FROM outbox WHERE sessionId = ?1";
    let (count, last): (i64, Option<i64>) =
        conn.prepare_cached(sql).db()?.query_row([session], |row| Ok((row.get(0)?, row.get(1)?))).db()?;
    if from_sql(count)? >= most {
        return Ok(Pushed::Full);
    }
    let position = position_after(last.map(from_sql).transpose()?, entry.queued_at);
    let sql =
        format!("INSERT INTO outbox (sessionId, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    conn.prepare_cached(&sql)
        .db()?
        .execute(params![
            session,
            entry.message_id,
            to_sql(position),
            entry.content,
            entry.state.as_str(),
            entry.attempts,
            to_sql(entry.generation),
            entry.queued_at.unix_ms(),
            entry.expires_at.unix_ms(),
        ])
        .db()?;
    Ok(Pushed::New { position })
}

fn take_step(conn: &Connection, session: &str, message_id: &str, step: OutboxStep) -> Result<Stepped> {
    let Some(entry) = get(conn, session, message_id)? else { return Ok(Stepped::Absent) };
    let Some(after) = step.apply(&entry)? else { return Ok(Stepped::NotPossible(entry)) };
    let sql = "UPDATE outbox SET state = ?3, attempts = ?4, generation = ?5 WHERE sessionId = ?1 AND messageId = ?2";
    conn.prepare_cached(sql)
        .db()?
        .execute(params![session, message_id, after.state.as_str(), after.attempts, to_sql(after.generation)])
        .db()?;
    Ok(Stepped::Done { was: entry.state, entry: after })
}

fn get(conn: &Connection, session: &str, message_id: &str) -> Result<Option<OutboxEntry>> {
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE sessionId = ?1 AND messageId = ?2");
    let found = conn
        .prepare_cached(&sql)
        .db()?
        .query_row([session, message_id], |row| Ok(read(row)))
        .optional()
        .db()?;
    found.transpose()
}

fn read(row: &Row<'_>) -> Result<OutboxEntry> {
    let state: String = row.get(3).db()?;
    Ok(OutboxEntry {
        message_id: row.get(0).db()?,
        position: from_sql(row.get(1).db()?)?,
        content: row.get(2).db()?,
        state: OutboxState::from_name(&state)
            .ok_or_else(|| corrupt("the stored state of an outbox entry is unknown"))?,
        attempts: row.get(4).db()?,
        generation: from_sql(row.get(5).db()?)?,
        queued_at: Timestamp::from_unix_ms(row.get(6).db()?),
        expires_at: Timestamp::from_unix_ms(row.get(7).db()?),
    })
}
