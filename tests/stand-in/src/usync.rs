//! `usync`: who has an account, with which devices, LID, status.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::account::Account;
use crate::clock;
use crate::node::{self, NodeExt, bytes, leaf};
use crate::pairing::key_index_list;
use crate::state::State;

impl State {
    pub(crate) fn usync(&mut self, iq: &Node) -> Node {
        let Some(usync) = iq.child("usync") else {
            return node::error(iq, 400, "bad-request");
        };
        let query = usync.child("query").map(NodeExt::kids).unwrap_or_default();
        let users: Vec<_> = usync
            .child("list")
            .map(NodeExt::kids)
            .unwrap_or_default()
            .iter()
            .filter_map(|user| self.usync_user(user, query))
            .collect();
        let states = query.iter().map(|part| NodeBuilder::new_dynamic(part.tag.to_string()).build());
        let mut answer = NodeBuilder::new("usync");
        for name in ["sid", "mode", "context", "index", "last"] {
            if let Some(value) = usync.text_attr(name) {
                answer = answer.attr(name, value);
            }
        }
        let answer = answer
            .children([
                NodeBuilder::new("result").children(states).build(),
                NodeBuilder::new("list").children(users).build(),
            ])
            .build();
        node::result(iq, vec![answer])
    }

    fn usync_user(&self, user: &Node, query: &[Node]) -> Option<Node> {
        let number = user.child("contact").and_then(NodeExt::text);
        let asked = user.jid_attr("jid").or_else(|| looked_up(number.as_deref()?))?;
        let account = self.account_of(&asked);
        let children: Vec<_> = query
            .iter()
            .filter_map(|part| match &*part.tag {
                "devices" => account.map(|account| devices(account, asked.server)),
                // Asked by LID there is nothing to tell: Baileys would store a LID of the LID.
                "lid" => account
                    .filter(|_| !asked.is_lid())
                    .map(|account| NodeBuilder::new("lid").attr("val", account.lid_jid()).build()),
                "contact" => Some(contact(account.is_some(), number.as_deref())),
                "status" => account.map(|account| {
                    NodeBuilder::new("status").attr("t", clock::now()).bytes(account.about.as_bytes()).build()
                }),
                "picture" => account.map(|_| NodeBuilder::new("picture").attr("id", 0).build()),
                "disappearing_mode" => account
                    .map(|_| NodeBuilder::new("disappearing_mode").attr("duration", 0).attr("t", 0).build()),
                // Its mere presence makes an account a business.
                "business" => {
                    account.filter(|account| account.business_name.is_some()).map(|_| leaf("business"))
                }
                _ => None,
            })
            .collect();
        let mut answer = NodeBuilder::new("user").attr("jid", asked.clone());
        if asked.is_lid()
            && let Some(account) = account
        {
            answer = answer.attr("pn_jid", account.pn_jid());
        }
        Some(answer.children(children).build())
    }
}

/// A number to look up is text: `<contact>+549…</contact>`; whatsmeow puts `@c.us` behind it.
fn looked_up(contact: &str) -> Option<Jid> {
    let (number, _server) = contact.split_once('@').unwrap_or((contact, ""));
    let number = number.trim_start_matches('+');
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Jid::pn(number))
}

fn contact(known: bool, number: Option<&str>) -> Node {
    let node = NodeBuilder::new("contact").attr("type", if known { "in" } else { "out" });
    match number {
        Some(number) => node.bytes(number.as_bytes()).build(),
        None => node.build(),
    }
}

fn devices(account: &Account, like: Server) -> Node {
    let listed = std::iter::once(NodeBuilder::new("device").attr("id", 0).build()).chain(
        account.companions.values().map(|companion| {
            NodeBuilder::new("device")
                .attr("id", companion.device)
                .attr("key-index", companion.key_index)
                .build()
        }),
    );
    let mut children = vec![
        NodeBuilder::new("device-list").attr("hash", device_hash(account, like)).children(listed).build(),
    ];
    if !account.companions.is_empty() {
        let mut list = bytes("key-index-list", key_index_list(account));
        list.attrs.insert("ts", clock::now());
        children.push(list);
    }
    NodeBuilder::new("devices").children(children).build()
}

/// The hash by which clients see that a device list has changed.
pub(crate) fn device_hash(account: &Account, like: Server) -> String {
    participant_hash(account.device_ids().into_iter().map(|device| account.jid_like(like, device)))
}

/// `2:` and the first six bytes of SHA-256 over the sorted device JIDs.
pub(crate) fn participant_hash(devices: impl Iterator<Item = Jid>) -> String {
    let mut names: Vec<_> = devices.map(|jid| jid.to_phash_form_string()).collect();
    names.sort();
    let digest = Sha256::digest(names.concat().as_bytes());
    format!("2:{}", STANDARD.encode(&digest[..6]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_looked_up_in_every_client_s_spelling() {
        for spelling in ["+5491150000001", "5491150000001", "+5491150000001@c.us"] {
            assert_eq!(looked_up(spelling), Some(Jid::pn("5491150000001")), "{spelling}");
        }
        // Never a JID inside a JID: clients cannot decode one.
        for nonsense in ["", "+", "@c.us", "+54 911"] {
            assert_eq!(looked_up(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_lid_is_told_to_who_asks_by_number_only() {
        let mut state = State::default();
        let number = state.add_account(Default::default()).expect("a phone");
        let (pn, lid) = (state.accounts[&number].pn_jid(), state.accounts[&number].lid_jid());
        let query = [leaf("lid")];
        let ask = |jid: &Jid| {
            let user = NodeBuilder::new("user").attr("jid", jid.clone()).build();
            state.usync_user(&user, &query).expect("a user").child("lid").and_then(|lid| lid.jid_attr("val"))
        };
        assert_eq!(ask(&pn), Some(lid.clone()));
        assert_eq!(ask(&lid), None);
    }
}
