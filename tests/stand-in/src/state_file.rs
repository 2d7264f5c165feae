//! State in a file, so that clients can come back after a restart of the stand-in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wacore_binary::{Jid, OwnedNodeRef};
use waproto::buffa::Message;
use waproto::whatsapp as wa;

use crate::account::{Account, Companion, DeviceKey, SentMessage};
use crate::accounting::{Accounting, Ledger};
use crate::app_state::AppState;
use crate::certificate::Certificate;
use crate::crypto;
use crate::error::StandInError;
use crate::group::Group;
use crate::history::HistoryChat;
use crate::phone::signal::{PhoneSignal, SavedSignal, SignedKey};
use crate::phone::{ReceivedMessage, ReceivedReceipt};
use crate::queue::{Class, Phase, Queue};
use crate::state::{Inner, State};

/// Changes within this time are written together.
const SETTLE: Duration = Duration::from_millis(200);

const FORMAT: u32 = 1;

/// Bytes as base64 text: JSON's arrays of numbers are four times as long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    root: [u8; 32],
    server_static: [u8; 32],
    next_account: u64,
    accounts: Vec<SavedAccount>,
    groups: Vec<Group>,
    accounting: Accounting,
}

#[derive(Serialize, Deserialize)]
struct SavedAccount {
    phone_number: String,
    lid: String,
    push_name: String,
    platform: String,
    business_name: Option<String>,
    is_lid_migrated: bool,
    about: String,
    history: Vec<HistoryChat>,
    signal: SavedSignal,
    raw_id: u32,
    next_device: u16,
    companions: Vec<SavedCompanion>,
    app_state: AppState,
    blocklist: BTreeSet<String>,
    privacy: BTreeMap<String, String>,
    contacts: Vec<String>,
    sender_key_shared: Vec<(String, Vec<DeviceKey>)>,
    received: Vec<SavedMessage>,
    receipts: Vec<ReceivedReceipt>,
    sent: Vec<SavedSent>,
    seen: Vec<(String, String)>,
    delivery_receipts: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedCompanion {
    device: u16,
    noise_key: [u8; 32],
    identity: [u8; 32],
    registration_id: u32,
    key_index: u32,
    signed_identity: Base64,
    signed_key: SignedKey,
    /// Number (4 bytes) and key (32 bytes), one after the other.
    pre_keys: Base64,
    platform: String,
    push_name: Option<String>,
    needs_welcome: bool,
    queue: Vec<SavedStanza>,
    logins: u32,
}

#[derive(Serialize, Deserialize)]
struct SavedStanza {
    class: Class,
    id: String,
    node: Base64,
}

#[derive(Serialize, Deserialize)]
struct SavedMessage {
    id: String,
    from: String,
    chat: String,
    participant: Option<String>,
    text: Option<String>,
    message: Base64,
    timestamp: u64,
    device_sent: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedSent {
    id: String,
    chat: String,
    message: Base64,
    timestamp: u64,
    peer: bool,
}

/// What the file holds; None if there is none yet.
pub(crate) fn load(path: &Path) -> Result<Option<(Certificate, State)>, StandInError> {
    let failed = |reason: String| StandInError::StateFile { path: path.to_owned(), reason };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if saved.format != FORMAT {
        return Err(failed(format!("format {} instead of {FORMAT}", saved.format)));
    }
    restore(saved).map(Some).ok_or_else(|| failed("a key or message in it is damaged".to_owned()))
}

fn restore(saved: Saved) -> Option<(Certificate, State)> {
    let certificate = Certificate::from_keys(
        crypto::key_pair_from_private(&saved.root)?,
        crypto::key_pair_from_private(&saved.server_static)?,
    );
    let mut state = State {
        next_account: saved.next_account,
        ledger: Ledger::restore(saved.accounting),
        groups: saved.groups.into_iter().map(|group| (group.id.clone(), group)).collect(),
        ..Default::default()
    };
    for account in saved.accounts {
        let account = restore_account(account)?;
        state.lids.insert(account.lid.clone(), account.phone_number.clone());
        state.accounts.insert(account.phone_number.clone(), account);
    }
    Some((certificate, state))
}

fn restore_account(saved: SavedAccount) -> Option<Account> {
    let companions = saved
        .companions
        .into_iter()
        .map(|companion| Some((companion.device, restore_companion(companion)?)))
        .collect::<Option<BTreeMap<_, _>>>()?;
    let received = saved
        .received
        .into_iter()
        .map(|message| {
            Some(Arc::new(ReceivedMessage {
                id: message.id,
                from: message.from,
                chat: message.chat,
                participant: message.participant,
                text: message.text,
                message: wa::Message::decode_from_slice(&message.message.0).ok()?,
                timestamp: message.timestamp,
                device_sent: message.device_sent,
            }))
        })
        .collect::<Option<Vec<_>>>()?;
    let sent = saved
        .sent
        .into_iter()
        .map(|sent| {
            let message = SentMessage {
                chat: sent.chat.parse::<Jid>().ok()?,
                message: wa::Message::decode_from_slice(&sent.message.0).ok()?,
                timestamp: sent.timestamp,
                peer: sent.peer,
            };
            Some((sent.id, message))
        })
        .collect::<Option<_>>()?;
    Some(Account {
        phone_number: saved.phone_number,
        lid: saved.lid,
        push_name: saved.push_name,
        platform: saved.platform,
        business_name: saved.business_name,
        is_lid_migrated: saved.is_lid_migrated,
        about: saved.about,
        history: saved.history,
        signal: PhoneSignal::restore(saved.signal)?,
        raw_id: saved.raw_id,
        next_device: saved.next_device,
        companions,
        app_state: saved.app_state,
        blocklist: saved.blocklist,
        privacy: saved.privacy,
        contacts: saved.contacts.into_iter().collect(),
        watchers: Default::default(),
        phone_available: false,
        shown_available: false,
        sender_key_shared: saved
            .sender_key_shared
            .into_iter()
            .map(|(group, devices)| (group, devices.into_iter().collect()))
            .collect(),
        received,
        receipts: saved.receipts,
        sent,
        seen: saved.seen.into_iter().collect(),
        retries_asked: Default::default(),
        delivery_receipts: saved.delivery_receipts,
        changed: Default::default(),
    })
}

fn restore_companion(saved: SavedCompanion) -> Option<Companion> {
    let mut queue = Queue::default();
    for stanza in saved.queue {
        let plain = wacore_binary::util::unpack(&stanza.node.0).ok()?.into_owned();
        let node = OwnedNodeRef::new(plain).ok()?.to_owned_node();
        queue.push(stanza.class, stanza.id, node);
    }
    let pre_keys = saved
        .pre_keys
        .0
        .chunks_exact(36)
        .map(|chunk| {
            let (id, key) = chunk.split_at(4);
            Some((u32::from_be_bytes(id.try_into().ok()?), key.try_into().ok()?))
        })
        .collect::<Option<_>>()?;
    Some(Companion {
        device: saved.device,
        noise_key: saved.noise_key,
        identity: saved.identity,
        registration_id: saved.registration_id,
        key_index: saved.key_index,
        signed_identity: saved.signed_identity.0,
        signed_key: saved.signed_key,
        pre_keys,
        platform: saved.platform,
        push_name: saved.push_name,
        needs_welcome: saved.needs_welcome,
        told_low_keys: false,
        available: false,
        missed_presence: Default::default(),
        connection: None,
        phase: Phase::Closed,
        drained: 0,
        queue,
        logins: saved.logins,
    })
}

fn save(certificate: &Certificate, state: &State) -> Saved {
    Saved {
        format: FORMAT,
        root: *certificate.root.private_key.serialize(),
        server_static: *certificate.server_static.private_key.serialize(),
        next_account: state.next_account,
        accounts: state.accounts.values().map(save_account).collect(),
        groups: state.groups.values().cloned().collect(),
        accounting: state.ledger.book.clone(),
    }
}

fn save_account(account: &Account) -> SavedAccount {
    SavedAccount {
        phone_number: account.phone_number.clone(),
        lid: account.lid.clone(),
        push_name: account.push_name.clone(),
        platform: account.platform.clone(),
        business_name: account.business_name.clone(),
        is_lid_migrated: account.is_lid_migrated,
        about: account.about.clone(),
        history: account.history.clone(),
        signal: account.signal.save(),
        raw_id: account.raw_id,
        next_device: account.next_device,
        companions: account.companions.values().map(save_companion).collect(),
        app_state: account.app_state.clone(),
        blocklist: account.blocklist.clone(),
        privacy: account.privacy.clone(),
        contacts: account.contacts.iter().cloned().collect(),
        sender_key_shared: account
            .sender_key_shared
            .iter()
            .map(|(group, devices)| (group.clone(), devices.iter().cloned().collect()))
            .collect(),
        received: account
            .received
            .iter()
            .map(|message| SavedMessage {
                id: message.id.clone(),
                from: message.from.clone(),
                chat: message.chat.clone(),
                participant: message.participant.clone(),
                text: message.text.clone(),
                message: Base64(message.message.encode_to_vec()),
                timestamp: message.timestamp,
                device_sent: message.device_sent,
            })
            .collect(),
        receipts: account.receipts.clone(),
        sent: account
            .sent
            .iter()
            .map(|(id, sent)| SavedSent {
                id: id.clone(),
                chat: sent.chat.to_string(),
                message: Base64(sent.message.encode_to_vec()),
                timestamp: sent.timestamp,
                peer: sent.peer,
            })
            .collect(),
        seen: account.seen.iter().cloned().collect(),
        delivery_receipts: account.delivery_receipts,
    }
}

fn save_companion(companion: &Companion) -> SavedCompanion {
    let pre_keys =
        companion.pre_keys.iter().flat_map(|(id, key)| id.to_be_bytes().into_iter().chain(*key)).collect();
    let queue = companion
        .queue
        .iter()
        .filter_map(|stanza| {
            Some(SavedStanza {
                class: stanza.class,
                id: stanza.id.clone(),
                node: Base64(wacore_binary::marshal(&stanza.node).ok()?),
            })
        })
        .collect();
    SavedCompanion {
        device: companion.device,
        noise_key: companion.noise_key,
        identity: companion.identity,
        registration_id: companion.registration_id,
        key_index: companion.key_index,
        signed_identity: Base64(companion.signed_identity.clone()),
        signed_key: companion.signed_key.clone(),
        pre_keys: Base64(pre_keys),
        platform: companion.platform.clone(),
        push_name: companion.push_name.clone(),
        needs_welcome: companion.needs_welcome,
        queue,
        logins: companion.logins,
    }
}

/// Writes the state if it has changed; a reader sees the old file or the new one, never half.
pub(crate) fn write_if_changed(inner: &Inner) -> Result<(), StandInError> {
    let Some(path) = &inner.state_file else {
        return Ok(());
    };
    let failed = |reason: String| StandInError::StateFile { path: path.clone(), reason };
    let saved = {
        let mut state = inner.lock();
        if !std::mem::take(&mut state.dirty) {
            return Ok(());
        }
        save(&inner.certificate, &state)
    };
    let json = serde_json::to_vec(&saved).map_err(|error| failed(error.to_string()))?;
    let next = path.with_extension("new");
    std::fs::write(&next, json).map_err(|error| failed(error.to_string()))?;
    std::fs::rename(&next, path).map_err(|error| failed(error.to_string()))
}

/// Writes now and then until the end.
pub(crate) async fn keep_written(inner: Arc<Inner>) {
    let ended = async |inner: &Inner| {
        tokio::select! {
            () = tokio::time::sleep(SETTLE) => false,
            () = inner.stop.cancelled() => true,
        }
    };
    while !ended(&inner).await {
        if let Err(error) = write_if_changed(&inner) {
            tracing::error!(%error, "cannot keep the state");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_with_a_queue_survives() {
        let mut state = State::default();
        let number = state.add_account(Default::default()).expect("account");
        let identity = crypto::key_pair();
        let signed = PhoneSignal::generate().signed;
        let mut queue = Queue::default();
        queue.push(Class::Message, "M1".to_owned(), crate::node::bytes("message", [1, 2, 3]));
        let companion = Companion {
            device: 1,
            noise_key: [1; 32],
            identity: crypto::public(&identity),
            registration_id: 7,
            key_index: 1,
            signed_identity: vec![9],
            signed_key: signed,
            pre_keys: [(1, [1; 32]), (2, [2; 32])].into(),
            platform: "rust".to_owned(),
            push_name: None,
            needs_welcome: false,
            told_low_keys: false,
            available: false,
            missed_presence: Default::default(),
            connection: None,
            phase: Phase::Closed,
            drained: 0,
            queue,
            logins: 1,
        };
        let account = state.accounts.get_mut(&number).expect("account");
        account.companions.insert(1, companion);
        let certificate = Certificate::generate();
        let json = serde_json::to_vec(&save(&certificate, &state)).expect("json");
        let (kept, back) = restore(serde_json::from_slice(&json).expect("json")).expect("whole");
        assert_eq!(crypto::public(&kept.server_static), crypto::public(&certificate.server_static));
        let key = DeviceKey { account: number, device: 1 };
        let companion = back.companion(&key).expect("companion");
        assert_eq!(companion.pre_keys, [(1, [1; 32]), (2, [2; 32])]);
        assert_eq!(companion.queue.iter().next().expect("stanza").id, "M1");
    }
}
