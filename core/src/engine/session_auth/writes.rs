//! Writing: one batch at a time, with the rows that were held for it.

use futures::future::BoxFuture;
use serde::Serialize;
use std::sync::Arc;
use zeroize::Zeroizing;

use super::{NOT_READ_AHEAD, SessionAuth, encode};
use crate::engine::held_rows::{self, DELETIONS_TOGETHER};
use crate::engine::keyspace;
use crate::error::Result;
use crate::store::{AuthEntry, AuthKey, AuthWrite, WriteBatch};

impl SessionAuth {
    /// Seals a value into a batch.
    pub(crate) fn put(&self, batch: &mut WriteBatch, key: AuthKey, plaintext: &[u8], stamp_s: i64) {
        let sealed = self.vault.seal(&key.kind, &key.id, plaintext);
        batch.put(key, sealed, stamp_s);
    }

    /// Encodes and seals a value into a batch.
    pub(crate) fn put_record<T: Serialize>(
        &self,
        batch: &mut WriteBatch,
        key: AuthKey,
        record: &T,
        stamp_s: i64,
    ) -> Result<()> {
        let plaintext = encode(record)?;
        self.put(batch, key, &plaintext, stamp_s);
        Ok(())
    }

    /// Keeps a row until a ratchet is written that needs it; see `held_rows`.
    pub(crate) fn hold(&self, key: AuthKey, plaintext: &[u8], stamp_s: i64) -> Result<()> {
        if self.closed.is_cancelled() {
            return Err(self.closed_error());
        }
        self.held().hold(key, Zeroizing::new(plaintext.to_vec()), stamp_s);
        Ok(())
    }

    /// Takes out a row if it is held here.
    pub(crate) fn take_held(&self, key: &AuthKey) -> Option<Zeroizing<Vec<u8>>> {
        self.held().take(key)
    }

    /// Lets go of a row that may have been held; if it was written it is deleted with a later batch.
    pub(crate) fn forget_held(&self, key: AuthKey) {
        self.held().forget(key);
    }

    /// Writes all that was held and deletes all that is to be deleted: nothing rides along any more.
    pub(crate) async fn write_held(&self) -> Result<()> {
        let _turn = self.write_gate.lock().await;
        let batch = self.with_held(WriteBatch::new(), 1);
        self.write_in_turn(batch).await
    }

    /// Applies a batch; durable on `Ok`.
    pub(crate) async fn apply(&self, batch: WriteBatch) -> Result<()> {
        let _turn = self.write_gate.lock().await;
        self.apply_in_turn(batch).await
    }

    /// Reads, decides and writes with no other write of this session in between.
    pub(crate) async fn update<'a, T: Send>(
        &'a self,
        change: impl FnOnce() -> BoxFuture<'a, Result<(WriteBatch, T)>> + Send,
    ) -> Result<T> {
        let _turn = self.write_gate.lock().await;
        let (batch, outcome) = change().await?;
        self.apply_in_turn(batch).await?;
        Ok(outcome)
    }

    /// Reads one value, decides, and writes, with no other write of this session in between.
    pub(crate) async fn update_value(
        &self,
        key: &AuthKey,
        change: impl FnOnce(Option<Zeroizing<Vec<u8>>>) -> Result<WriteBatch> + Send,
    ) -> Result<()> {
        let _turn = self.write_gate.lock().await;
        let batch = change(self.get(key).await?)?;
        self.apply_in_turn(batch).await
    }

    /// Deletes stamped values of one kind.
    pub(crate) async fn delete_stamped_before(&self, kind: &str, cutoff_s: i64) -> Result<u64> {
        let _turn = self.write_gate.lock().await;
        if self.empty().has_none(kind) {
            return Ok(0);
        }
        let deleted = self
            .patiently(|| self.store().delete_stamped_before(&self.session, self.tenure, kind, cutoff_s))
            .await?;
        self.held().swept(kind);
        Ok(deleted)
    }

    async fn apply_in_turn(&self, batch: WriteBatch) -> Result<()> {
        let batch =
            if held_rows::moves_ratchet(&batch) { self.with_held(batch, DELETIONS_TOGETHER) } else { batch };
        self.write_in_turn(batch).await
    }

    /// The batch behind the rows that wait, and before the deletions if there are many.
    fn with_held(&self, batch: WriteBatch, deletions: usize) -> WriteBatch {
        let mut held = self.held();
        let mut all: Vec<AuthWrite> = held
            .begin_writing()
            .map(|(key, row)| {
                let value = self.vault.seal(&key.kind, &key.id, &row.plaintext);
                AuthWrite::Put(AuthEntry { key: key.clone(), value, stamp_s: row.stamp_s })
            })
            .collect();
        let deletions = held.take_deletions(deletions);
        drop(held);
        if all.is_empty() && deletions.is_empty() {
            return batch;
        }
        let creds = batch.creds().cloned();
        all.extend(batch.into_writes());
        all.extend(deletions.into_iter().map(AuthWrite::Delete));
        let mut whole: WriteBatch = all.into_iter().collect();
        if let Some(creds) = creds {
            whole.set_creds(creds);
        }
        whole
    }

    async fn write_in_turn(&self, batch: WriteBatch) -> Result<()> {
        let mut batch = self.empty().note(batch);
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(creds) = batch.creds() {
            let sealed = self.vault.seal(keyspace::CREDS, "", creds);
            batch.set_creds(sealed);
        }
        let batch = Arc::new(batch);
        self.patiently(|| async {
            self.still_ours().await?;
            self.group.apply_auth(&self.session, self.tenure, Arc::clone(&batch)).await
        })
        .await?;
        self.held().written();
        if let Some(ahead) = self.ahead().as_mut() {
            if let Some(creds) = batch.creds() {
                ahead.insert(keyspace::plain(keyspace::CREDS, ""), creds.clone());
            }
            for write in batch.writes() {
                match write {
                    AuthWrite::Put(entry) if !NOT_READ_AHEAD.contains(&entry.key.kind.as_str()) => {
                        ahead.insert(entry.key.clone(), entry.value.clone());
                    }
                    AuthWrite::Put(_) => {}
                    AuthWrite::Delete(key) => {
                        ahead.remove(key);
                    }
                }
            }
        }
        Ok(())
    }
}
