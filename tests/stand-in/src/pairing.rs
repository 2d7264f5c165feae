//! Linking: refs for the QR code, the phone's scan, and the companion's signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};
use waproto::buffa::Message;
use waproto::whatsapp as wa;

use crate::account::{Account, Companion, ConnectionId};
use crate::clock;
use crate::crypto;
use crate::error::StandInError;
use crate::node::{self, NodeExt, bytes, server_jid, stream_error};
use crate::phone::LinkedDevice;
use crate::phone::signal::SignedKey;
use crate::queue::{Phase, Queue};
use crate::state::State;
use crate::usync::device_hash;

const REFS: usize = 6;
const ACCOUNT_SIGNATURE: &[u8] = &[6, 0];
const DEVICE_SIGNATURE: &[u8] = &[6, 1];
const KEY_INDEX_SIGNATURE: &[u8] = &[6, 2];

/// A phone has said yes and the companion has not yet answered.
pub(crate) struct Pairing {
    iq: String,
    account: String,
    device: u16,
    key_index: u32,
    identity: [u8; 32],
    details: Vec<u8>,
}

/// What a QR code holds.
pub(crate) struct Qr {
    pub(crate) reference: String,
    pub(crate) noise: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) adv_secret: [u8; 32],
}

/// Reads a QR text of 4 or 5 parts, with or without the address in front.
pub(crate) fn parse_qr(text: &str) -> Result<Qr, StandInError> {
    let text = text.trim();
    let text = match (text.starts_with("http"), text.split_once('#')) {
        (true, Some((_address, text))) => text,
        _ => text,
    };
    let parts: Vec<_> = text.split(',').collect();
    if !(4..=5).contains(&parts.len()) || parts.iter().any(|part| part.is_empty()) {
        return Err(StandInError::BadQr(format!("{} parts between commas instead of 4 or 5", parts.len())));
    }
    let key = |at: usize, what: &str| {
        STANDARD
            .decode(parts[at])
            .ok()
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
            .ok_or_else(|| StandInError::BadQr(format!("the {what} is not 32 bytes in base64")))
    };
    Ok(Qr {
        reference: parts[0].to_owned(),
        noise: key(1, "noise key")?,
        identity: key(2, "identity key")?,
        adv_secret: key(3, "ADV secret")?,
    })
}

impl State {
    /// The first stanza to an unlinked client: refs for its QR codes.
    pub(crate) fn offer_pairing(&mut self, id: ConnectionId) {
        let refs: Vec<_> =
            (0..REFS).map(|_| format!("2@{}", STANDARD.encode(crypto::random::<48>()))).collect();
        let iq = NodeBuilder::new("iq")
            .attr("type", "set")
            .attr("id", self.new_id())
            .attr("from", server_jid())
            .attr("xmlns", "md")
            .attr("t", clock::now())
            .children([NodeBuilder::new("pair-device")
                .children(refs.iter().map(|text| bytes("ref", text.as_bytes())))
                .build()])
            .build();
        for text in refs {
            self.refs.insert(text, id);
        }
        self.send(id, iq);
    }

    /// The push name the unlinked client gave, which chooses the phone.
    pub(crate) fn push_name_of_qr(&self, qr: &str) -> Result<Option<String>, StandInError> {
        let qr = parse_qr(qr)?;
        let id = self.refs.get(&qr.reference).ok_or(StandInError::QrExpired)?;
        let connection = self.connections.get(id).ok_or(StandInError::QrExpired)?;
        Ok(connection.payload.push_name.clone())
    }

    /// The phone scans a QR code.
    pub(crate) fn scan_qr(&mut self, account: &str, qr: &str) -> Result<LinkedDevice, StandInError> {
        let qr = parse_qr(qr)?;
        let id = *self.refs.get(&qr.reference).ok_or(StandInError::QrExpired)?;
        let connection = self.connections.get(&id).ok_or(StandInError::QrExpired)?;
        if connection.static_key != qr.noise {
            return Err(StandInError::BadSignature(
                "the noise key in the QR code is not the one of the handshake".to_owned(),
            ));
        }
        self.link(account, id, &qr.identity, &qr.adv_secret)
    }

