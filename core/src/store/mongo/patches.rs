//! A patch of a session record as an update, and a filter as a query.

use mongodb::bson::{Bson, Document, doc};

use super::documents::{date, embedded, unsigned};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::session::{Counter, SessionFilter, SessionPatch};

/// The update that applies a patch in one step.
pub(super) fn update(patch: &SessionPatch, now: Timestamp) -> Result<Document> {
    let mut set = doc! { "updatedAt": date(now) };
    let mut add = Document::new();
    let mut put = |field: &str, value: Option<Bson>| {
        if let Some(value) = value {
            set.insert(field, value);
        }
    };
    let text = |value: &Option<String>| value.clone().map_or(Bson::Null, Bson::String);
    put("name", patch.name.clone().map(Bson::String));
    put("phone", patch.phone.as_ref().map(text));
    put("isConnected", patch.is_connected.map(Bson::Boolean));
    put("qrCode", patch.qr_code.as_ref().map(text));
    put("status", patch.status.map(|status| status.as_str().into()));
    if let Some(detail) = &patch.status_detail {
        put("statusDetail", Some(detail.as_ref().map_or(Ok(Bson::Null), embedded)?));
    }
    put("lastConnectionAttempt", patch.last_connection_attempt.map(date));
    put("lastDisconnectReason", patch.last_disconnect_reason.as_ref().map(text));
    put("totalChats", patch.total_chats.map(unsigned));
    put("memoryUsage", patch.memory_usage.map(Bson::Double));
    put("lastHealthCheck", patch.last_health_check.map(date));
    put("isActive", patch.is_active.map(Bson::Boolean));
    put("userAgent", patch.user_agent.as_ref().map(text));
    put("platform", patch.platform.as_ref().map(text));
    put("version", patch.version.as_ref().map(text));
    for (field, counter) in [
        ("connectionAttempts", patch.connection_attempts),
        ("messagesSent", patch.messages_sent),
        ("messagesReceived", patch.messages_received),
    ] {
        match counter {
            Some(Counter::Set(value)) => put(field, Some(unsigned(value))),
            Some(Counter::Add(value)) => drop(add.insert(field, unsigned(value))),
            None => {}
        }
    }
    let mut update = doc! { "$set": set };
    if !add.is_empty() {
        update.insert("$inc", add);
    }
    if let Some(at) = patch.last_activity {
        update.insert("$max", doc! { "lastActivity": date(at) });
    }
    Ok(update)
}

/// Whether an update may be sent twice and still count once.
pub(super) fn is_repeatable(patch: &SessionPatch) -> bool {
    let adds = |counter: Option<Counter>| matches!(counter, Some(Counter::Add(_)));
    !(adds(patch.connection_attempts) || adds(patch.messages_sent) || adds(patch.messages_received))
}

/// The query of a filter.
pub(super) fn query(filter: &SessionFilter) -> Document {
    let mut query = Document::new();
    if let Some(active) = filter.is_active {
        query.insert("isActive", active);
    }
    if let Some(connected) = filter.is_connected {
        query.insert("isConnected", connected);
    }
    if !filter.statuses.is_empty() {
        let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        query.insert("status", doc! { "$in": statuses });
    }
    if let Some(attempts) = filter.min_connection_attempts {
        query.insert("connectionAttempts", doc! { "$gte": i64::from(attempts) });
    }
    if let Some(before) = filter.last_activity_before {
        query.insert("lastActivity", doc! { "$lt": date(before) });
    }
    if !filter.session_ids.is_empty() {
        query.insert("sessionId", doc! { "$in": &filter.session_ids });
    }
    if let Some(attempts) = filter.problematic_from_attempts {
        let problematic =
            vec![doc! { "status": "error" }, doc! { "connectionAttempts": { "$gte": i64::from(attempts) } }];
        query.insert("$or", problematic);
    }
    query
}
