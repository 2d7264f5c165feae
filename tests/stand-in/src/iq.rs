//! Requests of linked clients: a table, and the short answers.

use std::sync::Arc;

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::account::{ConnectionId, DeviceKey};
use crate::node::{self, NodeExt, leaf};
use crate::state::{Inner, State};

/// What a client is told to upload to; nothing is there. Loopback, and a port that is closed.
const MEDIA_HOST: &str = "127.0.0.1:9";

impl State {
    pub(crate) fn handle_iq(&mut self, inner: &Arc<Inner>, id: ConnectionId, key: &DeviceKey, iq: &Node) {
        // Answers to requests of ours need nothing more.
        if iq.has("type", "result") || iq.has("type", "error") {
            return;
        }
        let xmlns = iq.text_attr("xmlns").unwrap_or_default();
        let is_set = iq.has("type", "set");
        let child = iq.kids().first().map_or("", |child| &*child.tag);
        let answer = match (&*xmlns, is_set, child) {
            ("passive", true, _) => {
                self.send(id, node::result(iq, vec![]));
                return match child {
                    "active" => self.begin_drain(inner, key),
                    _ => self.make_passive(key),
                };
            }
            ("w:p", _, _) => node::result(iq, vec![]),
            ("encrypt", false, "count") => self.count_pre_keys(key, iq),
            ("encrypt", false, "digest") => self.digest(key, iq),
            ("encrypt", false, "key") => self.hand_out_keys(iq),
            ("encrypt", true, "rotate") => self.rotate_signed_key(key, iq),
            ("encrypt", true, _) => {
                let answer = self.upload_pre_keys(key, iq);
                self.send(id, answer);
                return self.welcome(key);
            }
            ("usync", _, _) => self.usync(iq),
            ("abt", _, _) => node::result(iq, vec![ab_props()]),
            ("blocklist", _, _) => self.blocklist(key, iq),
            ("privacy", _, _) => self.privacy(key, iq),
            ("w:sync:app:state", _, _) => self.sync_app_state(key, iq),
            ("w:m", _, _) => node::result(iq, vec![media_conn()]),
            ("w:g2", _, _) => self.groups_iq(key, iq),
            ("md", true, "remove-companion-device") => {
                self.send(id, node::result(iq, vec![]));
                return self.log_out(key, iq);
            }
            // Nobody has a picture; an empty result would be none of WhatsApp's answers.
            ("w:profile:picture", false, "picture") => node::error(iq, 404, "item-not-found"),
            ("status", true, "status") => self.set_about(key, iq),
            ("urn:xmpp:whatsapp:dirty" | "w:stats" | "w" | "tos" | "newsletter", _, _) => {
                node::result(iq, vec![])
            }
            _ => {
                self.note_unknown_iq(&key.pn_jid().to_string(), iq);
                node::result(iq, vec![])
            }
        };
        self.send(id, answer);
    }

    /// An empty result is what both whatsmeow and Baileys live with; the list is the next work.
    pub(crate) fn note_unknown_iq(&mut self, client: &str, iq: &Node) {
        let xmlns = iq.text_attr("xmlns").unwrap_or_default();
        let child = iq.kids().first().map_or("", |child| &*child.tag);
        tracing::debug!(client, xmlns, child, "unknown request");
        *self.unknown_iqs.entry((client.to_owned(), xmlns, child.to_owned())).or_default() += 1;
    }

    fn log_out(&mut self, key: &DeviceKey, iq: &Node) {
        let named = iq
            .child("remove-companion-device")
            .and_then(|remove| remove.jid_attr("jid"))
            .and_then(|jid| self.key_of(&jid));
        match named {
            // A companion may only remove itself; others are the phone's affair.
            Some(named) if named == *key => self.logged_out(key),
            Some(_) => false,
            None => self.logged_out(key),
        };
    }

