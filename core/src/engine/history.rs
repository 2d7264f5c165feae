//! The phone's history blobs: which chats and messages of them are kept.

pub(crate) use std::collections::HashSet;

use whatsapp_rust::proto_helpers::MessageExt;
use whatsapp_rust::wacore::types::events::LazyHistorySync;
use whatsapp_rust::waproto::whatsapp as wa;

use super::content::{bare, read_content};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::service::options::{PreloadChats, PreloadChatsType};
use crate::store::{ChatPatch, Direction, MessageKey, MessageStatus, StoredMessage};

/// One part of the phone's history, still packed.
pub(crate) type Blob = LazyHistorySync;

/// What one blob holds for the store.
#[derive(Debug, Default)]
pub(crate) struct HistoryBatch {
    pub(crate) chats: Vec<ChatPatch>,
    pub(crate) messages: Vec<StoredMessage>,
}

/// Takes the newest chats of a blob: those `known` already (the phone sends a chat's messages in several blobs) and
/// as many others as `preload` leaves room for.
pub(crate) fn read_history(
    history: &Blob,
    preload: &PreloadChats,
    known: &HashSet<String>,
    own: &str,
) -> Result<HistoryBatch> {
    let blob = history.get().ok_or_else(|| {
        Error::new(
            ErrorKind::Protocol,
            "the phone's history could not be unpacked; messages from now on are not affected",
        )
    })?;
    let mut conversations: Vec<&wa::Conversation> =
        blob.conversations.iter().filter(|conversation| wanted(&conversation.id, preload.chats)).collect();
    conversations.sort_by_key(|conversation| std::cmp::Reverse(last_message_s(conversation)));
    let mut room = (preload.limit as usize).saturating_sub(known.len());
    let mut batch = HistoryBatch::default();
    for conversation in conversations {
        let chat_id = bare(&conversation.id);
        if !known.contains(&chat_id) {
            if room == 0 {
                continue;
            }
            room -= 1;
        }
        batch.chats.push(ChatPatch {
            chat_id: chat_id.clone(),
            name: conversation.name.clone().filter(|name| !name.is_empty()),
            last_message_at: Some(last_message_s(conversation))
                .filter(|s| *s > 0)
                .map(Timestamp::from_unix_s),
            unread_count: conversation.unread_count,
        });
        let messages = conversation.messages.iter().filter_map(|entry| entry.message.as_option());
        batch.messages.extend(messages.filter_map(|message| read_message(message, &chat_id, own)));
    }
    Ok(batch)
}

fn wanted(jid: &str, chats: PreloadChatsType) -> bool {
    let is_group = jid.ends_with("@g.us");
    let is_contact = jid.ends_with("@s.whatsapp.net") || jid.ends_with("@lid");
    match chats {
        PreloadChatsType::All => is_group || is_contact,
        PreloadChatsType::Groups => is_group,
        PreloadChatsType::Contacts => is_contact,
        PreloadChatsType::None => false,
    }
}

fn last_message_s(conversation: &wa::Conversation) -> i64 {
    let newest =
        conversation.messages.iter().filter_map(|entry| entry.message.as_option()?.message_timestamp).max();
    let stated = conversation.last_msg_timestamp.or(conversation.conversation_timestamp);
    i64::try_from(stated.max(newest).unwrap_or(0)).unwrap_or(0)
}

fn read_message(info: &wa::WebMessageInfo, chat_id: &str, own: &str) -> Option<StoredMessage> {
    let key = info.key.as_option()?;
    let message = info.message.as_option()?.get_base_message();
    if message.protocol_message.is_set() {
        return None;
    }
    let from_me = key.from_me.unwrap_or(false);
    let sender = match (from_me, key.participant.as_ref().or(info.participant.as_ref())) {
        (true, _) => own.to_owned(),
        (false, Some(participant)) => bare(participant),
        (false, None) => chat_id.to_owned(),
    };
    let content = read_content(message, chat_id, own, &sender)?;
    let key = MessageKey { chat_id: chat_id.to_owned(), sender, message_id: key.id.clone()? };
    let timestamp = Timestamp::from_unix_s(i64::try_from(info.message_timestamp.unwrap_or(0)).unwrap_or(0));
    let direction = if from_me { Direction::Out } else { Direction::In };
    let mut stored = StoredMessage::new(key, direction, timestamp, content);
    if from_me {
        stored.status = MessageStatus::Sent;
    } else {
        stored.sender_name = info.push_name.clone().filter(|name| !name.is_empty());
    }
    stored.from_history = true;
    Some(stored)
}
