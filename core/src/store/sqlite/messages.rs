//! Messages: recorded with their chats and counters in one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::errors::{DbResult as _, corrupt, from_sql, to_sql};
use super::{SqliteStore, chats};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::message::{
    ChangeBatch, Chat, ChatPatch, Direction, MessageChange, MessageKey, MessageKind, MessagePage,
    MessageStatus, MessageStore, RecordBatch, Recorded, StoredMessage,
};
use crate::store::rules::{Arrivals, MessagePlace, apply_change, check_limit, open_page_token, page_token};
use crate::store::session::Page;

const COLUMNS: &str = "chatId, sender, messageId, direction, fromMe, timestamp, senderName, content, status, \
    editedAt, revokedAt, fromHistory, arrival";

#[async_trait]
impl MessageStore for SqliteStore {
    async fn record_many(&self, batches: &[RecordBatch<'_>]) -> Vec<Result<Recorded>> {
        type Owned = (String, Vec<StoredMessage>, Vec<(String, String)>, Timestamp);
        let owned: Vec<Owned> = batches
            .iter()
            .map(|batch| (batch.session.to_owned(), batch.messages.to_vec(), batch.names.to_vec(), batch.now))
            .collect();
        let arrivals = Arc::clone(&self.arrivals);
        let one = move |conn: &Connection, (session, messages, names, now): &Owned| {
            record(conn, session, messages, names, &arrivals, *now).map_err(|error| error.of_session(session))
        };
        self.write_each("record_messages", owned, one).await
    }

    async fn change_many(&self, batches: &[ChangeBatch<'_>]) -> Vec<Result<Vec<Option<StoredMessage>>>> {
        type Owned = (String, Vec<(MessageKey, MessageChange)>, Timestamp);
        let owned: Vec<Owned> = batches
            .iter()
            .map(|batch| (batch.session.to_owned(), batch.changes.to_vec(), batch.now))
            .collect();
        let one = |conn: &Connection, (session, changes, now): &Owned| {
            change(conn, session, changes, *now).map_err(|error| error.of_session(session))
        };
        self.write_each("change_messages", owned, one).await
    }

    async fn get_messages(&self, session: &str, keys: &[MessageKey]) -> Result<Vec<Option<StoredMessage>>> {
        let (session, keys) = (session.to_owned(), keys.to_vec());
        self.read("get_messages", move |conn| keys.iter().map(|key| get(conn, &session, key)).collect()).await
    }

    async fn list_messages(&self, session: &str, page: &MessagePage) -> Result<Page<StoredMessage>> {
        check_limit(page.limit)?;
        let (session, page) = (session.to_owned(), page.clone());
        self.read("list_messages", move |conn| list(conn, &session, &page)).await
    }

    async fn patch_chats(&self, session: &str, patches: &[ChatPatch], now: Timestamp) -> Result<u64> {
        let (session, patches) = (session.to_owned(), patches.to_vec());
        self.write("patch_chats", move |conn| chats::patch(conn, &session, &patches, now)).await
    }

    async fn get_chat(&self, session: &str, chat_id: &str) -> Result<Option<Chat>> {
        let (session, chat_id) = (session.to_owned(), chat_id.to_owned());
        self.read("get_chat", move |conn| chats::get(conn, &session, &chat_id)).await
    }

    async fn list_chats(&self, session: &str, limit: u32, after: Option<&str>) -> Result<Page<Chat>> {
        check_limit(limit)?;
        let (session, after) = (session.to_owned(), after.map(str::to_owned));
        self.read("list_chats", move |conn| chats::list(conn, &session, limit, after.as_deref())).await
    }

    async fn recount(&self, session: &str, now: Timestamp) -> Result<(u64, u64, u64)> {
        let session = session.to_owned();
        self.write("recount", move |conn| recount(conn, &session, now)).await
    }

    async fn delete_messages(&self, session: &str) -> Result<(u64, u64)> {
        let session = session.to_owned();
        self.write("delete_messages", move |conn| {
            let messages = conn.execute("DELETE FROM messages WHERE sessionId = ?1", [&session]).db()?;
            let chats = conn.execute("DELETE FROM chats WHERE sessionId = ?1", [&session]).db()?;
            Ok((messages as u64, chats as u64))
        })
        .await
    }
}

fn change(
    conn: &Connection,
    session: &str,
    changes: &[(MessageKey, MessageChange)],
    now: Timestamp,
) -> Result<Vec<Option<StoredMessage>>> {
    for (key, change) in changes {
        if let Some(mut message) = get(conn, session, key)? {
            apply_change(&mut message, change);
            update(conn, session, &message, now)?;
        }
    }
    // As they stand after all changes: two may be for one message.
    changes.iter().map(|(key, _)| get(conn, session, key)).collect()
}

fn record(
    conn: &Connection,
    session: &str,
    messages: &[StoredMessage],
    names: &[(String, String)],
    arrivals: &Arrivals,
    now: Timestamp,
) -> Result<Recorded> {
    let mut recorded = Recorded::default();
    let (mut sent, mut received, mut new_chats) = (0_u64, 0_u64, 0_u64);
    for message in messages {
        let new = insert(conn, session, message, arrivals.number(message, now), now)?;
        recorded.inserted.push(new);
        if !new {
            continue;
        }
        let counts = !message.from_history;
        match message.direction {
            Direction::In if counts => received += 1,
            Direction::Out if counts => sent += 1,
            _ => {}
        }
        let unread = u32::from(counts && message.direction == Direction::In);
        new_chats +=
            u64::from(chats::bump(conn, session, &message.key.chat_id, message.timestamp, unread, now)?);
    }
    for (chat_id, name) in names {
        chats::set_name(conn, session, chat_id, name, now)?;
    }
    if recorded.inserted.contains(&true) {
        let sql = "UPDATE sessions SET messagesSent = messagesSent + ?2, messagesReceived = messagesReceived + ?3, \
                   totalChats = totalChats + ?4, lastActivity = max(lastActivity, ?5), updatedAt = ?5 \
                   WHERE sessionId = ?1";
        conn.prepare_cached(sql)
            .db()?
            .execute(params![session, to_sql(sent), to_sql(received), to_sql(new_chats), now.unix_ms()])
            .db()?;
    }
    Ok(recorded)
}

fn insert(
    conn: &Connection,
    session: &str,
    message: &StoredMessage,
    arrival: i64,
    now: Timestamp,
) -> Result<bool> {
    let sql = format!(
        "INSERT OR IGNORE INTO messages (sessionId, {COLUMNS}, createdAt, updatedAt) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15)"
    );
    let inserted = conn
        .prepare_cached(&sql)
        .db()?
        .execute(params![
            session,
            message.key.chat_id,
            message.key.sender,
            message.key.message_id,
            message.direction.as_str(),
            message.from_me,
            message.timestamp.unix_ms(),
            message.sender_name,
            content_json(&message.content)?,
            message.status.rank(),
            message.edited_at.map(Timestamp::unix_ms),
            message.revoked_at.map(Timestamp::unix_ms),
            message.from_history,
            arrival,
            now.unix_ms(),
        ])
        .db()?;
    Ok(inserted == 1)
}

fn update(conn: &Connection, session: &str, message: &StoredMessage, now: Timestamp) -> Result<()> {
    let sql = "UPDATE messages SET content = ?5, status = ?6, editedAt = ?7, revokedAt = ?8, updatedAt = ?9 \
               WHERE sessionId = ?1 AND chatId = ?2 AND sender = ?3 AND messageId = ?4";
    conn.prepare_cached(sql)
        .db()?
        .execute(params![
            session,
            message.key.chat_id,
            message.key.sender,
            message.key.message_id,
            content_json(&message.content)?,
            message.status.rank(),
            message.edited_at.map(Timestamp::unix_ms),
            message.revoked_at.map(Timestamp::unix_ms),
            now.unix_ms(),
        ])
        .db()?;
    Ok(())
}

fn content_json(content: &MessageKind) -> Result<String> {
    serde_json::to_string(content)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot encode a message").caused_by(error))
}

fn get(conn: &Connection, session: &str, key: &MessageKey) -> Result<Option<StoredMessage>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM messages WHERE sessionId = ?1 AND chatId = ?2 AND sender = ?3 AND messageId = ?4"
    );
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query(params![session, key.chat_id, key.sender, key.message_id]).db()?;
    rows.next().db()?.map(message).transpose()
}

