//! App-state keys, versions and MACs.

use std::collections::HashMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::{EngineResult, SessionBackend, refused};
use crate::engine::keyspace::{self, SYNC_KEY, SYNC_KEY_LATEST, SYNC_VERSION, mutation_mac_kind};
use crate::engine::session_auth::decode;
use crate::store::{AuthKey, AuthWrite, WriteBatch};

fn binary_id(kind: &str, id: &[u8]) -> AuthKey {
    keyspace::plain(kind, URL_SAFE_NO_PAD.encode(id))
}

fn latest_key() -> AuthKey {
    keyspace::plain(SYNC_KEY_LATEST, "latest")
}

#[async_trait]
impl AppSyncStore for SessionBackend {
    async fn get_sync_key(&self, key_id: &[u8]) -> EngineResult<Option<AppStateSyncKey>> {
        let found = self.auth.get(&binary_id(SYNC_KEY, key_id)).await.map_err(refused)?;
        found.map(|value| decode(SYNC_KEY, &value).map_err(refused)).transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        self.auth.put_record(&mut batch, binary_id(SYNC_KEY, key_id), &key, 0).map_err(refused)?;
        self.auth.put(&mut batch, latest_key(), key_id, 0);
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn get_latest_sync_key_id(&self) -> EngineResult<Option<Vec<u8>>> {
        Ok(self.auth.get(&latest_key()).await.map_err(refused)?.map(|id| id.to_vec()))
    }

    async fn get_version(&self, name: &str) -> EngineResult<HashState> {
        match self.auth.get(&keyspace::plain(SYNC_VERSION, name)).await.map_err(refused)? {
            Some(value) => decode(SYNC_VERSION, &value).map_err(refused),
            None => Ok(HashState::default()),
        }
    }

    async fn set_version(&self, name: &str, state: HashState) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        self.auth.put_record(&mut batch, keyspace::plain(SYNC_VERSION, name), &state, 0).map_err(refused)?;
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> EngineResult<()> {
        let kind = mutation_mac_kind(name);
        let batch = mutations
            .iter()
            .map(|mutation| {
                let key = binary_id(&kind, &mutation.index_mac);
                let value = self.auth.vault().seal(&key.kind, &key.id, &mutation.value_mac);
                AuthWrite::Put(crate::store::AuthEntry { key, value, stamp_s: 0 })
            })
            .collect();
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> EngineResult<Option<Vec<u8>>> {
        let key = binary_id(&mutation_mac_kind(name), index_mac);
        Ok(self.auth.get(&key).await.map_err(refused)?.map(|mac| mac.to_vec()))
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> EngineResult<HashMap<[u8; 32], Vec<u8>>> {
        let kind = mutation_mac_kind(name);
        let keys: Vec<AuthKey> = index_macs.iter().map(|mac| binary_id(&kind, mac)).collect();
        let values = self.auth.get_many(&keys).await.map_err(refused)?;
        Ok(index_macs.iter().zip(values).filter_map(|(mac, value)| Some((*mac, value?.to_vec()))).collect())
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> EngineResult<()> {
        let kind = mutation_mac_kind(name);
        let batch = index_macs.iter().map(|mac| AuthWrite::Delete(binary_id(&kind, mac))).collect();
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn clear_mutation_macs(&self, name: &str) -> EngineResult<()> {
        let kind = mutation_mac_kind(name);
        let auth = &self.auth;
        auth.update(|| {
            Box::pin(async move {
                let rows = auth.list(&kind).await?;
                Ok((rows.into_iter().map(|(key, _)| AuthWrite::Delete(key)).collect(), ()))
            })
        })
        .await
        .map_err(refused)
    }
}
