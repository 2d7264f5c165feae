//! Requests about groups (`w:g2`).

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::account::DeviceKey;
use crate::clock;
use crate::group::{Rank, new_invite};
use crate::node::{self, NodeExt};
use crate::state::State;

impl State {
    pub(crate) fn groups_iq(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        let Some(child) = iq.kids().first().cloned() else {
            return node::error(iq, 400, "bad-request");
        };
        match &*child.tag {
            "create" => return self.create_group_iq(key, iq, &child),
            "participating" => return self.participating(key, iq),
            "leave" => return self.leave_groups(key, iq, &child),
            "invite" if iq.jid_attr("to").is_none_or(|to| to.user.is_empty()) => {
                return self.join_by_invite(key, iq, &child);
            }
            _ => {}
        }
        let Some(to) = iq.jid_attr("to").filter(|to| to.server == Server::Group) else {
            return node::result(iq, vec![]);
        };
        let id = to.user_base().to_owned();
        let Some(group) = self.groups.get(&id) else {
            return node::error(iq, 404, "item-not-found");
        };
        if !group.members.contains_key(&key.account) {
            return node::error(iq, 403, "forbidden");
        }
        match &*child.tag {
            "query" => node::result(iq, vec![self.group_node(group)]),
            "invite" => self.invite_iq(key, iq, &id),
            "add" | "remove" | "promote" | "demote" => self.change_members(key, iq, &id, &child),
            _ => self.change_group(key, iq, &id, &child),
        }
    }

    fn create_group_iq(&mut self, key: &DeviceKey, iq: &Node, create: &Node) -> Node {
        let members: Vec<_> = create
            .kids()
            .iter()
            .filter(|kid| kid.tag == "participant")
            .filter_map(|kid| kid.jid_attr("jid"))
            .filter(|jid| self.account_of(jid).is_some())
            .collect();
        let is_lid = create.text_attr("addressing_mode").map(|mode| mode == "lid");
        let subject = create.text_attr("subject").unwrap_or_default();
        match self.create_group(&key.account, &subject, &members, is_lid) {
            Ok(id) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    for kid in create.kids() {
                        set(group, kid);
                    }
                }
                self.announce_group(&id, key);
                let group = self.groups.get(&id).map(|group| self.group_node(group));
                node::result(iq, group.into_iter().collect())
            }
            Err(error) => {
                tracing::info!(%error, "a group cannot be created");
                node::error(iq, 406, "not-acceptable")
            }
        }
    }

    fn participating(&self, key: &DeviceKey, iq: &Node) -> Node {
        let groups = self
            .groups
            .values()
            .filter(|group| group.members.contains_key(&key.account))
            .map(|group| self.group_node(group));
        node::result(iq, vec![NodeBuilder::new("groups").children(groups).build()])
    }

    fn leave_groups(&mut self, key: &DeviceKey, iq: &Node, leave: &Node) -> Node {
        let mut left = Vec::new();
        for kid in leave.kids() {
            let Some(jid) =
                kid.text_attr("id").and_then(|id| id.parse::<Jid>().ok().or_else(|| Some(Jid::group(id))))
            else {
                continue;
            };
            self.drop_members(key, jid.user_base(), std::slice::from_ref(&key.account), "remove");
            left.push(NodeBuilder::new("group").attr("id", jid).build());
        }
        node::result(iq, vec![NodeBuilder::new("leave").children(left).build()])
    }

    fn join_by_invite(&mut self, key: &DeviceKey, iq: &Node, invite: &Node) -> Node {
        let code = invite.text_attr("code").unwrap_or_default();
        let Some(id) = self.groups.values().find(|group| group.invite == code).map(|group| group.id.clone())
        else {
            return node::error(iq, 404, "item-not-found");
        };
        if iq.has("type", "get") {
            let group = self.groups.get(&id).map(|group| self.group_node(group));
            return node::result(iq, group.into_iter().collect());
        }
        self.add_members(key, &id, std::slice::from_ref(&key.account));
        node::result(iq, vec![NodeBuilder::new("group").attr("jid", Jid::group(id)).build()])
    }

    fn invite_iq(&mut self, key: &DeviceKey, iq: &Node, id: &str) -> Node {
        let Some(group) = self.groups.get_mut(id) else {
            return node::error(iq, 404, "item-not-found");
        };
        if iq.has("type", "set") {
            if !group.is_admin(&key.account) {
                return node::error(iq, 403, "forbidden");
            }
            group.invite = new_invite();
        }
        let code = group.invite.clone();
        node::result(iq, vec![NodeBuilder::new("invite").attr("code", code).build()])
    }

    fn change_members(&mut self, key: &DeviceKey, iq: &Node, id: &str, change: &Node) -> Node {
        if !self.groups.get(id).is_some_and(|group| group.is_admin(&key.account)) {
            return node::error(iq, 403, "forbidden");
        }
        let asked: Vec<_> = change.kids().iter().filter_map(|kid| kid.jid_attr("jid")).collect();
        let known: Vec<_> = asked.iter().filter_map(|jid| self.key_of(jid).map(|key| key.account)).collect();
        match &*change.tag {
            "add" => self.add_members(key, id, &known),
            "remove" => self.drop_members(key, id, &known, "remove"),
            tag => {
                let (rank, tag) =
                    if tag == "promote" { (Rank::Admin, "promote") } else { (Rank::Member, "demote") };
                if let Some(group) = self.groups.get_mut(id) {
                    for member in &known {
                        if let Some(now) = group.members.get_mut(member)
                            && *now != Rank::Owner
                        {
                            *now = rank;
                        }
                    }
                }
                self.tell_member_change(key, id, tag, &known, None);
            }
        }
        let answers = asked.iter().map(|jid| {
            let node = NodeBuilder::new("participant").attr("jid", jid.clone());
            if self.account_of(jid).is_some() { node.build() } else { node.attr("error", 404).build() }
        });
        let answer = NodeBuilder::new_dynamic(change.tag.to_string()).children(answers).build();
        node::result(iq, vec![answer])
    }

    pub(crate) fn add_members(&mut self, actor: &DeviceKey, id: &str, members: &[String]) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        for member in members {
            group.members.entry(member.clone()).or_insert(Rank::Member);
        }
        self.dirty = true;
        self.tell_member_change(actor, id, "add", members, None);
    }

    pub(crate) fn drop_members(
        &mut self,
        actor: &DeviceKey,
        id: &str,
        members: &[String],
        tag: &'static str,
    ) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let before: Vec<_> = group.members.keys().cloned().collect();
        let jid = group.jid();
        // Those who leave hear of it as well.
        self.tell_member_change(actor, id, tag, members, Some(&before));
        if let Some(group) = self.groups.get_mut(id) {
            for member in members {
                group.members.remove(member);
            }
        }
        self.renew_sender_keys(&jid);
        self.dirty = true;
    }

    fn tell_member_change(
        &mut self,
        actor: &DeviceKey,
        id: &str,
        tag: &'static str,
        members: &[String],
        audience: Option<&[String]>,
    ) {
        let Some(group) = self.groups.get(id) else {
            return;
        };
        let nodes: Vec<_> = members
            .iter()
            .filter_map(|member| {
                let rank = group.members.get(member).copied().unwrap_or(Rank::Member);
                self.participant_node(group, member, rank)
            })
            .collect();
        let audience = match audience {
            Some(audience) => audience.to_vec(),
            None => group.members.keys().cloned().collect(),
        };
        let change = NodeBuilder::new(tag).children(nodes).build();
        self.tell_group(id, actor, change, &audience);
    }

    fn change_group(&mut self, key: &DeviceKey, iq: &Node, id: &str, change: &Node) -> Node {
        let Some(group) = self.groups.get_mut(id) else {
            return node::error(iq, 404, "item-not-found");
        };
        if group.locked && !group.is_admin(&key.account) {
            return node::error(iq, 403, "forbidden");
        }
        if !set(group, change) {
            self.note_unknown_iq(&key.pn_jid().to_string(), iq);
            return node::result(iq, vec![]);
        }
        if change.tag == "subject" {
            group.subject_owner = key.account.clone();
        }
        let members: Vec<_> = group.members.keys().cloned().collect();
        let notice = notice_of(group, change);
        self.dirty = true;
        self.tell_group(id, key, notice, &members);
        node::result(iq, vec![])
    }
}

