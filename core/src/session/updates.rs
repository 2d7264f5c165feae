//! Receipts, acknowledgements, presence and history: what follows on messages.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::engine::connection::EngineConnection;
use crate::engine::events::EngineEvent;
use crate::engine::history::{Blob, read_history};
use crate::error::Result;
use crate::events::EventKind;
use crate::store::patience::until_available;
use crate::store::{ChatPatch, MessageChange, MessageKey, MessageStatus, PageRequest};

use super::live::LiveSession;

/// Stores and publishes events that are not about the connection. Waits while the store is away.
pub(super) async fn take_updates(
    live: &LiveSession,
    connection: &EngineConnection,
    events: Vec<EngineEvent>,
) -> Result<()> {
    let mut changes = Vec::new();
    for event in events {
        match event {
            EngineEvent::ServerAck { message_id, error } => {
                let acknowledged = if error.is_some() { MessageStatus::Failed } else { MessageStatus::Sent };
                // Whoever waits for it writes the status himself.
                if !live.acknowledge(&message_id, error)
                    && let Some(key) = live.recent_send(&message_id)
                {
                    changes.push((key, MessageChange::Status(acknowledged)));
                }
            }
            EngineEvent::Receipt { chat, chat_is_group, sender, message_ids, status } => {
                let by = Receipt { chat, chat_is_group, sender };
                for message_id in message_ids {
                    for key in candidates(live, connection, &by, message_id).await {
                        changes.push((key, MessageChange::Status(status)));
                    }
                }
            }
            EngineEvent::Typing { chat, sender, composing } => {
                live.publish(EventKind::Typing { chat_id: chat, sender, composing });
            }
            EngineEvent::Presence { contact, available, last_seen_s } => {
                let last_seen = last_seen_s.map(Timestamp::from_unix_s);
                live.publish(EventKind::Presence { contact, available, last_seen });
            }
            EngineEvent::ContactName { chat, name } => {
                let patch =
                    ChatPatch { chat_id: chat, name: Some(name), last_message_at: None, unread_count: None };
                rename_chat(live, patch).await?;
            }
            EngineEvent::History(history) => take_history(live, &history).await?,
            EngineEvent::Undecryptable => live.publish(EventKind::Undecryptable),
            _ => {}
        }
    }
    apply_changes(live, changes.into()).await
}

struct Receipt {
    chat: String,
    chat_is_group: bool,
    sender: String,
}

/// The stored message that a receipt means. WhatsApp names the chat by number or by LID as it likes.
async fn candidates(
    live: &LiveSession,
    connection: &EngineConnection,
    receipt: &Receipt,
    message_id: String,
) -> Vec<MessageKey> {
    if let Some(key) = live.recent_send(&message_id) {
        return vec![key];
    }
    let own = live.own_jid();
    let chat = if receipt.chat_is_group || receipt.chat != own { &receipt.chat } else { &receipt.sender };
    let mut chats = vec![chat.clone()];
    if !receipt.chat_is_group {
        chats.extend(connection.alternative_jid(chat).await);
    }
    chats
        .into_iter()
        .map(|chat_id| MessageKey { chat_id, sender: own.clone(), message_id: message_id.clone() })
        .collect()
}

async fn apply_changes(live: &LiveSession, changes: Arc<[(MessageKey, MessageChange)]>) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let context = &live.context;
    let changed =
        patiently(live, || context.group.change(&live.id, Arc::clone(&changes), context.clock.now())).await?;
    for message in changed.into_iter().flatten() {
        live.publish(EventKind::MessageChanged(Box::new(message)));
    }
    Ok(())
}

async fn rename_chat(live: &LiveSession, patch: ChatPatch) -> Result<()> {
    let context = &live.context;
    // Address-book names of people one has never written with make no chat.
    let known = patiently(live, || context.store.get_chat(&live.id, &patch.chat_id)).await?;
    if known.is_some() {
        patch_chats(live, &[patch]).await?;
    }
    Ok(())
}

async fn patch_chats(live: &LiveSession, patches: &[ChatPatch]) -> Result<u64> {
    let context = &live.context;
    patiently(live, || context.store.patch_chats(&live.id, patches, context.clock.now())).await
}

async fn take_history(live: &LiveSession, history: &Blob) -> Result<()> {
    let context = &live.context;
    let limit = context.options.preload_chats.limit.clamp(1, PageRequest::MAX_LIMIT);
    let known = patiently(live, || context.store.list_chats(&live.id, limit, None)).await?;
    let known: HashSet<String> = known.items.into_iter().map(|chat| chat.chat_id).collect();
    let batch = match read_history(history, &context.options.preload_chats, &known, &live.own_jid()) {
        Ok(batch) => batch,
        Err(error) => {
            tracing::warn!(session = %live.id, %error, "a part of the history was left out");
            return Ok(());
        }
    };
    if batch.chats.is_empty() {
        return Ok(());
    }
    patch_chats(live, &batch.chats).await?;
    let mut messages = 0;
    for part in batch.messages.chunks(HISTORY_PART) {
        let part: Arc<[_]> = part.into();
        let recorded = patiently(live, || {
            context.group.record(&live.id, Arc::clone(&part), Arc::default(), context.clock.now())
        })
        .await?;
        messages += recorded.inserted.iter().filter(|new| **new).count() as u64;
    }
    live.publish(EventKind::History { chats: batch.chats.len() as u64, messages });
    Ok(())
}

/// Waits for a store that is away. Whoever is in a hurry drops the call.
async fn patiently<T, F, Fut>(live: &LiveSession, attempt: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    until_available(&live.context.clock, &CancellationToken::new(), |_| {}, attempt).await
}

const HISTORY_PART: usize = 500;
