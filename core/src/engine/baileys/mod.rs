//! What Baileys, the client library of the seed's Node system, stored of a session, as the engine stores it.
//!
//! Both follow the same protocols, so every value that opens the account or a conversation has its place: the session
//! goes on where it stopped, without a new link. What only saves a question to WhatsApp (lists of devices, who has
//! which sender key) is left out and asked for anew.
//!
//! | file | what |
//! | --- | --- |
//! | `json` | fields of values in which bytes are as Baileys' `BufferJSON` writes them |
//! | `address` | `549….0` and `100…_1.7` as the engine's addresses |
//! | `device` | the credentials |
//! | `ratchet` | sessions with one device: libsignal-node's record `v1` |
//! | `sender_key` | groups |
//! | `app_state` | keys and versions of the app state |
//! | `write` | into a session's auth state |

mod address;
mod app_state;
mod device;
mod json;
mod ratchet;
mod sender_key;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::libsignal::protocol::{PreKeyId, PreKeyRecord};
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, LidPnMappingEntry};
use whatsapp_rust::wacore::types::LearningSource;

use crate::clock::Timestamp;
use crate::error::Result;
use json::{Field, malformed};
pub(crate) use write::write;

/// A row of Baileys' key store: `type`, `id` and value.
pub(crate) type Row<'a> = (&'a str, &'a str, &'a Value);

/// Everything that is taken over, in the engine's terms.
pub(crate) struct Converted {
    device: Device,
    identities: HashMap<Arc<str>, [u8; 32]>,
    sessions: Vec<(Arc<str>, Bytes)>,
    pre_keys: Vec<(u32, Bytes)>,
    sender_keys: Vec<(Arc<str>, Bytes)>,
    lid_mappings: Vec<LidPnMappingEntry>,
    sync_keys: Vec<(Vec<u8>, AppStateSyncKey)>,
    latest_sync_key: Option<Vec<u8>>,
    versions: Vec<(String, HashState, Vec<AppStateMutationMAC>)>,
    /// By `type`: how many rows were taken over.
    pub(crate) taken: BTreeMap<String, u64>,
    /// By `type`: how many were not, because they are asked for anew.
    pub(crate) left: BTreeMap<String, u64>,
}

impl Converted {
    /// The account's phone number.
    pub(crate) fn phone(&self) -> Option<String> {
        self.device.pn.as_ref().map(|pn| pn.user.to_string())
    }
}

impl std::fmt::Debug for Converted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Converted")
            .field("taken", &self.taken)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Converts credentials and keys. `Corrupt` names the row that cannot be understood, and never what is in it.
pub(crate) fn convert<'a>(
    creds: &Value,
    rows: impl Iterator<Item = Row<'a>>,
    now: Timestamp,
) -> Result<Converted> {
    let creds = Field::new("creds", creds);
    let device = device::device(&creds)?;
    let local = ratchet::Local::of(&device);
    let mut converted = Converted {
        device,
        identities: HashMap::new(),
        sessions: Vec::new(),
        pre_keys: Vec::new(),
        sender_keys: Vec::new(),
        lid_mappings: Vec::new(),
        sync_keys: Vec::new(),
        latest_sync_key: device::latest_sync_key(&creds)?,
        versions: Vec::new(),
        taken: BTreeMap::new(),
        left: BTreeMap::new(),
    };
    let mut seen_identities = HashMap::new();
    for (kind, id, value) in rows {
        if value.is_null() {
            continue;
        }
        let value = Field::new(kind, value);
        let was_taken = match kind {
            "pre-key" => {
                let number = id.parse().map_err(|_| malformed("pre-key", "id", "a number"))?;
                let record = PreKeyRecord::new(PreKeyId::from(number), &value.key_pair()?);
                let record =
                    record.serialize().map_err(|_| malformed("pre-key", "keys", "an X25519 key pair"))?;
                converted.pre_keys.push((number, record.into()));
                true
            }
            "session" => match ratchet::session(&value, &local)? {
                Some((record, identity)) => {
                    let address = address::of_device(id)?;
                    seen_identities.insert(Arc::clone(&address), identity);
                    converted.sessions.push((address, record));
                    true
                }
                None => false,
            },
            "identity-key" => {
                converted.identities.insert(address::of_device(id)?, value.public_key()?);
                true
            }
            "sender-key" => {
                converted.sender_keys.push((address::of_sender_key(id)?, sender_key::record(&value)?));
                true
            }
            "lid-mapping" => {
                // Each is there in both directions; one is enough.
                let is_reverse = id.ends_with("_reverse");
                if !is_reverse {
                    converted.lid_mappings.push(mapping(value.text()?, id, now));
                }
                true
            }
            "app-state-sync-key" => {
                converted.sync_keys.push((app_state::key_id(id)?, app_state::key(&value)?));
                true
            }
            "app-state-sync-version" => {
                let (state, macs) = app_state::version(&value)?;
                converted.versions.push((id.to_owned(), state, macs));
                true
            }
            _ => false,
        };
        let counts = if was_taken { &mut converted.taken } else { &mut converted.left };
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
    // Versions of Baileys before 7 kept a contact's identity in the session alone.
    for (address, identity) in seen_identities {
        converted.identities.entry(address).or_insert(identity);
    }
    Ok(converted)
}

fn mapping(lid: &str, phone_number: &str, now: Timestamp) -> LidPnMappingEntry {
    LidPnMappingEntry {
        lid: lid.to_owned(),
        phone_number: phone_number.to_owned(),
        created_at: now.unix_s(),
        updated_at: now.unix_s(),
        learning_source: LearningSource::MigrationSyncOld.as_str().to_owned(),
    }
}
