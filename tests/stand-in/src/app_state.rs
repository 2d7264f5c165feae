//! App state: collections of encrypted settings, and the key by which companions read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wacore_appstate::hash::{HashState, generate_patch_mac};
use wacore_appstate::{encode_record, expand_app_state_keys};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;

use crate::account::DeviceKey;
use crate::clock;
use crate::crypto;
use crate::node::{self, NodeExt, bytes, server_jid};
use crate::queue::Class;
use crate::state::State;

const PUSH_NAME_COLLECTION: &str = "critical_block";

/// The patches of an account's collections; the version of the n-th is n + 1.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AppState {
    key_id: Vec<u8>,
    key_data: Vec<u8>,
    key_time: i64,
    collections: BTreeMap<String, Vec<Vec<u8>>>,
}

impl AppState {
    /// With the push name in it: clients settle only when they know it.
    pub(crate) fn new(push_name: &str) -> Self {
        let mut state = Self {
            key_id: [&[0, 0][..], &crypto::random::<4>()].concat(),
            key_data: crypto::random::<32>().to_vec(),
            key_time: clock::now_ms(),
            collections: BTreeMap::new(),
        };
        let patch = state.push_name_patch(push_name);
        state.collections.insert(PUSH_NAME_COLLECTION.to_owned(), vec![patch]);
        state
    }

    fn push_name_patch(&self, push_name: &str) -> Vec<u8> {
        let keys = expand_app_state_keys(&self.key_data);
        let value = wa::SyncActionValue {
            timestamp: Some(clock::now_ms()),
            push_name_setting: MessageField::some(wa::sync_action_value::PushNameSetting {
                name: Some(push_name.to_owned()),
            }),
            ..Default::default()
        };
        let (mutation, _mac) = encode_record(
            wa::syncd_mutation::SyncdOperation::SET,
            br#"["setting_pushName"]"#,
            &value,
            &keys,
            &self.key_id,
            &crypto::random(),
            1,
        );
        let mut hash = HashState { version: 1, ..Default::default() };
        let (_result, done) = hash.update_hash(std::slice::from_ref(&mutation), |_, _| Ok(None));
        if let Err(error) = done {
            tracing::error!(%error, "cannot hash the push name");
        }
        let mut patch = wa::SyncdPatch {
            version: MessageField::some(wa::SyncdVersion { version: Some(1) }),
            mutations: vec![mutation],
            key_id: MessageField::some(wa::KeyId { id: Some(self.key_id.clone()) }),
            snapshot_mac: Some(hash.generate_snapshot_mac(PUSH_NAME_COLLECTION, &keys.snapshot_mac)),
            device_index: Some(0),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, PUSH_NAME_COLLECTION, &keys.patch_mac, 1));
        patch.encode_to_vec()
    }

    fn version(&self, name: &str) -> u64 {
        self.collections.get(name).map_or(0, |patches| patches.len() as u64)
    }

    /// Adds a client's patch if it builds on the newest version.
    fn push(&mut self, name: &str, base: u64, patch: &[u8]) -> Result<u64, PushRefused> {
        if base != self.version(name) {
            return Err(PushRefused::Conflict);
        }
        let mut patch = wa::SyncdPatch::decode_from_slice(patch).map_err(|_| PushRefused::Malformed)?;
        // Writers leave the version out, readers need it.
        patch.version = MessageField::some(wa::SyncdVersion { version: Some(base + 1) });
        self.collections.entry(name.to_owned()).or_default().push(patch.encode_to_vec());
        Ok(base + 1)
    }

    fn since(&self, name: &str, version: u64) -> &[Vec<u8>] {
        let patches = self.collections.get(name).map(Vec::as_slice).unwrap_or_default();
        patches.get(usize::try_from(version).unwrap_or(usize::MAX)..).unwrap_or_default()
    }
}

enum PushRefused {
    Conflict,
    Malformed,
}

