//! Looking into an outbox, and taking out of it.

use std::sync::Arc;

use super::ending::{OutboxOutcome, finish, open};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::session::context::SessionContext;
use crate::session::live::LiveSession;
use crate::session::message_records::MessageRecords;
use crate::store::rules::{check_limit, open_page_token, page_token};
use crate::store::session::Page;
use crate::store::{MessageKey, OutboxState, OutboxStep, Stepped};

/// A message that waits in a session's outbox. Its text is in the stored message of the same key.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueuedMessage {
    /// What names it.
    pub key: MessageKey,
    /// Where it stands. `Queued` can be cancelled.
    pub state: OutboxState,
    /// How often it was written to a socket, or was about to be.
    pub attempts: u32,
    /// When it was accepted.
    pub queued_at: Timestamp,
    /// After this moment it is not sent any more.
    pub expires_at: Timestamp,
}

/// A page of a session's outbox, in the order in which they are sent. `malformed` has the message ids of entries
/// that do not open.
pub(crate) async fn list(
    context: &SessionContext,
    session: &str,
    limit: u32,
    after: Option<&str>,
) -> Result<Page<QueuedMessage>> {
    check_limit(limit)?;
    let after: u64 = after.map(open_page_token).transpose()?.unwrap_or(0);
    let entries = context.store.list_outbox(session, limit, after).await?;
    let mut page = Page::default();
    if entries.len() == limit as usize {
        page.next = entries.last().map(|last| page_token(&last.position)).transpose()?;
    }
    let records = MessageRecords { context, session, live: None, stop: &context.stop };
    for entry in entries {
        match open(records, &entry).await? {
            Some(content) => page.items.push(QueuedMessage {
                key: content.key(&entry.message_id),
                state: entry.state,
                attempts: entry.attempts,
                queued_at: entry.queued_at,
                expires_at: entry.expires_at,
            }),
            None => page.malformed.push(entry.message_id),
        }
    }
    Ok(page)
}

/// Takes a message back that still waits.
pub(crate) async fn cancel(
    context: &SessionContext,
    session: &str,
    live: Option<&Arc<LiveSession>>,
    message_id: &str,
) -> Result<()> {
    let entry = match context.store.step_outbox(session, message_id, OutboxStep::Cancel).await? {
        Stepped::Done { entry, .. } => entry,
        Stepped::NotPossible(entry) if entry.state == OutboxState::Sending => {
            return Err(Error::new(
                ErrorKind::InvalidState,
                "the message is being sent, or was, and WhatsApp has not said what came of it; it cannot be taken out of the outbox any more",
            ));
        }
        Stepped::NotPossible(_) | Stepped::Absent => {
            return Err(Error::new(
                ErrorKind::NotFound,
                "no such message waits in the outbox; it was sent, has expired, or was never queued",
            ));
        }
    };
    let records = MessageRecords { context, session, live: live.map(|live| &**live), stop: &context.stop };
    let content = open(records, &entry).await?;
    finish(records, &entry, content.as_ref(), OutboxOutcome::Cancelled, None, None).await?;
    if let Some(live) = live {
        live.outbox.note_cancelled(message_id);
    }
    Ok(())
}
