//! Linking by a code typed on the phone, instead of a QR code.

use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use sha2::Sha256;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use wacore_libsignal::protocol::KeyPair;

use crate::account::ConnectionId;
use crate::clock;
use crate::crypto;
use crate::error::StandInError;
use crate::node::{self, NodeExt, bytes, server_jid};
use crate::phone::LinkedDevice;
use crate::state::{Inner, State};

const ROUNDS: u32 = 1 << 17;

/// A client that shows a code.
pub(crate) struct CodeRequest {
    pub(crate) connection: ConnectionId,
    reference: Vec<u8>,
    phone_number: String,
    wrapped_companion_key: Vec<u8>,
    typed: Option<Typed>,
}

/// After the code was typed.
struct Typed {
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
}

/// The phone's user types the code. The PBKDF2 rounds run outside the lock.
pub(crate) fn enter(inner: &Arc<Inner>, number: &str, code: &str) -> Result<LinkedDevice, StandInError> {
    let code: String =
        code.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    let unknown = || StandInError::NoSuchPairCode(code.clone());
    let (connection, wrapped) = {
        let state = inner.lock();
        let request =
            state.code_requests.iter().rfind(|request| request.phone_number == number).ok_or_else(unknown)?;
        (request.connection, request.wrapped_companion_key.clone())
    };
    let companion_ephemeral = unwrap_key(&code, &wrapped).ok_or_else(unknown)?;
    let ephemeral = crypto::key_pair();
    let wrapped = wrap_key(&code, &crypto::public(&ephemeral));

    let mut state = inner.lock();
    let id = state.new_id();
    let account = state.account(number).ok_or_else(|| StandInError::UnknownRecipient(number.to_owned()))?;
    let device = LinkedDevice::new(&state.server, account, account.next_device);
    let identity = crypto::public(&account.signal.identity);
    let request = state
        .code_requests
        .iter_mut()
        .find(|request| request.connection == connection)
        .ok_or_else(unknown)?;
    request.typed = Some(Typed { ephemeral, companion_ephemeral });
    let notice = NodeBuilder::new("notification")
        .attr("type", "link_code_companion_reg")
        .attr("from", server_jid())
        .attr("id", id)
        .attr("t", clock::now())
        .children([NodeBuilder::new("link_code_companion_reg")
            .attr("stage", "primary_hello")
            .children([
                bytes("link_code_pairing_ref", request.reference.clone()),
                bytes("link_code_pairing_wrapped_primary_ephemeral_pub", wrapped),
                bytes("primary_identity_pub", identity),
            ])
            .build()])
        .build();
    state.send(connection, notice);
    Ok(device)
}

impl State {
    /// Both requests of the client: its hello and its finish.
    pub(crate) fn handle_link_code(&mut self, id: ConnectionId, iq: &Node) {
        let Some(request) = iq.child("link_code_companion_reg").cloned() else {
            return;
        };
        let answer = match request.text_attr("stage").as_deref() {
            Some("companion_hello") => self.companion_hello(id, iq, &request),
            Some("companion_finish") => {
                return match self.companion_finish(id, &request) {
                    Ok((account, identity, secret)) => {
                        self.send(id, node::result(iq, vec![]));
                        if let Err(error) = self.link(&account, id, &identity, &secret) {
                            tracing::warn!(%error, "linking by code failed");
                        }
                    }
                    Err(reason) => {
                        tracing::info!(reason, "linking by code failed");
                        self.send(id, node::error(iq, 400, "bad-request"));
                    }
                };
            }
            _ => node::error(iq, 400, "bad-request"),
        };
        self.send(id, answer);
    }

    fn companion_hello(&mut self, id: ConnectionId, iq: &Node, request: &Node) -> Node {
        let number = request.jid_attr("jid").map(|jid| jid.user_base().to_owned()).unwrap_or_default();
        let wrapped = request.child_data("link_code_pairing_wrapped_companion_ephemeral_pub");
        let noise = request.child_data("companion_server_auth_key_pub");
        let Some(connection) = self.connections.get(&id) else {
            return node::error(iq, 400, "bad-request");
        };
        let (Some(wrapped), Some(noise)) = (wrapped.filter(|wrapped| wrapped.len() == 80), noise) else {
            return node::error(iq, 400, "bad-request");
        };
        if noise != connection.static_key {
            return node::error(iq, 400, "bad-request");
        }
        if self.account(&number).is_none() {
            return node::error(iq, 404, "item-not-found");
        }
        let reference = crypto::random::<16>().to_vec();
        self.code_requests.retain(|request| request.connection != id);
        self.code_requests.push(CodeRequest {
            connection: id,
            reference: reference.clone(),
            phone_number: number,
            wrapped_companion_key: wrapped,
            typed: None,
        });
        node::result(
            iq,
            vec![
                NodeBuilder::new("link_code_companion_reg")
                    .attr("stage", "companion_hello")
                    .children([bytes("link_code_pairing_ref", reference)])
                    .build(),
            ],
        )
    }

