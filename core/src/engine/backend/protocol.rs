//! LID mappings, device lists, group sender-key status, privacy tokens, and what the engine keeps for retries.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::{EngineResult, SessionBackend, refused};
use crate::engine::keyspace::{
    self, BASE_KEY, DEVICE_LIST, GROUP_METADATA, LID_MAPPING, PENDING_INBOUND, PN_MAPPING, SENDER_KEY_MEMORY,
    SENT_MESSAGE, TC_TOKEN,
};
use crate::engine::session_auth::decode;
use crate::error::Result;
use crate::store::{AuthKey, AuthWrite, WriteBatch};

/// Which devices of a group hold our sender key.
#[derive(Serialize, Deserialize, Default)]
struct SenderKeyMemory {
    devices: BTreeMap<String, bool>,
}

#[derive(Serialize, Deserialize)]
struct TcTokenRow {
    jid: String,
    entry: TcTokenEntry,
}

impl SessionBackend {
    fn named(&self, kind: &str, name: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), kind, &[name])
    }

    async fn record<T: serde::de::DeserializeOwned>(&self, key: &AuthKey) -> EngineResult<Option<T>> {
        let found = self.auth.get(key).await.map_err(refused)?;
        found.map(|value| decode(&key.kind, &value).map_err(refused)).transpose()
    }

    async fn put_one<T: Serialize>(&self, key: AuthKey, record: &T) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        self.auth.put_record(&mut batch, key, record, 0).map_err(refused)?;
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn delete_keys(&self, keys: impl IntoIterator<Item = AuthKey>) -> EngineResult<()> {
        self.auth.apply(keys.into_iter().map(AuthWrite::Delete).collect()).await.map_err(refused)
    }

    async fn delete_kind(&self, kind: &'static str) -> EngineResult<()> {
        let auth = &self.auth;
        auth.update(|| {
            Box::pin(async move {
                let rows = auth.list(kind).await?;
                Ok((rows.into_iter().map(|(key, _)| AuthWrite::Delete(key)).collect(), ()))
            })
        })
        .await
        .map_err(refused)
    }

    /// Changes one contact's token with no other write in between; `None` leaves it as it is.
    async fn change_tc_token(
        &self,
        jid: &str,
        change: impl FnOnce(Option<TcTokenEntry>) -> Option<TcTokenEntry> + Send,
    ) -> EngineResult<()> {
        let key = self.named(TC_TOKEN, jid);
        let auth = &self.auth;
        let jid = jid.to_owned();
        let stored = |value: Option<zeroize::Zeroizing<Vec<u8>>>| -> Result<Option<TcTokenEntry>> {
            value.map(|value| decode::<TcTokenRow>(TC_TOKEN, &value).map(|row| row.entry)).transpose()
        };
        // The decision itself is not a future: taken apart so that the closure need not outlive this call.
        auth.update_value(&key, |value| {
            let Some(entry) = change(stored(value)?) else { return Ok(WriteBatch::new()) };
            let mut batch = WriteBatch::new();
            auth.put_record(&mut batch, key.clone(), &TcTokenRow { jid, entry }, 0)?;
            Ok(batch)
        })
        .await
        .map_err(refused)
    }
}

