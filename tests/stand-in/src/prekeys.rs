//! The companions' public keys: upload, count, digest, rotation, and handing them out.

use sha1::{Digest, Sha1};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::account::{Companion, DeviceKey};
use crate::node::{self, NodeExt, bytes};
use crate::phone::signal::{Bundle, SignedKey};
use crate::state::State;

/// More than any client uploads at once.
const MOST_PRE_KEYS: usize = 65_535;

impl State {
    pub(crate) fn count_pre_keys(&self, key: &DeviceKey, iq: &Node) -> Node {
        let count = self.companion(key).map_or(0, |companion| companion.pre_keys.len());
        node::result(iq, vec![NodeBuilder::new("count").attr("value", count).build()])
    }

    /// Checks and stores an upload. A wrong signature is refused as WhatsApp does.
    pub(crate) fn upload_pre_keys(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        let Some(companion) = self.companion_mut(key) else {
            return node::error(iq, 404, "item-not-found");
        };
        let identity = iq.child_data("identity");
        if identity.as_deref() != Some(&companion.identity[..]) {
            tracing::warn!(%key, "pre-key upload with another identity");
            return node::error(iq, 406, "not-acceptable");
        }
        let Some(signed) = iq.child("skey").and_then(read_signed_key) else {
            return node::error(iq, 400, "bad-request");
        };
        if !signed.is_signed_by(&companion.identity) {
            tracing::warn!(%key, "pre-key upload with a wrong signature");
            return node::error(iq, 406, "not-acceptable");
        }
        let listed = iq.child("list").map(NodeExt::kids).unwrap_or_default();
        let read: Option<Vec<_>> = listed.iter().map(read_pre_key).collect();
        let Some(read) = read.filter(|read| companion.pre_keys.len() + read.len() <= MOST_PRE_KEYS) else {
            return node::error(iq, 400, "bad-request");
        };
        if let Some(id) = iq.child_data("registration").and_then(|id| <[u8; 4]>::try_from(id).ok()) {
            companion.registration_id = u32::from_be_bytes(id);
        }
        companion.signed_key = signed;
        for (id, public) in read {
            // The same id again is the same key again: never two of a number.
            if let Some(known) = companion.pre_keys.iter_mut().find(|known| known.0 == id) {
                known.1 = public;
            } else {
                companion.pre_keys.push_back((id, public));
            }
        }
        companion.pre_keys.make_contiguous();
        companion.told_low_keys = false;
        self.dirty = true;
        node::result(iq, vec![])
    }

    pub(crate) fn rotate_signed_key(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        let Some(companion) = self.companion_mut(key) else {
            return node::error(iq, 404, "item-not-found");
        };
        let signed = iq.child("rotate").and_then(|rotate| rotate.child("skey")).and_then(read_signed_key);
        match signed {
            Some(signed) if signed.is_signed_by(&companion.identity) => {
                companion.signed_key = signed;
                self.dirty = true;
                node::result(iq, vec![])
            }
            Some(_) => node::error(iq, 406, "not-acceptable"),
            None => node::error(iq, 400, "bad-request"),
        }
    }

    /// What the server has, so that a client can see whether it is what it uploaded.
    pub(crate) fn digest(&self, key: &DeviceKey, iq: &Node) -> Node {
        let companion = self.companion(key).filter(|companion| !companion.pre_keys.is_empty());
        let Some(companion) = companion else {
            return node::error(iq, 404, "item-not-found");
        };
        let mut hash = Sha1::new();
        hash.update(companion.identity);
        hash.update(companion.signed_key.public);
        hash.update(&companion.signed_key.signature);
        for (_, public) in &companion.pre_keys {
            hash.update(public);
        }
        let ids = companion.pre_keys.iter().map(|(id, _)| bytes("id", id_bytes(*id)));
        let digest = NodeBuilder::new("digest")
            .children([
                bytes("registration", companion.registration_id.to_be_bytes()),
                bytes("type", [5]),
                bytes("identity", companion.identity),
                signed_key_node(&companion.signed_key),
                NodeBuilder::new("list").children(ids).build(),
                bytes("hash", hash.finalize().to_vec()),
            ])
            .build();
        node::result(iq, vec![digest])
    }

    /// Answers a request for the keys of devices; each one-time key is given out once.
    pub(crate) fn hand_out_keys(&mut self, iq: &Node) -> Node {
        let asked: Vec<Jid> = iq
            .child("key")
            .map(NodeExt::kids)
            .unwrap_or_default()
            .iter()
            .filter_map(|user| user.jid_attr("jid"))
            .collect();
        let users: Vec<_> = asked.iter().map(|jid| self.keys_of(jid)).collect();
        node::result(iq, vec![NodeBuilder::new("list").children(users).build()])
    }

