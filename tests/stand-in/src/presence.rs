//! Presence and typing: passed on to whoever is there, never queued.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::account::DeviceKey;
use crate::clock;
use crate::node::NodeExt;
use crate::queue::Phase;
use crate::state::State;

impl State {
    pub(crate) fn handle_presence(&mut self, key: &DeviceKey, node: &Node) {
        match node.text_attr("type").as_deref() {
            Some("subscribe") => self.subscribe(key, node),
            Some("unsubscribe") => {
                if let Some(watched) = node.jid_attr("to").and_then(|jid| self.key_of(&jid))
                    && let Some(account) = self.accounts.get_mut(&watched.account)
                {
                    account.watchers.remove(key);
                }
            }
            kind => {
                let available = kind != Some("unavailable");
                let name = node.text_attr("name");
                if let Some(companion) = self.companion_mut(key) {
                    companion.available = available;
                    if let Some(name) = &name {
                        companion.push_name = Some(name.clone());
                    }
                }
                // The name others see is that of the account.
                if let Some(name) = name.filter(|name| !name.is_empty())
                    && let Some(account) = self.accounts.get_mut(&key.account)
                {
                    account.push_name = name;
                }
                self.presence_changed(&key.account);
            }
        }
    }

    fn subscribe(&mut self, key: &DeviceKey, node: &Node) {
        let Some(jid) = node.jid_attr("to") else {
            return;
        };
        let Some(watched) = self.key_of(&jid) else {
            return;
        };
        if let Some(account) = self.accounts.get_mut(&watched.account) {
            account.watchers.insert(key.clone());
            // Who is away is not announced: nobody is told since when.
            if is_available(account) {
                let presence = presence(account.jid_like(jid.server, 0), true);
                self.send_if_live(key, presence);
            }
        }
    }

    /// Tells the watchers of an account how it is now, if that has changed.
    pub(crate) fn presence_changed(&mut self, number: &str) {
        let Some(account) = self.accounts.get_mut(number) else {
            return;
        };
        let available = is_available(account);
        if available == account.shown_available {
            return;
        }
        account.shown_available = available;
        account.changed.notify_waiters();
        let watchers: Vec<_> = account.watchers.iter().cloned().collect();
        for watcher in watchers {
            let lid_first =
                self.accounts.get(&watcher.account).is_some_and(|watcher| watcher.is_lid_migrated);
            let like = if lid_first { Server::Lid } else { Server::Pn };
            let Some(account) = self.accounts.get(number) else {
                return;
            };
            let presence = presence(account.jid_like(like, 0), available);
            let Some(companion) = self.companion_mut(&watcher) else {
                continue;
            };
            match (companion.phase, companion.connection) {
                (Phase::Live, Some(connection)) => self.send(connection, presence),
                // It gets the newest when it is back, not the whole story.
                _ => {
                    companion.missed_presence.insert(number.to_owned(), presence);
                }
            }
        }
    }

    /// A device that is live again hears of what changed meanwhile.
    pub(crate) fn send_missed_presence(&mut self, key: &DeviceKey) {
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        let missed = std::mem::take(&mut companion.missed_presence);
        if let Some(connection) = companion.connection {
            for presence in missed.into_values() {
                self.send(connection, presence);
            }
        }
    }

    pub(crate) fn handle_chat_state(&mut self, key: &DeviceKey, node: &Node) {
        if let Some(to) = node.jid_attr("to") {
            self.chat_state(key, &to, node.kids().to_vec());
        }
    }

    /// `<chatstate>` to the companions of a chat. Phones do not record it.
    pub(crate) fn chat_state(&self, sender: &DeviceKey, to: &Jid, state: Vec<Node>) {
        let Some(account) = self.accounts.get(&sender.account) else {
            return;
        };
        if to.server == Server::Group {
            let Some(group) = self.groups.get(to.user_base()) else {
                return;
            };
            let like = group.server();
            for member in group.members.keys().filter(|member| **member != sender.account) {
                let node = NodeBuilder::new("chatstate")
                    .attr("from", to.to_non_ad())
                    .attr("participant", account.jid_like(like, sender.device))
                    .children(state.clone())
                    .build();
                self.to_live_companions(member, &node);
            }
            return;
        }
        if let Some(receiver) = self.account_of(to) {
            let node = NodeBuilder::new("chatstate")
                .attr("from", account.jid_like(to.server, 0))
                .children(state)
                .build();
            self.to_live_companions(&receiver.phone_number, &node);
        }
    }

    fn to_live_companions(&self, account: &str, node: &Node) {
        let Some(account) = self.accounts.get(account) else {
            return;
        };
        for companion in account.companions.values() {
            if companion.phase == Phase::Live
                && let Some(connection) = companion.connection
            {
                self.send(connection, node.clone());
            }
        }
    }
}

fn is_available(account: &crate::account::Account) -> bool {
    account.phone_available || account.companions.values().any(|companion| companion.available)
}

fn presence(from: Jid, available: bool) -> Node {
    let node = NodeBuilder::new("presence").attr("from", from);
    if available {
        node.attr("type", "available").build()
    } else {
        node.attr("type", "unavailable").attr("last", clock::now()).build()
    }
}
