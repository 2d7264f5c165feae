//! Records as documents and back. Lenient with what the seed's own documents lack, strict with wrong types.

use bytes::Bytes;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::errors::corrupt;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::session::status::Status;
use crate::store::message::{Chat, Direction, MessageKey, MessageStatus, StoredMessage};
use crate::store::session::SessionRecord;

/// Joins the parts of an `_id`. Each is escaped, so that `a/b` + `c` is not `a` + `b/c`.
pub(super) fn joined_id(parts: &[&str]) -> String {
    let escaped: Vec<String> =
        parts.iter().map(|part| part.replace('%', "%25").replace('/', "%2F")).collect();
    escaped.join("/")
}

pub(super) fn date(at: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(at.unix_ms()))
}

pub(super) fn optional_date(at: Option<Timestamp>) -> Bson {
    at.map_or(Bson::Null, date)
}

pub(super) fn unsigned(value: u64) -> Bson {
    Bson::Int64(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn binary(value: &Bytes) -> Bson {
    Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: value.to_vec() })
}

/// A whole number, however it is stored: JavaScript writes doubles.
pub(super) fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(value) => Some(i64::from(*value)),
        Bson::Int64(value) => Some(*value),
        Bson::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
        _ => None,
    }
}

/// Serializes a part of a record; dates in it are RFC 3339 text.
pub(super) fn embedded<T: Serialize>(value: &T) -> Result<Bson> {
    let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Internal, "cannot encode a part of a document").caused_by(error)
    };
    let json = serde_json::to_value(value).map_err(|error| internal(error.into()))?;
    from_json(json)
}

fn from_json(json: serde_json::Value) -> Result<Bson> {
    use serde_json::Value;
    Ok(match json {
        Value::Null => Bson::Null,
        Value::Bool(value) => value.into(),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Bson::Int64(value),
            None => Bson::Double(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => Bson::Array(items.into_iter().map(from_json).collect::<Result<_>>()?),
        Value::Object(fields) => {
            let mut document = Document::new();
            for (name, value) in fields {
                document.insert(name, from_json(value)?);
            }
            document.into()
        }
    })
}

pub(super) fn parse_embedded<T: DeserializeOwned>(value: &Bson) -> Result<T> {
    to_json(value)
        .and_then(|json| serde_json::from_value(json).ok())
        .ok_or_else(|| corrupt("a part of a stored document is unknown"))
}

fn to_json(value: &Bson) -> Option<serde_json::Value> {
    Some(match value {
        Bson::Null => serde_json::Value::Null,
        Bson::Boolean(value) => (*value).into(),
        Bson::Int32(_) | Bson::Int64(_) => integer(value)?.into(),
        Bson::Double(number) => match integer(value) {
            Some(whole) => whole.into(),
            None => (*number).into(),
        },
        Bson::String(text) => text.clone().into(),
        Bson::DateTime(at) => Timestamp::from_unix_ms(at.timestamp_millis()).to_string().into(),
        Bson::Array(items) => items.iter().map(to_json).collect::<Option<Vec<_>>>()?.into(),
        Bson::Document(document) => {
            let fields = document.iter().map(|(name, value)| Some((name.clone(), to_json(value)?)));
            serde_json::Value::Object(fields.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// The encoded size of a document in bytes, a little too large rather than too small.
pub(super) fn size(document: &Document) -> usize {
    5 + document.iter().map(|(name, value)| name.len() + 2 + size_of_value(value)).sum::<usize>()
}

fn size_of_value(value: &Bson) -> usize {
    match value {
        Bson::String(text) => text.len() + 5,
        Bson::Binary(binary) => binary.bytes.len() + 9,
        Bson::Document(document) => size(document),
        Bson::Array(items) => 5 + items.iter().map(|item| 12 + size_of_value(item)).sum::<usize>(),
        _ => 16,
    }
}

/// Reads fields of a document. Missing and null are the same.
pub(super) struct Fields<'a>(pub(super) &'a Document);

impl Fields<'_> {
    fn get(&self, name: &str) -> Option<&Bson> {
        self.0.get(name).filter(|value| !matches!(value, Bson::Null | Bson::Undefined))
    }

    fn read<T>(&self, name: &str, read: impl Fn(&Bson) -> Option<T>) -> Result<Option<T>> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| corrupt("a stored field has the wrong type")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.read(name, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| corrupt("a stored document lacks a part of its key"))
    }

    pub(super) fn date(&self, name: &str) -> Result<Option<Timestamp>> {
        self.read(name, |value| value.as_datetime().map(|at| Timestamp::from_unix_ms(at.timestamp_millis())))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, Bson::as_bool)
    }

    pub(super) fn unsigned(&self, name: &str) -> Result<u64> {
        let value = self.read(name, |value| integer(value).and_then(|value| u64::try_from(value).ok()))?;
        Ok(value.unwrap_or(0))
    }

    pub(super) fn small(&self, name: &str) -> Result<u32> {
        u32::try_from(self.unsigned(name)?).map_err(|_| corrupt("a stored number is too large"))
    }

    pub(super) fn signed(&self, name: &str) -> Result<i64> {
        Ok(self.read(name, integer)?.unwrap_or(0))
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, |value| match value {
            Bson::Double(value) => Some(*value),
            other => integer(other).map(|value| value as f64),
        })
    }

    /// A sealed value. Anything but binary is not ours.
    pub(super) fn bytes(&self, name: &str) -> Result<Bytes> {
        match self.0.get(name) {
            Some(Bson::Binary(binary)) => Ok(Bytes::from(binary.bytes.clone())),
            _ => {
                Err(corrupt("a stored value is not binary: another program wrote it; delete it or link anew"))
            }
        }
    }

    fn embedded<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.get(name).map(parse_embedded).transpose()
    }
}