/// Applies one setting. False: there is no such setting.
fn set(group: &mut crate::group::Group, change: &Node) -> bool {
    match &*change.tag {
        "subject" => {
            group.subject = change.text().unwrap_or_default();
            group.subject_time = clock::now();
        }
        "description" => {
            let body = change.child("body").and_then(NodeExt::text);
            group.description = body
                .filter(|_| !change.has("delete", "true"))
                .map(|body| (change.text_attr("id").unwrap_or_default(), body));
        }
        "announcement" => group.announcement = true,
        "not_announcement" => group.announcement = false,
        "locked" => group.locked = true,
        "unlocked" => group.locked = false,
        "ephemeral" => group.ephemeral = change.number_attr("expiration").unwrap_or(0),
        "not_ephemeral" => group.ephemeral = 0,
        "membership_approval_mode" => {
            let state =
                change.child("group_join").and_then(|join| join.text_attr("state")).unwrap_or_default();
            if state == "on" {
                group.modes.insert(change.tag.to_string(), state);
            } else {
                group.modes.remove(&*change.tag);
            }
        }
        "member_add_mode" | "member_link_mode" | "member_share_group_history_mode" => {
            group.modes.insert(change.tag.to_string(), change.text().unwrap_or_default());
        }
        _ => return false,
    }
    true
}

fn notice_of(group: &crate::group::Group, change: &Node) -> Node {
    match &*change.tag {
        "subject" => NodeBuilder::new("subject")
            .attr("subject", group.subject.as_str())
            .attr("s_t", group.subject_time)
            .build(),
        // whatsmeow drops the notice if the version is missing.
        "announcement" | "not_announcement" => {
            NodeBuilder::new_dynamic(change.tag.to_string()).attr("v_id", clock::now()).build()
        }
        _ => change.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_of_who_may_write_has_a_version() {
        let mut state = State::default();
        let owner = state.add_account(Default::default()).expect("a phone");
        let id = state.create_group(&owner, "g", &[], None).expect("a group");
        for tag in ["announcement", "not_announcement"] {
            let notice = notice_of(&state.groups[&id], &NodeBuilder::new(tag).build());
            assert_eq!(notice.tag, tag);
            assert!(notice.text_attr("v_id").is_some(), "whatsmeow drops {tag} without it");
        }
    }
}
