//! One event as clients see it.

use centralita::clock::Timestamp;
use centralita::events::{EventKind, LinkCode};
use centralita::store::{Direction, MessageStatus, StatusDetail, StoredMessage};
use serde_json::{Value, json};

use crate::alerts::AlertChange;

/// An event on its way to clients.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The name it is emitted under.
    pub(super) name: &'static str,
    /// Whose it is; `None`: the whole server's.
    pub(super) session_id: Option<String>,
    /// Only for `admin`: codes.
    pub(super) is_secret: bool,
    /// Whether a client that comes back is told; then it has a number.
    pub(super) is_kept: bool,
    /// Unique in its session and rising; `None` until it is numbered, and for what is not kept.
    pub(super) seq: Option<u64>,
    /// What is emitted.
    pub(super) body: Value,
}

impl Frame {
    /// The frame of an event of the library; `None` if it is for nobody.
    pub(super) fn of_event(session_id: &str, at: Timestamp, kind: &EventKind) -> Option<Self> {
        let (name, is_secret, is_kept) = match kind {
            // It is the other instance's to tell, and that one's to keep.
            EventKind::Status { detail: Some(StatusDetail::OwnedElsewhere), .. } => ("status", false, false),
            EventKind::Status { .. } => ("status", false, true),
            EventKind::Code(LinkCode::Qr { .. }) => ("qr", true, false),
            EventKind::Code(_) => ("link", true, false),
            EventKind::Message(_) => ("message", false, true),
            EventKind::MessageChanged(message) if is_receipt(message) => ("receipt", false, true),
            EventKind::MessageChanged(_) => ("message_update", false, true),
            EventKind::OutboxEnded { .. } => ("outbox", false, true),
            EventKind::Typing { .. } => ("typing", false, false),
            EventKind::Presence { .. } => ("presence", false, false),
            EventKind::History { .. } => ("history", false, true),
            EventKind::Lagged { .. } => return None,
            _ => ("notice", false, true),
        };
        let mut body = serde_json::to_value(kind).unwrap_or_else(|_| json!({}));
        if let Value::Object(fields) = &mut body {
            fields.insert("sessionId".to_owned(), session_id.into());
            fields.insert("at".to_owned(), json!(at));
            fields.insert("event".to_owned(), name.into());
        }
        Some(Self { name, session_id: Some(session_id.to_owned()), is_secret, is_kept, seq: None, body })
    }

    /// The frame of an alert that fired or was resolved. It is not numbered: `GET /api/alerts` tells what lasts.
    pub(crate) fn of_alert(change: &AlertChange) -> Self {
        Self {
            name: "alert",
            session_id: change.alert.session_id.clone(),
            is_secret: false,
            is_kept: false,
            seq: None,
            body: json!({
                "sessionId": change.alert.session_id,
                "at": change.at(),
                "event": "alert",
                "type": "alert",
                "data": change,
            }),
        }
    }

    /// With its number.
    pub(super) fn numbered(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        if let Value::Object(fields) = &mut self.body {
            fields.insert("seq".to_owned(), seq.into());
        }
        self
    }
}

/// An own message that came further; anything else that changed is an update.
fn is_receipt(message: &StoredMessage) -> bool {
    message.direction == Direction::Out
        && message.revoked_at.is_none()
        && message.edited_at.is_none()
        && message.status >= MessageStatus::Sent
}
