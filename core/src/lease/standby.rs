//! Waiting for sessions that another instance runs: one look for all of them, however many.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::error::Result;
use crate::store::Store;

/// How soon a lease that was given back is seen.
const LOOK_FOR_RELEASED: Duration = Duration::from_millis(500);
/// How often leases that ran out are looked for in the time that one lasts; that look reads all held leases.
const LOOKS_PER_LEASE: u32 = 30;
/// Reading a lease may cost so much of the time between two looks.
const PER_LEASE: Duration = Duration::from_micros(500);

#[derive(Default)]
pub(super) struct Standby {
    waiting: Mutex<HashMap<String, Arc<Notify>>>,
    joined: Notify,
}

impl Standby {
    /// Completes when the session's lease was seen to be free. Whoever is woken tries to acquire it.
    pub(super) async fn wait(&self, session: &str) {
        let bell = Arc::clone(self.waiting().entry(session.to_owned()).or_default());
        let _leave = Leave { standby: self, session };
        self.joined.notify_one();
        bell.notified().await;
    }

    pub(super) async fn watch(
        &self,
        store: &Arc<dyn Store>,
        clock: &SharedClock,
        lease: Duration,
        stop: &CancellationToken,
    ) {
        let mut last_full_look: Option<Duration> = None;
        loop {
            let nobody_waits = self.waiting().is_empty();
            if nobody_waits && stop.run_until_cancelled(self.joined.notified()).await.is_none() {
                return;
            }
            let sessions: Vec<String> = self.waiting().keys().cloned().collect();
            let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
            let full_every = (lease / LOOKS_PER_LEASE).max(LOOK_FOR_RELEASED).max(PER_LEASE * count);
            let now = clock.monotonic();
            let full = last_full_look.is_none_or(|last| now.saturating_sub(last) >= full_every);
            let looking = look(store, &sessions, full);
            let Some(looked) = stop.run_until_cancelled(looking).await else { return };
            match looked {
                Ok(free) => {
                    if full {
                        last_full_look = Some(now);
                    }
                    let waiting = self.waiting();
                    for bell in free.iter().filter_map(|session| waiting.get(session)) {
                        bell.notify_one();
                    }
                }
                Err(error) => tracing::debug!(%error, "leases could not be looked at; trying again"),
            }
            if stop.run_until_cancelled(clock.sleep(LOOK_FOR_RELEASED)).await.is_none() {
                return;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those of `sessions` whose lease was given back or, on a full look, is held by nobody.
async fn look(store: &Arc<dyn Store>, sessions: &[String], full: bool) -> Result<Vec<String>> {
    if !full {
        return store.released_sessions(sessions).await;
    }
    let held: HashSet<String> = store.held_sessions().await?.into_iter().map(|lease| lease.session).collect();
    Ok(sessions.iter().filter(|session| !held.contains(*session)).cloned().collect())
}

struct Leave<'a> {
    standby: &'a Standby,
    session: &'a str,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.standby.waiting().remove(self.session);
    }
}
