//! The phone reads what companions send it, and answers with receipts.

use std::sync::Arc;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::buffa::Message;
use waproto::whatsapp as wa;

use super::{ReceivedMessage, text_of};
use crate::account::DeviceKey;
use crate::clock;
use crate::node::{NodeExt, bytes};
use crate::prekeys::keys_node;
use crate::queue::Class;
use crate::state::State;

/// After this many the phone gives up.
const MOST_RETRIES: u32 = 5;

/// A message for a phone, still encrypted.
pub(crate) struct Incoming {
    pub(crate) sender: DeviceKey,
    pub(crate) sender_jid: Jid,
    /// As the sender addressed it: own account, group, or (for own devices) the other side.
    pub(crate) chat: Jid,
    pub(crate) id: String,
    pub(crate) timestamp: u64,
    pub(crate) enc: Vec<Node>,
}

impl State {
    pub(crate) fn phone_receives(&mut self, account: &str, incoming: Incoming) {
        match self.phone_decrypts(account, &incoming) {
            Ok(messages) => {
                for message in messages {
                    self.phone_takes(account, &incoming, message);
                }
            }
            Err(reason) => {
                tracing::debug!(account, id = incoming.id, reason, "the phone cannot read a message");
                self.phone_asks_again(account, &incoming);
            }
        }
        self.dirty = true;
        self.ring(account);
    }

    fn phone_decrypts(&mut self, account: &str, incoming: &Incoming) -> Result<Vec<wa::Message>, String> {
        let phone = self.accounts.get_mut(account).ok_or_else(|| "no such phone".to_owned())?;
        let group = incoming.chat.to_non_ad_string();
        let mut messages = Vec::new();
        for enc in &incoming.enc {
            let kind = enc.text_attr("type").unwrap_or_default();
            let data = enc.data().unwrap_or_default();
            let plain = if kind == "skmsg" {
                phone.signal.group_decrypt(&group, &incoming.sender, &data)
            } else {
                phone.signal.decrypt(&incoming.sender, &kind, &data)
            }
            .map_err(|error| error.to_string())?;
            let message = unpad(&plain)
                .and_then(|plain| wa::Message::decode_from_slice(plain).ok())
                .ok_or("the plaintext is no padded Message")?;
            let share = message
                .sender_key_distribution_message
                .as_option()
                .and_then(|share| share.axolotl_sender_key_distribution_message.as_deref());
            if let Some(share) = share {
                phone
                    .signal
                    .learn_sender_key(&group, &incoming.sender, share)
                    .map_err(|error| error.to_string())?;
            }
            messages.push(message);
        }
        Ok(messages)
    }

    fn phone_takes(&mut self, account: &str, incoming: &Incoming, message: wa::Message) {
        let Some(phone) = self.accounts.get_mut(account) else {
            return;
        };
        phone.retries_asked.remove(&incoming.id);
        let own = incoming.sender.account == account;
        let (message, device_sent, destination) = match message.device_sent_message.as_option() {
            Some(sent) if own => {
                (sent.message.as_option().cloned().unwrap_or_default(), true, sent.destination_jid.clone())
            }
            _ => (message, false, None),
        };
        if own && self.phone_serves(account, &incoming.sender, &message) {
            return;
        }
        if is_only_a_key_share(&message) {
            return;
        }
        let Some(phone) = self.accounts.get_mut(account) else {
            return;
        };
        let is_group = incoming.chat.server == Server::Group;
        let chat = if is_group {
            incoming.chat.to_non_ad_string()
        } else if own {
            destination.unwrap_or_else(|| incoming.chat.to_non_ad_string())
        } else {
            incoming.sender_jid.to_non_ad_string()
        };
        let received = ReceivedMessage {
            id: incoming.id.clone(),
            from: incoming.sender_jid.to_string(),
            participant: is_group.then(|| incoming.sender_jid.to_non_ad_string()),
            text: text_of(&message),
            chat,
            message,
            timestamp: incoming.timestamp,
            device_sent: device_sent || own,
        };
        // A person sees a message once, however often it comes.
        let fresh = phone.seen.insert((received.chat.clone(), received.id.clone()));
        let receipts = phone.delivery_receipts;
        let text = received.text.clone();
        if fresh {
            phone.received.push(Arc::new(received));
        }
        if own {
            return;
        }
        if let Some(entry) = self.ledger.known_by(&incoming.sender.pn_jid().to_string(), &incoming.id) {
            entry.decrypted_by_recipients += 1;
        }
        if receipts {
            self.phone_sends_receipt(account, incoming, "");
        }
        if self.echo
            && fresh
            && !is_group
            && let Some(text) = text
        {
            let to = incoming.sender_jid.to_non_ad();
            if let Err(error) = self.phone_sends(account, &to, super::text_message(&text), Default::default())
            {
                tracing::warn!(%error, "cannot echo");
            }
        }
    }