pub(super) fn session_document(record: &SessionRecord) -> Result<Document> {
    Ok(doc! {
        "_id": &record.session_id,
        "sessionId": &record.session_id,
        "name": &record.name,
        "phone": record.phone.clone(),
        "isConnected": record.is_connected,
        "lastActivity": date(record.last_activity),
        "qrCode": record.qr_code.clone(),
        "status": record.status.as_str(),
        "statusDetail": record.status_detail.as_ref().map(embedded).transpose()?,
        "connectionAttempts": i64::from(record.connection_attempts),
        "lastConnectionAttempt": optional_date(record.last_connection_attempt),
        "lastDisconnectReason": record.last_disconnect_reason.clone(),
        "messagesSent": unsigned(record.messages_sent),
        "messagesReceived": unsigned(record.messages_received),
        "totalChats": unsigned(record.total_chats),
        "memoryUsage": record.memory_usage,
        "lastHealthCheck": date(record.last_health_check),
        "isActive": record.is_active,
        "userAgent": record.user_agent.clone(),
        "platform": record.platform.clone(),
        "version": record.version.clone(),
        "createdAt": date(record.created_at),
        "updatedAt": date(record.updated_at),
    })
}

pub(super) fn session_record(document: &Document) -> Result<SessionRecord> {
    let fields = Fields(document);
    let session_id = fields.required_text("sessionId")?;
    let created_at = fields.date("createdAt")?.unwrap_or_default();
    let status = fields.text("status")?.map_or(Ok(Status::Pending), |status| {
        status.parse().map_err(|_| corrupt("the stored status is unknown; repair or delete the session"))
    })?;
    Ok(SessionRecord {
        name: fields.text("name")?.unwrap_or_else(|| session_id.clone()),
        phone: fields.text("phone")?,
        is_connected: fields.flag("isConnected")?.unwrap_or(false),
        last_activity: fields.date("lastActivity")?.unwrap_or(created_at),
        qr_code: fields.text("qrCode")?,
        status,
        status_detail: fields.embedded("statusDetail")?,
        connection_attempts: fields.small("connectionAttempts")?,
        last_connection_attempt: fields.date("lastConnectionAttempt")?,
        last_disconnect_reason: fields.text("lastDisconnectReason")?,
        messages_sent: fields.unsigned("messagesSent")?,
        messages_received: fields.unsigned("messagesReceived")?,
        total_chats: fields.unsigned("totalChats")?,
        memory_usage: fields.number("memoryUsage")?.unwrap_or(0.0),
        last_health_check: fields.date("lastHealthCheck")?.unwrap_or(created_at),
        is_active: fields.flag("isActive")?.unwrap_or(true),
        user_agent: fields.text("userAgent")?,
        platform: fields.text("platform")?,
        version: fields.text("version")?,
        created_at,
        updated_at: fields.date("updatedAt")?.unwrap_or(created_at),
        session_id,
    })
}

pub(super) fn message_id(session: &str, key: &MessageKey) -> String {
    joined_id(&[session, &key.chat_id, &key.sender, &key.message_id])
}

/// The name that is stored beside the rank, for people.
pub(super) fn status_name(status: MessageStatus) -> Result<Bson> {
    embedded(&status)
}

