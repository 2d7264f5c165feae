//! Simulated phones: handles, and what they have received.

pub(crate) mod device;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod signal;

use std::sync::Arc;
use std::time::Duration;

pub use device::LinkedDevice;
use serde::{Deserialize, Serialize};
use wacore_binary::{Jid, Server};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use crate::account::{Account, DeviceKey};
use crate::clock;
use crate::error::StandInError;
use crate::history::HistoryChat;
use crate::node::leaf;
use crate::state::{Inner, State};

/// How a phone is to be. All but the defaults are optional.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PhoneOptions {
    /// The name contacts see; one is made up if empty.
    pub push_name: String,
    /// Digits only; a free one is chosen if none is given.
    pub phone_number: Option<String>,
    /// Companions address one-to-one chats by LID.
    pub is_lid_migrated: bool,
    /// What a companion gets as history when it is linked.
    pub history: Vec<HistoryChat>,
    /// The phone's system, as told in `pair-success`.
    pub platform: String,
    /// Makes it a business account with this name.
    pub business_name: Option<String>,
    /// Sends delivery receipts for what it reads. On by default.
    pub delivery_receipts: bool,
}

impl Default for PhoneOptions {
    fn default() -> Self {
        Self {
            push_name: String::new(),
            phone_number: None,
            is_lid_migrated: false,
            history: Vec::new(),
            platform: "android".to_owned(),
            business_name: None,
            delivery_receipts: true,
        }
    }
}

/// How a message is to be sent.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// The id; one is made if none is given.
    pub message_id: Option<String>,
    /// Seconds since 1970; now if none is given.
    pub timestamp: Option<u64>,
}

/// A message that a phone has read.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    /// Its id.
    pub id: String,
    /// The device that sent it.
    pub from: String,
    /// The chat, as this phone would answer it.
    pub chat: String,
    /// The sender in a group.
    pub participant: Option<String>,
    /// The text, if it has one.
    pub text: Option<String>,
    /// All of it.
    pub message: wa::Message,
    /// The server's time, seconds since 1970.
    pub timestamp: u64,
    /// An own companion sent it: this is the phone's copy.
    pub device_sent: bool,
}

/// Kinds of receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReceiptKind {
    /// It arrived.
    Delivery,
    /// It was read.
    Read,
    /// It was played.
    Played,
    /// An own device sent it.
    Sender,
    /// It could not be decrypted.
    Retry,
    /// It arrived at a device that is not in use.
    Inactive,
    /// Any other.
    Other,
}

impl ReceiptKind {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "" | "delivery" => Self::Delivery,
            "read" => Self::Read,
            "played" => Self::Played,
            "sender" => Self::Sender,
            "retry" => Self::Retry,
            "inactive" => Self::Inactive,
            _ => Self::Other,
        }
    }
}

/// A receipt for something a phone's account sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceivedReceipt {
    /// The messages it is for.
    pub message_ids: Vec<String>,
    /// The device that sent it.
    pub from: String,
    /// The chat.
    pub chat: String,
    /// What it says.
    pub kind: ReceiptKind,
    /// Seconds since 1970.
    pub timestamp: u64,
}

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

impl State {
    fn phone_reads(&mut self, account: &str, chat: &Jid, ids: &[String]) {
        let Some(reader) = self.accounts.get(account) else {
            return;
        };
        let is_group = chat.server == Server::Group;
        let own_companions = self.companions_of(account);
        let mut by_author: Vec<(String, Vec<String>)> = Vec::new();
        for id in ids {
            let author = reader
                .received
                .iter()
                .find(|message| message.id == *id)
                .map(|message| message.from.clone())
                .unwrap_or_else(|| chat.to_string());
            match by_author.iter_mut().find(|(known, _)| *known == author) {
                Some((_, ids)) => ids.push(id.clone()),
                None => by_author.push((author, vec![id.clone()])),
            }
        }
        for (author_jid, ids) in by_author {
            let Ok(author_jid) = author_jid.parse::<Jid>() else {
                continue;
            };
            let Some(reader) = self.accounts.get(account) else {
                return;
            };
            let own = reader.jid_like(author_jid.server, 0);
            if let Some(author) = self.key_of(&author_jid).filter(|author| author.account != account) {
                if is_group {
                    self.receipt_to_account(&author.account, chat, Some(&own), &ids, "read");
                } else {
                    self.receipt_to_account(&author.account, &own, None, &ids, "read");
                }
            }
            let author_user = author_jid.to_non_ad();
            for companion in &own_companions {
                self.receipt_to_companion(
                    companion,
                    chat,
                    is_group.then_some(&author_user),
                    &ids,
                    "read-self",
                );
            }
        }
    }

    /// A new account with its phone.
    pub(crate) fn add_account(&mut self, options: PhoneOptions) -> Result<String, StandInError> {
        let number = match options.phone_number {
            Some(number) => {
                let number = number.trim_start_matches('+').to_owned();
                if !(7..=15).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(StandInError::BadPhoneNumber(number));
                }
                if self.accounts.contains_key(&number) {
                    return Err(StandInError::PhoneExists(number));
                }
                number
            }
            None => loop {
                self.next_account += 1;
                let number = format!("54911{:08}", 50_000_000 + self.next_account);
                if !self.accounts.contains_key(&number) {
                    break number;
                }
            },
        };
        let lid = loop {
            let lid = format!(
                "{}",
                100_000_000_000_000_u64 + u64::from(u32::from_be_bytes(crate::crypto::random()))
            );
            if !self.lids.contains_key(&lid) {
                break lid;
            }
        };
        let push_name =
            if options.push_name.is_empty() { format!("Phone {number}") } else { options.push_name };
        let account = Account {
            phone_number: number.clone(),
            lid: lid.clone(),
            app_state: crate::app_state::AppState::new(&push_name),
            push_name,
            platform: options.platform,
            business_name: options.business_name,
            is_lid_migrated: options.is_lid_migrated,
            about: "Hey there!".to_owned(),
            history: options.history,
            signal: signal::PhoneSignal::generate(),
            raw_id: u32::from_be_bytes(crate::crypto::random()) >> 1,
            next_device: 1,
            companions: Default::default(),
            blocklist: Default::default(),
            privacy: Default::default(),
            contacts: Default::default(),
            watchers: Default::default(),
            phone_available: false,
            shown_available: false,
            sender_key_shared: Default::default(),
            received: Vec::new(),
            receipts: Vec::new(),
            sent: Default::default(),
            seen: Default::default(),
            retries_asked: Default::default(),
            delivery_receipts: options.delivery_receipts,
            changed: Default::default(),
        };
        self.lids.insert(lid, number.clone());
        self.accounts.insert(number.clone(), account);
        self.dirty = true;
        Ok(number)
    }

    /// The phone with this push name; a new one if there is none.
    pub(crate) fn account_with_name(&mut self, push_name: Option<&str>) -> Result<String, StandInError> {
        if let Some(name) = push_name.filter(|name| !name.is_empty()) {
            let known = self.accounts.values().find(|account| account.push_name == name);
            if let Some(known) = known {
                return Ok(known.phone_number.clone());
            }
        }
        self.add_account(PhoneOptions {
            push_name: push_name.unwrap_or_default().to_owned(),
            // Made only for its companion: "delivered" must mean that the companion has it.
            delivery_receipts: false,
            ..Default::default()
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
