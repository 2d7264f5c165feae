//! The phone's own Signal store and cipher: identity, pre-keys, sessions and sender keys in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use futures::FutureExt;
use wacore_libsignal::protocol::error::Result;
use wacore_libsignal::protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, Direction, GenericSignedPreKey, IdentityChange,
    IdentityKey, IdentityKeyPair, IdentityKeyStore, KeyPair, PreKeyBundle, PreKeyId, PreKeyRecord,
    PreKeySignalMessage, PreKeyStore, ProtocolAddress, SenderKeyDistributionMessage, SenderKeyName,
    SenderKeyRecord, SenderKeyStore, SessionRecord, SessionStore, SignalMessage, SignalProtocolError,
    SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore, Timestamp, UsePQRatchet,
    create_sender_key_distribution_message, group_decrypt, group_encrypt, message_decrypt, message_encrypt,
    process_prekey_bundle, process_sender_key_distribution_message,
};

use crate::account::DeviceKey;
use crate::clock;
use crate::crypto;
use crate::state_file::Base64;

/// A companion's public keys as the server hands them out.
#[derive(Clone, Debug)]
pub(crate) struct Bundle {
    pub(crate) registration_id: u32,
    pub(crate) identity: [u8; 32],
    pub(crate) signed: SignedKey,
    pub(crate) one_time: Option<(u32, [u8; 32])>,
}

/// A signed pre-key, public half.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct SignedKey {
    pub(crate) id: u32,
    pub(crate) public: [u8; 32],
    pub(crate) signature: Vec<u8>,
}

impl SignedKey {
    pub(crate) fn is_signed_by(&self, identity: &[u8; 32]) -> bool {
        crypto::verify(identity, &[&[5], &self.public], &self.signature)
    }
}

#[derive(Default)]
struct Sessions(HashMap<String, SessionRecord>);

struct Identities {
    own: IdentityKeyPair,
    registration_id: u32,
    known: HashMap<String, IdentityKey>,
}

#[derive(Default)]
struct PreKeys(HashMap<u32, PreKeyRecord>);

struct SignedPreKeys(HashMap<u32, SignedPreKeyRecord>);

#[derive(Default)]
struct SenderKeys(HashMap<String, SenderKeyRecord>);

/// Everything private of a simulated phone.
pub(crate) struct PhoneSignal {
    pub(crate) identity: KeyPair,
    pub(crate) registration_id: u32,
    pub(crate) signed: SignedKey,
    signed_pair: KeyPair,
    next_pre_key: u32,
    sessions: Sessions,
    identities: Identities,
    pre_keys: PreKeys,
    signed_pre_keys: SignedPreKeys,
    sender_keys: SenderKeys,
}

/// What survives a restart of the stand-in.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedSignal {
    identity: [u8; 32],
    registration_id: u32,
    signed: SignedKey,
    signed_private: [u8; 32],
    next_pre_key: u32,
    sessions: Vec<(String, Base64)>,
    pre_keys: Vec<(u32, Base64)>,
    sender_keys: Vec<(String, Base64)>,
}

/// A ciphertext and whether it sets up the session.
pub(crate) struct Encrypted {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl PhoneSignal {
    pub(crate) fn generate() -> Self {
        let identity = crypto::key_pair();
        let signed_pair = crypto::key_pair();
        let registration_id = u32::from_be_bytes(crypto::random()) & 0x3fff | 1;
        Self::build(identity, registration_id, signed_pair, 1)
    }

    fn build(identity: KeyPair, registration_id: u32, signed_pair: KeyPair, next: u32) -> Self {
        let public = crypto::public(&signed_pair);
        let signed =
            SignedKey { id: 1, public, signature: crypto::sign(&identity, &[&[5], &public]).to_vec() };
        let record = SignedPreKeyRecord::new(
            SignedPreKeyId::from(signed.id),
            Timestamp::from_epoch_millis(u64::try_from(clock::now_ms()).unwrap_or(0)),
            &signed_pair,
            &signed.signature,
        );
        let own = IdentityKeyPair::new(IdentityKey::new(identity.public_key), identity.private_key.clone());
        Self {
            identity,
            registration_id,
            signed_pre_keys: SignedPreKeys(HashMap::from([(signed.id, record)])),
            signed,
            signed_pair,
            next_pre_key: next,
            sessions: Sessions::default(),
            identities: Identities { own, registration_id, known: HashMap::new() },
            pre_keys: PreKeys::default(),
            sender_keys: SenderKeys::default(),
        }
    }

    /// The phone's keys for one caller, with a one-time key made for it.
    pub(crate) fn bundle(&mut self) -> Bundle {
        let id = self.next_pre_key;
        self.next_pre_key = if id >= 0x00ff_fffe { 1 } else { id + 1 };
        let pair = crypto::key_pair();
        self.pre_keys.0.insert(id, PreKeyRecord::new(PreKeyId::from(id), &pair));
        Bundle {
            registration_id: self.registration_id,
            identity: crypto::public(&self.identity),
            signed: self.signed.clone(),
            one_time: Some((id, crypto::public(&pair))),
        }
    }

