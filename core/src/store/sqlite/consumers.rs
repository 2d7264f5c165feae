//! Consumers of the event log.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter, types::Value};

use super::SqliteStore;
use super::errors::{DbResult as _, from_sql, to_sql};
use super::event_log::{payload, payload_text};
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::store::event_log::{
    ConsumerRecord, ConsumerStore, DeadLetterChoice, DeadLetterRecord, EventRecord, Position,
};
use crate::store::rules::{check_limit, open_page_token, page_token};
use crate::store::session::Page;

#[async_trait]
impl ConsumerStore for SqliteStore {
    async fn register_consumer(&self, consumer: &ConsumerRecord, start: &[Position]) -> Result<()> {
        let (consumer, start) = (consumer.clone(), start.to_vec());
        self.write("register_consumer", move |conn| {
            let new = conn
                .prepare_cached("INSERT OR IGNORE INTO consumers (name, createdAt) VALUES (?1, ?2)")
                .db()?
                .execute(params![consumer.name, consumer.created_at.unix_ms()])
                .db()?;
            if new == 1 { advance(conn, &consumer.name, &start, consumer.created_at) } else { Ok(()) }
        })
        .await
    }

    async fn get_consumer(&self, name: &str) -> Result<Option<ConsumerRecord>> {
        let name = name.to_owned();
        self.read("get_consumer", move |conn| {
            let mut statement =
                conn.prepare_cached("SELECT name, createdAt FROM consumers WHERE name = ?1").db()?;
            statement.query_row([&name], consumer).optional().db()
        })
        .await
    }

    async fn list_consumers(&self) -> Result<Vec<ConsumerRecord>> {
        self.read("list_consumers", |conn| {
            let mut statement =
                conn.prepare_cached("SELECT name, createdAt FROM consumers ORDER BY name").db()?;
            statement.query_map([], consumer).db()?.collect::<rusqlite::Result<_>>().db()
        })
        .await
    }

    async fn load_positions(&self, consumer: &str) -> Result<Vec<Position>> {
        let consumer = consumer.to_owned();
        self.read("load_positions", move |conn| {
            let mut statement =
                conn.prepare_cached("SELECT sessionId, seq FROM positions WHERE consumer = ?1").db()?;
            let mut rows = statement.query([&consumer]).db()?;
            let mut positions = Vec::new();
            while let Some(row) = rows.next().db()? {
                positions.push(Position { session: row.get(0).db()?, seq: from_sql(row.get(1).db()?)? });
            }
            Ok(positions)
        })
        .await
    }

    async fn advance_positions(&self, consumer: &str, positions: &[Position], now: Timestamp) -> Result<()> {
        let (consumer, positions) = (consumer.to_owned(), positions.to_vec());
        self.write("advance_positions", move |conn| advance(conn, &consumer, &positions, now)).await
    }

    async fn forget_positions(&self, consumer: &str, sessions: &[String]) -> Result<()> {
        let (consumer, sessions) = (consumer.to_owned(), sessions.to_vec());
        self.write("forget_positions", move |conn| {
            let sql = "DELETE FROM positions WHERE consumer = ?1 AND sessionId = ?2";
            let mut statement = conn.prepare_cached(sql).db()?;
            for session in &sessions {
                statement.execute([&consumer, session]).db()?;
            }
            Ok(())
        })
        .await
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write("delete_consumer", move |conn| {
            conn.execute("DELETE FROM positions WHERE consumer = ?1", [&name]).db()?;
            conn.execute("DELETE FROM deadletters WHERE consumer = ?1", [&name]).db()?;
            Ok(conn.execute("DELETE FROM consumers WHERE name = ?1", [&name]).db()? == 1)
        })
        .await
    }

