//! One session's auth state: sealed by its vault, fenced by its lease, patient with its database.
//!
//! The engine must never see an outage as an error: it would drop messages whose ratchet has advanced
//! already. So every call here waits until the database is back, and ends with an error only when the
//! session is closed, robbed, or its data cannot be read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::empty_kinds::EmptyKinds;
use super::held_rows::{self, DELETIONS_TOGETHER, HeldRows, Known};
use super::keyspace;
use crate::clock::{SharedClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::store::group::GroupCommit;
use crate::store::patience::until_available;
use crate::store::{AuthEntry, AuthKey, AuthState, AuthWrite, Store, Tenure, WriteBatch};
use crate::vault::SessionVault;

/// Kinds that are not read ahead at connect: hundreds of rows of which a login needs none.
pub(crate) const NOT_READ_AHEAD: &[&str] =
    &[keyspace::PRE_KEY, keyspace::SENT_MESSAGE, keyspace::MESSAGE_SECRET, keyspace::BASE_KEY];

/// Asks, before each write, whether the session is still ours: a process that was paused for longer than its lease
/// lasts must write nothing when it wakes, not even rows that the fence would hide.
pub(crate) type Guard = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Access to one session's auth state for as long as its lease is held.
pub(crate) struct SessionAuth {
    session: String,
    tenure: Tenure,
    group: Arc<GroupCommit>,
    vault: SessionVault,
    clock: SharedClock,
    /// Cuts the socket, always before `closed`: an engine whose store errs refuses the message at hand, and a
    /// refusal that reached WhatsApp would be the end of that message.
    cut: CancellationToken,
    closed: CancellationToken,
    failure: OnceLock<Arc<Error>>,
    waiting_since: watch::Sender<Option<Duration>>,
    ratchet_saves: AtomicU64,
    /// One write at a time: what keeps the order of a session's writes and makes read-modify-write atomic.
    write_gate: tokio::sync::Mutex<()>,
    read_ahead: Mutex<Option<HashMap<AuthKey, Bytes>>>,
    held: Mutex<HeldRows>,
    empty: Mutex<EmptyKinds>,
    guard: Option<Guard>,
}

impl std::fmt::Debug for SessionAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionAuth")
            .field("session", &self.session)
            .field("tenure", &self.tenure)
            .finish_non_exhaustive()
    }
}

impl SessionAuth {
    /// Takes the state read at start; reads are answered from it until [`drop_read_ahead`](Self::drop_read_ahead).
    pub(crate) fn new(
        session: &str,
        tenure: Tenure,
        group: Arc<GroupCommit>,
        vault: SessionVault,
        clock: SharedClock,
        state: AuthState,
    ) -> Self {
        let mut ahead: HashMap<AuthKey, Bytes> =
            state.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        if let Some(creds) = state.creds {
            ahead.insert(keyspace::plain(keyspace::CREDS, ""), creds);
        }
        Self {
            session: session.to_owned(),
            tenure,
            group,
            vault,
            clock,
            cut: CancellationToken::new(),
            closed: CancellationToken::new(),
            failure: OnceLock::new(),
            waiting_since: watch::Sender::new(None),
            ratchet_saves: AtomicU64::new(0),
            write_gate: tokio::sync::Mutex::new(()),
            read_ahead: Mutex::new(Some(ahead)),
            held: Mutex::default(),
            empty: Mutex::default(),
            guard: None,
        }
    }

    /// Asks `guard` before each write.
    pub(crate) fn guarded_by(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    async fn still_ours(&self) -> Result<()> {
        match &self.guard {
            Some(guard) => guard().await,
            None => Ok(()),
        }
    }

    pub(crate) fn vault(&self) -> &SessionVault {
        &self.vault
    }

    pub(crate) fn tenure(&self) -> Tenure {
        self.tenure
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Ends every call, present and future, with an error: nothing is written any more.
    pub(crate) fn close(&self) {
        self.cut.cancel();
        self.closed.cancel();
    }

    /// Cancelled when nothing may be sent to WhatsApp any more.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    /// Completes once the state can no longer be used: closed, or failed for good.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Why it failed for good, if it did.
    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        self.failure.get().cloned()
    }

    /// Signal sessions were written.
    pub(crate) fn note_ratchet_saved(&self) {
        self.ratchet_saves.fetch_add(1, Ordering::Relaxed);
    }

    /// How often Signal sessions were written so far.
    pub(crate) fn ratchet_saves(&self) -> u64 {
        self.ratchet_saves.load(Ordering::Relaxed)
    }

    /// Since when (monotonic) a call has been waiting for the database; `None` while it answers.
    pub(crate) fn waiting_since(&self) -> watch::Receiver<Option<Duration>> {
        self.waiting_since.subscribe()
    }

    /// Lets go of what was read at start.
    pub(crate) fn drop_read_ahead(&self) {
        if let Some(ahead) = self.ahead().take() {
            self.empty().take_stock(ahead.keys());
        }
    }

    /// Reads one value.
    pub(crate) async fn get(&self, key: &AuthKey) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(self.get_many(std::slice::from_ref(key)).await?.pop().flatten())
    }

    /// Reads values, in order.
    pub(crate) async fn get_many(&self, keys: &[AuthKey]) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>> {
        if keys.iter().any(|key| held_rows::may_be_held(&key.kind)) {
            return self.get_held(keys).await;
        }
        self.get_stored(keys).await
    }

