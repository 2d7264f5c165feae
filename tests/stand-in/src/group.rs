//! Groups: who is in them, the requests about them, and their messages.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use crate::account::DeviceKey;
use crate::clock;
use crate::crypto;
use crate::error::StandInError;
use crate::message::Route;
use crate::node::NodeExt;
use crate::phone::receive::Incoming;
use crate::queue::Class;
use crate::state::State;

/// A member's rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rank {
    Member,
    Admin,
    Owner,
}

/// A group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) subject_time: u64,
    pub(crate) subject_owner: String,
    pub(crate) creator: String,
    pub(crate) creation: u64,
    /// Members by phone number.
    pub(crate) members: BTreeMap<String, Rank>,
    /// Members are addressed by LID.
    pub(crate) is_lid: bool,
    /// (id, text) of the description.
    pub(crate) description: Option<(String, String)>,
    pub(crate) announcement: bool,
    pub(crate) locked: bool,
    pub(crate) ephemeral: u64,
    pub(crate) invite: String,
    /// Settings that are a child with a text, kept as given: `member_add_mode` and the like.
    pub(crate) modes: BTreeMap<String, String>,
}

impl Group {
    pub(crate) fn jid(&self) -> Jid {
        Jid::group(self.id.as_str())
    }

    pub(crate) fn server(&self) -> Server {
        if self.is_lid { Server::Lid } else { Server::Pn }
    }

    pub(crate) fn is_admin(&self, account: &str) -> bool {
        matches!(self.members.get(account), Some(Rank::Admin | Rank::Owner))
    }
}

impl State {
    /// A group with its members, known to all of them.
    pub(crate) fn create_group(
        &mut self,
        owner: &str,
        subject: &str,
        members: &[Jid],
        is_lid: Option<bool>,
    ) -> Result<String, StandInError> {
        let owner_lid = self
            .accounts
            .get(owner)
            .ok_or_else(|| StandInError::UnknownRecipient(owner.to_owned()))?
            .is_lid_migrated;
        let mut ranks = BTreeMap::from([(owner.to_owned(), Rank::Owner)]);
        for member in members {
            let account =
                self.account_of(member).ok_or_else(|| StandInError::UnknownRecipient(member.to_string()))?;
            ranks.entry(account.phone_number.clone()).or_insert(Rank::Member);
        }
        let group = Group {
            id: format!("1203{:014}", u64::from_be_bytes(crypto::random()) % 100_000_000_000_000),
            subject: subject.to_owned(),
            subject_time: clock::now(),
            subject_owner: owner.to_owned(),
            creator: owner.to_owned(),
            creation: clock::now(),
            members: ranks,
            is_lid: is_lid.unwrap_or(owner_lid),
            description: None,
            announcement: false,
            locked: false,
            ephemeral: 0,
            invite: new_invite(),
            modes: BTreeMap::new(),
        };
        let id = group.id.clone();
        self.groups.insert(id.clone(), group);
        self.dirty = true;
        Ok(id)
    }

    pub(crate) fn announce_group(&mut self, id: &str, actor: &DeviceKey) {
        if let Some(group) = self.groups.get(id) {
            let create = NodeBuilder::new("create")
                .attr("type", "new")
                .attr("key", id)
                .children([self.group_node(group)])
                .build();
            let members = group.members.keys().cloned().collect::<Vec<_>>();
            self.tell_group(id, actor, create, &members);
        }
    }

    /// `<group>` as clients read it.
    pub(crate) fn group_node(&self, group: &Group) -> Node {
        let jid = |number: &str| {
            self.accounts
                .get(number)
                .map_or_else(|| Jid::pn(number), |account| account.jid_like(group.server(), 0))
        };
        let mut children: Vec<_> = group
            .members
            .iter()
            .filter_map(|(number, rank)| self.participant_node(group, number, *rank))
            .collect();
        if let Some((id, text)) = &group.description {
            children.push(
                NodeBuilder::new("description")
                    .attr("id", id.as_str())
                    .attr("t", group.subject_time)
                    .children([NodeBuilder::new("body").bytes(text.as_bytes()).build()])
                    .build(),
            );
        }
        if group.announcement {
            children.push(crate::node::leaf("announcement"));
        }
        if group.locked {
            children.push(crate::node::leaf("locked"));
        }
        if group.ephemeral > 0 {
            children.push(NodeBuilder::new("ephemeral").attr("expiration", group.ephemeral).build());
        }
        for (tag, value) in &group.modes {
            let mode = NodeBuilder::new_dynamic(tag.clone());
            children.push(if tag == "membership_approval_mode" {
                mode.children([NodeBuilder::new("group_join").attr("state", value.as_str()).build()]).build()
            } else {
                mode.bytes(value.as_bytes()).build()
            });
        }
        NodeBuilder::new("group")
            .attr("id", group.id.as_str())
            .attr("creator", jid(&group.creator))
            .attr("creation", group.creation)
            .attr("subject", group.subject.as_str())
            .attr("s_t", group.subject_time)
            .attr("s_o", jid(&group.subject_owner))
            .attr("size", group.members.len())
            .attr("addressing_mode", if group.is_lid { "lid" } else { "pn" })
            .children(children)
            .build()
    }

