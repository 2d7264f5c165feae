//! A stanza from a client goes to the part of the server that it concerns.

use std::sync::Arc;
use std::time::Duration;

use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::account::{ConnectionId, DeviceKey};
use crate::node::{self, NodeExt};
use crate::queue::Class;
use crate::state::{Inner, Outgoing, State};

/// False ends the connection.
pub(crate) fn handle(inner: &Arc<Inner>, id: ConnectionId, node: &Node) -> bool {
    let mut state = inner.lock();
    let Some(connection) = state.connections.get(&id) else {
        return false;
    };
    if connection.frozen || connection.closing {
        return true;
    }
    match connection.device.clone() {
        Some(key) => state.handle_linked(inner, id, &key, node),
        None => state.handle_unlinked(id, node),
    }
    true
}

impl State {
    fn handle_unlinked(&mut self, id: ConnectionId, node: &Node) {
        match &*node.tag {
            "iq" => self.handle_unlinked_iq(id, node),
            "ack" | "ib" | "presence" | "receipt" => {}
            _ => self.end_stream(id, &node::stream_error(Some("401"), None)),
        }
    }

    fn handle_linked(&mut self, inner: &Arc<Inner>, id: ConnectionId, key: &DeviceKey, node: &Node) {
        match &*node.tag {
            "iq" => self.handle_iq(inner, id, key, node),
            "message" => self.handle_message(id, key, node),
            "receipt" => self.handle_receipt(id, key, node),
            "ack" => self.handle_ack(key, node),
            "presence" => self.handle_presence(key, node),
            "chatstate" => self.handle_chat_state(key, node),
            "ib" => self.handle_ib(key, node),
            "notification" | "call" => self.acknowledge(id, node, &node.tag),
            "xmlstreamend" | "stream:error" => self.close(id),
            other => {
                tracing::info!(%key, tag = other, "no such stanza; closing");
                self.end_stream(id, &node::stream_error(Some("400"), None));
            }
        }
    }

    /// `<ack>` to the sender of a stanza.
    fn acknowledge(&self, id: ConnectionId, node: &Node, class: &str) {
        let ack = NodeBuilder::new("ack")
            .attr("class", class)
            .attr("id", node.text_attr("id").unwrap_or_default())
            .attr("from", node.jid_attr("to").unwrap_or_else(node::server_jid))
            .build();
        self.send(id, ack);
    }

    fn handle_ack(&mut self, key: &DeviceKey, node: &Node) {
        let (Some(class), Some(id)) =
            (node.text_attr("class").as_deref().and_then(Class::of_tag), node.text_attr("id"))
        else {
            return;
        };
        if class == Class::Message
            && let Some(error) = node.text_attr("error")
            && let Some(entry) = self.ledger.known_to(&key.pn_jid().to_string(), &id)
            // A refusal that goes with a retry receipt is no loss yet.
            && entry.retries == 0
        {
            entry.nacked = Some(error);
        }
        self.settle(key, class, &id);
    }

    /// `<stream:error>`, then the close that the client may do first.
    pub(crate) fn end_stream(&mut self, id: ConnectionId, error: &Node) {
        self.end_stream_after(id, error, Duration::ZERO);
    }

    /// The same, unless the client closes first.
    pub(crate) fn end_stream_after(&mut self, id: ConnectionId, error: &Node, wait: Duration) {
        self.post_after(id, Outgoing::Node(error.clone()), wait);
        self.send(id, node::leaf("xmlstreamend"));
        self.close(id);
    }

    /// Closes after the client had time to do so; what it says until then is ignored.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        self.post(id, Outgoing::Close);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.closing = true;
        }
    }
}
