//! Who owns a session. The database's clock decides, never the host's.

use std::time::Duration;

use async_trait::async_trait;

use super::auth::Tenure;
use crate::clock::Timestamp;
use crate::error::Result;

/// A lease as it stands in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The session.
    pub session: String,
    /// The instance that owns it; empty after a clean release.
    pub owner: String,
    /// Rises by one with each change of owner.
    pub generation: u64,
    /// The generation of the last steal, see [`Tenure`].
    pub fence: u64,
    /// When it ends unless renewed, by the database's clock.
    pub expires_at: Timestamp,
}

impl Lease {
    /// What reads and writes of the auth state must carry.
    pub fn tenure(&self) -> Tenure {
        Tenure { generation: self.generation, fence: self.fence }
    }
}

/// What came of [`LeaseStore::acquire_lease`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// The lease is ours. It was free, cleanly released, or ours already (then the generation is unchanged).
    Granted(Lease),
    /// The lease is ours; it was taken from an owner that let it expire. Its fence equals its generation:
    /// call [`fence_auth`](super::AuthStore::fence_auth) before anything is read.
    Stolen(Lease),
    /// Somebody else owns it until `expires_at`.
    Held(Lease),
}

/// Leases with a generation and a fence, one per session.
///
/// A store that only one process can have open frees all leases when it is opened: their owners are gone.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Tries to become the owner for `duration`. Atomic: of two callers at once, one gets it.
    async fn acquire_lease(&self, session: &str, owner: &str, duration: Duration) -> Result<Acquired>;

    /// As [`acquire_lease`](LeaseStore::acquire_lease) for several sessions, each with its own result, in order. No
    /// session is named twice. A store with a round trip to save overrides it.
    async fn acquire_leases(
        &self,
        sessions: &[&str],
        owner: &str,
        duration: Duration,
    ) -> Vec<Result<Acquired>> {
        let mut acquired = Vec::with_capacity(sessions.len());
        for session in sessions {
            acquired.push(self.acquire_lease(session, owner, duration).await);
        }
        acquired
    }

    /// Prolongs leases to `duration` from now. The answer has the order of `leases`; `false` where the lease
    /// is no longer ours (owner or generation differ). As few commands as the database allows.
    ///
    /// A lease that expired but was not stolen is still ours, and is prolonged.
    async fn renew_leases(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>>;

    /// Gives a lease back, so that another instance gets it at once and without a fence. `false` if it was
    /// no longer ours.
    async fn release_lease(&self, lease: &Lease) -> Result<bool>;

    /// Reads a lease, whoever owns it. `expires_at` lies in the past if it has run out or was released.
    async fn get_lease(&self, session: &str) -> Result<Option<Lease>>;

    /// The sessions whose lease is held by somebody at this moment, by the database's clock.
    async fn held_sessions(&self) -> Result<Vec<Lease>>;

    /// Of these sessions, those that nobody owns because their lease was given back; one that has merely run out
    /// need not be among them. Asked for often by instances that stand by: one command, and a short answer.
    async fn released_sessions(&self, sessions: &[String]) -> Result<Vec<String>> {
        let mut held = std::collections::HashSet::new();
        held.extend(self.held_sessions().await?.into_iter().map(|lease| lease.session));
        Ok(sessions.iter().filter(|session| !held.contains(*session)).cloned().collect())
    }

    /// Removes leases that nobody has held for `idle`, except those whose session still has a record.
    /// Returns how many. They outlive their session so that a stale owner that wakes up after a
    /// deletion still meets a newer generation.
    async fn forget_leases(&self, idle: Duration) -> Result<u64>;

    /// The database's clock.
    async fn database_now(&self) -> Result<Timestamp>;
}
