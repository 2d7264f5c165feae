//! Rotation: every session's data key, wrapped anew by the primary master key.

use std::time::Duration;

use bytes::Bytes;

use super::{Encryption, Vault, data_key_row};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Acquired, Lease, PageRequest, SessionFilter, Store, Tenure, WriteBatch};

/// How long the lease is taken for: one small read and write.
const LEASE: Duration = Duration::from_secs(30);

/// What [`rewrap()`] did so far.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RewrapReport {
    /// Sessions whose data key was wrapped anew.
    pub rewrapped: u64,
    /// Sessions whose data key was wrapped by the primary key already, or that have none yet.
    pub already_current: u64,
    /// Sessions that an instance holds at present, by id. It wraps their key anew itself when it next opens
    /// them with the new primary key: restart it, then run the rotation again.
    pub held_elsewhere: Vec<String>,
    /// Sessions that could not be done. Nothing of theirs was changed.
    pub failed: Vec<RewrapFailure>,
}

impl RewrapReport {
    /// Whether every session is under the primary key: older keys may be retired.
    pub fn is_complete(&self) -> bool {
        self.held_elsewhere.is_empty() && self.failed.is_empty()
    }
}

/// A session that [`rewrap()`] could not do.
#[derive(Debug)]
pub struct RewrapFailure {
    /// Which.
    pub session_id: String,
    /// Why.
    pub error: Error,
}

enum Outcome {
    Rewrapped,
    AlreadyCurrent,
    HeldElsewhere,
}

/// Wraps the data key of every session with the primary key. `progress` sees the report after each session.
///
/// Idempotent: after an `Err` (the store or the key provider cannot be reached) run it again, and what is done is
/// passed over. Sessions held by an instance are not touched.
pub async fn rewrap(
    store: &dyn Store,
    vault: &Vault,
    mut progress: impl FnMut(&RewrapReport) + Send,
) -> Result<RewrapReport> {
    let Some(encryption) = &vault.encryption else {
        return Err(
            Error::new(ErrorKind::Invalid, "encryption is off; there is nothing to wrap").during("rewrap")
        );
    };
    let owner = owner_name(encryption);
    let mut report = RewrapReport::default();
    let mut page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
    loop {
        let sessions = store.list_sessions(&SessionFilter::default(), &page).await?;
        // A record that cannot be read still may have a data key that can.
        let ids = sessions.items.into_iter().map(|record| record.session_id).chain(sessions.malformed);
        for session_id in ids {
            match rewrap_session(store, encryption, &owner, &session_id).await {
                Ok(Outcome::Rewrapped) => report.rewrapped += 1,
                Ok(Outcome::AlreadyCurrent) => report.already_current += 1,
                Ok(Outcome::HeldElsewhere) => report.held_elsewhere.push(session_id),
                Err(error) if error.is_retryable() => {
                    return Err(error.during("rewrap").of_session(&session_id));
                }
                Err(error) => report.failed.push(RewrapFailure { session_id, error }),
            }
            progress(&report);
        }
        page.after = sessions.next;
        if page.after.is_none() {
            return Ok(report);
        }
    }
}

fn owner_name(encryption: &Encryption) -> String {
    let mut random = [0; 8];
    encryption.clock.fill_random(&mut random);
    format!("rewrap-{:016x}", u64::from_le_bytes(random))
}

async fn rewrap_session(
    store: &dyn Store,
    encryption: &Encryption,
    owner: &str,
    session: &str,
) -> Result<Outcome> {
    // Looked at before the lease is taken: a run that finds nothing to do changes no generation.
    let seen = store.get_lease(session).await?.map_or(Tenure::FIRST, |lease| lease.tenure());
    if !is_due(encryption, read(store, session, seen).await?.as_ref()) {
        return Ok(Outcome::AlreadyCurrent);
    }
    let lease = match store.acquire_lease(session, owner, LEASE).await? {
        Acquired::Held(_) => return Ok(Outcome::HeldElsewhere),
        Acquired::Granted(lease) | Acquired::Stolen(lease) => lease,
    };
    let outcome = rewrap_owned(store, encryption, &lease).await;
    // Given back even after a failure, so that nobody waits for it to run out.
    let released = store.release_lease(&lease).await;
    let outcome = outcome?;
    released?;
    Ok(outcome)
}

async fn rewrap_owned(store: &dyn Store, encryption: &Encryption, lease: &Lease) -> Result<Outcome> {
    let (session, tenure) = (lease.session.as_str(), lease.tenure());
    if tenure.fence == tenure.generation {
        store.fence_auth(session, tenure).await?;
    }
    let Some(wrapped) = read(store, session, tenure).await?.filter(|row| is_due(encryption, Some(row)))
    else {
        return Ok(Outcome::AlreadyCurrent);
    };
    let data_key = encryption.provider.unwrap(session.as_bytes(), &wrapped).await?;
    let renewed = encryption.provider.wrap(session.as_bytes(), &data_key).await?;
    let mut batch = WriteBatch::new();
    batch.put(data_key_row(), renewed.into(), 0);
    let mut results = store.apply_auth(&[(session, tenure, &batch)]).await;
    results.pop().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Internal, "the store answered no result for a batch; report it"))
    })?;
    Ok(Outcome::Rewrapped)
}

async fn read(store: &dyn Store, session: &str, tenure: Tenure) -> Result<Option<Bytes>> {
    Ok(store.get_auth(session, tenure, &[data_key_row()]).await?.pop().flatten())
}