    pub(crate) fn has_session(&self, device: &DeviceKey) -> bool {
        self.sessions.0.contains_key(address(device).as_str())
    }

    pub(crate) fn forget_session(&mut self, device: &DeviceKey) {
        self.sessions.0.remove(address(device).as_str());
    }

    /// Starts a session from the companion's keys.
    pub(crate) fn start_session(&mut self, device: &DeviceKey, bundle: &Bundle) -> Result<()> {
        let key =
            |bytes: &[u8; 32]| crypto::public_key(bytes).ok_or(SignalProtocolError::InvalidProtobufEncoding);
        let one_time = match &bundle.one_time {
            Some((id, public)) => Some((PreKeyId::from(*id), key(public)?)),
            None => None,
        };
        let bundle = PreKeyBundle::new(
            bundle.registration_id,
            DeviceId::from(0),
            one_time,
            SignedPreKeyId::from(bundle.signed.id),
            key(&bundle.signed.public)?,
            bundle.signed.signature.clone(),
            IdentityKey::new(key(&bundle.identity)?),
        )?;
        at_once(process_prekey_bundle(
            &address(device),
            &mut self.sessions,
            &mut self.identities,
            &bundle,
            &mut crypto::rng(),
            UsePQRatchet::No,
        ))
        .map(|_change| ())
    }

    pub(crate) fn encrypt(&mut self, device: &DeviceKey, plain: &[u8]) -> Result<Encrypted> {
        let message =
            at_once(message_encrypt(plain, &address(device), &mut self.sessions, &mut self.identities))?;
        let kind = match message.message_type() {
            CiphertextMessageType::PreKey => "pkmsg",
            _ => "msg",
        };
        Ok(Encrypted { kind, bytes: message.serialize().to_vec() })
    }

    pub(crate) fn decrypt(&mut self, device: &DeviceKey, kind: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let message = match kind {
            "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
            _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
        };
        let done = at_once(message_decrypt(
            &message,
            &address(device),
            &mut self.sessions,
            &mut self.identities,
            &mut self.pre_keys,
            &self.signed_pre_keys,
            &mut crypto::rng(),
            UsePQRatchet::No,
        ))?;
        if let Some(used) = done.consumed_prekey_id {
            self.pre_keys.0.remove(&u32::from(used));
        }
        Ok(done.plaintext)
    }

    /// The sender key of this phone for a group, to be shared with each member device.
    pub(crate) fn own_sender_key(&mut self, group: &str) -> Result<Vec<u8>> {
        let message = at_once(create_sender_key_distribution_message(
            &SenderKeyName::new(group.to_owned(), "own".to_owned()),
            &mut self.sender_keys,
            &mut crypto::rng(),
        ))?;
        Ok(message.serialized().to_vec())
    }

    /// After someone left, the old key must not be used again.
    pub(crate) fn forget_own_sender_key(&mut self, group: &str) {
        self.sender_keys.0.remove(SenderKeyName::new(group.to_owned(), "own".to_owned()).cache_key());
    }

    pub(crate) fn group_encrypt(&mut self, group: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let message = at_once(group_encrypt(
            &mut self.sender_keys,
            &SenderKeyName::new(group.to_owned(), "own".to_owned()),
            plain,
            &mut crypto::rng(),
        ))?;
        Ok(message.serialized().to_vec())
    }

    pub(crate) fn learn_sender_key(&mut self, group: &str, sender: &DeviceKey, bytes: &[u8]) -> Result<()> {
        let message = SenderKeyDistributionMessage::try_from(bytes)?;
        at_once(process_sender_key_distribution_message(
            &sender_name(group, sender),
            &message,
            &mut self.sender_keys,
        ))
    }

    pub(crate) fn group_decrypt(&mut self, group: &str, sender: &DeviceKey, bytes: &[u8]) -> Result<Vec<u8>> {
        at_once(group_decrypt(bytes, &mut self.sender_keys, &sender_name(group, sender)))
    }

    pub(crate) fn save(&self) -> SavedSignal {
        SavedSignal {
            identity: *self.identity.private_key.serialize(),
            registration_id: self.registration_id,
            signed: self.signed.clone(),
            signed_private: *self.signed_pair.private_key.serialize(),
            next_pre_key: self.next_pre_key,
            sessions: (self.sessions.0.iter())
                .filter_map(|(name, record)| Some((name.clone(), Base64(record.serialize().ok()?))))
                .collect(),
            pre_keys: (self.pre_keys.0.iter())
                .filter_map(|(id, record)| Some((*id, Base64(record.serialize().ok()?))))
                .collect(),
            sender_keys: (self.sender_keys.0.iter())
                .filter_map(|(name, record)| Some((name.clone(), Base64(record.serialize().ok()?))))
                .collect(),
        }
    }