    /// The phone has agreed. A passkey may be asked for before it goes on.
    pub(crate) fn link(
        &mut self,
        account: &str,
        id: ConnectionId,
        identity: &[u8; 32],
        adv_secret: &[u8],
    ) -> Result<LinkedDevice, StandInError> {
        if !self.faults.passkey {
            return self.link_now(account, id, identity, adv_secret);
        }
        let known =
            self.accounts.get(account).ok_or_else(|| StandInError::UnknownRecipient(account.to_owned()))?;
        let linked = LinkedDevice::new(&self.server, known, known.next_device);
        self.ask_for_passkey(id, account);
        Ok(linked)
    }

    /// Sends `pair-success` with the phone's signature over the companion's identity.
    pub(crate) fn link_now(
        &mut self,
        account: &str,
        id: ConnectionId,
        identity: &[u8; 32],
        adv_secret: &[u8],
    ) -> Result<LinkedDevice, StandInError> {
        let connection = self.connections.get(&id).ok_or(StandInError::QrExpired)?;
        if connection.pairing.is_some() {
            return Err(StandInError::Refused("this client is being linked already; wait for it".to_owned()));
        }
        let data = connection.payload.device_pairing_data.as_option().ok_or(StandInError::QrExpired)?;
        if data.e_ident.as_deref() != Some(&identity[..]) {
            return Err(StandInError::BadSignature(
                "the identity key is not the one the client registered with".to_owned(),
            ));
        }
        registered_key(data).filter(|key| key.is_signed_by(identity)).ok_or_else(|| {
            StandInError::BadSignature("the client's signed pre-key is not signed by its identity".to_owned())
        })?;
        let iq_id = self.new_id();
        let account = self
            .accounts
            .get_mut(account)
            .ok_or_else(|| StandInError::UnknownRecipient(account.to_owned()))?;
        let device = account.next_device;
        account.next_device += 1;
        let key_index = u32::from(device);
        let details = wa::ADVDeviceIdentity {
            raw_id: Some(account.raw_id),
            timestamp: Some(clock::now()),
            key_index: Some(key_index),
            account_type: Some(wa::ADVEncryptionType::E2EE),
            device_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let phone = &account.signal.identity;
        let signed = wa::ADVSignedDeviceIdentity {
            account_signature_key: Some(crypto::public(phone).to_vec()),
            account_signature: Some(crypto::sign(phone, &[ACCOUNT_SIGNATURE, &details, identity]).to_vec()),
            details: Some(details.clone()),
            device_signature: None,
        }
        .encode_to_vec();
        let container = wa::ADVSignedDeviceIdentityHMAC {
            hmac: Some(crypto::hmac_sha256(adv_secret, &[&signed]).to_vec()),
            details: Some(signed),
            account_type: Some(wa::ADVEncryptionType::E2EE),
        }
        .encode_to_vec();
        let props = wa::ClientPairingProps {
            is_chat_db_lid_migrated: Some(account.is_lid_migrated),
            ..Default::default()
        }
        .encode_to_vec();
        let key = account.key(device);
        let mut children = vec![
            bytes("device-identity", container),
            NodeBuilder::new("platform").attr("name", account.platform.as_str()).build(),
            NodeBuilder::new("device")
                .attr("jid", key.pn_jid())
                .attr("lid", Jid::lid_device(account.lid.as_str(), device))
                .build(),
            bytes("client-props", props),
        ];
        if let Some(name) = &account.business_name {
            children.push(NodeBuilder::new("biz").attr("name", name.as_str()).build());
        }
        let iq = NodeBuilder::new("iq")
            .attr("type", "set")
            .attr("id", iq_id.as_str())
            .attr("from", server_jid())
            .attr("xmlns", "md")
            .attr("t", clock::now())
            .children([NodeBuilder::new("pair-success").children(children).build()])
            .build();
        let linked = LinkedDevice::new(&self.server, account, device);
        self.send(id, iq);
        self.refs.retain(|_, waiting| *waiting != id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.pairing = Some(Pairing {
                iq: iq_id,
                account: key.account,
                device,
                key_index,
                identity: *identity,
                details,
            });
        }
        Ok(linked)
    }

    /// The only requests of a client without a login.
    pub(crate) fn handle_unlinked_iq(&mut self, id: ConnectionId, iq: &Node) {
        if iq.has("type", "result") || iq.has("type", "error") {
            let awaited = self
                .connections
                .get(&id)
                .and_then(|connection| connection.pairing.as_ref())
                .is_some_and(|pairing| iq.has("id", &pairing.iq));
            if awaited {
                self.complete_pairing(id, iq);
            }
            return;
        }
        let xmlns = iq.text_attr("xmlns").unwrap_or_default();
        if xmlns == "md" && iq.child("link_code_companion_reg").is_some() {
            return self.handle_link_code(id, iq);
        }
        if xmlns == "md" && self.handle_passkey_iq(id, iq) {
            return;
        }
        if xmlns != "w:p" {
            self.note_unknown_iq("unlinked", iq);
        }
        self.send(id, node::result(iq, vec![]));
    }

    fn complete_pairing(&mut self, id: ConnectionId, iq: &Node) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(pairing) = connection.pairing.take() else {
            return;
        };
        match check_device_signature(self.accounts.get(&pairing.account), &pairing, iq) {
            Ok(signed_identity) => self.add_companion(id, pairing, signed_identity),
            Err(reason) => {
                tracing::warn!(reason, "linking failed");
                self.ring(&pairing.account);
                self.end_stream(id, &stream_error(Some("401"), None));
            }
        }
    }