    fn blocklist(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        let item = iq.child("item").or_else(|| iq.child("list").and_then(|list| list.child("item")));
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return node::error(iq, 404, "item-not-found");
        };
        if let Some(item) = item
            && let Some(jid) = item.jid_attr("jid")
        {
            if item.has("action", "unblock") {
                account.blocklist.remove(&jid.to_string());
            } else {
                account.blocklist.insert(jid.to_string());
            }
        }
        let items = account
            .blocklist
            .iter()
            .filter_map(|jid| jid.parse::<wacore_binary::Jid>().ok())
            .map(|jid| NodeBuilder::new("item").attr("jid", jid).build());
        let list = NodeBuilder::new("list").attr("dhash", "1").children(items).build();
        node::result(iq, vec![list])
    }

    fn privacy(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        // Trusted-contact tokens use the same namespace.
        if iq.child("tokens").is_some() {
            self.pass_on_tokens(key, iq);
            return node::result(iq, vec![]);
        }
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return node::error(iq, 404, "item-not-found");
        };
        let asked = iq.child("privacy").map(NodeExt::kids).unwrap_or_default();
        for category in asked {
            if let (Some(name), Some(value)) = (category.text_attr("name"), category.text_attr("value")) {
                account.privacy.insert(name, value);
            }
        }
        let defaults = [
            ("readreceipts", "all"),
            ("profile", "all"),
            ("status", "all"),
            ("online", "all"),
            ("last", "all"),
            ("groupadd", "all"),
            ("calladd", "all"),
            ("messages", "all"),
        ];
        for (name, value) in defaults {
            account.privacy.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let categories = account.privacy.iter().map(|(name, value)| {
            NodeBuilder::new("category").attr("name", name.as_str()).attr("value", value.as_str()).build()
        });
        node::result(iq, vec![NodeBuilder::new("privacy").children(categories).build()])
    }

    /// A token that one account gives another is announced to the other's companions.
    fn pass_on_tokens(&mut self, key: &DeviceKey, iq: &Node) {
        let Some(from) = self.accounts.get(&key.account) else {
            return;
        };
        let (pn, lid) = (from.pn_jid(), from.lid_jid());
        let tokens: Vec<_> = iq.child("tokens").map(NodeExt::kids).unwrap_or_default().to_vec();
        for token in tokens {
            let Some(asked) = token.jid_attr("jid") else {
                continue;
            };
            let Some(to) = self.account_of(&asked) else {
                continue;
            };
            let receivers: Vec<_> = to.companions.keys().map(|device| to.key(*device)).collect();
            let t = token.text_attr("t").unwrap_or_else(|| crate::clock::now().to_string());
            let bytes = crate::crypto::hmac_sha256(
                b"stand-in tc token",
                &[key.account.as_bytes(), to.phone_number.as_bytes()],
            );
            for receiver in receivers {
                let id = self.new_id();
                let notice = NodeBuilder::new("notification")
                    .attr("type", "privacy_token")
                    .attr("from", pn.clone())
                    .attr("sender_lid", lid.clone())
                    .attr("id", id.as_str())
                    .attr("t", crate::clock::now())
                    .children([NodeBuilder::new("tokens")
                        .children([NodeBuilder::new("token")
                            .attr("type", "trusted_contact")
                            .attr("jid", asked.to_non_ad())
                            .attr("t", t.as_str())
                            .bytes(bytes.to_vec())
                            .build()])
                        .build()])
                    .build();
                self.deliver(&receiver, crate::queue::Class::Notification, &id, notice);
            }
        }
    }

    fn set_about(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        if let Some(account) = self.accounts.get_mut(&key.account) {
            account.about = iq.child("status").and_then(NodeExt::text).unwrap_or_default();
        }
        node::result(iq, vec![])
    }
}

fn ab_props() -> Node {
    NodeBuilder::new("props")
        .attr("protocol", "1")
        .attr("ab_key", "stand-in")
        .attr("hash", "stand-in")
        .attr("refresh", 86400)
        .attr("refresh_id", 1)
        .build()
}

fn media_conn() -> Node {
    NodeBuilder::new("media_conn")
        .attr("auth", "stand-in")
        .attr("ttl", 3600)
        .attr("auth_ttl", 3600)
        .attr("max_buckets", 12)
        .children([NodeBuilder::new("host")
            .attr("hostname", MEDIA_HOST)
            .attr("type", "primary")
            .children([leaf("upload"), leaf("download")])
            .build()])
        .build()
}
