//! Messages of companions: acknowledge, and pass on to every device they are meant for.

use std::collections::HashSet;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::account::{Account, ConnectionId, DeviceKey};
use crate::clock;
use crate::node::{NodeExt, server_jid};
use crate::phone::receive::Incoming;
use crate::queue::Class;
use crate::state::State;

/// Children of `<message>` that concern the server alone.
const FOR_THE_SERVER: [&str; 5] = ["participants", "enc", "device-identity", "tctoken", "cstoken"];

/// A message on its way to one device.
pub(crate) struct Route<'a> {
    pub(crate) sender: &'a DeviceKey,
    pub(crate) stanza: &'a Node,
    pub(crate) id: &'a str,
    pub(crate) chat: &'a Jid,
    pub(crate) timestamp: u64,
}

impl State {
    pub(crate) fn handle_message(&mut self, connection: ConnectionId, sender: &DeviceKey, node: &Node) {
        let (Some(id), Some(to)) = (node.text_attr("id"), node.jid_attr("to")) else {
            return self.end_stream(connection, &crate::node::stream_error(Some("400"), None));
        };
        let timestamp = clock::now();
        let device = sender.pn_jid().to_string();
        let route = Route { sender, stanza: node, id: &id, chat: &to, timestamp };
        if let Some(code) = self.faults.nacks.pop_front() {
            self.acknowledge_message(connection, &route, Some(&code));
            return;
        }
        let is_retry = encs(node).any(|enc| enc.attrs.get("count").is_some());
        let entry = self.ledger.by(&device, &id);
        entry.to = to.to_string();
        if !is_retry {
            entry.times_received += 1;
        }
        let refusal = self.refusal(&route);
        // Before anything else comes of it: Baileys loses a receipt that overtakes the ack.
        self.acknowledge_message(connection, &route, refusal);
        if refusal.is_none() && !self.faults.lose_acks {
            self.ledger.by(&device, &id).acked = true;
        }
        match to.server {
            Server::Group if refusal.is_none() => self.route_to_group(&route),
            Server::Broadcast => self.route_to_named(&route),
            Server::Group | Server::Newsletter => {}
            _ => self.route_direct(&route),
        }
        self.ring(&sender.account);
    }

