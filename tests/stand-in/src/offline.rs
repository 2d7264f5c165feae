//! The offline phase: what waited for a companion goes out in batches after `<active/>`.

use std::sync::Arc;
use std::time::Duration;

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::account::{ConnectionId, DeviceKey};
use crate::node::{NodeExt, server_jid, with_attr};
use crate::queue::{Class, Phase};
use crate::state::{Inner, State};

/// Sent before the client has asked for a batch.
const PRIMER: usize = 5;

/// whatsmeow never asks: after this long it gets the rest.
const PATIENCE: Duration = Duration::from_secs(1);

impl State {
    /// The client is `active`: it gets its backlog, then everything else.
    pub(crate) fn begin_drain(&mut self, inner: &Arc<Inner>, key: &DeviceKey) {
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        if companion.phase != Phase::Closed {
            return;
        }
        let Some(connection) = companion.connection else {
            return;
        };
        companion.phase = Phase::Draining;
        companion.drained = 0;
        let preview = companion.queue.preview();
        if preview.total() > 0 {
            let preview = NodeBuilder::new("offline_preview")
                .attr("count", preview.total())
                .attr("message", preview.messages)
                .attr("receipt", preview.receipts)
                .attr("notification", preview.notifications)
                .attr("call", preview.calls)
                .attr("appdata", 0)
                .build();
            self.send(connection, ib(preview));
        }
        self.drain(key, PRIMER);
        let still_draining = self.companion(key).is_some_and(|companion| companion.phase == Phase::Draining);
        if still_draining {
            let (weak, key) = (Arc::downgrade(inner), key.clone());
            inner.tasks.spawn(async move {
                tokio::time::sleep(PATIENCE).await;
                if let Some(inner) = weak.upgrade() {
                    inner.lock().drain_rest(&key, connection);
                }
            });
        }
        self.welcome(key);
    }

    /// Nothing more comes until the client is active again.
    pub(crate) fn make_passive(&mut self, key: &DeviceKey) {
        if let Some(companion) = self.companion_mut(key) {
            companion.phase = Phase::Closed;
            companion.queue.rewind();
        }
    }

    pub(crate) fn handle_ib(&mut self, key: &DeviceKey, node: &Node) {
        if let Some(batch) = node.child("offline_batch") {
            let count =
                batch.number_attr("count").and_then(|count| usize::try_from(count).ok()).unwrap_or(100);
            self.drain(key, count);
        }
    }

    fn drain_rest(&mut self, key: &DeviceKey, connection: ConnectionId) {
        let same = self.companion(key).is_some_and(|companion| companion.connection == Some(connection));
        if same {
            self.drain(key, usize::MAX);
        }
    }

    /// Sends up to `count` of the backlog, and the end marker after the last.
    fn drain(&mut self, key: &DeviceKey, count: usize) {
        let device = key.pn_jid().to_string();
        let duplicate = self.faults.duplicate;
        for _ in 0..count {
            let Some(companion) = self.companion_mut(key) else {
                return;
            };
            if companion.phase != Phase::Draining {
                return;
            }
            let Some(connection) = companion.connection else {
                return;
            };
            let Some(stanza) = companion.queue.take() else {
                break;
            };
            let (node, class, id) = (stanza.node.clone(), stanza.class, stanza.id.clone());
            let number = companion.drained;
            companion.drained += 1;
            let node = with_attr(&node, "offline", number);
            let times = if class == Class::Message { duplicate } else { 1 };
            if class == Class::Message {
                self.ledger.to(&device, &id).times_sent += times;
            }
            for _ in 0..times {
                self.send(connection, node.clone());
            }
        }
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        if companion.phase == Phase::Draining
            && !companion.queue.has_waiting()
            && let Some(connection) = companion.connection
        {
            companion.phase = Phase::Live;
            let drained = companion.drained;
            self.send(connection, ib(NodeBuilder::new("offline").attr("count", drained).build()));
            self.send_missed_presence(key);
            self.ring(&key.account);
        }
    }
}

fn ib(child: Node) -> Node {
    NodeBuilder::new("ib").attr("from", server_jid()).children([child]).build()
}