    fn phone_sends_receipt(&mut self, account: &str, incoming: &Incoming, kind: &str) {
        let Some(phone) = self.accounts.get(account) else {
            return;
        };
        let own = phone.jid_like(incoming.sender_jid.server, 0);
        let ids = [incoming.id.clone()];
        let author = incoming.sender.account.clone();
        if incoming.chat.server == Server::Group {
            let group = incoming.chat.to_non_ad();
            self.receipt_to_account(&author, &group, Some(&own), &ids, kind);
        } else {
            self.receipt_to_account(&author, &own, None, &ids, kind);
        }
    }

    /// The phone cannot read a message: it asks the sending device to encrypt it anew.
    fn phone_asks_again(&mut self, account: &str, incoming: &Incoming) {
        let Some(phone) = self.accounts.get_mut(account) else {
            return;
        };
        let count = phone.retries_asked.entry(incoming.id.clone()).or_default();
        *count += 1;
        let count = *count;
        if count > MOST_RETRIES {
            return;
        }
        let keys = keys_node(&phone.signal.bundle());
        let own = phone.jid_like(incoming.sender_jid.server, 0);
        let registration = phone.signal.registration_id.to_be_bytes();
        let mut receipt = NodeBuilder::new("receipt")
            .attr("id", incoming.id.as_str())
            .attr("type", "retry")
            .attr("t", clock::now());
        receipt = if incoming.chat.server == Server::Group {
            receipt.attr("from", incoming.chat.to_non_ad()).attr("participant", own)
        } else if incoming.sender.account == account {
            receipt.attr("from", own).attr("recipient", incoming.chat.to_non_ad())
        } else {
            receipt.attr("from", own)
        };
        let receipt = receipt
            .children([
                NodeBuilder::new("retry")
                    .attr("count", count)
                    .attr("id", incoming.id.as_str())
                    .attr("t", incoming.timestamp)
                    .attr("v", 1)
                    .build(),
                bytes("registration", registration),
                keys,
            ])
            .build();
        let sender = incoming.sender.clone();
        if let Some(entry) = self.ledger.known_by(&sender.pn_jid().to_string(), &incoming.id) {
            entry.retries += 1;
        }
        self.deliver(&sender, Class::Receipt, &incoming.id, receipt);
    }

    /// Requests of an own companion to its phone. True if it was one.
    fn phone_serves(&mut self, account: &str, companion: &DeviceKey, message: &wa::Message) -> bool {
        let Some(protocol) = message.protocol_message.as_option() else {
            return false;
        };
        if protocol.app_state_sync_key_request.is_set() {
            self.share_keys(account, companion);
            return true;
        }
        protocol.peer_data_operation_request_message.is_set() || protocol.app_state_sync_key_share.is_set()
    }
}

/// A pkmsg that only brings a sender key is nothing to show.
fn is_only_a_key_share(message: &wa::Message) -> bool {
    if !message.sender_key_distribution_message.is_set() {
        return false;
    }
    let mut rest = message.clone();
    rest.sender_key_distribution_message = Default::default();
    rest.message_context_info = Default::default();
    rest.encode_to_vec().is_empty()
}

/// Takes off n bytes of value n.
pub(crate) fn unpad(plain: &[u8]) -> Option<&[u8]> {
    let last = *plain.last()?;
    let length = plain.len().checked_sub(usize::from(last))?;
    let (plain, padding) = plain.split_at(length);
    (last > 0 && padding.iter().all(|byte| *byte == last)).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_checked() {
        assert_eq!(unpad(&[9, 9, 2, 2]), Some(&[9, 9][..]));
        assert_eq!(unpad(&[9, 3, 2]), None);
        assert_eq!(unpad(&[4]), None);
        assert_eq!(unpad(&[0]), None);
        assert_eq!(unpad(&[]), None);
    }
}