    fn refusal(&self, route: &Route<'_>) -> Option<&'static str> {
        match route.chat.server {
            Server::Group => self.group_refusal(route),
            Server::Broadcast | Server::Newsletter => None,
            // What WhatsApp answers for a number without an account.
            _ => self.account_of(route.chat).is_none().then_some("400"),
        }
    }

    fn acknowledge_message(&mut self, connection: ConnectionId, route: &Route<'_>, error: Option<&str>) {
        let Route { sender, stanza: node, id, chat: to, timestamp } = *route;
        if self.faults.lose_acks {
            return;
        }
        let mut ack = NodeBuilder::new("ack")
            .attr("class", "message")
            .attr("id", id)
            .attr("from", to.clone())
            .attr("t", timestamp);
        if let Some(participant) = node.jid_attr("participant") {
            ack = ack.attr("participant", participant);
        }
        if let Some(error) = error {
            ack = ack.attr("error", error);
        } else if let Some(phash) =
            self.outdated_hash(node, to).or_else(|| self.hash_of_missed(sender, node, to))
        {
            // Only when it differs: the client then fetches the device lists anew.
            ack = ack.attr("phash", phash);
        }
        self.send(connection, ack.build());
    }

    /// The hash over the devices as they are, if the sender's was another.
    fn outdated_hash(&self, node: &Node, to: &Jid) -> Option<String> {
        let claimed = node.text_attr("phash")?;
        let group = self.groups.get(to.user_base())?;
        let is_lid = group.is_lid;
        let actual = crate::usync::participant_hash(
            group.members.keys().filter_map(|member| self.accounts.get(member)).flat_map(|account| {
                account.device_ids().into_iter().map(move |device| {
                    account.jid_like(if is_lid { Server::Lid } else { Server::Pn }, device)
                })
            }),
        );
        (actual != claimed).then_some(actual)
    }

    /// In a one-to-one chat: the hash over all devices, if the sender left one out.
    fn hash_of_missed(&self, sender: &DeviceKey, node: &Node, to: &Jid) -> Option<String> {
        if to.server == Server::Group || to.server == Server::Broadcast {
            return None;
        }
        let named: HashSet<_> = node
            .child("participants")?
            .kids()
            .iter()
            .filter_map(|to| self.key_of(&to.jid_attr("jid")?))
            .collect();
        let (own, contact) = (self.accounts.get(&sender.account)?, self.account_of(to)?);
        let mut accounts = vec![contact];
        if own.phone_number != contact.phone_number {
            accounts.push(own);
        }
        // A device without keys cannot be written to yet.
        let is_missed = |account: &Account| {
            account.device_ids().into_iter().any(|device| {
                let key = account.key(device);
                let is_ready = device == 0
                    || account
                        .companions
                        .get(&device)
                        .is_some_and(|companion| !companion.pre_keys.is_empty());
                key != *sender && is_ready && !named.contains(&key)
            })
        };
        accounts.iter().any(|account| is_missed(account)).then(|| {
            crate::usync::participant_hash(accounts.iter().flat_map(|account| {
                account.device_ids().into_iter().map(|device| account.jid_like(to.server, device))
            }))
        })
    }

    /// One-to-one chats, own devices, peer messages and retries.
    fn route_direct(&mut self, route: &Route<'_>) {
        if route.stanza.child("participants").is_some() {
            self.route_to_named(route);
        } else {
            let enc: Vec<_> = encs(route.stanza).cloned().collect();
            self.pass_on(route, route.chat, enc);
        }
        if let Some(contact) = self.key_of(route.chat) {
            self.meet(&route.sender.account, &contact.account);
        }
    }

    fn route_to_named(&mut self, route: &Route<'_>) {
        let targets: Vec<_> = route
            .stanza
            .child("participants")
            .map(NodeExt::kids)
            .unwrap_or_default()
            .iter()
            .filter_map(|to| {
                let encs = to.kids().iter().filter(|kid| kid.tag == "enc").cloned();
                Some((to.jid_attr("jid")?, encs.collect::<Vec<_>>()))
            })
            .collect();
        for (jid, enc) in targets {
            self.pass_on(route, &jid, enc);
        }
    }

    /// To one device: a companion's queue, or the phone in this process.
    pub(crate) fn pass_on(&mut self, route: &Route<'_>, to: &Jid, enc: Vec<Node>) {
        let Some(target) = self.key_of(to) else {
            return;
        };
        // whatsmeow encrypts for its own device too.
        if target == *route.sender || enc.is_empty() {
            return;
        }
        let Some(sender) = self.accounts.get(&route.sender.account) else {
            return;
        };
        let device = route.sender.pn_jid().to_string();
        if target.device == 0 {
            let incoming = Incoming {
                sender: route.sender.clone(),
                sender_jid: sender.jid_like(to.server, route.sender.device),
                chat: route.chat.clone(),
                id: route.id.to_owned(),
                timestamp: route.timestamp,
                enc,
            };
            self.ledger.by(&device, route.id).delivered_to.push(target.pn_jid().to_string());
            return self.phone_receives(&target.account, incoming);
        }
        if self.companion(&target).is_none() {
            return;
        }
        let mut node = self.inbound(route, to.server, &target, enc);
        if target.account == route.sender.account {
            node.attrs.insert("recipient", route.chat.to_non_ad());
        }
        self.queue_message(route, &target, node);
    }

    /// Books and queues a finished `<message>`.
    pub(crate) fn queue_message(&mut self, route: &Route<'_>, target: &DeviceKey, node: Node) {
        let device = target.pn_jid().to_string();
        let is_retry = encs(&node).any(|enc| enc.attrs.get("count").is_some());
        let is_peer = node.has("category", "peer");
        let from = node
            .jid_attr("participant")
            .or_else(|| node.jid_attr("from"))
            .unwrap_or_else(server_jid)
            .to_string();
        let chat = node
            .jid_attr("recipient")
            .or_else(|| node.jid_attr("from"))
            .unwrap_or_else(server_jid)
            .to_non_ad_string();
        if is_retry && let Some(companion) = self.companion_mut(target) {
            companion.queue.forget(Class::Message, route.id);
        }
        let entry = self.ledger.to(&device, route.id);
        entry.from = from;
        entry.chat = chat;
        entry.is_peer = is_peer;
        if let Some(entry) = self.ledger.known_by(&route.sender.pn_jid().to_string(), route.id)
            && !entry.delivered_to.contains(&device)
        {
            entry.delivered_to.push(device);
        }
        self.deliver(target, Class::Message, route.id, node);
    }

    /// The stanza as a recipient sees it: `from` a device of the sender.
    pub(crate) fn inbound(
        &self,
        route: &Route<'_>,
        like: Server,
        target: &DeviceKey,
        enc: Vec<Node>,
    ) -> Node {
        let mut node = NodeBuilder::new("message")
            .attr("id", route.id)
            .attr("t", route.timestamp)
            .attr("type", route.stanza.text_attr("type").unwrap_or_else(|| "text".to_owned()));
        for name in ["category", "edit", "push_priority"] {
            if let Some(value) = route.stanza.text_attr(name) {
                node = node.attr(name, value);
            }
        }
        if let Some(sender) = self.accounts.get(&route.sender.account) {
            node = node
                .attr("from", sender.jid_like(like, route.sender.device))
                .attr("notify", sender.push_name.as_str());
            if target.account != route.sender.account {
                node = if like.is_lid_family() {
                    node.attr("sender_pn", sender.pn_jid()).attr("addressing_mode", "lid")
                } else {
                    node.attr("sender_lid", sender.lid_jid())
                };
            }
        }
        let has_pkmsg = enc.iter().any(|enc| enc.has("type", "pkmsg"));
        let mut children = enc;
        if has_pkmsg && let Some(identity) = route.stanza.child("device-identity") {
            children.push(identity.clone());
        }
        children
            .extend(route.stanza.kids().iter().filter(|kid| !FOR_THE_SERVER.contains(&&*kid.tag)).cloned());
        node.children(children).build()
    }

    /// Two accounts that write to each other hear of each other's device changes.
    pub(crate) fn meet(&mut self, one: &str, other: &str) {
        if one == other {
            return;
        }
        for (account, contact) in [(one, other), (other, one)] {
            if let Some(account) = self.accounts.get_mut(account) {
                account.contacts.insert(contact.to_owned());
            }
        }
    }
}

/// The `<enc>` of a stanza, directly under it or under `<to>`.
pub(crate) fn encs(node: &Node) -> impl Iterator<Item = &Node> {
    let direct = node.kids().iter().filter(|kid| kid.tag == "enc");
    let nested = node
        .child("participants")
        .map(NodeExt::kids)
        .unwrap_or_default()
        .iter()
        .flat_map(|to| to.kids().iter().filter(|kid| kid.tag == "enc"));
    direct.chain(nested)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ack_of_a_chat_tells_of_a_device_left_out() {
        let mut state = State::default();
        let own = state.add_account(Default::default()).expect("a phone");
        let contact = state.add_account(Default::default()).expect("a phone");
        let sender = DeviceKey { account: own.clone(), device: 1 };
        let to = state.accounts[&contact].lid_jid();
        let hash = |named: &[Jid]| {
            let named = named.iter().map(|jid| NodeBuilder::new("to").attr("jid", jid.clone()).build());
            let named = NodeBuilder::new("participants").children(named).build();
            state.hash_of_missed(&sender, &NodeBuilder::new("message").children([named]).build(), &to)
        };
        let own_phone = state.accounts[&own].pn_jid();
        // The sender itself need not be named, and each user may be named by either address.
        assert_eq!(hash(&[to.clone(), own_phone]), None);
        assert!(hash(std::slice::from_ref(&to)).is_some_and(|hash| hash.starts_with("2:")));
    }
}