    fn add_companion(&mut self, id: ConnectionId, pairing: Pairing, signed_identity: Vec<u8>) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let Some(data) = connection.payload.device_pairing_data.as_option() else {
            return;
        };
        let Some(signed_key) = registered_key(data) else {
            return;
        };
        let registration_id =
            data.e_regid.as_deref().and_then(|id| id.try_into().ok()).map_or(0, u32::from_be_bytes);
        let companion = Companion {
            device: pairing.device,
            noise_key: connection.static_key,
            identity: pairing.identity,
            registration_id,
            key_index: pairing.key_index,
            signed_identity,
            signed_key,
            pre_keys: Default::default(),
            platform: platform_of(data),
            push_name: connection.payload.push_name.clone(),
            needs_welcome: true,
            told_low_keys: false,
            available: false,
            missed_presence: Default::default(),
            connection: None,
            phase: Phase::Closed,
            drained: 0,
            queue: Queue::default(),
            logins: 0,
        };
        let Some(account) = self.accounts.get_mut(&pairing.account) else {
            return;
        };
        account.companions.insert(pairing.device, companion);
        let key = account.key(pairing.device);
        self.dirty = true;
        // The client closes on 515 and comes back with a login.
        self.send(id, stream_error(Some("515"), None));
        self.close(id);
        self.tell_of_device_change(&key, pairing.key_index, "add");
        self.ring(&key.account);
    }
}

fn check_device_signature(
    account: Option<&Account>,
    pairing: &Pairing,
    iq: &Node,
) -> Result<Vec<u8>, &'static str> {
    let account = account.ok_or("the account is gone")?;
    if iq.has("type", "error") {
        return Err("the client refused pair-success");
    }
    let blob = iq
        .child("pair-device-sign")
        .and_then(|sign| sign.child_data("device-identity"))
        .ok_or("the client's answer has no device-identity")?;
    let mut signed = wa::ADVSignedDeviceIdentity::decode_from_slice(&blob)
        .map_err(|_| "the device-identity is no protobuf")?;
    if signed.details.as_deref() != Some(&pairing.details[..]) {
        return Err("the device-identity is not the one that was sent");
    }
    let phone = crypto::public(&account.signal.identity);
    let signature = signed.device_signature.as_deref().unwrap_or_default();
    let parts: [&[u8]; 4] = [DEVICE_SIGNATURE, &pairing.details, &pairing.identity, &phone];
    if !crypto::verify(&pairing.identity, &parts, signature) {
        return Err("the device signature is wrong");
    }
    // Contacts know the account's key from its phone; it is left out, as clients do.
    signed.account_signature_key = None;
    Ok(signed.encode_to_vec())
}

fn registered_key(data: &wa::client_payload::DevicePairingRegistrationData) -> Option<SignedKey> {
    let id = data.e_skey_id.as_deref()?;
    let id: [u8; 3] = id.try_into().ok()?;
    Some(SignedKey {
        id: u32::from_be_bytes([0, id[0], id[1], id[2]]),
        public: data.e_skey_val.as_deref()?.try_into().ok()?,
        signature: data.e_skey_sig.clone()?,
    })
}

