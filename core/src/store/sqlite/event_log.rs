//! The event log.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::SqliteStore;
use super::errors::{DbResult as _, corrupt, from_sql, to_sql};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::event_log::{EventLog, EventMark, EventRange, EventRecord, NewEvent};

#[async_trait]
impl EventLog for SqliteStore {
    async fn append_events(&self, session: &str, _after: u64, events: &[NewEvent]) -> Result<Vec<u64>> {
        let (session, events) = (session.to_owned(), events.to_vec());
        let numbers = self.write("append_events", move |conn| append(conn, &session, &events)).await;
        self.events_changed();
        numbers
    }

    async fn read_events(&self, ranges: &[EventRange]) -> Result<Vec<EventRecord>> {
        let ranges = ranges.to_vec();
        self.read("read_events", move |conn| {
            let mut found = Vec::new();
            for range in &ranges {
                read(conn, range, &mut found)?;
            }
            Ok(found)
        })
        .await
    }

    async fn last_events(&self, session: Option<&str>) -> Result<Vec<EventMark>> {
        let session = session.map(str::to_owned);
        self.read("last_events", move |conn| marks(conn, session.as_deref(), "DESC")).await
    }

    async fn first_events(&self, session: Option<&str>) -> Result<Vec<EventMark>> {
        let session = session.map(str::to_owned);
        self.read("first_events", move |conn| marks(conn, session.as_deref(), "ASC")).await
    }

    async fn trim_events(&self, session: &str, keep: u64, expired: Timestamp) -> Result<u64> {
        let session = session.to_owned();
        let gone = self.write("trim_events", move |conn| trim(conn, &session, keep, expired)).await;
        self.events_changed();
        gone
    }

    async fn delete_events(&self, session: &str) -> Result<u64> {
        let session = session.to_owned();
        let deleted = self.write("delete_events", move |conn| {
            let gone = conn.execute("DELETE FROM events WHERE sessionId = ?1", [&session]).db()?;
            conn.execute("DELETE FROM positions WHERE sessionId = ?1", [&session]).db()?;
            conn.execute("DELETE FROM deadletters WHERE sessionId = ?1", [&session]).db()?;
            Ok(gone as u64)
        });
        let gone = deleted.await;
        self.events_changed();
        gone
    }

    fn event_revision(&self) -> Option<u64> {
        Some(self.event_revision.load(Ordering::Acquire))
    }
}

impl SqliteStore {
    /// After the write: who sees the new revision finds what was written. Also after an error, which may have come late.
    pub(super) fn events_changed(&self) {
        self.event_revision.fetch_add(1, Ordering::Release);
    }
}

fn append(conn: &Connection, session: &str, events: &[NewEvent]) -> Result<Vec<u64>> {
    let mut by_key = conn.prepare_cached("SELECT seq FROM events WHERE sessionId = ?1 AND key = ?2").db()?;
    let mut insert = conn
        .prepare_cached("INSERT INTO events (sessionId, seq, key, at, payload) VALUES (?1, ?2, ?3, ?4, ?5)")
        .db()?;
    let mut last: i64 = conn
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events WHERE sessionId = ?1")
        .db()?
        .query_row([session], |row| row.get(0))
        .db()?;
    let mut numbers = Vec::with_capacity(events.len());
    for event in events {
        let there: Option<i64> =
            by_key.query_row(params![session, event.key], |row| row.get(0)).optional().db()?;
        let seq = match there {
            Some(seq) => seq,
            None => {
                last += 1;
                insert
                    .execute(params![
                        session,
                        last,
                        event.key,
                        event.at.unix_ms(),
                        payload_text(&event.payload)?
                    ])
                    .db()?;
                last
            }
        };
        numbers.push(from_sql(seq)?);
    }
    Ok(numbers)
}

fn read(conn: &Connection, range: &EventRange, found: &mut Vec<EventRecord>) -> Result<()> {
    let sql =
        "SELECT seq, at, payload FROM events WHERE sessionId = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq";
    let mut statement = conn.prepare_cached(sql).db()?;
    let mut rows = statement.query(params![range.session, to_sql(range.after), to_sql(range.upto)]).db()?;
    while let Some(row) = rows.next().db()? {
        found.push(EventRecord {
            session: range.session.clone(),
            seq: from_sql(row.get(0).db()?)?,
            at: Timestamp::from_unix_ms(row.get(1).db()?),
            payload: payload(&row.get::<_, String>(2).db()?)?,
        });
    }
    Ok(())
}

/// The first or last event of each session. Goes from session to session in the index: there may be very many events.
fn marks(conn: &Connection, session: Option<&str>, order: &str) -> Result<Vec<EventMark>> {
    let sessions = match session {
        Some(_) => "SELECT ?1",
        None => {
            "SELECT min(sessionId) FROM events UNION ALL \
             SELECT (SELECT min(sessionId) FROM events WHERE sessionId > ids.id) FROM ids WHERE ids.id IS NOT NULL"
        }
    };
    let sql = format!(
        "WITH RECURSIVE ids (id) AS ({sessions}) \
         SELECT events.sessionId, events.seq, events.at FROM ids JOIN events ON events.sessionId = ids.id \
         AND events.seq = (SELECT seq FROM events WHERE sessionId = ids.id ORDER BY seq {order} LIMIT 1)"
    );
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = match session {
        Some(session) => statement.query([session]).db()?,
        None => statement.query([]).db()?,
    };
    let mut marks = Vec::new();
    while let Some(row) = rows.next().db()? {
        marks.push(mark(row)?);
    }
    Ok(marks)
}

fn mark(row: &Row<'_>) -> Result<EventMark> {
    Ok(EventMark {
        session: row.get(0).db()?,
        seq: from_sql(row.get(1).db()?)?,
        at: Timestamp::from_unix_ms(row.get(2).db()?),
    })
}

fn trim(conn: &Connection, session: &str, keep: u64, expired: Timestamp) -> Result<u64> {
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(seq) FROM events WHERE sessionId = ?1")
        .db()?
        .query_row([session], |row| row.get(0))
        .db()?;
    let Some(last) = last else { return Ok(0) };
    let young: Option<i64> = conn
        .prepare_cached("SELECT seq FROM events WHERE sessionId = ?1 AND at >= ?2 ORDER BY seq LIMIT 1")
        .db()?
        .query_row(params![session, expired.unix_ms()], |row| row.get(0))
        .optional()
        .db()?;
    let counted = last.saturating_add(1).saturating_sub(to_sql(keep));
    let before = young.unwrap_or(last).max(counted).min(last);
    let gone = conn
        .prepare_cached("DELETE FROM events WHERE sessionId = ?1 AND seq < ?2")
        .db()?
        .execute(params![session, before])
        .db()?;
    Ok(gone as u64)
}

pub(super) fn payload_text(payload: &serde_json::Value) -> Result<String> {
    serde_json::to_string(payload)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot encode an event").caused_by(error))
}

pub(super) fn payload(text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|_| corrupt("a logged event is not JSON; delete its session's events"))
}
