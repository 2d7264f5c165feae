//! What every store does alike: how a patch changes a record, a change a message, and what a page token holds.

use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{MessageChange, MessageKey, MessageKind, StoredMessage};
use super::session::{Counter, PageRequest, SessionPatch, SessionRecord};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Applies a patch to a record and sets `updatedAt`.
pub(crate) fn apply_patch(record: &mut SessionRecord, patch: &SessionPatch, now: Timestamp) {
    fn set<T: Clone>(field: &mut T, value: &Option<T>) {
        if let Some(value) = value {
            field.clone_from(value);
        }
    }
    set(&mut record.name, &patch.name);
    set(&mut record.phone, &patch.phone);
    set(&mut record.is_connected, &patch.is_connected);
    if let Some(at) = patch.last_activity {
        record.last_activity = record.last_activity.max(at);
    }
    set(&mut record.qr_code, &patch.qr_code);
    set(&mut record.status, &patch.status);
    set(&mut record.status_detail, &patch.status_detail);
    if let Some(counter) = patch.connection_attempts {
        let attempts = counted(u64::from(record.connection_attempts), counter);
        record.connection_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    }
    if let Some(at) = patch.last_connection_attempt {
        record.last_connection_attempt = Some(at);
    }
    set(&mut record.last_disconnect_reason, &patch.last_disconnect_reason);
    if let Some(counter) = patch.messages_sent {
        record.messages_sent = counted(record.messages_sent, counter);
    }
    if let Some(counter) = patch.messages_received {
        record.messages_received = counted(record.messages_received, counter);
    }
    set(&mut record.total_chats, &patch.total_chats);
    set(&mut record.memory_usage, &patch.memory_usage);
    set(&mut record.last_health_check, &patch.last_health_check);
    set(&mut record.is_active, &patch.is_active);
    set(&mut record.user_agent, &patch.user_agent);
    set(&mut record.platform, &patch.platform);
    set(&mut record.version, &patch.version);
    record.updated_at = now;
}

fn counted(value: u64, change: Counter) -> u64 {
    match change {
        Counter::Set(to) => to,
        Counter::Add(by) => value.saturating_add(by),
    }
}

/// What stands in the place of a message that its author took back.
pub(crate) fn revoked_content() -> MessageKind {
    MessageKind::Other { name: "revoked".to_owned() }
}

/// Applies a change to a message. The result is the same in whatever order changes arrive: the highest
/// status, the newest edit, the earliest revocation; of edits of a revoked message nothing remains.
pub(crate) fn apply_change(message: &mut StoredMessage, change: &MessageChange) {
    match change {
        MessageChange::Status(status) => message.status = message.status.max(*status),
        MessageChange::Edited { content, at } => {
            if message.revoked_at.is_none() && message.edited_at.is_none_or(|last| last < *at) {
                message.edited_at = Some(*at);
                message.content = content.clone();
            }
        }
        MessageChange::Revoked { at } => {
            message.content = revoked_content();
            message.edited_at = None;
            message.revoked_at = Some(message.revoked_at.map_or(*at, |first| first.min(*at)));
        }
    }
}

/// Numbers messages in the order in which a store records them: what orders those of one second, which is all that
/// WhatsApp says of a message's time.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(AtomicI64);

impl Arrivals {
    /// The number of a message recorded now: milliseconds with twelve bits below them, always higher than the one
    /// before. Zero for those of the phone's history: they are older than whatever arrived.
    pub(crate) fn number(&self, message: &StoredMessage, now: Timestamp) -> i64 {
        if message.from_history {
            return 0;
        }
        let from_clock = now.unix_ms().saturating_mul(1 << 12);
        let next = |last: i64| from_clock.max(last.saturating_add(1));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }
}

/// The place of a message in a page: its time, the number of its arrival, and its key.
pub(crate) type MessagePlace = (i64, i64, MessageKey);

/// Refuses a page size that is zero or too large.
pub(crate) fn check_limit(limit: u32) -> Result<()> {
    if (1..=PageRequest::MAX_LIMIT).contains(&limit) {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Invalid, "the limit of a page must be 1 to 1000"))
    }
}

/// An opaque page token: the sort key of a page's last item.
pub(crate) fn page_token<T: Serialize>(last: &T) -> Result<String> {
    serde_json::to_vec(last)
        .map(|json| URL_SAFE_NO_PAD.encode(json))
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot make a page token").caused_by(error))
}

/// Opens what [`page_token`] made.
pub(crate) fn open_page_token<T: DeserializeOwned>(token: &str) -> Result<T> {
    URL_SAFE_NO_PAD.decode(token).ok().and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "not a page token of this list; pass `next` of the page before")
    })
}

/// The same refusal for another caller of the same group.
pub(crate) fn same_error(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message().to_owned());
    if let Some(op) = error.op() {
        copy = copy.during(op);
    }
    copy
}