fn message(row: &Row<'_>) -> Result<StoredMessage> {
    let direction: String = row.get(3).db()?;
    let content: String = row.get(7).db()?;
    Ok(StoredMessage {
        key: key(row)?,
        direction: match direction.as_str() {
            "in" => Direction::In,
            "out" => Direction::Out,
            _ => return Err(corrupt("the stored direction of a message is unknown")),
        },
        from_me: row.get(4).db()?,
        timestamp: Timestamp::from_unix_ms(row.get(5).db()?),
        sender_name: row.get(6).db()?,
        content: serde_json::from_str(&content)
            .map_err(|_| corrupt("the stored content of a message cannot be read"))?,
        status: MessageStatus::from_rank(row.get(8).db()?)
            .ok_or_else(|| corrupt("the stored status of a message is unknown"))?,
        edited_at: row.get::<_, Option<i64>>(9).db()?.map(Timestamp::from_unix_ms),
        revoked_at: row.get::<_, Option<i64>>(10).db()?.map(Timestamp::from_unix_ms),
        from_history: row.get(11).db()?,
    })
}

fn key(row: &Row<'_>) -> Result<MessageKey> {
    Ok(MessageKey { chat_id: row.get(0).db()?, sender: row.get(1).db()?, message_id: row.get(2).db()? })
}

