//! The phone writes: to the other side's devices and to its own companions.

use rand::RngExt;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;

use super::{ReceiptKind, ReceivedMessage, ReceivedReceipt, SendOptions, text_of};
use crate::account::{DeviceKey, SentMessage};
use crate::clock;
use crate::crypto;
use crate::error::StandInError;
use crate::message::Route;
use crate::node::NodeExt;
use crate::prekeys::read_bundle;
use crate::state::State;

impl State {
    /// Sends a message of the phone's user to a chat.
    pub(crate) fn phone_sends(
        &mut self,
        account: &str,
        to: &Jid,
        message: wa::Message,
        options: SendOptions,
    ) -> Result<String, StandInError> {
        let id = options.message_id.unwrap_or_else(new_message_id);
        let timestamp = options.timestamp.unwrap_or_else(clock::now);
        let to = to.to_non_ad();
        if to.server != Server::Group && self.account_of(&to).is_none() {
            return Err(StandInError::UnknownRecipient(to.to_string()));
        }
        let phone = self
            .accounts
            .get_mut(account)
            .ok_or_else(|| StandInError::UnknownRecipient(account.to_owned()))?;
        let sent = SentMessage { chat: to.clone(), message: message.clone(), timestamp, peer: false };
        phone.sent.insert(id.clone(), sent);
        let sender = phone.key(0);
        let stanza = outgoing_stanza(&message);
        let route = Route { sender: &sender, stanza: &stanza, id: &id, chat: &to, timestamp };
        if to.server == Server::Group {
            self.phone_sends_to_group(&route, &message)?;
        } else {
            let peer = self.account_of(&to).map(|account| account.phone_number.clone()).unwrap_or_default();
            self.meet(account, &peer);
            self.phone_sends_direct(&route, &message, &peer)?;
        }
        self.dirty = true;
        Ok(id)
    }

    fn phone_sends_direct(
        &mut self,
        route: &Route<'_>,
        message: &wa::Message,
        peer: &str,
    ) -> Result<(), StandInError> {
        let account = &route.sender.account;
        let is_own_chat = peer == account;
        if !is_own_chat {
            self.other_phone_takes(route, message, peer);
            for target in self.companions_of(peer) {
                self.phone_sends_to(route, &target, message)?;
            }
        }
        let copy = device_sent(route.chat, message);
        for target in self.companions_of(account) {
            self.phone_sends_to(route, &target, &copy)?;
        }
        Ok(())
    }

    /// Between two phones of this process nothing is encrypted: no client sees it.
    pub(crate) fn other_phone_takes(&mut self, route: &Route<'_>, message: &wa::Message, peer: &str) {
        let Some(sender) = self.accounts.get(&route.sender.account) else {
            return;
        };
        let is_group = route.chat.server == Server::Group;
        let from = sender.jid_like(route.chat.server, 0);
        let Some(phone) = self.accounts.get_mut(peer) else {
            return;
        };
        let chat = if is_group { route.chat.to_string() } else { from.to_string() };
        if !phone.seen.insert((chat.clone(), route.id.to_owned())) {
            return;
        }
        phone.received.push(std::sync::Arc::new(ReceivedMessage {
            id: route.id.to_owned(),
            from: from.to_string(),
            chat,
            participant: is_group.then(|| from.to_string()),
            text: text_of(message),
            message: message.clone(),
            timestamp: route.timestamp,
            device_sent: false,
        }));
        let reader = phone.pn_jid();
        phone.changed.notify_waiters();
        if let Some(sender) = self.accounts.get_mut(&route.sender.account) {
            sender.receipts.push(ReceivedReceipt {
                message_ids: vec![route.id.to_owned()],
                from: reader.to_string(),
                chat: if is_group { route.chat.to_string() } else { reader.to_string() },
                kind: ReceiptKind::Delivery,
                timestamp: clock::now(),
            });
            sender.changed.notify_waiters();
        }
    }

    pub(crate) fn companions_of(&self, account: &str) -> Vec<DeviceKey> {
        self.accounts
            .get(account)
            .map(|account| account.companions.keys().map(|device| account.key(*device)).collect())
            .unwrap_or_default()
    }