impl State {
    pub(crate) fn sync_app_state(&mut self, key: &DeviceKey, iq: &Node) -> Node {
        let asked = iq.child("sync").map(NodeExt::kids).unwrap_or_default().to_vec();
        let mut answers = Vec::new();
        let mut changed = Vec::new();
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return node::error(iq, 404, "item-not-found");
        };
        for collection in &asked {
            let name = collection.text_attr("name").unwrap_or_default();
            let base = collection.number_attr("version").unwrap_or(0);
            let pushed =
                collection.child_data("patch").map(|patch| account.app_state.push(&name, base, &patch));
            let answer = NodeBuilder::new("collection").attr("name", name.as_str());
            answers.push(match pushed {
                Some(Ok(version)) => {
                    changed.push((name.clone(), version));
                    answer.attr("version", version).attr("has_more_patches", "false").build()
                }
                Some(Err(refused)) => {
                    let code = match refused {
                        PushRefused::Conflict => 409,
                        PushRefused::Malformed => 400,
                    };
                    answer
                        .attr("version", account.app_state.version(&name))
                        .attr("type", "error")
                        .children([NodeBuilder::new("error").attr("code", code).build()])
                        .build()
                }
                None => {
                    let patches = account.app_state.since(&name, base);
                    let answer = answer
                        .attr("version", account.app_state.version(&name))
                        .attr("has_more_patches", "false");
                    if patches.is_empty() {
                        answer.build()
                    } else {
                        let patches = patches.iter().map(|patch| bytes("patch", patch.clone()));
                        answer.children([NodeBuilder::new("patches").children(patches).build()]).build()
                    }
                }
            });
        }
        for (name, version) in changed {
            self.dirty = true;
            self.tell_of_app_state(key, &name, version);
        }
        node::result(iq, vec![NodeBuilder::new("sync").children(answers).build()])
    }

    /// The other companions fetch what changed.
    fn tell_of_app_state(&mut self, from: &DeviceKey, name: &str, version: u64) {
        for companion in self.companions_of(&from.account) {
            if companion == *from {
                continue;
            }
            let id = self.new_id();
            let notice = NodeBuilder::new("notification")
                .attr("type", "server_sync")
                .attr("from", server_jid())
                .attr("id", id.as_str())
                .attr("t", clock::now())
                .children([NodeBuilder::new("collection")
                    .attr("name", name)
                    .attr("version", version)
                    .build()])
                .build();
            self.deliver(&companion, Class::Notification, &id, notice);
        }
    }

    /// The phone gives a companion the key to the collections.
    pub(crate) fn share_keys(&mut self, account: &str, companion: &DeviceKey) {
        let Some(phone) = self.accounts.get(account) else {
            return;
        };
        let state = &phone.app_state;
        let key = wa::message::AppStateSyncKey {
            key_id: MessageField::some(wa::message::AppStateSyncKeyId { key_id: Some(state.key_id.clone()) }),
            key_data: MessageField::some(wa::message::AppStateSyncKeyData {
                key_data: Some(state.key_data.clone()),
                fingerprint: MessageField::some(wa::message::AppStateSyncKeyFingerprint {
                    raw_id: Some(phone.raw_id),
                    current_index: Some(u32::from(phone.next_device.saturating_sub(1))),
                    device_indexes: std::iter::once(0)
                        .chain(phone.companions.values().map(|companion| companion.key_index))
                        .collect(),
                }),
                timestamp: Some(state.key_time),
            }),
        };
        let message = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                r#type: Some(wa::message::protocol_message::Type::APP_STATE_SYNC_KEY_SHARE),
                app_state_sync_key_share: MessageField::some(wa::message::AppStateSyncKeyShare {
                    keys: vec![key],
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        if let Err(error) = self.phone_tells(account, companion, message) {
            tracing::warn!(%companion, %error, "cannot share the app-state key");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_name_can_be_read_with_the_shared_key() {
        let state = AppState::new("Ana");
        let patch =
            wa::SyncdPatch::decode_from_slice(&state.since(PUSH_NAME_COLLECTION, 0)[0]).expect("patch");
        let keys = expand_app_state_keys(&state.key_data);
        let (read, _macs) = wacore_appstate::decode_record(
            wa::syncd_mutation::SyncdOperation::SET,
            &patch.mutations[0].record,
            &keys,
            &state.key_id,
            true,
        )
        .expect("MACs are right");
        let value = read.action_value.expect("a value");
        assert_eq!(value.push_name_setting.name.as_deref(), Some("Ana"));
    }

    #[test]
    fn a_patch_must_build_on_the_newest_version() {
        let mut state = AppState::new("Ana");
        let patch = wa::SyncdPatch::default().encode_to_vec();
        assert!(matches!(state.push("regular", 3, &patch), Err(PushRefused::Conflict)));
        assert!(matches!(state.push("regular", 0, &patch), Ok(1)));
        assert!(matches!(state.push("regular", 0, &patch), Err(PushRefused::Conflict)));
        assert_eq!(state.since("regular", 0).len(), 1);
        assert!(state.since("regular", 1).is_empty());
        assert!(state.since("regular", 9).is_empty());
    }
}