    /// Opens the client's key bundle: account, companion identity, ADV secret.
    fn companion_finish(
        &mut self,
        id: ConnectionId,
        request: &Node,
    ) -> Result<(String, [u8; 32], [u8; 32]), &'static str> {
        let reference = request.child_data("link_code_pairing_ref");
        let at = self
            .code_requests
            .iter()
            .position(|waiting| waiting.connection == id && Some(&waiting.reference) == reference.as_ref())
            .ok_or("no code was asked for, or another ref")?;
        let waiting = self.code_requests.remove(at);
        let typed = waiting.typed.ok_or("the code was not typed yet")?;
        let account = self.account(&waiting.phone_number).ok_or("the account is gone")?;
        let identity: [u8; 32] = request
            .child_data("companion_identity_public")
            .and_then(|key| key.try_into().ok())
            .ok_or("no companion_identity_public of 32 bytes")?;
        let bundle = request
            .child_data("link_code_pairing_wrapped_key_bundle")
            .ok_or("no link_code_pairing_wrapped_key_bundle")?;
        let shared = crypto::agree(&typed.ephemeral, &typed.companion_ephemeral).ok_or("unusable key")?;
        let bundle = open_bundle(&shared, &bundle).ok_or("the key bundle does not open: wrong code?")?;
        let (companion, rest) = bundle.split_at(32);
        let (primary, random) = rest.split_at(32);
        if companion != identity || primary != crypto::public(&account.signal.identity) {
            return Err("the key bundle names other identities");
        }
        let identities = crypto::agree(&account.signal.identity, &identity).ok_or("unusable key")?;
        let secret = crypto::hkdf_sha256(&[&shared[..], &identities, random].concat(), None, b"adv_secret");
        Ok((waiting.phone_number, identity, secret))
    }
}

fn open_bundle(shared: &[u8; 32], bundle: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = bundle.split_at_checked(32)?;
    let (iv, sealed) = rest.split_at_checked(12)?;
    let key = crypto::hkdf_sha256(shared, Some(salt), b"link_code_pairing_key_bundle_encryption_key");
    let iv: [u8; 12] = iv.try_into().ok()?;
    let opened = Aes256Gcm::new(&key.into()).decrypt(&Nonce::from(iv), sealed).ok()?;
    (opened.len() == 96).then_some(opened)
}

fn apply_code(code: &str, salt: &[u8], iv: &[u8; 16], key: &mut [u8; 32]) {
    let mut secret = [0; 32];
    pbkdf2::pbkdf2_hmac::<Sha256>(code.as_bytes(), salt, ROUNDS, &mut secret);
    Ctr128BE::<aes::Aes256>::new(&secret.into(), &(*iv).into()).apply_keystream(key);
}

fn wrap_key(code: &str, key: &[u8; 32]) -> Vec<u8> {
    let (salt, iv) = (crypto::random::<32>(), crypto::random::<16>());
    let mut wrapped = *key;
    apply_code(code, &salt, &iv, &mut wrapped);
    [&salt[..], &iv, &wrapped].concat()
}

fn unwrap_key(code: &str, wrapped: &[u8]) -> Option<[u8; 32]> {
    let iv: [u8; 16] = wrapped.get(32..48)?.try_into().ok()?;
    let mut key: [u8; 32] = wrapped.get(48..80)?.try_into().ok()?;
    apply_code(code, &wrapped[..32], &iv, &mut key);
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wacore::pair_code::PairCodeUtils;

    #[test]
    fn the_code_unlocks_what_a_client_wraps() {
        let key = crypto::random::<32>();
        let wrapped = PairCodeUtils::encrypt_ephemeral_pub(&key, "ABCD1234");
        assert_eq!(unwrap_key("ABCD1234", &wrapped), Some(key));
        let ours = wrap_key("ABCD1234", &key);
        let opened = PairCodeUtils::decrypt_primary_ephemeral_pub(&ours, "ABCD1234").expect("80 bytes");
        assert_eq!(opened, key);
    }

    #[test]
    fn a_clients_bundle_opens_with_the_shared_secret() {
        let (ours, theirs, phone, companion) =
            (crypto::key_pair(), crypto::key_pair(), crypto::key_pair(), crypto::key_pair());
        let (bundle, secret) = PairCodeUtils::prepare_key_bundle(
            &theirs,
            &crypto::public(&ours),
            &crypto::public(&phone),
            &companion,
        )
        .expect("bundle");
        let shared = crypto::agree(&ours, &crypto::public(&theirs)).expect("agree");
        let opened = open_bundle(&shared, &bundle).expect("opens");
        assert_eq!(opened[..32], crypto::public(&companion));
        let identities = crypto::agree(&phone, &crypto::public(&companion)).expect("agree");
        let ours =
            crypto::hkdf_sha256(&[&shared[..], &identities, &opened[64..]].concat(), None, b"adv_secret");
        assert_eq!(ours, secret);
    }
}
