//! Messages that the engine keeps for a while: sent ones for retries, received ones until they are committed.

use crate::engine::keyspace::{self, PENDING_INBOUND, SENT_MESSAGE};
use crate::store::{AuthEntry, AuthKey, AuthWrite, WriteBatch};

use super::{EngineResult, SessionBackend, refused};
use whatsapp_rust::wacore::store::traits::{PendingInboundKey, PendingInboundRow};

impl SessionBackend {
    fn sent_key(&self, chat: &str, message_id: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), SENT_MESSAGE, &[chat, message_id])
    }

    fn pending_key(&self, chat: &str, sender: &str, id: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), PENDING_INBOUND, &[chat, sender, id])
    }

    pub(super) async fn keep_sent(&self, chat: &str, message_id: &str, payload: &[u8]) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        self.auth.put(&mut batch, self.sent_key(chat, message_id), payload, self.auth.now().unix_s());
        self.auth.apply(batch).await.map_err(refused)
    }

    pub(super) async fn take_sent(&self, chat: &str, message_id: &str) -> EngineResult<Option<Vec<u8>>> {
        let key = self.sent_key(chat, message_id);
        let auth = &self.auth;
        auth.update(|| {
            Box::pin(async move {
                let found = auth.get(&key).await?.map(|payload| payload.to_vec());
                let mut batch = WriteBatch::new();
                if found.is_some() {
                    batch.delete(key);
                }
                Ok((batch, found))
            })
        })
        .await
        .map_err(refused)
    }

    pub(super) async fn keep_pending(&self, rows: &[PendingInboundRow<'_>]) -> EngineResult<()> {
        let now_s = self.auth.now().unix_s();
        let batch: WriteBatch = rows
            .iter()
            .map(|row| {
                let key = self.pending_key(row.chat, row.sender, row.id);
                let value = self.auth.vault().seal(&key.kind, &key.id, row.message);
                AuthWrite::Put(AuthEntry { key, value, stamp_s: now_s })
            })
            .collect();
        self.auth.apply(batch).await.map_err(refused)
    }

    pub(super) async fn pending(&self, chat: &str, sender: &str, id: &str) -> EngineResult<Option<Vec<u8>>> {
        let found = self.auth.get(&self.pending_key(chat, sender, id)).await.map_err(refused)?;
        Ok(found.map(|message| message.to_vec()))
    }

    pub(super) async fn forget_pending(&self, keys: &[PendingInboundKey<'_>]) -> EngineResult<()> {
        let batch = keys
            .iter()
            .map(|key| AuthWrite::Delete(self.pending_key(key.chat, key.sender, key.id)))
            .collect();
        self.auth.apply(batch).await.map_err(refused)
    }
}