    pub(crate) fn restore(saved: SavedSignal) -> Option<Self> {
        let mut signal = Self::build(
            crypto::key_pair_from_private(&saved.identity)?,
            saved.registration_id,
            crypto::key_pair_from_private(&saved.signed_private)?,
            saved.next_pre_key,
        );
        signal.signed = saved.signed;
        for (name, bytes) in saved.sessions {
            signal.sessions.0.insert(name, SessionRecord::deserialize(&bytes.0).ok()?);
        }
        for (id, bytes) in saved.pre_keys {
            signal.pre_keys.0.insert(id, PreKeyRecord::deserialize(&bytes.0).ok()?);
        }
        for (name, bytes) in saved.sender_keys {
            signal.sender_keys.0.insert(name, SenderKeyRecord::deserialize(&bytes.0).ok()?);
        }
        Some(signal)
    }
}

/// One session per device, whatever address form (number or LID) a stanza used.
fn address(device: &DeviceKey) -> ProtocolAddress {
    ProtocolAddress::new(&device.to_string(), DeviceId::from(0))
}

fn sender_name(group: &str, sender: &DeviceKey) -> SenderKeyName {
    SenderKeyName::new(group.to_owned(), sender.to_string())
}

/// The library is asynchronous for stores that wait; these are maps, so its futures are ready.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("stores in memory never make the caller wait")
}

#[async_trait]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.get(address.as_str()).cloned())
    }
    async fn has_session(&self, address: &ProtocolAddress) -> Result<bool> {
        Ok(self.0.contains_key(address.as_str()))
    }
    async fn store_session(&mut self, address: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        self.0.insert(address.as_str().to_owned(), record);
        Ok(())
    }
}

#[async_trait]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.own.clone())
    }
    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration_id)
    }
    async fn save_identity(
        &mut self,
        address: &ProtocolAddress,
        identity: &IdentityKey,
    ) -> Result<IdentityChange> {
        let before = self.known.insert(address.as_str().to_owned(), *identity);
        Ok(IdentityChange::from_changed(before.is_some_and(|before| before != *identity)))
    }
    async fn is_trusted_identity(&self, _: &ProtocolAddress, _: &IdentityKey, _: Direction) -> Result<bool> {
        // Like the app: a contact who installs anew is a notice, not a refusal.
        Ok(true)
    }
    async fn get_identity(&self, address: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(self.known.get(address.as_str()).copied())
    }
}

#[async_trait]
impl PreKeyStore for PreKeys {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        self.0.get(&u32::from(id)).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }
    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> Result<()> {
        self.0.insert(u32::from(id), record.clone());
        Ok(())
    }
    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<()> {
        self.0.remove(&u32::from(id));
        Ok(())
    }
}

#[async_trait]
impl SignedPreKeyStore for SignedPreKeys {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        self.0.get(&u32::from(id)).cloned().ok_or(SignalProtocolError::InvalidSignedPreKeyId)
    }
    async fn save_signed_pre_key(&mut self, id: SignedPreKeyId, record: &SignedPreKeyRecord) -> Result<()> {
        self.0.insert(u32::from(id), record.clone());
        Ok(())
    }
}

#[async_trait]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(&mut self, name: &SenderKeyName, record: SenderKeyRecord) -> Result<()> {
        self.0.insert(name.cache_key().to_owned(), record);
        Ok(())
    }
    async fn load_sender_key(&self, name: &SenderKeyName) -> Result<Option<SenderKeyRecord>> {
        Ok(self.0.get(name.cache_key()).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> DeviceKey {
        DeviceKey { account: name.to_owned(), device: 0 }
    }

    #[test]
    fn two_phones_talk_and_survive_a_restart() {
        let (mut ana, mut bob) = (PhoneSignal::generate(), PhoneSignal::generate());
        let bundle = bob.bundle();
        assert!(bundle.signed.is_signed_by(&bundle.identity));
        ana.start_session(&key("bob"), &bundle).expect("session");
        let first = ana.encrypt(&key("bob"), b"hola").expect("encrypt");
        assert_eq!(first.kind, "pkmsg");
        assert_eq!(bob.decrypt(&key("ana"), first.kind, &first.bytes).expect("decrypt"), b"hola");
        let mut bob = PhoneSignal::restore(bob.save()).expect("restore");
        let reply = bob.encrypt(&key("ana"), b"que tal").expect("encrypt");
        assert_eq!(reply.kind, "msg");
        assert_eq!(ana.decrypt(&key("bob"), reply.kind, &reply.bytes).expect("decrypt"), b"que tal");
    }

    #[test]
    fn sender_keys_reach_the_group() {
        let (mut ana, mut bob) = (PhoneSignal::generate(), PhoneSignal::generate());
        let share = ana.own_sender_key("g").expect("share");
        bob.learn_sender_key("g", &key("ana"), &share).expect("learn");
        let sent = ana.group_encrypt("g", b"a todos").expect("encrypt");
        assert_eq!(bob.group_decrypt("g", &key("ana"), &sent).expect("decrypt"), b"a todos");
    }
}
