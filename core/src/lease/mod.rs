//! Who owns a session: one heartbeat for all leases of this instance.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::store::group::GroupCommit;
use crate::store::{Acquired, Lease, Store};

/// A lease that this instance holds.
#[derive(Debug, Clone)]
pub(crate) struct HeldLease {
    pub(crate) lease: Lease,
    /// Cancelled once the lease is known to be another's.
    pub(crate) lost: CancellationToken,
    renewed_at: Arc<Mutex<Moment>>,
}

/// A moment by both clocks: the monotonic one stands still while the machine sleeps, the other may be set back.
#[derive(Debug, Clone, Copy)]
struct Moment {
    monotonic: Duration,
    wall: Timestamp,
}

impl Moment {
    fn of(clock: &SharedClock) -> Self {
        Self { monotonic: clock.monotonic(), wall: clock.now() }
    }

    /// How long it is until `now`, by the clock that says more.
    fn until(&self, now: &Self) -> Duration {
        let wall_ms = now.wall.unix_ms().saturating_sub(self.wall.unix_ms());
        let wall = Duration::from_millis(u64::try_from(wall_ms).unwrap_or(0));
        now.monotonic.saturating_sub(self.monotonic).max(wall)
    }
}

impl HeldLease {
    fn new(lease: Lease, asked_at: Moment) -> Self {
        Self { lease, lost: CancellationToken::new(), renewed_at: Arc::new(Mutex::new(asked_at)) }
    }

    fn renewed(&self, asked_at: Moment) {
        *self.renewed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = asked_at;
    }

    fn age(&self, now: &Moment) -> Duration {
        self.renewed_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).until(now)
    }
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
        let asked_at = Moment::of(&self.clock);
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
        let held = HeldLease::new(lease, asked_at);
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
            let asked_at = Moment::of(&self.clock);
            match self.store.renew_leases(&leases, self.duration).await {
                Ok(still_ours) => {
                    for (held, ours) in held.iter().zip(still_ours) {
                        if ours {
                            held.renewed(asked_at);
                        } else {
                            self.lose(held);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "leases could not be renewed; trying again"),
            }
        }
    }

    /// Whether the lease is still ours. The store is asked only if it was not renewed for so long that it may have
    /// run out: a process that was paused must not act on what it believed before.
    pub(crate) async fn confirm(&self, held: &HeldLease) -> Result<bool> {
        if held.lost.is_cancelled() {
            return Ok(false);
        }
        let asked_at = Moment::of(&self.clock);
        if held.age(&asked_at) < self.duration {
            return Ok(true);
        }
        let ours = self.store.renew_leases(std::slice::from_ref(&held.lease), self.duration).await?;
        if ours.first() == Some(&true) {
            held.renewed(asked_at);
            return Ok(true);
        }
        self.lose(held);
        Ok(false)
    }

    fn lose(&self, held: &HeldLease) {
        tracing::warn!(session = %held.lease.session, "another instance took the session over");
        self.held().remove(&held.lease.session);
        held.lost.cancel();
        crate::metrics::lease_lost();
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, HeldLease>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock as _;
    use crate::error::ErrorKind;
    use crate::store::MemoryStore;
    use crate::testing::ManualClock;

    const TERM: Duration = Duration::from_secs(30);

    fn keeper(store: &Arc<MemoryStore>, clock: &ManualClock, owner: &str) -> LeaseKeeper {
        let store = Arc::clone(store) as Arc<dyn Store>;
        let group = GroupCommit::new(store, &clock.shared(), &tokio::runtime::Handle::current());
        LeaseKeeper::new(Arc::new(group), clock.shared(), owner.to_owned(), TERM)
    }

    #[tokio::test]
    async fn whoever_was_away_for_a_lease_time_asks_before_it_acts() {
        let clock = ManualClock::new();
        let store = Arc::new(MemoryStore::with_clock(clock.shared()));
        let (paused, other) = (keeper(&store, &clock, "paused"), keeper(&store, &clock, "other"));
        let held = paused.acquire("s").await.and_then(Acquisition::ours).unwrap();
        assert!(paused.confirm(&held).await.unwrap());

        // Away, but nobody took it: it is renewed on the way.
        clock.advance(TERM);
        assert!(paused.confirm(&held).await.unwrap());
        assert_eq!(
            other.acquire("s").await.and_then(Acquisition::ours).unwrap_err().kind(),
            ErrorKind::Conflict
        );

        clock.advance(TERM);
        let theirs = other.acquire("s").await.and_then(Acquisition::ours).unwrap();
        assert!(!paused.confirm(&held).await.unwrap());
        assert!(held.lost.is_cancelled());
        assert!(other.confirm(&theirs).await.unwrap());
    }

    #[tokio::test]
    async fn a_fresh_lease_costs_no_command_and_an_old_one_is_not_believed_while_the_store_is_away() {
        let clock = ManualClock::new();
        let store = Arc::new(MemoryStore::with_clock(clock.shared()));
        let keeper = keeper(&store, &clock, "one");
        let held = keeper.acquire("s").await.and_then(Acquisition::ours).unwrap();
        store.set_unavailable(true);
        assert!(keeper.confirm(&held).await.unwrap());
        // A machine that slept: only the wall clock knows.
        clock.set_now(clock.now().plus(TERM));
        assert_eq!(keeper.confirm(&held).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert!(!held.lost.is_cancelled());
    }
}
