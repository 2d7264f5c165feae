//! Message secrets, which later reactions, votes and edits refer to.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use whatsapp_rust::wacore::store::traits::{
    MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::{EngineResult, SessionBackend, refused};
use crate::engine::keyspace::{self, MESSAGE_SECRET};
use crate::engine::session_auth::decode;
use crate::store::{AuthKey, WriteBatch};

#[derive(Serialize, Deserialize)]
struct SecretRow {
    secret: Vec<u8>,
    expires_at: i64,
    message_ts: i64,
}

impl SessionBackend {
    fn secret_key(&self, chat: &str, sender: &str, message_id: &str) -> AuthKey {
        keyspace::blinded(self.auth.vault(), MESSAGE_SECRET, &[chat, sender, message_id])
    }

    async fn secret_row(
        &self,
        chat: &str,
        sender: &str,
        message_id: &str,
    ) -> EngineResult<Option<SecretRow>> {
        let found = self.auth.get(&self.secret_key(chat, sender, message_id)).await.map_err(refused)?;
        found.map(|value| decode(MESSAGE_SECRET, &value).map_err(refused)).transpose()
    }
}

#[async_trait]
impl MsgSecretStore for SessionBackend {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> EngineResult<usize> {
        let count = entries.len();
        let auth = &self.auth;
        let keys: Vec<AuthKey> =
            entries.iter().map(|entry| self.secret_key(&entry.chat, &entry.sender, &entry.msg_id)).collect();
        auth.update(|| {
            Box::pin(async move {
                let stored = auth.get_many(&keys).await?;
                let mut batch = WriteBatch::new();
                for ((entry, key), stored) in entries.into_iter().zip(keys).zip(stored) {
                    let mut row = SecretRow {
                        secret: entry.secret.to_vec(),
                        expires_at: entry.expires_at,
                        message_ts: entry.message_ts,
                    };
                    if let Some(stored) = stored {
                        let stored: SecretRow = decode(MESSAGE_SECRET, &stored)?;
                        row.expires_at = merge_msg_secret_expiry(stored.expires_at, row.expires_at);
                        row.message_ts = merge_msg_secret_message_ts(stored.message_ts, row.message_ts);
                    }
                    auth.put_record(&mut batch, key, &row, row.expires_at)?;
                }
                Ok((batch, ()))
            })
        })
        .await
        .map_err(refused)?;
        Ok(count)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> EngineResult<Option<Vec<u8>>> {
        Ok(self.secret_row(chat, sender, msg_id).await?.map(|row| row.secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> EngineResult<Option<(Vec<u8>, i64)>> {
        Ok(self.secret_row(chat, sender, msg_id).await?.map(|row| (row.secret, row.message_ts)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> EngineResult<u32> {
        // "At or before" here, "before" there.
        let deleted =
            self.auth.delete_stamped_before(MESSAGE_SECRET, cutoff_timestamp.saturating_add(1)).await;
        Ok(u32::try_from(deleted.map_err(refused)?).unwrap_or(u32::MAX))
    }
}