#[async_trait]
impl ProtocolStore for SessionBackend {
    async fn get_sender_key_devices(&self, group_jid: &str) -> EngineResult<Vec<(String, bool)>> {
        let memory: Option<SenderKeyMemory> = self.record(&self.named(SENDER_KEY_MEMORY, group_jid)).await?;
        Ok(memory.unwrap_or_default().devices.into_iter().collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> EngineResult<()> {
        let key = self.named(SENDER_KEY_MEMORY, group_jid);
        let auth = &self.auth;
        auth.update_value(&key, |value| {
            let mut memory: SenderKeyMemory =
                value.map(|value| decode(SENDER_KEY_MEMORY, &value)).transpose()?.unwrap_or_default();
            memory.devices.extend(entries.iter().map(|(device, has_key)| ((*device).to_owned(), *has_key)));
            let mut batch = WriteBatch::new();
            auth.put_record(&mut batch, key.clone(), &memory, 0)?;
            Ok(batch)
        })
        .await
        .map_err(refused)
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> EngineResult<()> {
        self.delete_keys([self.named(SENDER_KEY_MEMORY, group_jid)]).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> EngineResult<()> {
        let auth = &self.auth;
        let gone: Vec<String> = device_jids.iter().map(|jid| (*jid).to_owned()).collect();
        auth.update(|| {
            Box::pin(async move {
                let mut batch = WriteBatch::new();
                for (key, value) in auth.list(SENDER_KEY_MEMORY).await? {
                    let mut memory: SenderKeyMemory = decode(SENDER_KEY_MEMORY, &value)?;
                    let before = memory.devices.len();
                    memory.devices.retain(|device, _| !gone.contains(device));
                    if memory.devices.len() != before {
                        auth.put_record(&mut batch, key, &memory, 0)?;
                    }
                }
                Ok((batch, ()))
            })
        })
        .await
        .map_err(refused)
    }

    async fn clear_all_sender_key_devices(&self) -> EngineResult<()> {
        self.delete_kind(SENDER_KEY_MEMORY).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> EngineResult<Option<LidPnMappingEntry>> {
        self.record(&self.named(LID_MAPPING, lid)).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> EngineResult<Option<LidPnMappingEntry>> {
        let lid: Option<String> = self.record(&self.named(PN_MAPPING, phone)).await?;
        match lid {
            Some(lid) => self.get_lid_mapping(&lid).await,
            None => Ok(None),
        }
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> EngineResult<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> EngineResult<()> {
        let auth = &self.auth;
        let entries = entries.to_vec();
        let lid_keys: Vec<AuthKey> =
            entries.iter().map(|entry| self.named(LID_MAPPING, &entry.lid)).collect();
        let pn_keys: Vec<AuthKey> =
            entries.iter().map(|entry| self.named(PN_MAPPING, &entry.phone_number)).collect();
        auth.update(|| {
            Box::pin(async move {
                let stored = auth.get_many(&lid_keys).await?;
                let mut batch = WriteBatch::new();
                for (index, entry) in entries.iter().enumerate() {
                    if let Some(old) = &stored[index] {
                        let old: LidPnMappingEntry = decode(LID_MAPPING, old)?;
                        if old.phone_number != entry.phone_number {
                            // The number has another LID now, or none: its row must not lead back here.
                            batch.delete(keyspace::blinded(auth.vault(), PN_MAPPING, &[&old.phone_number]));
                        }
                    }
                    auth.put_record(&mut batch, lid_keys[index].clone(), entry, 0)?;
                    auth.put_record(&mut batch, pn_keys[index].clone(), &entry.lid, 0)?;
                }
                Ok((batch, ()))
            })
        })
        .await
        .map_err(refused)
    }

    async fn get_all_lid_mappings(&self) -> EngineResult<Vec<LidPnMappingEntry>> {
        let rows = self.auth.list(LID_MAPPING).await.map_err(refused)?;
        rows.iter().map(|(_, value)| decode(LID_MAPPING, value).map_err(refused)).collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> EngineResult<()> {
        let key = keyspace::blinded(self.auth.vault(), BASE_KEY, &[address, message_id]);
        let mut batch = WriteBatch::new();
        self.auth.put(&mut batch, key, base_key, self.auth.now().unix_s());
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        base_key: &[u8],
    ) -> EngineResult<bool> {
        let key = keyspace::blinded(self.auth.vault(), BASE_KEY, &[address, message_id]);
        Ok(self.auth.get(&key).await.map_err(refused)?.is_some_and(|stored| stored.as_slice() == base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> EngineResult<()> {
        self.delete_keys([keyspace::blinded(self.auth.vault(), BASE_KEY, &[address, message_id])]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> EngineResult<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        for record in &records {
            self.auth
                .put_record(&mut batch, self.named(DEVICE_LIST, &record.user), record, 0)
                .map_err(refused)?;
        }
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn get_devices(&self, user: &str) -> EngineResult<Option<DeviceListRecord>> {
        self.record(&self.named(DEVICE_LIST, user)).await
    }

    async fn delete_devices(&self, user: &str) -> EngineResult<()> {
        self.delete_keys([self.named(DEVICE_LIST, user)]).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> EngineResult<Option<Vec<u8>>> {
        let found = self.auth.get(&self.named(GROUP_METADATA, group_jid)).await.map_err(refused)?;
        Ok(found.map(|blob| blob.to_vec()))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        self.auth.put(&mut batch, self.named(GROUP_METADATA, group_jid), blob, 0);
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> EngineResult<()> {
        self.delete_keys([self.named(GROUP_METADATA, group_jid)]).await
    }

    async fn get_tc_token(&self, jid: &str) -> EngineResult<Option<TcTokenEntry>> {
        let row: Option<TcTokenRow> = self.record(&self.named(TC_TOKEN, jid)).await?;
        Ok(row.map(|row| row.entry))
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> EngineResult<()> {
        self.put_one(self.named(TC_TOKEN, jid), &TcTokenRow { jid: jid.to_owned(), entry: entry.clone() })
            .await
    }

    async fn delete_tc_token(&self, jid: &str) -> EngineResult<()> {
        self.delete_keys([self.named(TC_TOKEN, jid)]).await
    }

    async fn get_all_tc_token_jids(&self) -> EngineResult<Vec<String>> {
        let rows = self.auth.list(TC_TOKEN).await.map_err(refused)?;
        rows.iter()
            .map(|(_, value)| decode::<TcTokenRow>(TC_TOKEN, value).map(|row| row.jid).map_err(refused))
            .collect()
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> EngineResult<u32> {
        let auth = &self.auth;
        auth.update(|| {
            Box::pin(async move {
                let mut batch = WriteBatch::new();
                for (key, value) in auth.list(TC_TOKEN).await? {
                    let entry = decode::<TcTokenRow>(TC_TOKEN, &value)?.entry;
                    let token_dead = entry.token.is_empty() || entry.token_timestamp < token_cutoff;
                    let sender_dead = entry.sender_timestamp.is_none_or(|sent| sent < sender_cutoff);
                    if token_dead && sender_dead {
                        batch.delete(key);
                    }
                }
                let count = u32::try_from(batch.writes().len()).unwrap_or(u32::MAX);
                Ok((batch, count))
            })
        })
        .await
        .map_err(refused)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> EngineResult<()> {
        self.change_tc_token(jid, |stored| {
            Some(match stored {
                Some(entry) => TcTokenEntry {
                    sender_timestamp: entry.sender_timestamp.max(Some(sender_timestamp)),
                    ..entry
                },
                None => TcTokenEntry {
                    token: Vec::new(),
                    token_timestamp: sender_timestamp,
                    sender_timestamp: Some(sender_timestamp),
                },
            })
        })
        .await
    }

    async fn store_received_tc_token(
        &self,
        jid: &str,
        token: &[u8],
        token_timestamp: i64,
    ) -> EngineResult<()> {
        self.change_tc_token(jid, |stored| {
            let fresher = stored
                .as_ref()
                .is_some_and(|entry| !entry.token.is_empty() && token_timestamp < entry.token_timestamp);
            (!fresher).then(|| TcTokenEntry {
                token: token.to_vec(),
                token_timestamp,
                sender_timestamp: stored.and_then(|entry| entry.sender_timestamp),
            })
        })
        .await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> EngineResult<()> {
        self.keep_sent(chat_jid, message_id, payload)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> EngineResult<Option<Vec<u8>>> {
        self.take_sent(chat_jid, message_id).await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> EngineResult<u32> {
        let deleted =
            self.auth.delete_stamped_before(SENT_MESSAGE, cutoff_timestamp).await.map_err(refused)?;
        Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
    }

    async fn store_pending_inbound(
        &self,
        chat: &str,
        sender: &str,
        id: &str,
        message: &[u8],
    ) -> EngineResult<()> {
        self.keep_pending(&[PendingInboundRow { chat, sender, id, message }])
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> EngineResult<Option<Vec<u8>>> {
        self.pending(chat, sender, id).await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> EngineResult<()> {
        self.forget_pending(&[PendingInboundKey { chat, sender, id }]);
        Ok(())
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> EngineResult<u32> {
        let deleted =
            self.auth.delete_stamped_before(PENDING_INBOUND, cutoff_timestamp).await.map_err(refused)?;
        Ok(u32::try_from(deleted).unwrap_or(u32::MAX))
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> EngineResult<()> {
        self.keep_pending(rows)
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> EngineResult<()> {
        self.forget_pending(keys);
        Ok(())
    }
}