fn list(conn: &Connection, session: &str, page: &MessagePage) -> Result<Page<StoredMessage>> {
    let mut sql = format!("SELECT {COLUMNS} FROM messages WHERE sessionId = ?");
    let mut values: Vec<Value> = vec![session.to_owned().into()];
    if let Some(chat_id) = &page.chat_id {
        sql.push_str(" AND chatId = ?");
        values.push(chat_id.clone().into());
    }
    if let Some(after) = &page.after {
        let (at, arrival, key): MessagePlace = open_page_token(after)?;
        values.extend([at.into(), arrival.into()]);
        if page.chat_id.is_some() {
            sql.push_str(" AND (timestamp, arrival, sender, messageId) < (?, ?, ?, ?)");
        } else {
            sql.push_str(" AND (timestamp, arrival, chatId, sender, messageId) < (?, ?, ?, ?, ?)");
            values.push(key.chat_id.into());
        }
        values.extend([key.sender.into(), key.message_id.into()]);
    }
    sql.push_str(" ORDER BY timestamp DESC, arrival DESC, chatId DESC, sender DESC, messageId DESC LIMIT ?");
    values.push((i64::from(page.limit) + 1).into());
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query(params_from_iter(values)).db()?;
    let mut result = Page::default();
    let mut last: Option<MessagePlace> = None;
    let mut seen = 0;
    while let Some(row) = rows.next().db()? {
        if seen == page.limit {
            result.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        let key = key(row)?;
        match message(row) {
            Ok(message) => result.items.push(message),
            Err(error) if error.kind() == ErrorKind::Corrupt => result.malformed.push(key.message_id.clone()),
            Err(error) => return Err(error),
        }
        last = Some((row.get(5).unwrap_or_default(), row.get(12).unwrap_or_default(), key));
    }
    Ok(result)
}

fn recount(conn: &Connection, session: &str, now: Timestamp) -> Result<(u64, u64, u64)> {
    let count = |direction: Direction| -> Result<u64> {
        let sql = "SELECT count(*) FROM messages WHERE sessionId = ?1 AND direction = ?2 AND NOT fromHistory";
        from_sql(conn.query_row(sql, [session, direction.as_str()], |row| row.get(0)).db()?)
    };
    let (sent, received) = (count(Direction::Out)?, count(Direction::In)?);
    let chats = from_sql(
        conn.query_row("SELECT count(*) FROM chats WHERE sessionId = ?1", [session], |row| row.get(0))
            .db()?,
    )?;
    conn.execute(
        "UPDATE sessions SET messagesSent = ?2, messagesReceived = ?3, totalChats = ?4, updatedAt = ?5 \
         WHERE sessionId = ?1",
        params![session, to_sql(sent), to_sql(received), to_sql(chats), now.unix_ms()],
    )
    .db()?;
    Ok((sent, received, chats))
}
