//! Session records.

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::SqliteStore;
use super::errors::{DbResult as _, corrupt, from_sql, to_sql};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::session::status::Status;
use crate::store::rules::{apply_patch, check_limit, open_page_token, page_token};
use crate::store::session::{
    Page, PageRequest, SessionFilter, SessionPatch, SessionRecord, SessionStore, Statistics,
};

const COLUMNS: &str = "sessionId, name, phone, isConnected, lastActivity, qrCode, status, statusDetail, \
    connectionAttempts, lastConnectionAttempt, lastDisconnectReason, messagesSent, messagesReceived, totalChats, \
    memoryUsage, lastHealthCheck, isActive, userAgent, platform, version, createdAt, updatedAt";

#[async_trait]
impl SessionStore for SqliteStore {
    async fn upsert_session(&self, fresh: &SessionRecord, patch: &SessionPatch) -> Result<SessionRecord> {
        let (fresh, patch) = (fresh.clone(), patch.clone());
        self.write("upsert_session", move |conn| {
            let mut record = get(conn, &fresh.session_id)?.unwrap_or_else(|| fresh.clone());
            apply_patch(&mut record, &patch, fresh.updated_at);
            put(conn, &record)?;
            Ok(record)
        })
        .await
    }

    async fn patch_session(
        &self,
        session: &str,
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        self.patch_session_if(session, &Status::ALL, patch, now).await
    }

    async fn patch_session_if(
        &self,
        session: &str,
        from: &[Status],
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        let (session, from, patch) = (session.to_owned(), from.to_vec(), patch.clone());
        self.write("patch_session", move |conn| {
            let Some(mut record) = get(conn, &session)? else { return Ok(None) };
            if !from.contains(&record.status) {
                return Ok(None);
            }
            apply_patch(&mut record, &patch, now);
            put(conn, &record)?;
            Ok(Some(record))
        })
        .await
    }

    async fn get_session(&self, session: &str) -> Result<Option<SessionRecord>> {
        let session = session.to_owned();
        self.read("get_session", move |conn| get(conn, &session)).await
    }

    async fn list_sessions(&self, filter: &SessionFilter, page: &PageRequest) -> Result<Page<SessionRecord>> {
        check_limit(page.limit)?;
        let (filter, page) = (filter.clone(), page.clone());
        self.read("list_sessions", move |conn| list(conn, &filter, &page)).await
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64> {
        let filter = filter.clone();
        self.read("count_sessions", move |conn| {
            let (condition, values) = condition(&filter);
            let count = conn
                .prepare_cached(&format!("SELECT count(*) FROM sessions WHERE {condition}"))
                .db()?
                .query_row(params_from_iter(values), |row| row.get(0))
                .db()?;
            from_sql(count)
        })
        .await
    }

    async fn delete_session_record(&self, session: &str) -> Result<bool> {
        let session = session.to_owned();
        self.write("delete_session_record", move |conn| {
            Ok(conn.execute("DELETE FROM sessions WHERE sessionId = ?1", [&session]).db()? == 1)
        })
        .await
    }

    async fn statistics(&self) -> Result<Statistics> {
        self.read("statistics", statistics).await
    }
}

fn get(conn: &Connection, session: &str) -> Result<Option<SessionRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE sessionId = ?1");
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query([session]).db()?;
    rows.next().db()?.map(record).transpose().map_err(|error| error.of_session(session))
}

fn put(conn: &Connection, record: &SessionRecord) -> Result<()> {
    let detail =
        record.status_detail.as_ref().map(serde_json::to_string).transpose().map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot encode statusDetail").caused_by(error)
        })?;
    let sql = format!(
        "INSERT OR REPLACE INTO sessions ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
        ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)"
    );
    conn.prepare_cached(&sql)
        .db()?
        .execute(params![
            record.session_id,
            record.name,
            record.phone,
            record.is_connected,
            record.last_activity.unix_ms(),
            record.qr_code,
            record.status.as_str(),
            detail,
            record.connection_attempts,
            record.last_connection_attempt.map(Timestamp::unix_ms),
            record.last_disconnect_reason,
            to_sql(record.messages_sent),
            to_sql(record.messages_received),
            to_sql(record.total_chats),
            // SQLite keeps a NaN as NULL.
            if record.memory_usage.is_nan() { 0.0 } else { record.memory_usage },
            record.last_health_check.unix_ms(),
            record.is_active,
            record.user_agent,
            record.platform,
            record.version,
            record.created_at.unix_ms(),
            record.updated_at.unix_ms(),
        ])
        .db()?;
    Ok(())
}

