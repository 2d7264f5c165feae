//! Who owns a session: one heartbeat for all leases of this instance.
//!
//! | file | what |
//! | --- | --- |
//! | `standby` | waiting for a session that another instance runs |
//! | `model` | every interleaving of two owners, searched |

#[cfg(test)]
mod model;
mod standby;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{SharedClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::store::group::GroupCommit;
use crate::store::{Acquired, Lease, Store};
use standby::Standby;

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

/// The error of a session that another instance has taken.
pub(crate) fn taken_over(session: &str) -> Error {
    Error::new(ErrorKind::Conflict, "another instance took the session over; nothing more is written here")
        .of_session(session)
}

/// How long a lease lasts, and how often it is renewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaseTimes {
    pub(crate) duration: Duration,
    pub(crate) heartbeat: Duration,
}

/// Acquires, renews and releases the leases of one instance.
pub(crate) struct LeaseKeeper {
    store: Arc<dyn Store>,
    group: Arc<GroupCommit>,
    clock: SharedClock,
    owner: String,
    times: LeaseTimes,
    held: Mutex<HashMap<String, HeldLease>>,
    standby: Standby,
}

impl std::fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseKeeper")
            .field("owner", &self.owner)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

impl LeaseKeeper {
    pub(crate) fn new(group: Arc<GroupCommit>, clock: SharedClock, owner: String, times: LeaseTimes) -> Self {
        let store = Arc::clone(group.store());
        Self { store, group, clock, owner, times, held: Mutex::default(), standby: Standby::default() }
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn duration(&self) -> Duration {
        self.times.duration
    }

    /// Becomes the owner, or learns who is. A lease stolen from an owner that went away is fenced before this
    /// returns, so that whatever that owner still writes is never read.
    pub(crate) async fn acquire(&self, session: &str) -> Result<Acquisition> {
        let asked_at = Moment::of(&self.clock);
        let acquired = self.group.acquire_lease(session, &self.owner, self.times.duration).await?;
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

    /// Before something is written that no fence guards, or a connection is made: is the lease still ours? Asks the
    /// database only if the last renewal is older than a lease lasts, as after the process was paused. `Conflict`
    /// if somebody took it.
    pub(crate) async fn confirm(&self, held: &HeldLease) -> Result<()> {
        if held.lost.is_cancelled() {
            return Err(taken_over(&held.lease.session));
        }
        let asked_at = Moment::of(&self.clock);
        if held.age(&asked_at) < self.times.duration {
            return Ok(());
        }
        let renewed = self.store.renew_leases(std::slice::from_ref(&held.lease), self.times.duration).await?;
        if renewed.first() == Some(&true) {
            held.renewed(asked_at);
            return Ok(());
        }
        self.lose(held);
        Err(taken_over(&held.lease.session))
    }

    fn lose(&self, held: &HeldLease) {
        tracing::warn!(session = %held.lease.session, "another instance took the session over");
        self.held().remove(&held.lease.session);
        held.lost.cancel();
        crate::metrics::lease_lost();
    }

    /// Renews it no more: it runs out, and whoever takes it then fences what may still be on its way.
    pub(crate) fn abandon(&self, held: &HeldLease) {
        self.held().remove(&held.lease.session);
    }

    /// Renews all leases until `stop`. A store that is away is no loss: what counts is that nobody else got in.
    pub(crate) async fn beat(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.clock.sleep(self.times.heartbeat)).await.is_some() {
            let held: Vec<HeldLease> = self.held().values().cloned().collect();
            if held.is_empty() {
                continue;
            }
            let asked_at = Moment::of(&self.clock);
            let leases: Vec<Lease> = held.iter().map(|held| held.lease.clone()).collect();
            let renewing = self.store.renew_leases(&leases, self.times.duration);
            let Some(renewed) = stop.run_until_cancelled(renewing).await else { return };
            match renewed {
                Ok(still_ours) => {
                    for (held, ours) in held.iter().zip(still_ours) {
                        if ours {
                            held.renewed(asked_at);
                        } else if self.held().contains_key(&held.lease.session) {
                            // Not one that was given back meanwhile.
                            self.lose(held);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "leases could not be renewed; trying again"),
            }
        }
    }

    /// Looks for leases that became free until `stop`, and wakes who waits for them.
    pub(crate) async fn watch_standby(&self, stop: CancellationToken) {
        self.standby.watch(&self.store, &self.clock, self.times.duration, &stop).await;
    }

    /// Completes once the lease of a session that another instance runs may be free.
    pub(crate) async fn may_be_free(&self, session: &str) {
        self.standby.wait(session).await;
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, HeldLease>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