    fn keys_of(&mut self, jid: &Jid) -> Node {
        let user = NodeBuilder::new("user").attr("jid", jid.clone());
        let Some(key) = self.key_of(jid) else {
            return missing(user);
        };
        let Some(bundle) = self.take_bundle(&key) else {
            return missing(user);
        };
        let mut children = vec![
            bytes("registration", bundle.registration_id.to_be_bytes()),
            bytes("type", [5]),
            bytes("identity", bundle.identity),
            signed_key_node(&bundle.signed),
        ];
        if let Some((id, public)) = bundle.one_time {
            children.push(
                NodeBuilder::new("key").children([bytes("id", id_bytes(id)), bytes("value", public)]).build(),
            );
        }
        if let Some(companion) = self.companion(&key) {
            children.push(bytes("device-identity", companion.signed_identity.clone()));
        }
        user.attr("t", crate::clock::now()).children(children).build()
    }

    /// The keys of a device for one caller. A companion's one-time key is gone afterwards; when
    /// none is left the signed key must do.
    pub(crate) fn take_bundle(&mut self, key: &DeviceKey) -> Option<Bundle> {
        if key.device == 0 {
            return Some(self.accounts.get_mut(&key.account)?.signal.bundle());
        }
        let bundle = take_companion_bundle(self.companion_mut(key)?);
        self.dirty = true;
        self.tell_if_few_keys(key);
        Some(bundle)
    }
}

fn take_companion_bundle(companion: &mut Companion) -> Bundle {
    Bundle {
        registration_id: companion.registration_id,
        identity: companion.identity,
        signed: companion.signed_key.clone(),
        one_time: companion.pre_keys.pop_front(),
    }
}

fn missing(user: NodeBuilder) -> Node {
    user.children([NodeBuilder::new("error").attr("code", 404).attr("text", "item-not-found").build()])
        .build()
}

/// Key numbers are three bytes on the wire.
fn id_bytes(id: u32) -> Vec<u8> {
    id.to_be_bytes()[1..].to_vec()
}

fn read_id(node: &Node) -> Option<u32> {
    let bytes = node.child_data("id")?;
    if bytes.is_empty() || bytes.len() > 4 {
        return None;
    }
    Some(bytes.iter().fold(0, |id, byte| id << 8 | u32::from(*byte)))
}

fn read_pre_key(node: &Node) -> Option<(u32, [u8; 32])> {
    Some((read_id(node)?, node.child_data("value")?.try_into().ok()?))
}

/// `<skey>` with id, value and signature of exact lengths.
pub(crate) fn read_signed_key(node: &Node) -> Option<SignedKey> {
    Some(SignedKey {
        id: read_id(node)?,
        public: node.child_data("value")?.try_into().ok()?,
        signature: node.child_data("signature").filter(|signature| signature.len() == 64)?,
    })
}

/// The `<keys>` of a retry receipt.
pub(crate) fn read_bundle(keys: &Node, registration_id: u32) -> Option<Bundle> {
    Some(Bundle {
        registration_id,
        identity: keys.child_data("identity")?.try_into().ok()?,
        signed: read_signed_key(keys.child("skey")?)?,
        one_time: keys.child("key").and_then(read_pre_key),
    })
}

pub(crate) fn signed_key_node(key: &SignedKey) -> Node {
    NodeBuilder::new("skey")
        .children([
            bytes("id", id_bytes(key.id)),
            bytes("value", key.public),
            bytes("signature", key.signature.clone()),
        ])
        .build()
}

/// The `<keys>` that the phone puts in its own retry receipts.
pub(crate) fn keys_node(bundle: &Bundle) -> Node {
    let mut children = vec![bytes("type", [5]), bytes("identity", bundle.identity)];
    if let Some((id, public)) = bundle.one_time {
        children.push(
            NodeBuilder::new("key").children([bytes("id", id_bytes(id)), bytes("value", public)]).build(),
        );
    }
    children.push(signed_key_node(&bundle.signed));
    NodeBuilder::new("keys").children(children).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto;

    #[test]
    fn keys_go_over_the_wire_and_back() {
        let bundle = crate::phone::signal::PhoneSignal::generate().bundle();
        let node = keys_node(&bundle);
        let back = read_bundle(&node, bundle.registration_id).expect("a bundle");
        assert_eq!(back.identity, bundle.identity);
        assert_eq!(back.one_time, bundle.one_time);
        assert!(back.signed.is_signed_by(&bundle.identity));
    }

    #[test]
    fn short_keys_are_refused() {
        let skey = NodeBuilder::new("skey")
            .children([
                bytes("id", [0, 0, 1]),
                bytes("value", crypto::random::<31>()),
                bytes("signature", crypto::random::<64>()),
            ])
            .build();
        assert!(read_signed_key(&skey).is_none());
    }
}
