//! How an entry ends: its message is marked, then the entry goes, then an event tells.
//!
//! In this order: a crash in between leaves an entry whose message says how it ended, and the sender finishes it.

use serde::{Deserialize, Serialize};

use super::content::Content;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventKind;
use crate::session::message_records::MessageRecords;
use crate::store::patience::until_available;
use crate::store::{Direction, MessageStatus, OutboxEntry, OutboxState, StoredMessage};

/// How a message that waited has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutboxOutcome {
    /// WhatsApp's server has it.
    Sent,
    /// WhatsApp refused it for good, or it cannot be sent any more; the reason says why.
    Failed,
    /// Its time ran out before it was sent.
    Expired,
    /// Somebody took it back before it was sent.
    Cancelled,
    /// It was written, perhaps more than once under the same id, and WhatsApp has not said what came of it: it may
    /// or may not have arrived.
    Indeterminate,
}

impl OutboxOutcome {
    fn status(self) -> MessageStatus {
        match self {
            Self::Sent => MessageStatus::Sent,
            Self::Failed => MessageStatus::Failed,
            Self::Expired => MessageStatus::Expired,
            Self::Cancelled => MessageStatus::Cancelled,
            Self::Indeterminate => MessageStatus::Indeterminate,
        }
    }

    /// What an entry has ended as that is in no hand: taken back or expired.
    pub(super) fn of_state(state: OutboxState) -> Option<Self> {
        match state {
            OutboxState::Cancelled => Some(Self::Cancelled),
            OutboxState::Expired => Some(Self::Expired),
            OutboxState::Queued | OutboxState::Sending => None,
        }
    }
}

/// Marks the message (recording it, should a crash have come between the entry and it), removes the entry and
/// publishes. `generation`: of whoever sent it, if it was written.
pub(super) async fn finish(
    records: MessageRecords<'_>,
    entry: &OutboxEntry,
    content: Option<&Content>,
    outcome: OutboxOutcome,
    reason: Option<String>,
    generation: Option<u64>,
) -> Result<()> {
    let key = content.map(|content| content.key(&entry.message_id));
    if let (Some(content), Some(key)) = (content, &key)
        && let Some(kind) = content.body.content()
        && records.mark(key, outcome.status()).await?.is_none()
    {
        let mut message = StoredMessage::new(key.clone(), Direction::Out, content.timestamp, kind);
        message.status = outcome.status();
        records.record(&message).await?;
        records.publish(EventKind::MessageChanged(Box::new(message)));
    }
    let context = records.context;
    let removed = until_available(
        &context.clock,
        records.stop,
        |_| {},
        || context.store.remove_outbox(records.session, &entry.message_id, generation),
    )
    .await?;
    if removed {
        let message_id = entry.message_id.clone();
        records.publish(EventKind::OutboxEnded { message_id, key, outcome, reason });
    }
    Ok(())
}

/// Opens an entry; one that does not open is reported and `None`.
pub(super) async fn open(records: MessageRecords<'_>, entry: &OutboxEntry) -> Result<Option<Content>> {
    let session = records.session;
    match Content::open(&records.context.vault, session, &entry.message_id, &entry.content).await {
        Ok(content) => Ok(Some(content)),
        Err(error) if is_unreadable(&error) => {
            tracing::error!(session, message = %entry.message_id, %error, "an outbox entry does not open");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_unreadable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Crypto | ErrorKind::Corrupt)
}
