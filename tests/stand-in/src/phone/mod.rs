//! Simulated phones: handles, and what they have received.

pub(crate) mod account;
pub(crate) mod device;
mod options;
pub(crate) mod receive;
mod received;
pub(crate) mod send;
pub(crate) mod signal;

use std::sync::Arc;
use std::time::Duration;

pub use device::LinkedDevice;
pub use options::{PhoneOptions, SendOptions};
pub use received::{ReceiptKind, ReceivedMessage, ReceivedReceipt};
use wacore_binary::{Jid, Server};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use crate::account::{Account, DeviceKey};
use crate::clock;
use crate::error::StandInError;
use crate::node::leaf;
use crate::state::Inner;

/// A simulated phone: the primary device of an account. Cheap to clone.
#[derive(Clone)]
pub struct Phone {
    pub(crate) inner: Arc<Inner>,
    pub(crate) number: String,
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Phone").field(&self.number).finish()
    }
}

impl Phone {
    /// Digits only.
    pub fn phone_number(&self) -> String {
        self.number.clone()
    }

    /// `…@s.whatsapp.net`
    pub fn jid(&self) -> String {
        Jid::pn(self.number.as_str()).to_string()
    }

    /// `…@lid`
    pub fn lid(&self) -> String {
        self.look(|account| account.lid_jid().to_string())
    }

    /// The name contacts see.
    pub fn push_name(&self) -> String {
        self.look(|account| account.push_name.clone())
    }

    /// Scans the QR code that a client shows: the client becomes a companion of this phone.
    /// Returns as soon as the phone has agreed; see [`LinkedDevice::wait_connected`].
    pub fn scan_qr(&self, qr: &str) -> Result<LinkedDevice, StandInError> {
        self.inner.lock().scan_qr(&self.number, qr)
    }

    /// Types the code that a client shows. Takes some 100 ms of computing, as on a phone.
    pub fn enter_pair_code(&self, code: &str) -> Result<LinkedDevice, StandInError> {
        crate::pair_code::enter(&self.inner, &self.number, code)
    }

    /// Sends a text to a number, number JID, LID or group JID. The JID's kind is how the other
    /// side sees the chat addressed. Returns the message id.
    pub async fn send_text(&self, to: &str, text: &str) -> Result<String, StandInError> {
        self.send(to, text_message(text), SendOptions::default()).await
    }

    /// Sends any message.
    pub async fn send(
        &self,
        to: &str,
        message: wa::Message,
        options: SendOptions,
    ) -> Result<String, StandInError> {
        let to = parse_chat(to)?;
        self.inner.lock().phone_sends(&self.number, &to, message, options)
    }

    /// Reacts to a message that this phone received (or sent, if it is not among those); an empty
    /// emoji takes the reaction back.
    pub async fn send_reaction(
        &self,
        chat: &str,
        message_id: &str,
        emoji: &str,
    ) -> Result<String, StandInError> {
        let key = self.key_of(chat, message_id)?;
        let message = wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: MessageField::some(key),
                text: Some(emoji.to_owned()),
                sender_timestamp_ms: Some(clock::now_ms()),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.send(chat, message, SendOptions::default()).await
    }