fn platform_of(data: &wa::client_payload::DevicePairingRegistrationData) -> String {
    data.device_props
        .as_deref()
        .and_then(|props| wa::DeviceProps::decode_from_slice(props).ok())
        .and_then(|props| props.os)
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The phone's signed list of its valid devices. Without it clients skip the account's companions.
pub(crate) fn key_index_list(account: &Account) -> Vec<u8> {
    let details = wa::ADVKeyIndexList {
        raw_id: Some(account.raw_id),
        timestamp: Some(clock::now()),
        current_index: Some(u32::from(account.next_device.saturating_sub(1))),
        valid_indexes: std::iter::once(0)
            .chain(account.companions.values().map(|companion| companion.key_index))
            .collect(),
        account_type: Some(wa::ADVEncryptionType::E2EE),
    }
    .encode_to_vec();
    wa::ADVSignedKeyIndexList {
        account_signature: Some(
            crypto::sign(&account.signal.identity, &[KEY_INDEX_SIGNATURE, &details]).to_vec(),
        ),
        details: Some(details),
        account_signature_key: None,
    }
    .encode_to_vec()
}

impl State {
    /// Own companions and contacts hear that a device came or went.
    pub(crate) fn tell_of_device_change(
        &mut self,
        key: &crate::account::DeviceKey,
        key_index: u32,
        what: &'static str,
    ) {
        let Some(account) = self.accounts.get(&key.account) else {
            return;
        };
        let list = NodeBuilder::new("key-index-list")
            .attr("ts", clock::now())
            .bytes(key_index_list(account))
            .build();
        let (from, lid) = (account.pn_jid(), account.lid_jid());
        let device_lid = Jid::lid_device(account.lid.as_str(), key.device);
        let device = |jid: Jid| NodeBuilder::new("device").attr("jid", jid).attr("key-index", key_index);
        let change = |hash: String| NodeBuilder::new(what).attr("device_hash", hash);
        let lid_hash = device_hash(account, Server::Lid);
        // Both addresses in one notice…
        let both = change(device_hash(account, Server::Pn))
            .attr("device_lid_hash", lid_hash.as_str())
            .children([device(key.pn_jid()).attr("lid", device_lid.clone()).build(), list.clone()])
            .build();
        // …but who has moved to LIDs keeps a list for each: one notice an address.
        let by_pn = change(device_hash(account, Server::Pn))
            .children([device(key.pn_jid()).build(), list.clone()])
            .build();
        let by_lid = change(lid_hash).children([device(device_lid).build(), list]).build();
        let mut listeners: Vec<_> = account
            .contacts
            .iter()
            .filter_map(|contact| self.accounts.get(contact))
            .chain([account])
            .flat_map(|listener| listener.companions.keys().map(|device| listener.key(*device)))
            .filter(|listener| listener != key)
            .collect();
        listeners.sort();
        listeners.dedup();
        for listener in listeners {
            let is_migrated =
                self.accounts.get(&listener.account).is_some_and(|account| account.is_lid_migrated);
            let notices = if is_migrated {
                vec![(from.clone(), by_pn.clone()), (lid.clone(), by_lid.clone())]
            } else {
                vec![(from.clone(), both.clone())]
            };
            for (from, change) in notices {
                let id = self.new_id();
                let mut notice = NodeBuilder::new("notification")
                    .attr("type", "devices")
                    .attr("id", id.as_str())
                    .attr("t", clock::now())
                    .children([change]);
                if !from.is_lid() {
                    notice = notice.attr("lid", lid.clone());
                }
                let notice = notice.attr("from", from).build();
                self.deliver(&listener, crate::queue::Class::Notification, &id, notice);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: usize) -> String {
        let key = STANDARD.encode([7_u8; 32]);
        ["2@ab/c==", &key, &key, &key, "1"][..parts].join(",")
    }

    #[test]
    fn qr_codes_of_all_clients_are_read() {
        for qr in [text(4), text(5), format!("https://wa.me/settings/linked_devices#{}", text(5))] {
            let qr = parse_qr(&qr).expect("a QR");
            assert_eq!(qr.reference, "2@ab/c==");
            assert_eq!(qr.adv_secret, [7; 32]);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(parse_qr(&text(3)).is_err());
        assert!(parse_qr("hola").is_err());
        assert!(parse_qr("a,b,c,d").is_err());
    }
}