    pub(crate) fn participant_node(&self, group: &Group, number: &str, rank: Rank) -> Option<Node> {
        let account = self.accounts.get(number)?;
        let mut node = NodeBuilder::new("participant").attr("jid", account.jid_like(group.server(), 0));
        node = if group.is_lid {
            node.attr("phone_number", account.pn_jid())
        } else {
            node.attr("lid", account.lid_jid())
        };
        Some(match rank {
            Rank::Member => node.build(),
            Rank::Admin => node.attr("type", "admin").build(),
            Rank::Owner => node.attr("type", "superadmin").build(),
        })
    }

    /// `<notification type="w:gp2">` to all devices of these members.
    pub(crate) fn tell_group(&mut self, id: &str, actor: &DeviceKey, change: Node, members: &[String]) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let Some(author) = self.accounts.get(&actor.account) else {
            return;
        };
        let notice = NodeBuilder::new("notification")
            .attr("type", "w:gp2")
            .attr("from", group.jid())
            .attr("participant", author.jid_like(group.server(), 0))
            .attr("notify", author.push_name.as_str())
            .attr("addressing_mode", if group.is_lid { "lid" } else { "pn" })
            .attr("t", clock::now());
        let notice = if group.is_lid {
            notice.attr("participant_pn", author.pn_jid())
        } else {
            notice.attr("participant_lid", author.lid_jid())
        };
        let notice = notice.children([change]).build();
        let receivers: Vec<_> = members.iter().flat_map(|member| self.companions_of(member)).collect();
        for receiver in receivers {
            if receiver == *actor {
                continue;
            }
            let id = self.new_id();
            let notice = crate::node::with_attr(&notice, "id", id.as_str());
            self.deliver(&receiver, Class::Notification, &id, notice);
        }
    }

    /// Why this sender may not write to the group.
    pub(crate) fn group_refusal(&self, route: &Route<'_>) -> Option<&'static str> {
        let Some(group) = self.groups.get(route.chat.user_base()) else {
            return Some("404");
        };
        let is_member = group.members.contains_key(&route.sender.account);
        let may_write = !group.announcement || group.is_admin(&route.sender.account);
        (!is_member || !may_write).then_some("403")
    }

    /// A group message of a companion: its part of the keys and the shared ciphertext to each device.
    pub(crate) fn route_to_group(&mut self, route: &Route<'_>) {
        let Some(group) = self.groups.get(route.chat.user_base()) else {
            return;
        };
        let members: Vec<_> = group.members.keys().cloned().collect();
        let mut shares: HashMap<DeviceKey, Vec<Node>> = HashMap::new();
        for to in route.stanza.child("participants").map(NodeExt::kids).unwrap_or_default() {
            if let Some(key) = to.jid_attr("jid").and_then(|jid| self.key_of(&jid)) {
                let encs = to.kids().iter().filter(|kid| kid.tag == "enc").cloned();
                shares.entry(key).or_default().extend(encs);
            }
        }
        let common: Vec<_> = route.stanza.kids().iter().filter(|kid| kid.tag == "enc").cloned().collect();
        // A retry goes to the one device that asked.
        let only = route.stanza.jid_attr("participant").and_then(|jid| self.key_of(&jid));
        let targets: Vec<_> = match only {
            Some(only) => vec![only],
            None => members
                .iter()
                .filter_map(|member| self.accounts.get(member))
                .flat_map(|account| account.device_ids().into_iter().map(|device| account.key(device)))
                .collect(),
        };
        for target in targets {
            if target == *route.sender {
                continue;
            }
            let mut enc = shares.remove(&target).unwrap_or_default();
            enc.extend(common.iter().cloned());
            if !enc.is_empty() {
                self.pass_on_in_group(route, &target, enc);
            }
        }
    }

    fn pass_on_in_group(&mut self, route: &Route<'_>, target: &DeviceKey, enc: Vec<Node>) {
        if target.device == 0 {
            let Some(sender) = self.accounts.get(&route.sender.account) else {
                return;
            };
            let like = self.group_server(route.chat);
            let incoming = Incoming {
                sender: route.sender.clone(),
                sender_jid: sender.jid_like(like, route.sender.device),
                chat: route.chat.clone(),
                id: route.id.to_owned(),
                timestamp: route.timestamp,
                enc,
            };
            let device = route.sender.pn_jid().to_string();
            self.ledger.by(&device, route.id).delivered_to.push(target.pn_jid().to_string());
            return self.phone_receives(&target.account, incoming);
        }
        let node = self.inbound_group(route, route.chat, enc);
        self.queue_message(route, target, node);
    }

    pub(crate) fn group_server(&self, group: &Jid) -> Server {
        self.groups.get(group.user_base()).map_or(Server::Pn, Group::server)
    }

    /// A group message as a member's device sees it.
    pub(crate) fn inbound_group(&self, route: &Route<'_>, group: &Jid, enc: Vec<Node>) -> Node {
        let like = self.group_server(group);
        // Everything but the address is as in a one-to-one chat between strangers.
        let stranger = DeviceKey { account: String::new(), device: 0 };
        let mut node = self.inbound(route, like, &stranger, enc);
        for name in ["sender_pn", "sender_lid"] {
            node.attrs.0.retain(|(key, _)| key != name);
        }
        node.attrs.insert("from", group.to_non_ad());
        if let Some(sender) = self.accounts.get(&route.sender.account) {
            node.attrs.insert("participant", sender.jid_like(like, route.sender.device));
            if like.is_lid_family() {
                node.attrs.insert("participant_pn", sender.pn_jid());
                node.attrs.insert("addressing_mode", "lid");
            } else {
                node.attrs.insert("participant_lid", sender.lid_jid());
                node.attrs.insert("addressing_mode", "pn");
            }
        }
        node
    }

    /// A group message of a phone.
    pub(crate) fn phone_sends_to_group(
        &mut self,
        route: &Route<'_>,
        message: &wa::Message,
    ) -> Result<(), StandInError> {
        let account = route.sender.account.clone();
        let unknown = || StandInError::UnknownRecipient(route.chat.to_string());
        let group = self.groups.get(route.chat.user_base()).ok_or_else(unknown)?;
        if !group.members.contains_key(&account) {
            return Err(StandInError::Refused(format!(
                "{account} is not a member of {}; add it first",
                route.chat
            )));
        }
        let members: Vec<_> = group.members.keys().cloned().collect();
        let name = route.chat.to_string();
        let failed = |reason: String| StandInError::Encrypt { device: name.clone(), reason };
        let share = self.sender_key_share(&account, route.chat)?;
        let plain = crate::phone::send::pad(message);
        let phone = self.accounts.get_mut(&account).ok_or_else(unknown)?;
        let shared = phone.signal.group_encrypt(&name, &plain).map_err(|error| failed(error.to_string()))?;
        let common = NodeBuilder::new("enc").attr("v", "2").attr("type", "skmsg").bytes(shared).build();
        for member in members {
            if member != account {
                self.other_phone_takes(route, message, &member);
            }
            for target in self.companions_of(&member) {
                let knows = self.accounts.get_mut(&account).is_some_and(|phone| {
                    !phone.sender_key_shared.entry(name.clone()).or_default().insert(target.clone())
                });
                let mut enc = Vec::new();
                if !knows {
                    enc.push(self.phone_encrypts(&account, &target, &share, None)?);
                }
                enc.push(common.clone());
                let node = self.inbound_group(route, route.chat, enc);
                self.queue_message(route, &target, node);
            }
        }
        Ok(())
    }

    fn sender_key_share(&mut self, account: &str, group: &Jid) -> Result<wa::Message, StandInError> {
        let name = group.to_string();
        let phone = self
            .accounts
            .get_mut(account)
            .ok_or_else(|| StandInError::UnknownRecipient(account.to_owned()))?;
        let key = phone
            .signal
            .own_sender_key(&name)
            .map_err(|error| StandInError::Encrypt { device: name.clone(), reason: error.to_string() })?;
        Ok(wa::Message {
            sender_key_distribution_message: MessageField::some(wa::message::SenderKeyDistributionMessage {
                group_id: Some(name),
                axolotl_sender_key_distribution_message: Some(key),
            }),
            ..Default::default()
        })
    }

    /// For a retry: the message carries the sender key along.
    pub(crate) fn attach_sender_key(
        &mut self,
        account: &str,
        group: &Jid,
        message: &mut wa::Message,
    ) -> Result<(), StandInError> {
        message.sender_key_distribution_message =
            self.sender_key_share(account, group)?.sender_key_distribution_message;
        Ok(())
    }

    /// After someone left, phones use a new sender key.
    pub(crate) fn renew_sender_keys(&mut self, group: &Jid) {
        let name = group.to_string();
        for account in self.accounts.values_mut() {
            if account.sender_key_shared.remove(&name).is_some() {
                account.signal.forget_own_sender_key(&name);
            }
        }
    }
}

/// An invite code as in a link.
pub(crate) fn new_invite() -> String {
    crypto::random::<11>().iter().map(|byte| format!("{byte:02x}")).collect()
}
