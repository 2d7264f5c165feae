//! Small helpers to read and build stanzas.

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent, NodeValue, Server};

/// WhatsApp's own address as a JID token. As a plain string whatsmeow would ignore it.
pub(crate) fn server_jid() -> Jid {
    Jid::new("", Server::Pn)
}

/// Reading an owned stanza without fuss.
pub(crate) trait NodeExt {
    fn text_attr(&self, name: &str) -> Option<String>;
    fn jid_attr(&self, name: &str) -> Option<Jid>;
    fn number_attr(&self, name: &str) -> Option<u64>;
    fn has(&self, name: &str, value: &str) -> bool;
    fn data(&self) -> Option<Vec<u8>>;
    fn text(&self) -> Option<String>;
    fn kids(&self) -> &[Node];
    fn child(&self, tag: &str) -> Option<&Node>;
    fn child_data(&self, tag: &str) -> Option<Vec<u8>>;
}

impl NodeExt for Node {
    fn text_attr(&self, name: &str) -> Option<String> {
        self.attrs.get(name).map(|value| value.as_str().into_owned())
    }

    fn jid_attr(&self, name: &str) -> Option<Jid> {
        self.attrs.get(name).and_then(NodeValue::to_jid)
    }

    fn number_attr(&self, name: &str) -> Option<u64> {
        self.attrs.get(name)?.as_str().parse().ok()
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.attrs.get(name).is_some_and(|v| v.as_str() == value)
    }

    fn data(&self) -> Option<Vec<u8>> {
        match self.content.as_ref()? {
            NodeContent::Bytes(bytes) => Some(bytes.clone()),
            NodeContent::String(text) => Some(text.as_bytes().to_vec()),
            NodeContent::Nodes(_) => None,
        }
    }

    fn text(&self) -> Option<String> {
        self.content_as_string().map(|text| text.to_string())
    }

    fn kids(&self) -> &[Node] {
        self.children().unwrap_or_default()
    }

    fn child(&self, tag: &str) -> Option<&Node> {
        self.get_optional_child(tag)
    }

    fn child_data(&self, tag: &str) -> Option<Vec<u8>> {
        self.child(tag).and_then(NodeExt::data)
    }
}

/// `<iq type="result">` to a client, with the children given.
pub(crate) fn result(request: &Node, children: Vec<Node>) -> Node {
    let mut iq = NodeBuilder::new("iq")
        .attr("type", "result")
        .attr("from", request.jid_attr("to").unwrap_or_else(server_jid))
        .attr("id", request.text_attr("id").unwrap_or_default());
    if !children.is_empty() {
        iq = iq.children(children);
    }
    iq.build()
}

/// `<iq type="error">` to a client.
pub(crate) fn error(request: &Node, code: u16, text: &str) -> Node {
    NodeBuilder::new("iq")
        .attr("type", "error")
        .attr("from", request.jid_attr("to").unwrap_or_else(server_jid))
        .attr("id", request.text_attr("id").unwrap_or_default())
        .children([NodeBuilder::new("error").attr("code", code).attr("text", text).build()])
        .build()
}

/// A leaf without attributes.
pub(crate) fn leaf(tag: &'static str) -> Node {
    NodeBuilder::new(tag).build()
}

/// A leaf with bytes. Always `BINARY`, never packed: clients need bytes for keys and ids.
pub(crate) fn bytes(tag: &'static str, content: impl Into<Vec<u8>>) -> Node {
    NodeBuilder::new(tag).bytes(content).build()
}

/// `<stream:error>`, with the reason for a conflict if there is one.
pub(crate) fn stream_error(code: Option<&str>, conflict: Option<&str>) -> Node {
    let mut node = NodeBuilder::new("stream:error");
    if let Some(code) = code {
        node = node.attr("code", code);
    }
    if let Some(kind) = conflict {
        node = node.children([NodeBuilder::new("conflict").attr("type", kind).build()]);
    }
    node.build()
}

/// A copy of the stanza with one attribute more (or replaced).
pub(crate) fn with_attr(node: &Node, name: &'static str, value: impl Into<NodeValue>) -> Node {
    let mut node = node.clone();
    node.attrs.insert(name, value.into());
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_a_jid_token_without_a_user() {
        let iq = result(&leaf("iq"), vec![]);
        let wire = wacore_binary::marshal(&iq).expect("marshal");
        let back = wacore_binary::OwnedNodeRef::new(
            wacore_binary::util::unpack(&wire).expect("unpack").into_owned(),
        )
        .expect("decode")
        .to_owned_node();
        assert!(matches!(back.attrs.get("from"), Some(NodeValue::Jid(jid)) if jid.user.is_empty()));
    }

    #[test]
    fn digits_stay_binary() {
        let wire = wacore_binary::marshal(&bytes("ref", b"123456".to_vec())).expect("marshal");
        assert!(wire.windows(6).any(|window| window == b"123456"));
    }
}