    fn phone_sends_to(
        &mut self,
        route: &Route<'_>,
        target: &DeviceKey,
        message: &wa::Message,
    ) -> Result<(), StandInError> {
        let enc = self.phone_encrypts(&route.sender.account, target, message, None)?;
        let mut node = self.inbound(route, route.chat.server, target, vec![enc]);
        if target.account == route.sender.account {
            node.attrs.insert("recipient", route.chat.clone());
        }
        self.queue_message(route, target, node);
        Ok(())
    }

    /// `<enc>` of the phone for one companion; a session is set up if there is none.
    pub(crate) fn phone_encrypts(
        &mut self,
        account: &str,
        target: &DeviceKey,
        message: &wa::Message,
        count: Option<u64>,
    ) -> Result<Node, StandInError> {
        let failed = |reason: String| StandInError::Encrypt { device: target.pn_jid().to_string(), reason };
        let has_session = self.accounts.get(account).is_some_and(|phone| phone.signal.has_session(target));
        let bundle = if has_session {
            None
        } else {
            Some(self.take_bundle(target).ok_or_else(|| failed("it has no keys here".to_owned()))?)
        };
        let phone = self.accounts.get_mut(account).ok_or_else(|| failed("the phone is gone".to_owned()))?;
        if let Some(bundle) = bundle {
            phone.signal.start_session(target, &bundle).map_err(|error| failed(error.to_string()))?;
        }
        let encrypted =
            phone.signal.encrypt(target, &pad(message)).map_err(|error| failed(error.to_string()))?;
        let mut enc = NodeBuilder::new("enc").attr("v", "2").attr("type", encrypted.kind);
        if let Some(media) = media_type(message) {
            enc = enc.attr("mediatype", media);
        }
        if let Some(count) = count {
            enc = enc.attr("count", count);
        }
        Ok(enc.bytes(encrypted.bytes).build())
    }

    /// A companion could not read a message of the phone.
    pub(crate) fn phone_resends(&mut self, account: &str, requester: &DeviceKey, receipt: &Node, id: &str) {
        let Some(phone) = self.accounts.get_mut(account) else {
            return;
        };
        phone.receipts.push(ReceivedReceipt {
            message_ids: vec![id.to_owned()],
            from: requester.pn_jid().to_string(),
            chat: requester.pn_jid().to_non_ad_string(),
            kind: ReceiptKind::Retry,
            timestamp: clock::now(),
        });
        let Some(sent) = phone.sent.get(id).cloned() else {
            tracing::info!(account, id, "a retry for a message the phone does not know");
            return;
        };
        // The session is broken: build a new one, from the keys in the receipt or the server's.
        phone.signal.forget_session(requester);
        let registration = receipt
            .child_data("registration")
            .and_then(|id| <[u8; 4]>::try_from(id).ok())
            .map_or(0, u32::from_be_bytes);
        if let Some(bundle) = receipt.child("keys").and_then(|keys| read_bundle(keys, registration)) {
            if self.companion(requester).is_none_or(|companion| companion.identity != bundle.identity) {
                tracing::warn!(%requester, "a retry receipt with another identity");
                return;
            }
            if let Some(phone) = self.accounts.get_mut(account)
                && let Err(error) = phone.signal.start_session(requester, &bundle)
            {
                tracing::warn!(%requester, %error, "the keys of a retry receipt are unusable");
                return;
            }
        }
        if let Err(error) = self.resend(account, requester, receipt, id, &sent) {
            tracing::warn!(%error, "cannot answer a retry");
        }
    }

