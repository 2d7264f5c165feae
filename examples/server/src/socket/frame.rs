//! One event as clients see it.

use centralita::events::{Event, EventKind, LinkCode};
use centralita::store::{Direction, MessageStatus, StoredMessage};
use serde_json::{Value, json};

use crate::alerts::AlertChange;

/// An event on its way to clients.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The name it is emitted under.
    pub(super) name: &'static str,
    /// Whose it is; `None`: the whole server's.
    pub(super) session_id: Option<String>,
    /// Only for `admin`, and never kept: codes.
    pub(super) is_secret: bool,
    /// Whether a client that comes back is told.
    pub(super) is_kept: bool,
    /// What is emitted, but for the number.
    pub(super) body: Value,
}

impl Frame {
    /// The frame of an event of the library; `None` if it is for nobody.
    pub(super) fn of_event(event: &Event) -> Option<Self> {
        let (name, is_secret, is_kept) = match &event.kind {
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
        let body = serde_json::to_value(event).unwrap_or_else(|_| json!({}));
        Some(Self { name, session_id: Some(event.session_id.clone()), is_secret, is_kept, body })
    }

    /// The frame of an alert that fired or was resolved.
    pub(crate) fn of_alert(change: &AlertChange) -> Self {
        Self {
            name: "alert",
            session_id: change.alert.session_id.clone(),
            is_secret: false,
            is_kept: true,
            body: json!({
                "sessionId": change.alert.session_id,
                "at": change.at(),
                "type": "alert",
                "data": change,
            }),
        }
    }

    /// What is emitted.
    pub(super) fn numbered(mut self, seq: u64) -> Self {
        if let Value::Object(body) = &mut self.body {
            body.insert("seq".to_owned(), seq.into());
            body.insert("event".to_owned(), self.name.into());
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
