//! Receipts of companions: they settle messages, and go on to the message's author.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::account::{ConnectionId, DeviceKey};
use crate::clock;
use crate::node::{NodeExt, server_jid};
use crate::phone::{ReceiptKind, ReceivedReceipt};
use crate::queue::Class;
use crate::state::State;

impl State {
    pub(crate) fn handle_receipt(&mut self, connection: ConnectionId, key: &DeviceKey, node: &Node) {
        let Some(id) = node.text_attr("id") else {
            return;
        };
        let kind = node.text_attr("type").unwrap_or_default();
        let to = node.jid_attr("to").unwrap_or_else(server_jid);
        let mut ack =
            NodeBuilder::new("ack").attr("class", "receipt").attr("id", id.as_str()).attr("from", to.clone());
        if !kind.is_empty() {
            ack = ack.attr("type", kind.as_str());
        }
        if let Some(participant) = node.jid_attr("participant") {
            ack = ack.attr("participant", participant);
        }
        self.send(connection, ack.build());

        let mut ids = vec![id.clone()];
        ids.extend(
            node.child("list")
                .map(NodeExt::kids)
                .unwrap_or_default()
                .iter()
                .filter_map(|item| item.text_attr("id")),
        );
        if kind == "retry" {
            return self.handle_retry(key, node, &id, &to);
        }
        self.note_receipts(key, &ids, &kind);
        if matches!(&*kind, "server-error" | "hist_sync" | "peer_msg" | "enc_rekey_retry") {
            return;
        }
        self.forward_receipt(key, node, &ids, &kind, &to);
    }

    fn note_receipts(&mut self, key: &DeviceKey, ids: &[String], kind: &str) {
        let device = key.pn_jid().to_string();
        let name = if kind.is_empty() { "delivery" } else { kind };
        for id in ids {
            if let Some(entry) = self.ledger.known_to(&device, id)
                && !entry.receipt_kinds.iter().any(|known| known == name)
            {
                entry.receipt_kinds.push(name.to_owned());
            }
            self.settle(key, Class::Message, id);
        }
    }

    /// The author's devices hear of it; a read also reaches the reader's other devices.
    fn forward_receipt(&mut self, key: &DeviceKey, node: &Node, ids: &[String], kind: &str, to: &Jid) {
        let is_group = matches!(to.server, Server::Group | Server::Broadcast);
        let author_jid =
            if is_group { node.jid_attr("participant").unwrap_or_else(|| to.clone()) } else { to.clone() };
        let Some(author) = self.key_of(&author_jid) else {
            return;
        };
        if author.account == key.account {
            // `sender` receipts: between own devices, nobody else's affair.
            if kind == "sender" {
                self.note_readable(&author.account, ids);
            }
            return;
        }
        let Some(reader) = self.accounts.get(&key.account) else {
            return;
        };
        let reader_jid = reader.jid_like(author_jid.server, key.device);
        let others: Vec<_> = reader
            .companions
            .keys()
            .filter(|device| **device != key.device)
            .map(|device| reader.key(*device))
            .collect();
        if matches!(kind, "" | "inactive" | "read" | "played") {
            self.note_readable(&author.account, ids);
        }
        let from = if is_group { to.clone() } else { reader_jid.clone() };
        let participant = is_group.then(|| reader_jid.clone());
        if kind != "read-self" {
            self.receipt_to_account(&author.account, &from, participant.as_ref(), ids, kind);
        }
        if matches!(kind, "read" | "read-self") {
            for other in others {
                self.receipt_to_companion(&other, to, is_group.then_some(&author_jid), ids, "read-self");
            }
        }
    }

    fn note_readable(&mut self, author: &str, ids: &[String]) {
        let devices: Vec<_> = self
            .accounts
            .get(author)
            .map(|account| {
                account.companions.keys().map(|device| account.key(*device).pn_jid().to_string()).collect()
            })
            .unwrap_or_default();
        for device in devices {
            for id in ids {
                if let Some(entry) = self.ledger.known_by(&device, id) {
                    entry.decrypted_by_recipients += 1;
                }
            }
        }
    }

    /// To the phone and all companions of the author.
    pub(crate) fn receipt_to_account(
        &mut self,
        account: &str,
        from: &Jid,
        participant: Option<&Jid>,
        ids: &[String],
        kind: &str,
    ) {
        let Some(author) = self.accounts.get_mut(account) else {
            return;
        };
        author.receipts.push(ReceivedReceipt {
            message_ids: ids.to_vec(),
            from: participant.unwrap_or(from).to_string(),
            chat: from.to_non_ad_string(),
            kind: ReceiptKind::of(kind),
            timestamp: clock::now(),
        });
        let devices: Vec<_> = author.companions.keys().map(|device| author.key(*device)).collect();
        for device in devices {
            self.receipt_to_companion(&device, from, participant, ids, kind);
        }
        self.ring(account);
    }

    pub(crate) fn receipt_to_companion(
        &mut self,
        target: &DeviceKey,
        from: &Jid,
        participant: Option<&Jid>,
        ids: &[String],
        kind: &str,
    ) {
        let Some((first, rest)) = ids.split_first() else {
            return;
        };
        let mut node = NodeBuilder::new("receipt")
            .attr("id", first.as_str())
            .attr("from", from.clone())
            .attr("t", clock::now());
        if !kind.is_empty() {
            node = node.attr("type", kind);
        }
        if let Some(participant) = participant {
            node = node.attr("participant", participant.clone());
        }
        if !rest.is_empty() {
            node = node.children([NodeBuilder::new("list")
                .children(rest.iter().map(|id| NodeBuilder::new("item").attr("id", id.as_str()).build()))
                .build()]);
        }
        self.deliver(target, Class::Receipt, first, node.build());
    }

    /// A companion could not read a message: its author must encrypt it anew.
    fn handle_retry(&mut self, key: &DeviceKey, node: &Node, id: &str, to: &Jid) {
        let device = key.pn_jid().to_string();
        if let Some(entry) = self.ledger.known_to(&device, id) {
            entry.retries += 1;
            if !entry.receipt_kinds.iter().any(|known| known == "retry") {
                entry.receipt_kinds.push("retry".to_owned());
            }
        }
        let is_group = matches!(to.server, Server::Group | Server::Broadcast);
        let author_jid =
            if is_group { node.jid_attr("participant").unwrap_or_else(|| to.clone()) } else { to.clone() };
        let Some(author) = self.key_of(&author_jid) else {
            return;
        };
        if author.device == 0 {
            self.phone_resends(&author.account, key, node, id);
            return self.ring(&author.account);
        }
        if let Some(entry) = self.ledger.known_by(&author.pn_jid().to_string(), id) {
            entry.retries += 1;
        }
        let Some(requester) = self.accounts.get(&key.account) else {
            return;
        };
        let requester_jid = requester.jid_like(author_jid.server, key.device);
        let mut forward =
            NodeBuilder::new("receipt").attr("id", id).attr("type", "retry").attr("t", clock::now());
        forward = if is_group {
            forward.attr("from", to.clone()).attr("participant", requester_jid)
        } else {
            forward.attr("from", requester_jid)
        };
        if let Some(recipient) = node.jid_attr("recipient") {
            forward = forward.attr("recipient", recipient);
        }
        let forward = forward.children(node.kids().to_vec()).build();
        self.deliver(&author, Class::Receipt, id, forward);
    }
}