fn record(row: &Row<'_>) -> Result<SessionRecord> {
    let time = |index| row.get(index).map(Timestamp::from_unix_ms).db();
    let status: String = row.get(6).db()?;
    let detail: Option<String> = row.get(7).db()?;
    Ok(SessionRecord {
        session_id: row.get(0).db()?,
        name: row.get(1).db()?,
        phone: row.get(2).db()?,
        is_connected: row.get(3).db()?,
        last_activity: time(4)?,
        qr_code: row.get(5).db()?,
        status: status
            .parse()
            .map_err(|_| corrupt("the stored status is unknown; repair or delete the session"))?,
        status_detail: detail
            .map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|_| corrupt("the stored statusDetail is unknown; repair or delete the session"))?,
        connection_attempts: row.get(8).db()?,
        last_connection_attempt: row.get::<_, Option<i64>>(9).db()?.map(Timestamp::from_unix_ms),
        last_disconnect_reason: row.get(10).db()?,
        messages_sent: from_sql(row.get(11).db()?)?,
        messages_received: from_sql(row.get(12).db()?)?,
        total_chats: from_sql(row.get(13).db()?)?,
        memory_usage: row.get(14).db()?,
        last_health_check: time(15)?,
        is_active: row.get(16).db()?,
        user_agent: row.get(17).db()?,
        platform: row.get(18).db()?,
        version: row.get(19).db()?,
        created_at: time(20)?,
        updated_at: time(21)?,
    })
}

/// The filter as SQL with its values. Values are never part of the text.
fn condition(filter: &SessionFilter) -> (String, Vec<Value>) {
    let mut parts = vec!["1".to_owned()];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |part: &str, value: Value| {
        parts.push(part.to_owned());
        values.push(value);
    };
    if let Some(active) = filter.is_active {
        add("isActive = ?", active.into());
    }
    if let Some(connected) = filter.is_connected {
        add("isConnected = ?", connected.into());
    }
    if let Some(attempts) = filter.min_connection_attempts {
        add("connectionAttempts >= ?", attempts.into());
    }
    if let Some(before) = filter.last_activity_before {
        add("lastActivity < ?", before.unix_ms().into());
    }
    if let Some(attempts) = filter.problematic_from_attempts {
        add("(status = 'error' OR connectionAttempts >= ?)", attempts.into());
    }
    if !filter.statuses.is_empty() {
        parts.push(format!("status IN ({})", marks(filter.statuses.len())));
        values.extend(filter.statuses.iter().map(|status| status.as_str().to_owned().into()));
    }
    if !filter.session_ids.is_empty() {
        parts.push(format!("sessionId IN ({})", marks(filter.session_ids.len())));
        values.extend(filter.session_ids.iter().map(|id| id.clone().into()));
    }
    (parts.join(" AND "), values)
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn list(conn: &Connection, filter: &SessionFilter, page: &PageRequest) -> Result<Page<SessionRecord>> {
    let (mut condition, mut values) = condition(filter);
    let by_activity = page.most_recently_active_first;
    if let Some(after) = &page.after {
        let (activity, id): (i64, String) = open_page_token(after)?;
        if by_activity {
            condition.push_str(" AND lastActivity <= ? AND (lastActivity < ? OR sessionId > ?)");
            values.extend([activity.into(), activity.into(), id.into()]);
        } else {
            condition.push_str(" AND sessionId > ?");
            values.push(id.into());
        }
    }
    let order = if by_activity { "lastActivity DESC, sessionId" } else { "sessionId" };
    let sql = format!("SELECT {COLUMNS} FROM sessions WHERE {condition} ORDER BY {order} LIMIT ?");
    values.push((i64::from(page.limit) + 1).into());
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query(params_from_iter(values)).db()?;
    let mut result = Page::default();
    let mut last: Option<(i64, String)> = None;
    let mut seen = 0;
    while let Some(row) = rows.next().db()? {
        if seen == page.limit {
            result.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        let id: String = row.get(0).db()?;
        last = Some((row.get(4).unwrap_or_default(), id.clone()));
        match record(row) {
            Ok(record) => result.items.push(record),
            Err(error) if error.kind() == ErrorKind::Corrupt => result.malformed.push(id),
            Err(error) => return Err(error),
        }
    }
    Ok(result)
}

fn statistics(conn: &Connection) -> Result<Statistics> {
    let sql = "SELECT count(*), total(isActive), total(isConnected), total(status = 'disconnected'), \
               total(status IN ('pending', 'qr_ready')), total(status = 'error'), total(status = 'inactive'), \
               coalesce(sum(messagesSent), 0), coalesce(sum(messagesReceived), 0), coalesce(sum(totalChats), 0) \
               FROM sessions";
    let counts: [i64; 10] = conn
        .prepare_cached(sql)
        .db()?
        .query_row([], |row| {
            let mut counts = [0; 10];
            for (index, count) in counts.iter_mut().enumerate() {
                *count = match row.get_ref(index)? {
                    rusqlite::types::ValueRef::Real(value) => value as i64,
                    value => value.as_i64().unwrap_or_default(),
                };
            }
            Ok(counts)
        })
        .db()?;
    let count = |index: usize| u64::try_from(counts[index]).unwrap_or(0);
    Ok(Statistics {
        total_sessions: count(0),
        active_sessions: count(1),
        connected_sessions: count(2),
        disconnected_sessions: count(3),
        pending_sessions: count(4),
        error_sessions: count(5),
        inactive_sessions: count(6),
        total_messages: count(7).saturating_add(count(8)),
        messages_sent: count(7),
        messages_received: count(8),
        total_chats: count(9),
    })
}
