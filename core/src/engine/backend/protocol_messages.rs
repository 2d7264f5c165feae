//! Messages that the engine keeps for a while: sent ones for retries, received ones until they are committed.

use crate::engine::keyspace::{self, PENDING_INBOUND, SENT_MESSAGE};
use crate::store::{AuthKey, WriteBatch};

use super::{EngineResult, SessionBackend, refused};
use whatsapp_rust::wacore::store::traits::{PendingInboundKey, PendingInboundRow};

impl SessionBackend {
    fn sent_key(&self, chat: &str, message_id: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), SENT_MESSAGE, &[chat, message_id])
    }

    fn pending_key(&self, chat: &str, sender: &str, id: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), PENDING_INBOUND, &[chat, sender, id])
    }

    /// Rides with the ratchet that the same send has moved.
    pub(super) fn keep_sent(&self, chat: &str, message_id: &str, payload: &[u8]) -> EngineResult<()> {
        self.auth.hold(self.sent_key(chat, message_id), payload, self.auth.now().unix_s()).map_err(refused)
    }

    pub(super) async fn take_sent(&self, chat: &str, message_id: &str) -> EngineResult<Option<Vec<u8>>> {
        let key = self.sent_key(chat, message_id);
        let auth = &self.auth;
        auth.update(|| {
            Box::pin(async move {
                if let Some(payload) = auth.take_held(&key) {
                    return Ok((WriteBatch::new(), Some(payload.to_vec())));
                }
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

    pub(super) fn keep_pending(&self, rows: &[PendingInboundRow<'_>]) -> EngineResult<()> {
        let now_s = self.auth.now().unix_s();
        for row in rows {
            let key = self.pending_key(row.chat, row.sender, row.id);
            self.auth.hold(key, row.message, now_s).map_err(refused)?;
        }
        Ok(())
    }

    pub(super) async fn pending(&self, chat: &str, sender: &str, id: &str) -> EngineResult<Option<Vec<u8>>> {
        let found = self.auth.get(&self.pending_key(chat, sender, id)).await.map_err(refused)?;
        Ok(found.map(|message| message.to_vec()))
    }

    pub(super) fn forget_pending(&self, keys: &[PendingInboundKey<'_>]) {
        for key in keys {
            self.auth.forget_held(self.pending_key(key.chat, key.sender, key.id));
        }
    }
}
