//! Credentials and Signal keys: a batch-first key-value store with one owner at a time.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// The right to read and write a session's auth state, taken from a [`Lease`](super::Lease).
///
/// Every write carries `generation` and is refused with `Conflict` if the stored row is newer.
/// Every read treats rows below `fence` as absent: a stale owner wrote them after it was robbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tenure {
    /// Rises by one with each change of owner.
    pub generation: u64,
    /// The generation of the last steal. Zero as long as the lease was only ever handed over cleanly.
    pub fence: u64,
}

impl Tenure {
    /// The tenure of a session that nobody has ever owned; for tests and tools.
    pub const FIRST: Tenure = Tenure { generation: 1, fence: 0 };

    /// Whether a row of this generation may be written or deleted: not if a newer owner has touched it.
    pub const fn may_write(self, row_generation: u64) -> bool {
        row_generation <= self.generation
    }

    /// Whether a row of this generation is there for a reader: not if a robbed owner wrote it.
    pub const fn sees(self, row_generation: u64) -> bool {
        row_generation >= self.fence
    }
}

/// The name of one value: the seed's `type` and `id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthKey {
    /// The seed's `type`: `pre-key`, `session`, `sender-key`, …
    pub kind: String,
    /// The seed's `id`, unique within a session and kind.
    pub id: String,
}

impl AuthKey {
    /// A key from its two parts.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

/// One stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthEntry {
    /// Its name.
    pub key: AuthKey,
    /// Its bytes, as given: sealed by the vault.
    pub value: Bytes,
    /// A time in Unix seconds that [`AuthStore::delete_stamped_before`] compares with; 0 = never.
    pub stamp_s: i64,
}

/// One statement of a [`WriteBatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthWrite {
    /// Insert or replace.
    Put(AuthEntry),
    /// Delete; absent is fine.
    Delete(AuthKey),
}

impl AuthWrite {
    /// The name of the value that is written.
    pub fn key(&self) -> &AuthKey {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete(key) => key,
        }
    }
}

/// What one session writes at once: values and, seldom, the credentials.
///
/// A later statement on a key replaces an earlier one, so a batch never names a key twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    creds: Option<Bytes>,
    writes: Vec<AuthWrite>,
}

impl WriteBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the credentials.
    pub fn set_creds(&mut self, creds: Bytes) -> &mut Self {
        self.creds = Some(creds);
        self
    }

    /// Inserts or replaces one value; `stamp_s` as in [`AuthEntry`].
    pub fn put(&mut self, key: AuthKey, value: Bytes, stamp_s: i64) -> &mut Self {
        self.push(AuthWrite::Put(AuthEntry { key, value, stamp_s }))
    }

    /// Deletes one value.
    pub fn delete(&mut self, key: AuthKey) -> &mut Self {
        self.push(AuthWrite::Delete(key))
    }

    /// The credentials to write, if any.
    pub fn creds(&self) -> Option<&Bytes> {
        self.creds.as_ref()
    }

    /// The statements, each on a different key.
    pub fn writes(&self) -> &[AuthWrite] {
        &self.writes
    }

    /// Takes the statements out.
    pub fn into_writes(self) -> Vec<AuthWrite> {
        self.writes
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.creds.is_none() && self.writes.is_empty()
    }

    fn push(&mut self, write: AuthWrite) -> &mut Self {
        // Batches of distinct keys (812 pre-keys) are the rule: scan only small ones in place.
        match self.writes.iter().position(|other| other.key() == write.key()) {
            Some(index) => self.writes[index] = write,
            None => self.writes.push(write),
        }
        self
    }
}

impl FromIterator<AuthWrite> for WriteBatch {
    /// Collects statements; of two on one key the later one stays.
    fn from_iter<I: IntoIterator<Item = AuthWrite>>(writes: I) -> Self {
        let mut batch = Self::new();
        let mut seen = std::collections::HashMap::new();
        for write in writes {
            match seen.entry(write.key().clone()) {
                std::collections::hash_map::Entry::Occupied(slot) => batch.writes[*slot.get()] = write,
                std::collections::hash_map::Entry::Vacant(slot) => {
                    slot.insert(batch.writes.len());
                    batch.writes.push(write);
                }
            }
        }
        batch
    }
}