/// All fields but `_id` and `sessionId`, which the filter of the upsert brings.
pub(super) fn message_document(message: &StoredMessage, now: Timestamp) -> Result<Document> {
    let mut document = doc! {
        "chatId": &message.key.chat_id,
        "sender": &message.key.sender,
        "messageId": &message.key.message_id,
        "direction": message.direction.as_str(),
        "fromMe": message.from_me,
        "timestamp": date(message.timestamp),
        "senderName": message.sender_name.clone(),
        "content": embedded(&message.content)?,
        "status": status_name(message.status)?,
        "statusRank": message.status.rank(),
        "fromHistory": message.from_history,
        "createdAt": date(now),
        "updatedAt": date(now),
    };
    if let Some(at) = message.edited_at {
        document.insert("editedAt", date(at));
    }
    if let Some(at) = message.revoked_at {
        document.insert("revokedAt", date(at));
    }
    Ok(document)
}

pub(super) fn stored_message(document: &Document) -> Result<StoredMessage> {
    let fields = Fields(document);
    let direction = match fields.text("direction")?.as_deref() {
        Some("in") => Direction::In,
        Some("out") => Direction::Out,
        _ => return Err(corrupt("the stored direction of a message is unknown")),
    };
    let rank = i32::try_from(fields.signed("statusRank")?).unwrap_or(-1);
    Ok(StoredMessage {
        key: message_key(document)?,
        direction,
        from_me: fields.flag("fromMe")?.unwrap_or(direction == Direction::Out),
        timestamp: fields.date("timestamp")?.ok_or_else(|| corrupt("a stored message has no time"))?,
        sender_name: fields.text("senderName")?,
        content: fields.embedded("content")?.ok_or_else(|| corrupt("a stored message has no content"))?,
        status: MessageStatus::from_rank(rank)
            .ok_or_else(|| corrupt("the stored status of a message is unknown"))?,
        edited_at: fields.date("editedAt")?,
        revoked_at: fields.date("revokedAt")?,
        from_history: fields.flag("fromHistory")?.unwrap_or(false),
    })
}

pub(super) fn message_key(document: &Document) -> Result<MessageKey> {
    let fields = Fields(document);
    Ok(MessageKey {
        chat_id: fields.required_text("chatId")?,
        sender: fields.required_text("sender")?,
        message_id: fields.required_text("messageId")?,
    })
}

pub(super) fn stored_chat(document: &Document) -> Result<Chat> {
    let fields = Fields(document);
    let chat_id = fields.required_text("chatId")?;
    let created_at = fields.date("createdAt")?.unwrap_or_default();
    let fresh = Chat::new(chat_id, created_at);
    Ok(Chat {
        name: fields.text("name")?,
        is_group: fields.flag("isGroup")?.unwrap_or(fresh.is_group),
        last_message_at: fields.date("lastMessageAt")?,
        unread_count: fields.small("unreadCount")?,
        updated_at: fields.date("updatedAt")?.unwrap_or(created_at),
        ..fresh
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_join_alike_stay_apart() {
        let ids = [["a/b", "c"], ["a", "b/c"], ["a%2Fb", "c"], ["a", "b%2Fc"], ["a%", "2Fb/c"]]
            .map(|parts| joined_id(&parts));
        assert_eq!(ids[0], "a%2Fb/c");
        assert!(ids.iter().enumerate().all(|(index, id)| !ids[..index].contains(id)));
    }

    #[test]
    fn the_size_is_never_too_small() {
        let document = doc! {
            "text": "é".repeat(300), "binary": binary(&Bytes::from(vec![1; 5_000])), "null": null, "flag": true,
            "nested": { "list": [1, 2_i64, 3.5, "x"], "date": date(Timestamp::from_unix_ms(1)) }, "empty": {},
        };
        let exact = document.to_vec().unwrap().len();
        assert!((exact..exact + 200).contains(&size(&document)), "{exact}");
    }

    #[test]
    fn a_seed_document_with_few_fields_is_read() {
        let record =
            session_record(&doc! { "sessionId": "s", "messagesSent": 3.0, "status": "connected" }).unwrap();
        assert_eq!((record.name.as_str(), record.messages_sent, record.is_active), ("s", 3, true));
        for wrong in [
            doc! { "sessionId": 5 },
            doc! { "sessionId": "s", "messagesSent": "3" },
            doc! { "sessionId": "s", "messagesSent": -3 },
            doc! { "sessionId": "s", "status": "asleep" },
            doc! { "sessionId": "s", "lastActivity": "yesterday" },
            doc! { "sessionId": "s", "statusDetail": { "kind": "no such" } },
        ] {
            assert_eq!(session_record(&wrong).unwrap_err().kind(), ErrorKind::Corrupt, "{wrong}");
        }
    }
}
