//! Identities, sessions, pre-keys and sender keys.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::wacore::store::traits::SignalStore;

use super::{EngineResult, SessionBackend, UNREAD, refused};
use crate::engine::keyspace::{self, IDENTITY, PRE_KEY, SENDER_KEY, SESSION, SIGNED_PRE_KEY};
use crate::error::{Error, ErrorKind};
use crate::store::{AuthKey, WriteBatch};

impl SessionBackend {
    fn address(&self, kind: &str, address: &str) -> AuthKey {
        keyspace::address(self.auth.vault(), kind, address)
    }

    fn sender_key(&self, address: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), SENDER_KEY, &[address])
    }

    async fn put_all(&self, rows: impl Iterator<Item = (AuthKey, &[u8])>) -> EngineResult<()> {
        let batch = rows
            .map(|(key, plaintext)| {
                let value = self.auth.vault().seal(&key.kind, &key.id, plaintext);
                crate::store::AuthWrite::Put(crate::store::AuthEntry { key, value, stamp_s: 0 })
            })
            .collect();
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn remove(&self, key: AuthKey) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn read(&self, key: &AuthKey) -> EngineResult<Option<Vec<u8>>> {
        Ok(self.auth.get(key).await.map_err(refused)?.map(|value| value.to_vec()))
    }

    async fn highest_stored_pre_key(&self) -> EngineResult<u32> {
        let known = self.highest_pre_key.load(Ordering::Acquire);
        if known != UNREAD {
            return Ok(known);
        }
        let mut highest = 0;
        for (key, _) in self.auth.list(PRE_KEY).await.map_err(refused)? {
            highest = highest.max(numeric_id(&key)?);
        }
        // A key stored meanwhile may have set a higher one.
        let raced =
            self.highest_pre_key.compare_exchange(UNREAD, highest, Ordering::AcqRel, Ordering::Acquire);
        Ok(raced.map_or_else(|stored| stored.max(highest), |_| highest))
    }

    fn note_pre_keys(&self, ids: impl Iterator<Item = u32>) {
        let Some(highest) = ids.max() else { return };
        let raise = |known: u32| (known != UNREAD).then(|| known.max(highest));
        // Unread stays unread: the first reader sees the stored rows.
        let _unread = self.highest_pre_key.fetch_update(Ordering::AcqRel, Ordering::Acquire, raise);
    }
}

fn numeric_id(key: &AuthKey) -> EngineResult<u32> {
    key.id.parse().map_err(|_| {
        refused(Error::new(
            ErrorKind::Corrupt,
            format!("a stored {} has an id that is no number; restore a backup", key.kind),
        ))
    })
}

fn number(kind: &str, id: u32) -> AuthKey {
    keyspace::plain(kind, id.to_string())
}

#[async_trait]
impl SignalStore for SessionBackend {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> EngineResult<()> {
        self.put_all(std::iter::once((self.address(IDENTITY, address), key.as_slice()))).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> EngineResult<()> {
        self.put_all(
            identities.iter().map(|(address, key)| (self.address(IDENTITY, address), key.as_slice())),
        )
        .await
    }

    async fn load_identity(&self, address: &str) -> EngineResult<Option<[u8; 32]>> {
        let Some(value) = self.auth.get(&self.address(IDENTITY, address)).await.map_err(refused)? else {
            return Ok(None);
        };
        <[u8; 32]>::try_from(value.as_slice()).map(Some).map_err(|_| {
            refused(Error::new(
                ErrorKind::Corrupt,
                "a stored identity key is not 32 bytes long; restore a backup",
            ))
        })
    }

    async fn delete_identity(&self, address: &str) -> EngineResult<()> {
        self.remove(self.address(IDENTITY, address)).await
    }

    async fn get_session(&self, address: &str) -> EngineResult<Option<Bytes>> {
        Ok(self.read(&self.address(SESSION, address)).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> EngineResult<()> {
        self.put_all(std::iter::once((self.address(SESSION, address), session))).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> EngineResult<()> {
        self.put_all(
            sessions.iter().map(|(address, record)| (self.address(SESSION, address), record.as_ref())),
        )
        .await?;
        self.auth.note_ratchet_saved();
        Ok(())
    }

    async fn delete_session(&self, address: &str) -> EngineResult<()> {
        self.remove(self.address(SESSION, address)).await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> EngineResult<bool> {
        let prefix = keyspace::user_prefix(self.auth.vault(), user);
        Ok(self.auth.has_prefix(SESSION, &prefix).await.map_err(refused)?
            || self.auth.has_prefix(IDENTITY, &prefix).await.map_err(refused)?)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], _uploaded: bool) -> EngineResult<()> {
        self.put_all(std::iter::once((number(PRE_KEY, id), record))).await?;
        self.note_pre_keys(std::iter::once(id));
        Ok(())
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> EngineResult<()> {
        self.put_all(keys.iter().map(|(id, record)| (number(PRE_KEY, *id), record.as_ref()))).await?;
        self.note_pre_keys(keys.iter().map(|(id, _)| *id));
        Ok(())
    }

    async fn load_prekey(&self, id: u32) -> EngineResult<Option<Bytes>> {
        Ok(self.read(&number(PRE_KEY, id)).await?.map(Bytes::from))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> EngineResult<Vec<(u32, Bytes)>> {
        let keys: Vec<AuthKey> = ids.iter().map(|id| number(PRE_KEY, *id)).collect();
        let values = self.auth.get_many(&keys).await.map_err(refused)?;
        Ok(ids
            .iter()
            .zip(values)
            .filter_map(|(id, value)| value.map(|value| (*id, Bytes::copy_from_slice(&value))))
            .collect())
    }

    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> EngineResult<()> {
        // The engine never asks which are uploaded: its device record has a watermark. What counts is that
        // a consumed key is not brought back, and nothing is written here.
        Ok(())
    }

    async fn remove_prekey(&self, id: u32) -> EngineResult<()> {
        self.remove(number(PRE_KEY, id)).await
    }

    async fn get_max_prekey_id(&self) -> EngineResult<u32> {
        self.highest_stored_pre_key().await
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> EngineResult<()> {
        self.put_all(std::iter::once((number(SIGNED_PRE_KEY, id), record))).await
    }

    async fn load_signed_prekey(&self, id: u32) -> EngineResult<Option<Vec<u8>>> {
        self.read(&number(SIGNED_PRE_KEY, id)).await
    }

    async fn load_all_signed_prekeys(&self) -> EngineResult<Vec<(u32, Vec<u8>)>> {
        let rows = self.auth.list(SIGNED_PRE_KEY).await.map_err(refused)?;
        rows.into_iter().map(|(key, value)| Ok((numeric_id(&key)?, value.to_vec()))).collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> EngineResult<()> {
        self.remove(number(SIGNED_PRE_KEY, id)).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> EngineResult<()> {
        self.put_all(std::iter::once((self.sender_key(address), record))).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> EngineResult<()> {
        self.put_all(sender_keys.iter().map(|(address, record)| (self.sender_key(address), record.as_ref())))
            .await
    }

    async fn get_sender_key(&self, address: &str) -> EngineResult<Option<Vec<u8>>> {
        self.read(&self.sender_key(address)).await
    }

    async fn delete_sender_key(&self, address: &str) -> EngineResult<()> {
        self.remove(self.sender_key(address)).await
    }
}