/// A session's auth state as read at connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthState {
    /// The credentials; `None` if the session was never linked.
    pub creds: Option<Bytes>,
    /// The values asked for.
    pub entries: Vec<AuthEntry>,
}

/// Credentials and Signal keys, keyed `(session, type, id)`, beside one creds document a session.
///
/// Ownership: writes carry a [`Tenure`]; see there. A batch is idempotent and may be repeated
/// after an unknown outcome. It is not a transaction: after a failure some of its statements may
/// have been applied, and the caller repeats the whole.
#[async_trait]
pub trait AuthStore: Send + Sync {
    /// Reads the credentials and every value but those of `except_kinds`, in one round trip a collection.
    async fn load_auth(&self, session: &str, tenure: Tenure, except_kinds: &[&str]) -> Result<AuthState>;

    /// As [`load_auth`](AuthStore::load_auth) for several sessions, each with its own result, in order. No session is
    /// named twice. A store with a round trip to save overrides it.
    async fn load_auths(&self, sessions: &[(&str, Tenure)], except_kinds: &[&str]) -> Vec<Result<AuthState>> {
        let mut loaded = Vec::with_capacity(sessions.len());
        for (session, tenure) in sessions {
            loaded.push(self.load_auth(session, *tenure, except_kinds).await);
        }
        loaded
    }

    /// Reads the credentials alone.
    async fn load_creds(&self, session: &str, tenure: Tenure) -> Result<Option<Bytes>>;

    /// Reads values by name. The answer has the order of `keys`, `None` where there is none.
    async fn get_auth(&self, session: &str, tenure: Tenure, keys: &[AuthKey]) -> Result<Vec<Option<Bytes>>>;

    /// As [`get_auth`](AuthStore::get_auth) for several sessions, each with its own result, in order. No session is named
    /// twice. A store with a round trip to save overrides it.
    async fn get_auths(&self, reads: &[(&str, Tenure, &[AuthKey])]) -> Vec<Result<Vec<Option<Bytes>>>> {
        let mut found = Vec::with_capacity(reads.len());
        for (session, tenure, keys) in reads {
            found.push(self.get_auth(session, *tenure, keys).await);
        }
        found
    }

    /// Reads all values of one kind, ordered by id (byte order).
    async fn list_auth(&self, session: &str, tenure: Tenure, kind: &str) -> Result<Vec<AuthEntry>>;

    /// Whether any value of `kind` has an id that starts with `prefix`.
    async fn has_auth_prefix(&self, session: &str, tenure: Tenure, kind: &str, prefix: &str) -> Result<bool>;

    /// Applies batches of several sessions, durable on `Ok`. Each has its own result, in order: one
    /// session's refusal (`Conflict`) never holds up another's.
    ///
    /// At most one batch a session. As few commands as the database allows, whatever their number.
    async fn apply_auth(&self, batches: &[(&str, Tenure, &WriteBatch)]) -> Vec<Result<()>>;

    /// Deletes the values of `kind` whose stamp is neither 0 nor `cutoff_s` or later. Returns how many.
    async fn delete_stamped_before(
        &self,
        session: &str,
        tenure: Tenure,
        kind: &str,
        cutoff_s: i64,
    ) -> Result<u64>;

    /// Deletes credentials, all values and an archive. Returns how many documents went, the archive not counted.
    ///
    /// Refused with `Conflict` if a newer generation owns the session.
    async fn delete_auth(&self, session: &str, tenure: Tenure) -> Result<u64>;

    /// Raises every row of the session to `tenure.generation`: the step between stealing a lease
    /// and reading. Idempotent.
    async fn fence_auth(&self, session: &str, tenure: Tenure) -> Result<()>;

    /// Keeps the credentials and values under another name and removes them from the live ones, so that a
    /// logged-out session can be looked into later. Replaces an earlier archive of the session.
    async fn archive_auth(&self, session: &str, tenure: Tenure, reason: &str) -> Result<()>;
}
