//! History for a new companion: one peer message with everything in it, no media server needed.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;

use crate::account::{Account, DeviceKey};
use crate::clock;
use crate::phone::{parse_chat, text_message};
use crate::state::State;

/// A chat that a companion finds in its history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryChat {
    /// Number or JID.
    pub chat: String,
    /// The name shown.
    pub name: Option<String>,
    /// Old to new.
    pub messages: Vec<HistoryMessage>,
    /// How many are unread.
    pub unread: u32,
}

/// A message in the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryMessage {
    /// One is made up if empty.
    pub id: String,
    /// The phone's user sent it.
    pub from_me: bool,
    /// The sender in a group.
    pub participant: Option<String>,
    /// The text.
    pub text: String,
    /// Seconds since 1970; now if 0.
    pub timestamp: u64,
}

impl State {
    /// The app-state keys and the history, once the companion has uploaded its keys.
    pub(crate) fn welcome(&mut self, key: &DeviceKey) {
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        if !companion.needs_welcome || companion.pre_keys.is_empty() {
            return;
        }
        companion.needs_welcome = false;
        self.share_keys(&key.account, key);
        let Some(account) = self.accounts.get(&key.account) else {
            return;
        };
        let notice = notification(account);
        if let Err(error) = self.phone_tells(&key.account, key, notice) {
            tracing::warn!(%key, %error, "cannot send the history");
        }
    }
}

fn notification(account: &Account) -> wa::Message {
    let sync = history(account);
    let plain = sync.encode_to_vec();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed =
        zlib.write_all(&plain).and_then(|()| zlib.finish()).expect("writing into memory cannot fail");
    wa::Message {
        protocol_message: MessageField::some(wa::message::ProtocolMessage {
            r#type: Some(wa::message::protocol_message::Type::HISTORY_SYNC_NOTIFICATION),
            history_sync_notification: MessageField::some(wa::message::HistorySyncNotification {
                sync_type: Some(wa::message::HistorySyncType::INITIAL_BOOTSTRAP),
                chunk_order: Some(1),
                progress: Some(100),
                file_length: Some(plain.len() as u64),
                initial_hist_bootstrap_inline_payload: Some(packed),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn history(account: &Account) -> wa::HistorySync {
    wa::HistorySync {
        sync_type: wa::history_sync::HistorySyncType::INITIAL_BOOTSTRAP,
        conversations: account.history.iter().map(|chat| conversation(account, chat)).collect(),
        chunk_order: Some(1),
        progress: Some(100),
        pushnames: vec![wa::Pushname {
            id: Some(account.pn_jid().to_string()),
            pushname: Some(account.push_name.clone()),
        }],
        ..Default::default()
    }
}

fn conversation(account: &Account, chat: &HistoryChat) -> wa::Conversation {
    let jid = parse_chat(&chat.chat).map_or_else(|_| chat.chat.clone(), |jid| jid.to_string());
    let time = |message: &HistoryMessage| match message.timestamp {
        0 => clock::now(),
        given => given,
    };
    let messages = chat.messages.iter().enumerate().map(|(number, message)| {
        let id = if message.id.is_empty() {
            format!("HIST{}{number:04}", account.phone_number)
        } else {
            message.id.clone()
        };
        wa::HistorySyncMsg {
            message: MessageField::some(wa::WebMessageInfo {
                key: MessageField::some(wa::MessageKey {
                    remote_jid: Some(jid.clone()),
                    from_me: Some(message.from_me),
                    id: Some(id),
                    participant: message.participant.clone(),
                }),
                message: MessageField::some(text_message(&message.text)),
                message_timestamp: Some(time(message)),
                participant: message.participant.clone(),
                ..Default::default()
            }),
            msg_order_id: Some(number as u64 + 1),
        }
    });
    wa::Conversation {
        id: jid.clone(),
        // Newest first, as phones send it.
        messages: messages.rev().collect(),
        conversation_timestamp: chat.messages.last().map(time),
        last_msg_timestamp: chat.messages.last().map(time),
        unread_count: Some(chat.unread),
        name: chat.name.clone(),
        end_of_history_transfer: Some(true),
        ..Default::default()
    }
}
