//! A session with one device: libsignal-node's record `v1` as the engine's.
//!
//! The two differ in how they count (libsignal-node's counter is the last message that was derived, the engine's the
//! next one) and in how they tell the present session from archived ones (`closed` is -1; the engine has a place for it).

use bytes::Bytes;
use whatsapp_rust::wacore::libsignal::protocol::{
    PendingPreKeyComponents, SessionChainComponents, SessionChainKeyComponents, SessionComponents,
    SessionMessageKeyComponents, SessionMessageKeyMaterial, SessionRecord, SessionRecordComponents,
};
use whatsapp_rust::wacore::store::Device;

use super::json::Field;
use crate::error::Result;

/// What libsignal-node calls a chain that we send on.
const SENDING: i64 = 1;
/// The only version of Signal's messages.
const MESSAGE_VERSION: u32 = 3;
/// Chains of one session for late messages, as the engine keeps them.
const RECEIVING_CHAINS: usize = 5;

/// What a record of libsignal-node leaves to the credentials.
pub(super) struct Local {
    identity: Vec<u8>,
    registration_id: u32,
}

impl Local {
    pub(super) fn of(device: &Device) -> Self {
        Self {
            identity: device.identity_key.public_key.public_key_bytes().to_vec(),
            registration_id: device.registration_id,
        }
    }
}

/// One of the sessions of a record, and what orders them.
struct Entry {
    is_open: bool,
    used: i64,
    identity: [u8; 32],
    components: SessionComponents,
}

/// The record, and the identity of the device on the other side. `None` if there is nothing in it that can be used.
pub(super) fn session(value: &Field<'_>, local: &Local) -> Result<Option<(Bytes, [u8; 32])>> {
    let mut entries = Vec::new();
    for (_, entry) in value.field("_sessions")?.entries()? {
        entries.extend(self::entry(&entry, local)?);
    }
    // The present one first, then as they were used last.
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.is_open, entry.used)));
    let Some(identity) = entries.first().map(|entry| entry.identity) else { return Ok(None) };
    let has_open = entries[0].is_open;
    let mut sessions = entries.into_iter().map(|entry| entry.components);
    let components = SessionRecordComponents {
        current_session: if has_open { sessions.next() } else { None },
        previous_sessions: sessions.collect(),
    };
    let record = SessionRecord::from_components(components).and_then(|record| record.serialize());
    let record = record.map_err(|_| value.wrong("a session of libsignal"))?;
    Ok(Some((record.into(), identity)))
}

fn entry(entry: &Field<'_>, local: &Local) -> Result<Option<Entry>> {
    let ratchet = entry.field("currentRatchet")?;
    let index = entry.field("indexInfo")?;
    let own = ratchet.field("ephemeralKeyPair")?;
    let own_public = own.field("pubKey")?.public_key()?;
    let newest_remote = ratchet.field("lastRemoteEphemeralKey")?.public_key()?;
    let mut sending = None;
    let mut receiving: Vec<([u8; 32], SessionChainComponents)> = Vec::new();
    for (key, chain) in entry.field("_chains")?.entries()? {
        let key = Field::new("session", &key.into()).public_key()?;
        if chain.field("chainType")?.integer()? == SENDING {
            let private = own.field("privKey")?.bytes()?;
            // Only the chain of the present key can be sent on.
            if key == own_public {
                sending = Some(self::chain(&chain, key, Some(private))?);
            }
        } else {
            receiving.push((key, self::chain(&chain, key, None)?));
        }
    }
    // Without one nothing was ever decrypted in it, and nothing can be sent.
    let Some(sending) = sending else { return Ok(None) };
    // The newest last; of the others those first to go that cannot derive any more keys.
    receiving.sort_by_key(|(key, chain)| {
        let is_live = chain.chain_key.as_ref().is_some_and(|chain| chain.key.is_some());
        (*key == newest_remote, is_live, chain.message_keys.len())
    });
    let surplus = receiving.len().saturating_sub(RECEIVING_CHAINS);
    let identity = index.field("remoteIdentityKey")?.public_key()?;
    let components = SessionComponents {
        session_version: Some(MESSAGE_VERSION),
        local_identity_public: Some(local.identity.clone()),
        remote_identity_public: Some(identity.to_vec()),
        root_key: Some(ratchet.field("rootKey")?.bytes()?),
        // -1 where nothing was sent on the chain before.
        previous_counter: Some(u32::try_from(ratchet.field("previousCounter")?.integer()?).unwrap_or(0)),
        sender_chain: Some(sending),
        receiver_chains: receiving.into_iter().skip(surplus).map(|(_, chain)| chain).collect(),
        pending_key_exchange: None,
        pending_pre_key: entry
            .optional("pendingPreKey")
            .map(|pending| self::pending(&pending))
            .transpose()?,
        remote_registration_id: entry.optional("registrationId").map(|id| id.u32()).transpose()?.or(Some(0)),
        local_registration_id: Some(local.registration_id),
        needs_refresh: None,
        alice_base_key: Some(index.field("baseKey")?.public_key()?.to_vec()),
    };
    Ok(Some(Entry {
        is_open: index.field("closed")?.integer()? == -1,
        used: index.optional("used").map(|used| used.integer()).transpose()?.unwrap_or(0),
        identity,
        components,
    }))
}

fn chain(chain: &Field<'_>, key: [u8; 32], private: Option<Vec<u8>>) -> Result<SessionChainComponents> {
    let chain_key = chain.field("chainKey")?;
    let counter = chain_key.field("counter")?;
    let next = counter.integer()?.checked_add(1).and_then(|next| u32::try_from(next).ok());
    let next = next.ok_or_else(|| counter.wrong("the number of a message"))?;
    let mut message_keys = Vec::new();
    for (index, seed) in chain.field("messageKeys")?.entries()? {
        let index: u32 = index.parse().map_err(|_| chain.wrong("numbered by message"))?;
        if index < next {
            let material = SessionMessageKeyMaterial::Seed(seed.exactly()?);
            message_keys.push(SessionMessageKeyComponents { index, material });
        }
    }
    message_keys.sort_by_key(|key| key.index);
    Ok(SessionChainComponents {
        sender_ratchet_key: Some(key.to_vec()),
        sender_ratchet_key_private: private,
        chain_key: Some(SessionChainKeyComponents {
            index: Some(next),
            // Gone once the other side has moved on: only the keys that are left can be used.
            key: chain_key.optional("key").map(|key| key.bytes()).transpose()?,
        }),
        message_keys,
    })
}

/// Until the other side answers, each message repeats how the session was begun.
fn pending(pending: &Field<'_>) -> Result<PendingPreKeyComponents> {
    let signed = pending.field("signedKeyId")?;
    Ok(PendingPreKeyComponents {
        pre_key_id: pending.optional("preKeyId").map(|id| id.u32()).transpose()?,
        signed_pre_key_id: Some(
            i32::try_from(signed.integer()?).map_err(|_| signed.wrong("a key's number"))?,
        ),
        base_key: Some(pending.field("baseKey")?.public_key()?.to_vec()),
        kyber_pre_key_id: None,
        kyber_ciphertext: None,
    })
}
