//! The app state: names of contacts and the like, which the phone shares with its devices.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::AppStateSyncKey;
use whatsapp_rust::waproto::codec::app_state_sync_key_fingerprint_to_vec;
use whatsapp_rust::waproto::whatsapp::message::AppStateSyncKeyFingerprint;

use super::json::{Field, malformed};
use crate::error::Result;

pub(super) fn key_id(id: &str) -> Result<Vec<u8>> {
    STANDARD.decode(id).map_err(|_| malformed("app-state-sync-key", "id", "base64"))
}

pub(super) fn key(value: &Field<'_>) -> Result<AppStateSyncKey> {
    let mut fingerprint = AppStateSyncKeyFingerprint::default();
    if let Some(stored) = value.optional("fingerprint") {
        fingerprint.raw_id = stored.optional("rawId").map(|id| id.u32()).transpose()?;
        fingerprint.current_index = stored.optional("currentIndex").map(|index| index.u32()).transpose()?;
        if let Some(indexes) = stored.optional("deviceIndexes") {
            fingerprint.device_indexes = indexes.items()?.map(|index| index.u32()).collect::<Result<_>>()?;
        }
    }
    Ok(AppStateSyncKey {
        key_data: value.field("keyData")?.bytes()?,
        fingerprint: app_state_sync_key_fingerprint_to_vec(&fingerprint),
        timestamp: value.optional("timestamp").map(|at| at.integer()).transpose()?.unwrap_or(0),
    })
}

/// How far a collection has come, and the MACs of what is in it.
pub(super) fn version(value: &Field<'_>) -> Result<(HashState, Vec<AppStateMutationMAC>)> {
    let version = value.field("version")?;
    let state = HashState {
        version: u64::try_from(version.integer()?).map_err(|_| version.wrong("a version"))?,
        hash: value.field("hash")?.exactly()?,
        ..HashState::default()
    };
    let mut macs = Vec::new();
    if let Some(indexed) = value.optional("indexValueMap") {
        for (index, mac) in indexed.entries()? {
            macs.push(AppStateMutationMAC {
                index_mac: STANDARD.decode(index).map_err(|_| mac.wrong("indexed by base64"))?,
                value_mac: mac.field("valueMac")?.bytes()?,
            });
        }
    }
    Ok((state, macs))
}
