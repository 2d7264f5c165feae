//! Chats.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::errors::{DbResult as _, to_sql};
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::store::message::{Chat, ChatPatch};
use crate::store::rules::{open_page_token, page_token};
use crate::store::session::Page;

const COLUMNS: &str = "chatId, name, isGroup, lastMessageAt, unreadCount, createdAt, updatedAt";

/// Notes a new message in its chat. `true` if the chat is new.
pub(super) fn bump(
    conn: &Connection,
    session: &str,
    chat_id: &str,
    at: Timestamp,
    unread: u32,
    now: Timestamp,
) -> Result<bool> {
    let new = create(conn, session, chat_id, now)?;
    let sql = "UPDATE chats SET lastMessageAt = max(coalesce(lastMessageAt, ?3), ?3), \
               unreadCount = unreadCount + ?4, updatedAt = ?5 WHERE sessionId = ?1 AND chatId = ?2";
    conn.prepare_cached(sql)
        .db()?
        .execute(params![session, chat_id, at.unix_ms(), unread, now.unix_ms()])
        .db()?;
    Ok(new)
}

/// Names a chat, if it is there.
pub(super) fn set_name(
    conn: &Connection,
    session: &str,
    chat_id: &str,
    name: &str,
    now: Timestamp,
) -> Result<()> {
    let sql = "UPDATE chats SET name = ?3, updatedAt = ?4 WHERE sessionId = ?1 AND chatId = ?2";
    conn.prepare_cached(sql).db()?.execute(params![session, chat_id, name, now.unix_ms()]).db()?;
    Ok(())
}

/// Creates or changes chats. Returns how many are new.
pub(super) fn patch(conn: &Connection, session: &str, patches: &[ChatPatch], now: Timestamp) -> Result<u64> {
    let mut new = 0;
    for patch in patches {
        new += u64::from(create(conn, session, &patch.chat_id, now)?);
        let sql = "UPDATE chats SET name = coalesce(?3, name), \
                   lastMessageAt = coalesce(max(lastMessageAt, ?4), lastMessageAt, ?4), \
                   unreadCount = coalesce(?5, unreadCount), updatedAt = ?6 WHERE sessionId = ?1 AND chatId = ?2";
        conn.prepare_cached(sql)
            .db()?
            .execute(params![
                session,
                patch.chat_id,
                patch.name,
                patch.last_message_at.map(Timestamp::unix_ms),
                patch.unread_count,
                now.unix_ms()
            ])
            .db()?;
    }
    if new > 0 {
        conn.execute(
            "UPDATE sessions SET totalChats = totalChats + ?2, updatedAt = ?3 WHERE sessionId = ?1",
            params![session, to_sql(new), now.unix_ms()],
        )
        .db()?;
    }
    Ok(new)
}

fn create(conn: &Connection, session: &str, chat_id: &str, now: Timestamp) -> Result<bool> {
    let chat = Chat::new(chat_id, now);
    let sql = "INSERT OR IGNORE INTO chats (sessionId, chatId, isGroup, unreadCount, createdAt, updatedAt) \
               VALUES (?1, ?2, ?3, 0, ?4, ?4)";
    let created = conn
        .prepare_cached(sql)
        .db()?
        .execute(params![session, chat_id, chat.is_group, now.unix_ms()])
        .db()?;
    Ok(created == 1)
}

pub(super) fn get(conn: &Connection, session: &str, chat_id: &str) -> Result<Option<Chat>> {
    let sql = format!("SELECT {COLUMNS} FROM chats WHERE sessionId = ?1 AND chatId = ?2");
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query([session, chat_id]).db()?;
    rows.next().db()?.map(chat).transpose()
}

/// The newest first, those without a message last, ties by id.
pub(super) fn list(conn: &Connection, session: &str, limit: u32, after: Option<&str>) -> Result<Page<Chat>> {
    let mut sql = format!("SELECT {COLUMNS} FROM chats WHERE sessionId = ?");
    let mut values: Vec<Value> = vec![session.to_owned().into()];
    if let Some(after) = after {
        let (at, chat_id): (Option<i64>, String) = open_page_token(after)?;
        if let Some(at) = at {
            sql.push_str(
                " AND (lastMessageAt < ? OR lastMessageAt IS NULL OR (lastMessageAt = ? AND chatId > ?))",
            );
            values.extend([at.into(), at.into(), chat_id.into()]);
        } else {
            sql.push_str(" AND lastMessageAt IS NULL AND chatId > ?");
            values.push(chat_id.into());
        }
    }
    // NULL is the smallest value, so it comes last.
    sql.push_str(" ORDER BY lastMessageAt DESC, chatId LIMIT ?");
    values.push((i64::from(limit) + 1).into());
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query(params_from_iter(values)).db()?;
    let mut result = Page::default();
    let mut last: Option<(Option<i64>, String)> = None;
    let mut seen = 0;
    while let Some(row) = rows.next().db()? {
        if seen == limit {
            result.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        let id: String = row.get(0).db()?;
        match chat(row) {
            Ok(chat) => result.items.push(chat),
            Err(error) if error.kind() == ErrorKind::Corrupt => result.malformed.push(id.clone()),
            Err(error) => return Err(error),
        }
        last = Some((row.get(3).unwrap_or_default(), id));
    }
    Ok(result)
}

fn chat(row: &Row<'_>) -> Result<Chat> {
    Ok(Chat {
        chat_id: row.get(0).db()?,
        name: row.get(1).db()?,
        is_group: row.get(2).db()?,
        last_message_at: row.get::<_, Option<i64>>(3).db()?.map(Timestamp::from_unix_ms),
        unread_count: row.get(4).db()?,
        created_at: Timestamp::from_unix_ms(row.get(5).db()?),
        updated_at: Timestamp::from_unix_ms(row.get(6).db()?),
    })
}
