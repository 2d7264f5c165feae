//! A [`Store`] in memory, for tests: nothing outlives it.

mod auth;
mod consumers;
mod event_log;
mod gate;
mod leases;
mod messages;
mod outbox;
mod sessions;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::rules::Arrivals;
use super::{Chat, Lease, MessageKey, OutboxEntry, SessionRecord, Store};
use crate::clock::{SharedClock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use gate::Gate;

/// Everything in maps under one lock. Its clock is the "database's" clock of the leases.
///
/// With feature `testing` it can play a database that is away or slow, and counts the calls that it gets.
pub struct MemoryStore {
    clock: SharedClock,
    gate: Gate,
    data: Mutex<Data>,
    event_revision: AtomicU64,
}

/// The collections, by session id; consumers by name.
#[derive(Default)]
struct Data {
    sessions: BTreeMap<String, SessionRecord>,
    auth: BTreeMap<String, auth::SessionAuth>,
    archives: BTreeMap<String, auth::Archive>,
    messages: BTreeMap<String, BTreeMap<MessageKey, messages::Kept>>,
    arrivals: Arrivals,
    chats: BTreeMap<String, BTreeMap<String, Chat>>,
    /// By rising position.
    outbox: BTreeMap<String, Vec<OutboxEntry>>,
    leases: BTreeMap<String, Lease>,
    events: BTreeMap<String, event_log::SessionLog>,
    consumers: BTreeMap<String, consumers::Consumer>,
}

impl MemoryStore {
    /// An empty store on the system's clock.
    pub fn new() -> Self {
        Self::with_clock(SystemClock::shared())
    }

    /// An empty store on `clock`.
    pub fn with_clock(clock: SharedClock) -> Self {
        Self { clock, gate: Gate::default(), data: Mutex::default(), event_revision: AtomicU64::new(0) }
    }

    /// While `true`, every call answers `Unavailable` and changes nothing.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_unavailable(&self, unavailable: bool) {
        self.gate.set_unavailable(unavailable);
    }

    /// While `true`, every call waits, and goes on when it is `false` again.
    #[cfg(any(test, feature = "testing"))]
    pub fn block(&self, blocked: bool) {
        self.gate.block(blocked);
    }

    /// How many calls came so far, those refused or waiting included.
    #[cfg(any(test, feature = "testing"))]
    pub fn commands(&self) -> u64 {
        self.gate.commands()
    }

    /// Waits until a blocked call is there, so that a test knows that it has reached the store.
    #[cfg(any(test, feature = "testing"))]
    pub async fn wait_for_commands(&self, at_least: u64) {
        self.gate.wait_for_commands(at_least).await;
    }

    /// What [`archive_auth`](super::AuthStore::archive_auth) kept of a session: the reason and how many
    /// values, the credentials included.
    pub fn archived(&self, session: &str) -> Option<(String, usize)> {
        let data = self.data();
        let archive = data.archives.get(session)?;
        Some((archive.reason.clone(), archive.documents()))
    }

    /// Lets a call in, or says why not.
    async fn enter(&self, op: &'static str) -> Result<MutexGuard<'_, Data>> {
        self.gate.pass().await.map_err(|error| error.during(op))?;
        Ok(self.data())
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        // A panic under the lock is a test's own; the maps are whole between statements.
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("sessions", &self.data().sessions.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn commands_sent(&self) -> Option<u64> {
        Some(self.gate.commands())
    }

    fn groups_writes(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        self.enter("ping").await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.gate.close();
        Ok(())
    }
}

/// Refuses a page size that no store accepts.
fn check_limit(limit: u32, most: u32) -> Result<usize> {
    if limit == 0 || limit > most {
        return Err(Error::new(ErrorKind::Invalid, format!("limit must be 1 to {most}")));
    }
    Ok(limit as usize)
}

/// Reads the place that a page's `next` names.
fn read_cursor<T: serde::de::DeserializeOwned>(after: Option<&str>) -> Result<Option<T>> {
    after.map(serde_json::from_str).transpose().map_err(|_| {
        Error::new(ErrorKind::Invalid, "after is not the next of an earlier page; start at the first page")
    })
}

/// Writes the place of the last item of a page.
fn write_cursor<T: serde::Serialize>(place: &T) -> String {
    serde_json::to_string(place).expect("numbers and strings always serialize")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{SessionPatch, SessionStore};

    #[tokio::test]
    async fn an_outage_changes_nothing_and_ends() {
        let store = MemoryStore::new();
        let fresh = SessionRecord::new("a", store.clock.now());
        store.set_unavailable(true);
        let error = store.upsert_session(&fresh, &SessionPatch::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        store.set_unavailable(false);
        assert_eq!(store.get_session("a").await.unwrap(), None);
        assert_eq!(store.commands(), 2);
    }

    #[tokio::test]
    async fn a_blocked_call_goes_on_when_unblocked() {
        let store = Arc::new(MemoryStore::new());
        store.block(true);
        let call = tokio::spawn({
            let store = store.clone();
            async move { store.ping().await }
        });
        store.wait_for_commands(1).await;
        assert!(!call.is_finished());
        store.block(false);
        call.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_closed_store_says_so() {
        let store = MemoryStore::new();
        store.close().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(store.ping().await.unwrap_err().kind(), ErrorKind::Closed);
    }
}
