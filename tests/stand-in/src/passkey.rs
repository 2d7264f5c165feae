//! Linking with a passkey: after the scan the server asks for a WebAuthn assertion, and the
//! client's ADV secret comes under a key that both sides have agreed on.
//!
//! The assertion is checked for its shape only: there is no authenticator to ask.

use std::time::Duration;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_libsignal::protocol::KeyPair;
use waproto::buffa::{Enumeration, Message};
use waproto::whatsapp as wa;

use crate::account::ConnectionId;
use crate::clock;
use crate::crypto;
use crate::node::{self, NodeExt, bytes, server_jid};
use crate::state::State;

const PERSON_LOOKS: Duration = Duration::from_millis(200);

/// A link that waits for its passkey.
pub(crate) struct Passkey {
    account: String,
    reference: String,
    options: String,
    primary: KeyPair,
    prologue: Option<Prologue>,
    nonce_shown: bool,
}

/// What the client committed itself to.
struct Prologue {
    identity: Vec<u8>,
    commitment: Vec<u8>,
}

impl State {
    /// Holds a link back until the client has shown a passkey.
    pub(crate) fn ask_for_passkey(&mut self, id: ConnectionId, account: &str) {
        let options = serde_json::json!({
            "challenge": URL_SAFE_NO_PAD.encode(crypto::random::<32>()),
            "rpId": "web.whatsapp.com",
            "allowCredentials": [],
            "userVerification": "required",
            "timeout": 60000,
        })
        .to_string();
        let notice_id = self.new_id();
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.passkey = Some(Passkey {
            account: account.to_owned(),
            reference: format!("2@{}", STANDARD.encode(crypto::random::<32>())),
            options: options.clone(),
            primary: crypto::key_pair(),
            prologue: None,
            nonce_shown: false,
        });
        let notice = notification("passkey_prologue_request", &notice_id)
            .children([bytes("passkey_request_options", options)])
            .build();
        self.send(id, notice);
    }

    /// The client's requests of this flow. False: the request is none of them.
    pub(crate) fn handle_passkey_iq(&mut self, id: ConnectionId, iq: &Node) -> bool {
        let Some(child) = iq.kids().first() else {
            return false;
        };
        let Some(passkey) = self.connections.get_mut(&id).and_then(|connection| connection.passkey.as_mut())
        else {
            return false;
        };
        let done = match &*child.tag {
            "ref" => Ok(vec![bytes("ref", passkey.reference.as_bytes())]),
            "passkey_request_options" => {
                Ok(vec![bytes("passkey_request_options", passkey.options.as_bytes())])
            }
            "passkey_prologue" => passkey.take_prologue(child).map(|()| vec![]),
            "companion_nonce" => passkey.take_nonce(&child.data().unwrap_or_default()).map(|()| vec![]),
            "encrypted_pairing_request" => return self.finish_passkey(id, iq, child),
            _ => return false,
        };
        let is_prologue = child.tag == "passkey_prologue";
        match done {
            Ok(children) => {
                self.send(id, node::result(iq, children));
                if is_prologue {
                    self.show_primary_soon(id);
                }
            }
            Err(reason) => self.refuse_passkey(id, iq, reason),
        }
        true
    }

    fn refuse_passkey(&mut self, id: ConnectionId, iq: &Node, reason: &str) {
        tracing::info!(reason, "passkey refused");
        self.send(id, node::error(iq, 400, reason));
    }

    /// On a real phone a person looks first; clients count on that pause.
    fn show_primary_soon(&self, id: ConnectionId) {
        let weak = self.server.clone();
        let Some(inner) = weak.upgrade() else {
            return;
        };
        inner.tasks.spawn(async move {
            tokio::time::sleep(PERSON_LOOKS).await;
            if let Some(inner) = weak.upgrade() {
                inner.lock().show_primary(id);
            }
        });
    }

    fn show_primary(&mut self, id: ConnectionId) {
        let notice_id = self.new_id();
        let Some(passkey) = self.connections.get(&id).and_then(|connection| connection.passkey.as_ref())
        else {
            return;
        };
        let identity = wa::PrimaryEphemeralIdentity {
            public_key: Some(crypto::public(&passkey.primary).to_vec()),
            nonce: Some(crypto::random::<32>().to_vec()),
        };
        let notice = notification("crsc_continuation", &notice_id)
            .children([bytes("primary_ephemeral_identity", identity.encode_to_vec())])
            .build();
        self.send(id, notice);
    }

    /// The phone agrees to the link after the server has answered the client, not in the same breath: the client
    /// takes up its new ADV secret in between.
    fn link_soon(&self, account: String, id: ConnectionId, identity: [u8; 32], secret: [u8; 32]) {
        let weak = self.server.clone();
        let Some(inner) = weak.upgrade() else {
            return;
        };
        inner.tasks.spawn(async move {
            tokio::time::sleep(PERSON_LOOKS).await;
            let Some(inner) = weak.upgrade() else {
                return;
            };
            if let Err(error) = inner.lock().link_now(&account, id, &identity, &secret) {
                tracing::warn!(%error, "linking with a passkey failed");
            }
        });
    }

    fn finish_passkey(&mut self, id: ConnectionId, iq: &Node, request: &Node) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return true;
        };
        let static_key = connection.static_key;
        let Some(passkey) = connection.passkey.as_ref() else {
            return false;
        };
        let opened = passkey.open(&request.data().unwrap_or_default(), &static_key);
        let account = passkey.account.clone();
        match opened {
            Ok((identity, secret)) => {
                self.send(id, node::result(iq, vec![]));
                self.link_soon(account, id, identity, secret);
            }
            Err(reason) => self.refuse_passkey(id, iq, reason),
        }
        true
    }
}