    async fn put_dead_letter(&self, letter: &DeadLetterRecord) -> Result<()> {
        let letter = letter.clone();
        self.write("put_dead_letter", move |conn| {
            conn.prepare_cached(
                "INSERT OR REPLACE INTO deadletters \
                 (consumer, sessionId, seq, at, payload, attempts, error, failedAt, replay) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .db()?
            .execute(params![
                letter.consumer,
                letter.event.session,
                to_sql(letter.event.seq),
                letter.event.at.unix_ms(),
                payload_text(&letter.event.payload)?,
                letter.attempts,
                letter.error,
                letter.failed_at.unix_ms(),
                letter.replay,
            ])
            .db()?;
            Ok(())
        })
        .await
    }

    async fn list_dead_letters(
        &self,
        consumer: &str,
        replay: bool,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<DeadLetterRecord>> {
        check_limit(limit)?;
        let (consumer, after) = (consumer.to_owned(), after.map(str::to_owned));
        self.read("list_dead_letters", move |conn| list(conn, &consumer, replay, limit, after.as_deref()))
            .await
    }

    async fn replay_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64> {
        self.change_dead_letters("replay_dead_letters", "UPDATE deadletters SET replay = 1", consumer, choice)
            .await
    }

    async fn delete_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64> {
        self.change_dead_letters("delete_dead_letters", "DELETE FROM deadletters", consumer, choice).await
    }
}

impl SqliteStore {
    async fn change_dead_letters(
        &self,
        op: &'static str,
        change: &'static str,
        consumer: &str,
        choice: DeadLetterChoice<'_>,
    ) -> Result<u64> {
        let consumer = consumer.to_owned();
        let one = match choice {
            DeadLetterChoice::All => None,
            DeadLetterChoice::One { session, seq } => Some((session.to_owned(), to_sql(seq))),
        };
        let change = self.write(op, move |conn| {
            let changed = match &one {
                None => conn.execute(&format!("{change} WHERE consumer = ?1"), [&consumer]).db()?,
                Some((session, seq)) => {
                    let sql = format!("{change} WHERE consumer = ?1 AND sessionId = ?2 AND seq = ?3");
                    conn.execute(&sql, params![consumer, session, seq]).db()?
                }
            };
            Ok(changed as u64)
        });
        let changed = change.await;
        self.events_changed();
        changed
    }
}

fn consumer(row: &Row<'_>) -> rusqlite::Result<ConsumerRecord> {
    Ok(ConsumerRecord { name: row.get(0)?, created_at: Timestamp::from_unix_ms(row.get(1)?) })
}

fn advance(conn: &Connection, consumer: &str, positions: &[Position], now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO positions (consumer, sessionId, seq, updatedAt) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT DO UPDATE SET seq = ?3, updatedAt = ?4 WHERE seq < ?3";
    let mut statement = conn.prepare_cached(sql).db()?;
    for Position { session, seq } in positions {
        statement.execute(params![consumer, session, to_sql(*seq), now.unix_ms()]).db()?;
    }
    Ok(())
}

fn list(
    conn: &Connection,
    consumer: &str,
    replay: bool,
    limit: u32,
    after: Option<&str>,
) -> Result<Page<DeadLetterRecord>> {
    let mut sql =
        "SELECT consumer, sessionId, seq, at, payload, attempts, error, failedAt, replay FROM deadletters \
                   WHERE consumer = ?"
            .to_owned();
    let mut values: Vec<Value> = vec![consumer.to_owned().into()];
    if replay {
        sql.push_str(" AND replay");
    }
    if let Some(after) = after {
        let (session, seq): (String, u64) = open_page_token(after)?;
        sql.push_str(" AND (sessionId, seq) > (?, ?)");
        values.extend([session.into(), to_sql(seq).into()]);
    }
    sql.push_str(" ORDER BY sessionId, seq LIMIT ?");
    values.push((i64::from(limit) + 1).into());
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query(params_from_iter(values)).db()?;
    let mut page = Page::default();
    let mut last: Option<(String, u64)> = None;
    let mut seen = 0;
    while let Some(row) = rows.next().db()? {
        if seen == limit {
            page.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        let place = (row.get(1).db()?, from_sql(row.get(2).db()?)?);
        match dead_letter(row) {
            Ok(letter) => page.items.push(letter),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                page.malformed.push(format!("{}/{}", place.0, place.1));
            }
            Err(error) => return Err(error),
        }
        last = Some(place);
    }
    Ok(page)
}

fn dead_letter(row: &Row<'_>) -> Result<DeadLetterRecord> {
    Ok(DeadLetterRecord {
        consumer: row.get(0).db()?,
        event: EventRecord {
            session: row.get(1).db()?,
            seq: from_sql(row.get(2).db()?)?,
            at: Timestamp::from_unix_ms(row.get(3).db()?),
            payload: payload(&row.get::<_, String>(4).db()?)?,
        },
        attempts: row.get(5).db()?,
        error: row.get(6).db()?,
        failed_at: Timestamp::from_unix_ms(row.get(7).db()?),
        replay: row.get(8).db()?,
    })
}