fn is_due(encryption: &Encryption, wrapped: Option<&Bytes>) -> bool {
    wrapped.is_some_and(|wrapped| !encryption.provider.is_current(wrapped))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SharedClock;
    use crate::store::{AuthStore, LeaseStore, MemoryStore, SessionPatch, SessionRecord, SessionStore};
    use crate::testing::ManualClock;
    use crate::vault::KeyRing;

    fn ring(ids: &[&str], clock: &SharedClock) -> Arc<KeyRing> {
        let all = format!("old:{}=\nnew:{}E=", "A".repeat(43), "A".repeat(42));
        let mut ring = KeyRing::parse(&all).unwrap().with_clock(clock.clone()).with_primary(ids[0]).unwrap();
        for id in ["old", "new"].into_iter().filter(|id| !ids.contains(id)) {
            ring = ring.retire(id).unwrap();
        }
        Arc::new(ring)
    }

    struct World {
        clock: ManualClock,
        store: MemoryStore,
    }

    impl World {
        async fn with_sessions(ids: &[&str]) -> Self {
            let clock = ManualClock::new();
            let world = Self { store: MemoryStore::with_clock(clock.shared()), clock };
            let vault = world.vault(&["old"]);
            for id in ids {
                let record = SessionRecord::new(*id, world.store.database_now().await.unwrap());
                world.store.upsert_session(&record, &SessionPatch::default()).await.unwrap();
                let opened = vault.open_session(id, None).await.unwrap();
                let mut batch = WriteBatch::new();
                batch.put(data_key_row(), opened.new_wrapped_key.unwrap().into(), 0);
                world.store.apply_auth(&[(id, Tenure::FIRST, &batch)]).await.pop().unwrap().unwrap();
            }
            world
        }

        fn vault(&self, keys: &[&str]) -> Vault {
            let clock = self.clock.shared();
            Vault::encrypted(ring(keys, &clock), clock)
        }

        async fn opens(&self, session: &str, keys: &[&str]) -> bool {
            let lease = self.store.get_lease(session).await.unwrap();
            let tenure = lease.map_or(Tenure::FIRST, |lease| lease.tenure());
            let wrapped = read(&self.store, session, tenure).await.unwrap();
            self.vault(keys).reopen_session(session, wrapped.as_deref()).await.is_ok()
        }

        async fn rewrap(&self) -> RewrapReport {
            rewrap(&self.store, &self.vault(&["new", "old"]), |_| {}).await.unwrap()
        }
    }

    #[tokio::test]
    async fn after_it_the_old_key_is_not_needed_and_a_second_run_writes_nothing() {
        let world = World::with_sessions(&["a", "b"]).await;
        let mut seen = Vec::new();
        let vault = world.vault(&["new", "old"]);
        let report = rewrap(&world.store, &vault, |report| seen.push(report.rewrapped)).await.unwrap();
        assert_eq!((report.rewrapped, report.already_current, report.is_complete()), (2, 0, true));
        assert_eq!(seen, [1, 2]);
        for session in ["a", "b"] {
            assert!(world.opens(session, &["new"]).await);
            assert!(!world.opens(session, &["old"]).await);
        }
        assert!(world.store.held_sessions().await.unwrap().is_empty());

        let lease = world.store.get_lease("a").await.unwrap();
        let again = world.rewrap().await;
        assert_eq!((again.rewrapped, again.already_current), (0, 2));
        assert_eq!(world.store.get_lease("a").await.unwrap(), lease);
    }

    #[tokio::test]
    async fn a_session_held_elsewhere_is_reported_and_not_touched() {
        let world = World::with_sessions(&["a", "b"]).await;
        world.store.acquire_lease("a", "other", LEASE).await.unwrap();
        let report = world.rewrap().await;
        assert_eq!((report.rewrapped, report.held_elsewhere.as_slice()), (1, &["a".to_owned()][..]));
        assert!(!report.is_complete());
        assert!(world.opens("a", &["old"]).await);

        // Its owner died: what it left is fenced and taken over.
        world.clock.advance(LEASE);
        let report = world.rewrap().await;
        assert_eq!((report.rewrapped, report.already_current), (1, 1));
        assert!(world.opens("a", &["new"]).await);
    }

    #[tokio::test]
    async fn what_cannot_be_unwrapped_is_reported_and_left() {
        let world = World::with_sessions(&["a"]).await;
        let before = read(&world.store, "a", Tenure::FIRST).await.unwrap();
        let report = rewrap(&world.store, &world.vault(&["new"]), |_| {}).await.unwrap();
        assert_eq!(report.failed[0].session_id, "a");
        assert_eq!(report.failed[0].error.kind(), ErrorKind::Crypto);
        assert_eq!(read(&world.store, "a", Tenure::FIRST).await.unwrap(), before);
    }

    #[tokio::test]
    async fn an_outage_ends_the_run_and_the_next_one_goes_on() {
        let world = World::with_sessions(&["a", "b", "c"]).await;
        let vault = world.vault(&["new", "old"]);
        let stop = |report: &RewrapReport| world.store.set_unavailable(report.rewrapped == 1);
        let error = rewrap(&world.store, &vault, stop).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        world.store.set_unavailable(false);
        let report = world.rewrap().await;
        assert_eq!((report.rewrapped, report.already_current), (2, 1));
    }

    #[tokio::test]
    async fn it_makes_no_sense_without_encryption() {
        let store = MemoryStore::new();
        let error = rewrap(&store, &Vault::plaintext_dangerously(), |_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}