impl Passkey {
    fn take_prologue(&mut self, prologue: &Node) -> Result<(), &'static str> {
        check_assertion(
            &prologue.child_data("credential_id").unwrap_or_default(),
            &prologue.child_data("webauthn_assertion").unwrap_or_default(),
        )?;
        let payload = prologue
            .child_data("prologue_payload")
            .and_then(|payload| wa::ProloguePayload::decode_from_slice(&payload).ok())
            .ok_or("no prologue_payload")?;
        let identity = payload.companion_ephemeral_identity.ok_or("no companion identity")?;
        let named = wa::CompanionEphemeralIdentity::decode_from_slice(&identity)
            .map_err(|_| "the companion identity is no protobuf")?;
        if named.r#ref.as_deref() != Some(&self.reference) {
            return Err("the companion identity names another ref");
        }
        let commitment = payload.commitment.hash.clone().unwrap_or_default();
        if commitment.len() != 32 {
            return Err("the commitment is not 32 bytes");
        }
        self.prologue = Some(Prologue { identity, commitment });
        Ok(())
    }

    fn take_nonce(&mut self, nonce: &[u8]) -> Result<(), &'static str> {
        let prologue = self.prologue.as_ref().ok_or("no prologue yet")?;
        let hash = Sha256::new().chain_update(&prologue.identity).chain_update(nonce).finalize();
        if hash[..] != prologue.commitment[..] {
            return Err("the nonce is not the one committed to");
        }
        self.nonce_shown = true;
        Ok(())
    }

    /// The companion's identity and its new ADV secret.
    fn open(&self, request: &[u8], static_key: &[u8; 32]) -> Result<([u8; 32], [u8; 32]), &'static str> {
        let prologue = self.prologue.as_ref().filter(|_| self.nonce_shown).ok_or("no nonce yet")?;
        let companion = wa::CompanionEphemeralIdentity::decode_from_slice(&prologue.identity)
            .map_err(|_| "the companion identity is no protobuf")?;
        let key: [u8; 32] = companion
            .public_key
            .and_then(|key| key.try_into().ok())
            .ok_or("the ephemeral key is not 32 bytes")?;
        let shared = crypto::agree(&self.primary, &key).ok_or("unusable key")?;
        let device_type = companion.device_type.map_or(0, |kind| kind.to_i32());
        let salt = format!("Companion Pairing {device_type} with ref {}", self.reference);
        let key = crypto::hkdf_sha256(&shared, Some(salt.as_bytes()), b"Pairing Information Encryption Key");
        let request = wa::EncryptedPairingRequest::decode_from_slice(request)
            .map_err(|_| "the pairing request is no protobuf")?;
        let iv: [u8; 12] = request.iv.and_then(|iv| iv.try_into().ok()).ok_or("the IV is not 12 bytes")?;
        let plain = Aes256Gcm::new(&key.into())
            .decrypt(&Nonce::from(iv), &request.encrypted_payload.unwrap_or_default()[..])
            .map_err(|_| "the pairing request does not decrypt")?;
        let request = wa::PairingRequest::decode_from_slice(&plain)
            .map_err(|_| "the pairing request is no protobuf")?;
        if request.companion_public_key.as_deref() != Some(&static_key[..]) {
            return Err("the pairing request names another noise key");
        }
        let field = |value: Option<Vec<u8>>| value.and_then(|value| value.try_into().ok());
        let identity = field(request.companion_identity_key).ok_or("the identity is not 32 bytes")?;
        let secret = field(request.adv_secret).ok_or("the ADV secret is not 32 bytes")?;
        Ok((identity, secret))
    }
}

fn notification(kind: &'static str, id: &str) -> NodeBuilder {
    NodeBuilder::new("notification")
        .attr("type", kind)
        .attr("from", server_jid())
        .attr("id", id)
        .attr("t", clock::now())
}

fn check_assertion(credential: &[u8], assertion: &[u8]) -> Result<(), &'static str> {
    if credential.is_empty() {
        return Err("no credential_id");
    }
    let json: serde_json::Value =
        serde_json::from_slice(assertion).map_err(|_| "the assertion is no JSON")?;
    if json.get("type").and_then(|kind| kind.as_str()) != Some("public-key") {
        return Err("the assertion is not of type public-key");
    }
    let response = json.get("response").ok_or("the assertion has no response")?;
    let complete = ["clientDataJSON", "authenticatorData", "signature"]
        .iter()
        .all(|name| response.get(name).is_some_and(serde_json::Value::is_string));
    let named = json.get("id").is_some_and(serde_json::Value::is_string);
    if complete && named {
        Ok(())
    } else {
        Err("the assertion lacks id, clientDataJSON, authenticatorData or signature")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_are_checked_for_their_shape() {
        let good = br#"{"id":"a","rawId":"a","type":"public-key","response":{"clientDataJSON":"","authenticatorData":"","signature":""}}"#;
        assert!(check_assertion(b"a", good).is_ok());
        assert!(check_assertion(b"", good).is_err());
        assert!(check_assertion(b"a", b"{}").is_err());
        assert!(check_assertion(b"a", b"nonsense").is_err());
    }
}