    fn resend(
        &mut self,
        account: &str,
        requester: &DeviceKey,
        receipt: &Node,
        id: &str,
        sent: &SentMessage,
    ) -> Result<(), StandInError> {
        let count = receipt.child("retry").and_then(|retry| retry.number_attr("count")).unwrap_or(1);
        let is_group = sent.chat.server == Server::Group;
        let own = requester.account == account;
        let mut message = sent.message.clone();
        if is_group {
            // The group's sender key goes along: its loss is the usual reason for a retry.
            self.attach_sender_key(account, &sent.chat, &mut message)?;
        } else if own && !sent.peer {
            message = device_sent(&sent.chat, &message);
        }
        let enc = self.phone_encrypts(account, requester, &message, Some(count))?;
        let sender = DeviceKey { account: account.to_owned(), device: 0 };
        let mut stanza = outgoing_stanza(&sent.message);
        if sent.peer {
            stanza.attrs.insert("category", "peer");
        }
        let route =
            Route { sender: &sender, stanza: &stanza, id, chat: &sent.chat, timestamp: sent.timestamp };
        let node = if is_group {
            self.inbound_group(&route, &sent.chat, vec![enc])
        } else {
            let mut node = self.inbound(&route, sent.chat.server, requester, vec![enc]);
            if own && !sent.peer {
                node.attrs.insert("recipient", sent.chat.clone());
            }
            node
        };
        self.queue_message(&route, requester, node);
        Ok(())
    }

    /// A message of the phone to one own companion: keys, history.
    pub(crate) fn phone_tells(
        &mut self,
        account: &str,
        companion: &DeviceKey,
        message: wa::Message,
    ) -> Result<String, StandInError> {
        let id = new_message_id();
        let timestamp = clock::now();
        let phone = self
            .accounts
            .get_mut(account)
            .ok_or_else(|| StandInError::UnknownRecipient(account.to_owned()))?;
        let chat = phone.pn_jid();
        phone.sent.insert(
            id.clone(),
            SentMessage { chat: chat.clone(), message: message.clone(), timestamp, peer: true },
        );
        let enc = self.phone_encrypts(account, companion, &message, None)?;
        let sender = DeviceKey { account: account.to_owned(), device: 0 };
        let stanza = NodeBuilder::new("message").attr("type", "text").attr("category", "peer").build();
        let route = Route { sender: &sender, stanza: &stanza, id: &id, chat: &chat, timestamp };
        let node = self.inbound(&route, Server::Pn, companion, vec![enc]);
        self.queue_message(&route, companion, node);
        Ok(id)
    }
}

/// `DeviceSentMessage` for the sender's own companions.
pub(crate) fn device_sent(chat: &Jid, message: &wa::Message) -> wa::Message {
    wa::Message {
        device_sent_message: MessageField::some(wa::message::DeviceSentMessage {
            destination_jid: Some(chat.to_string()),
            message: MessageField::some(message.clone()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The attributes that go with a message of the phone.
fn outgoing_stanza(message: &wa::Message) -> Node {
    use wa::message::protocol_message::Type;
    let kind = if message.reaction_message.is_set() {
        "reaction"
    } else if media_type(message).is_some() {
        "media"
    } else if message.poll_creation_message.is_set() || message.poll_creation_message_v3.is_set() {
        "poll"
    } else {
        "text"
    };
    let mut node = NodeBuilder::new("message").attr("type", kind);
    if let Some(protocol) = message.protocol_message.as_option() {
        match protocol.r#type {
            Some(Type::MESSAGE_EDIT) => node = node.attr("edit", "1"),
            Some(Type::REVOKE) => node = node.attr("edit", "7"),
            _ => {}
        }
    }
    node.build()
}

fn media_type(message: &wa::Message) -> Option<&'static str> {
    if message.image_message.is_set() {
        Some("image")
    } else if message.video_message.is_set() {
        Some("video")
    } else if message.audio_message.is_set() {
        Some("audio")
    } else if message.document_message.is_set() {
        Some("document")
    } else if message.sticker_message.is_set() {
        Some("sticker")
    } else {
        None
    }
}

/// The protobuf and n bytes of value n, 1 to 16.
pub(crate) fn pad(message: &wa::Message) -> Vec<u8> {
    let mut plain = message.encode_to_vec();
    let padding: u8 = crypto::rng().random_range(1..=16);
    plain.resize(plain.len() + usize::from(padding), padding);
    plain
}

/// As phones make them: 32 hexadecimal digits.
pub(crate) fn new_message_id() -> String {
    crypto::random::<16>().iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phone::{receive::unpad, text_message};

    #[test]
    fn padding_comes_off_again() {
        let message = text_message("hola");
        let padded = pad(&message);
        assert_eq!(unpad(&padded).expect("padded"), message.encode_to_vec());
    }
}
