//! Who owns a session: one heartbeat for all leases of this instance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::group::GroupCommit;
use crate::store::{Acquired, Lease, Store};

/// A lease that this instance holds.
#[derive(Debug, Clone)]
pub(crate) struct HeldLease {
    pub(crate) lease: Lease,
    /// Cancelled once the lease is known to be another's.
    pub(crate) lost: CancellationToken,
}

/// What came of an attempt to own a session.
#[derive(Debug)]
pub(crate) enum Acquisition {
    Ours(HeldLease),
    Elsewhere(Lease),
}

impl Acquisition {
    /// The lease, or `Conflict`.
    pub(crate) fn ours(self) -> Result<HeldLease> {
        match self {
            Self::Ours(held) => Ok(held),
            Self::Elsewhere(lease) => Err(owned_elsewhere().of_session(&lease.session)),
        }
    }
}

/// The error of a session that another instance runs.
pub(crate) fn owned_elsewhere() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "another instance runs this session; stop it there, or wait until its lease has run out",
    )
}

/// Acquires, renews and releases the leases of one instance.
pub(crate) struct LeaseKeeper {
    store: Arc<dyn Store>,
    group: Arc<GroupCommit>,
    clock: SharedClock,
    owner: String,
    duration: Duration,
    held: Mutex<HashMap<String, HeldLease>>,
}

impl std::fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseKeeper")
            .field("owner", &self.owner)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

impl LeaseKeeper {
    pub(crate) fn new(
        group: Arc<GroupCommit>,
        clock: SharedClock,
        owner: String,
        duration: Duration,
    ) -> Self {
        let store = Arc::clone(group.store());
        Self { store, group, clock, owner, duration, held: Mutex::default() }
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration
    }

    /// Becomes the owner, or learns who is. A lease stolen from an owner that went away is fenced before this
    /// returns, so that whatever that owner still writes is never read.
    pub(crate) async fn acquire(&self, session: &str) -> Result<Acquisition> {
        let acquired = self.group.acquire_lease(session, &self.owner, self.duration).await?;
        let (lease, fence) = match acquired {
            // If it was ours already, a crash may have come between the steal and the fence.
            Acquired::Granted(lease) => {
                let fence = lease.fence == lease.generation;
                (lease, fence)
            }
            Acquired::Stolen(lease) => {
                tracing::info!(
                    session,
                    generation = lease.generation,
                    "took over from an instance that went away"
                );
                (lease, true)
            }
            Acquired::Held(lease) => return Ok(Acquisition::Elsewhere(lease)),
        };
        if fence {
            self.store.fence_auth(session, lease.tenure()).await?;
        }
        let held = HeldLease { lease, lost: CancellationToken::new() };
        self.held().insert(session.to_owned(), held.clone());
        Ok(Acquisition::Ours(held))
    }

    /// Gives it back: another instance may take it at once.
    pub(crate) async fn release(&self, held: &HeldLease) -> Result<()> {
        self.held().remove(&held.lease.session);
        if !held.lost.is_cancelled() {
            self.store.release_lease(&held.lease).await?;
        }
        Ok(())
    }

    /// Renews it no more: it runs out, and whoever takes it then fences what may still be on its way.
    pub(crate) fn abandon(&self, held: &HeldLease) {
        self.held().remove(&held.lease.session);
    }

    /// Renews all leases until `stop`. A store that is away is no loss: what counts is that nobody else got in.
    pub(crate) async fn beat(&self, stop: CancellationToken) {
        let pause = self.duration / 3;
        while stop.run_until_cancelled(self.clock.sleep(pause)).await.is_some() {
            let held: Vec<HeldLease> = self.held().values().cloned().collect();
            if held.is_empty() {
                continue;
            }
            let leases: Vec<Lease> = held.iter().map(|held| held.lease.clone()).collect();
            match self.store.renew_leases(&leases, self.duration).await {
                Ok(still_ours) => {
                    for (held, ours) in held.iter().zip(still_ours) {
                        if !ours {
                            tracing::warn!(session = %held.lease.session, "another instance took the session over");
                            self.held().remove(&held.lease.session);
                            held.lost.cancel();
                            crate::metrics::lease_lost();
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "leases could not be renewed; trying again"),
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, HeldLease>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