    /// Answers a message that this phone received or sent, quoting it.
    pub async fn send_reply(&self, chat: &str, message_id: &str, text: &str) -> Result<String, StandInError> {
        let key = self.key_of(chat, message_id)?;
        let quoted = self.find_message(message_id);
        let author = key
            .participant
            .clone()
            .or_else(|| if key.from_me == Some(true) { Some(self.jid()) } else { key.remote_jid.clone() });
        let message = wa::Message {
            extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
                text: Some(text.to_owned()),
                context_info: MessageField::some(wa::ContextInfo {
                    stanza_id: Some(message_id.to_owned()),
                    participant: author,
                    quoted_message: quoted.map_or_else(MessageField::default, MessageField::some),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.send(chat, message, SendOptions::default()).await
    }

    /// Changes the text of a message that this phone sent.
    pub async fn send_edit(&self, chat: &str, message_id: &str, text: &str) -> Result<String, StandInError> {
        let message = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: MessageField::some(self.key_of(chat, message_id)?),
                r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
                edited_message: MessageField::some(text_message(text)),
                timestamp_ms: Some(clock::now_ms()),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.send(chat, message, SendOptions::default()).await
    }

    /// Deletes a message that this phone sent, for everybody.
    pub async fn send_revoke(&self, chat: &str, message_id: &str) -> Result<String, StandInError> {
        let message = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: MessageField::some(self.key_of(chat, message_id)?),
                r#type: Some(wa::message::protocol_message::Type::REVOKE),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.send(chat, message, SendOptions::default()).await
    }

    /// Marks messages of a chat as read: the sender and the own companions hear of it.
    pub fn mark_read(&self, chat: &str, message_ids: &[String]) {
        if let Ok(chat) = parse_chat(chat) {
            self.inner.lock().phone_reads(&self.number, &chat, message_ids);
        }
    }

    /// Shows or ends "typing…" in a chat.
    pub fn set_typing(&self, chat: &str, typing: bool) {
        if let Ok(chat) = parse_chat(chat) {
            let state = leaf(if typing { "composing" } else { "paused" });
            self.inner.lock().chat_state(&self.key(), &chat, vec![state]);
        }
    }

    /// Online or not, for those who asked.
    pub fn set_presence(&self, available: bool) {
        let mut state = self.inner.lock();
        if let Some(account) = state.accounts.get_mut(&self.number) {
            account.phone_available = available;
        }
        state.presence_changed(&self.number);
    }

    /// What this phone has read so far, in order.
    pub fn received(&self) -> Vec<ReceivedMessage> {
        self.look(|account| account.received.iter().map(|message| (**message).clone()).collect())
    }

    /// Waits for a message, looking also at those that are there already.
    pub async fn wait_for_message(
        &self,
        limit: Duration,
        wanted: impl Fn(&ReceivedMessage) -> bool,
    ) -> Result<ReceivedMessage, StandInError> {
        let number = self.number.clone();
        let mut looked_at = 0;
        self.inner
            .wait_for(self.changed(), limit, "a message", move |state| {
                let account = state.account(&number)?;
                let found = account.received[looked_at.min(account.received.len())..]
                    .iter()
                    .find(|message| wanted(message));
                looked_at = account.received.len();
                found.map(|message| (**message).clone())
            })
            .await
    }

    /// Waits until this many messages are there.
    pub async fn wait_for_count(&self, limit: Duration, count: usize) -> Result<(), StandInError> {
        let number = self.number.clone();
        self.inner
            .wait_for(self.changed(), limit, "messages", move |state| {
                (state.account(&number)?.received.len() >= count).then_some(())
            })
            .await
    }

    /// The receipts for what this account sent, in order.
    pub fn receipts(&self) -> Vec<ReceivedReceipt> {
        self.look(|account| account.receipts.clone())
    }

    /// Waits for a receipt, looking also at those that are there already.
    pub async fn wait_for_receipt(
        &self,
        limit: Duration,
        wanted: impl Fn(&ReceivedReceipt) -> bool,
    ) -> Result<ReceivedReceipt, StandInError> {
        let number = self.number.clone();
        self.inner
            .wait_for(self.changed(), limit, "a receipt", move |state| {
                let account = state.account(&number)?;
                account.receipts.iter().find(|receipt| wanted(receipt)).cloned()
            })
            .await
    }

    /// Removes a companion, as in "linked devices" on the phone. False if it was not linked.
    pub fn unlink(&self, device: &LinkedDevice) -> bool {
        device.phone_number == self.number && self.inner.lock().unlink(&device.key())
    }

    /// The companions.
    pub fn devices(&self) -> Vec<LinkedDevice> {
        let server = Arc::downgrade(&self.inner);
        self.look(|account| {
            account.companions.keys().map(|device| LinkedDevice::new(&server, account, *device)).collect()
        })
    }

    /// Sends the app-state keys to all companions again.
    pub fn share_app_state_keys(&self) {
        let mut state = self.inner.lock();
        for companion in state.companions_of(&self.number) {
            state.share_keys(&self.number, &companion);
        }
    }

    fn key(&self) -> DeviceKey {
        DeviceKey { account: self.number.clone(), device: 0 }
    }

    fn changed(&self) -> Arc<tokio::sync::Notify> {
        self.look(|account| account.changed.clone())
    }

    fn look<T: Default>(&self, look: impl FnOnce(&Account) -> T) -> T {
        self.inner.lock().account(&self.number).map(look).unwrap_or_default()
    }

    fn find_message(&self, id: &str) -> Option<wa::Message> {
        let state = self.inner.lock();
        let account = state.account(&self.number)?;
        account
            .received
            .iter()
            .find(|message| message.id == id)
            .map(|message| message.message.clone())
            .or_else(|| account.sent.get(id).map(|sent| sent.message.clone()))
    }

    fn key_of(&self, chat: &str, id: &str) -> Result<wa::MessageKey, StandInError> {
        let chat = parse_chat(chat)?;
        let state = self.inner.lock();
        let unknown = || StandInError::UnknownMessage(id.to_owned());
        let account = state.account(&self.number).ok_or_else(unknown)?;
        let received = account.received.iter().find(|message| message.id == id);
        if received.is_none() && !account.sent.contains_key(id) {
            return Err(unknown());
        }
        Ok(wa::MessageKey {
            remote_jid: Some(chat.to_string()),
            from_me: Some(received.is_none_or(|message| message.device_sent)),
            id: Some(id.to_owned()),
            participant: received
                .filter(|_| chat.server == Server::Group)
                .and_then(|message| message.participant.clone()),
        })
    }
}

/// A number, or any JID.
pub(crate) fn parse_chat(text: &str) -> Result<Jid, StandInError> {
    let digits = text.trim_start_matches('+');
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Jid::pn(digits));
    }
    text.parse().map_err(|_| StandInError::UnknownRecipient(text.to_owned()))
}

/// A plain text message.
pub(crate) fn text_message(text: &str) -> wa::Message {
    wa::Message { conversation: Some(text.to_owned()), ..Default::default() }
}

/// The text of a message, in whichever of the usual places it is.
pub(crate) fn text_of(message: &wa::Message) -> Option<String> {
    message
        .conversation
        .clone()
        .or_else(|| {
            let extended = message.extended_text_message.as_option()?;
            extended.text.clone()
        })
        .or_else(|| message.image_message.as_option()?.caption.clone())
        .or_else(|| message.video_message.as_option()?.caption.clone())
        .or_else(|| {
            let inner = message.ephemeral_message.as_option()?;
            text_of(inner.message.as_option()?)
        })
}
