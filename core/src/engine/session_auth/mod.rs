//! One session's auth state: sealed by its vault, fenced by its lease, patient with its database.
//!
//! The engine must never see an outage as an error: it would drop messages whose ratchet has advanced
//! already. So every call here waits until the database is back, and ends with an error only when the
//! session is closed, robbed, or its data cannot be read.
//!
//! | file | what |
//! | --- | --- |
//! | `reads` | from what was read ahead, from what is held, from the store |
//! | `writes` | one batch at a time, with the rows that were held for it |

mod reads;
mod writes;

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
use super::held_rows::HeldRows;
use super::keyspace;
use crate::clock::{SharedClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::store::group::GroupCommit;
use crate::store::patience::until_available;
use crate::store::{AuthKey, AuthState, Store, Tenure};
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