    async fn get_held(&self, keys: &[AuthKey]) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let known = self.held().known(key);
            found.push(match known {
                Known::Held(value) => Some(value),
                Known::Deleted => None,
                Known::Nothing => {
                    let stored = self.get_stored(std::slice::from_ref(key)).await?.pop().flatten();
                    if stored.is_some() {
                        self.held().found(key);
                    }
                    stored
                }
            });
        }
        Ok(found)
    }

    async fn get_stored(&self, keys: &[AuthKey]) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>> {
        let sealed = match self.look_ahead(keys) {
            Some(found) => found,
            None if keys.iter().all(|key| self.empty().has_none(&key.kind)) => vec![None; keys.len()],
            None => {
                let keys: Arc<[AuthKey]> = keys.into();
                self.patiently(|| self.group.get_auth(&self.session, self.tenure, Arc::clone(&keys))).await?
            }
        };
        keys.iter()
            .zip(sealed)
            .map(|(key, value)| value.map(|value| self.unseal(key, &value)).transpose())
            .collect()
    }

    /// Reads all values of one kind.
    pub(crate) async fn list(&self, kind: &str) -> Result<Vec<(AuthKey, Zeroizing<Vec<u8>>)>> {
        let ahead = self.ahead().as_ref().filter(|_| !NOT_READ_AHEAD.contains(&kind)).map(|entries| {
            let mut found: Vec<_> = entries
                .iter()
                .filter(|(key, _)| key.kind == kind)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            found.sort();
            found
        });
        let entries = match ahead {
            Some(entries) => entries,
            None if self.empty().has_none(kind) => Vec::new(),
            None => self
                .patiently(|| self.store().list_auth(&self.session, self.tenure, kind))
                .await?
                .into_iter()
                .map(|entry| (entry.key, entry.value))
                .collect(),
        };
        entries
            .into_iter()
            .map(|(key, value)| {
                let opened = self.unseal(&key, &value)?;
                Ok((key, opened))
            })
            .collect()
    }

    /// Whether any value of a kind has an id that starts with `prefix`.
    pub(crate) async fn has_prefix(&self, kind: &str, prefix: &str) -> Result<bool> {
        let ahead = self
            .ahead()
            .as_ref()
            .map(|entries| entries.keys().any(|key| key.kind == kind && key.id.starts_with(prefix)));
        match ahead {
            Some(found) => Ok(found),
            None => {
                self.patiently(|| self.store().has_auth_prefix(&self.session, self.tenure, kind, prefix))
                    .await
            }
        }
    }

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

    /// The credentials, opened.
    pub(crate) async fn creds(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let key = keyspace::plain(keyspace::CREDS, "");
        let ahead = self.ahead().as_ref().map(|entries| entries.get(&key).cloned());
        let sealed = match ahead {
            Some(found) => found,
            None => self.patiently(|| self.store().load_creds(&self.session, self.tenure)).await?,
        };
        sealed.map(|value| self.unseal(&key, &value)).transpose()
    }

    fn look_ahead(&self, keys: &[AuthKey]) -> Option<Vec<Option<Bytes>>> {
        let ahead = self.ahead();
        let entries = ahead.as_ref()?;
        if keys.iter().any(|key| NOT_READ_AHEAD.contains(&key.kind.as_str())) {
            return None;
        }
        Some(keys.iter().map(|key| entries.get(key).cloned()).collect())
    }

    fn store(&self) -> &dyn Store {
        &**self.group.store()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HeldRows> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn empty(&self) -> std::sync::MutexGuard<'_, EmptyKinds> {
        self.empty.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn ahead(&self) -> std::sync::MutexGuard<'_, Option<HashMap<AuthKey, Bytes>>> {
        self.read_ahead.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn unseal(&self, key: &AuthKey, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        // A value that does not open must never look absent: the engine would build a new session over it.
        self.vault.open(&key.kind, &key.id, sealed).map_err(|error| self.fail(error))
    }

    async fn patiently<T, F, Fut>(&self, attempt: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let away = |error: &Error| {
            tracing::debug!(session = %self.session, %error, "the store is away; waiting");
            self.waiting_since.send_if_modified(|since| {
                let first = since.is_none();
                since.get_or_insert(self.clock.monotonic());
                first
            });
        };
        match until_available(&self.clock, &self.closed, away, attempt).await {
            Ok(value) => {
                self.waiting_since.send_if_modified(|since| since.take().is_some());
                Ok(value)
            }
            Err(_) if self.closed.is_cancelled() => Err(self.closed_error()),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Ends the use of the state for a reason that lies elsewhere, unless it has ended already.
    pub(crate) fn give_up(&self, error: Error) -> Error {
        if self.closed.is_cancelled() { error } else { self.fail(error) }
    }

    fn fail(&self, error: Error) -> Error {
        let error = error.of_session(&self.session);
        let copy = Error::new(error.kind(), error.message().to_owned()).of_session(&self.session);
        if self.failure.set(Arc::new(error)).is_ok() {
            tracing::warn!(session = %self.session, error = %copy, "the auth state cannot be used any more");
        }
        self.close();
        copy
    }

    fn closed_error(&self) -> Error {
        match self.failure.get() {
            Some(error) => Error::new(error.kind(), error.message().to_owned()).of_session(&self.session),
            None => Error::new(ErrorKind::Closed, "the session was stopped").of_session(&self.session),
        }
    }
}

/// Encodes a record of ours or of the engine: MessagePack with field names, so that a later version may add some.
pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Zeroizing<Vec<u8>>> {
    rmp_serde::to_vec_named(record).map(Zeroizing::new).map_err(|error| {
        Error::new(ErrorKind::Internal, "a record could not be encoded; report it").caused_by(error)
    })
}

/// Decodes what [`encode`] made.
pub(crate) fn decode<T: DeserializeOwned>(kind: &str, bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|_| {
        Error::new(
            ErrorKind::Corrupt,
            format!("a stored value of type {kind} cannot be understood; restore a backup"),
        )
    })
}
