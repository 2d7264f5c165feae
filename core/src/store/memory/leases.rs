//! Leases in memory, timed by the store's clock.

use std::time::Duration;

use async_trait::async_trait;

use super::MemoryStore;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::lease::{Acquired, Lease, LeaseStore};

fn is_held(lease: &Lease, now: Timestamp) -> bool {
    !lease.owner.is_empty() && lease.expires_at > now
}

fn same_tenure(stored: &Lease, claimed: &Lease) -> bool {
    stored.owner == claimed.owner && stored.generation == claimed.generation && !stored.owner.is_empty()
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn acquire_lease(&self, session: &str, owner: &str, duration: Duration) -> Result<Acquired> {
        let mut data = self.enter("acquire_lease").await?;
        let now = self.clock.now();
        let expires_at = now.plus(duration);
        let free = |generation, fence| Lease {
            session: session.to_owned(),
            owner: owner.to_owned(),
            generation,
            fence,
            expires_at,
        };
        let stored = data.leases.get(session).cloned();
        let answer = match stored {
            None => Acquired::Granted(free(1, 0)),
            Some(ours) if ours.owner == owner => Acquired::Granted(Lease { expires_at, ..ours }),
            Some(released) if released.owner.is_empty() => {
                Acquired::Granted(free(released.generation + 1, released.fence))
            }
            Some(held) if is_held(&held, now) => return Ok(Acquired::Held(held)),
            Some(expired) => Acquired::Stolen(free(expired.generation + 1, expired.generation + 1)),
        };
        if let Acquired::Granted(lease) | Acquired::Stolen(lease) = &answer {
            data.leases.insert(session.to_owned(), lease.clone());
        }
        Ok(answer)
    }

    async fn renew_leases(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>> {
        let mut data = self.enter("renew_leases").await?;
        let expires_at = self.clock.now().plus(duration);
        let renew = |lease: &Lease| match data.leases.get_mut(&lease.session) {
            Some(stored) if same_tenure(stored, lease) => {
                stored.expires_at = expires_at;
                true
            }
            _ => false,
        };
        Ok(leases.iter().map(renew).collect())
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool> {
        let mut data = self.enter("release_lease").await?;
        let now = self.clock.now();
        match data.leases.get_mut(&lease.session) {
            Some(stored) if same_tenure(stored, lease) => {
                stored.owner.clear();
                stored.expires_at = now.minus(Duration::from_millis(1));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn get_lease(&self, session: &str) -> Result<Option<Lease>> {
        Ok(self.enter("get_lease").await?.leases.get(session).cloned())
    }

    async fn held_sessions(&self) -> Result<Vec<Lease>> {
        let data = self.enter("held_sessions").await?;
        let now = self.clock.now();
        Ok(data.leases.values().filter(|lease| is_held(lease, now)).cloned().collect())
    }

    async fn forget_leases(&self, idle: Duration) -> Result<u64> {
        let mut data = self.enter("forget_leases").await?;
        let now = self.clock.now();
        let data = &mut *data;
        let before = data.leases.len();
        data.leases.retain(|session, lease| {
            data.sessions.contains_key(session) || is_held(lease, now) || lease.expires_at.plus(idle) > now
        });
        Ok((before - data.leases.len()) as u64)
    }

    async fn database_now(&self) -> Result<Timestamp> {
        drop(self.enter("database_now").await?);
        Ok(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    const TERM: Duration = Duration::from_secs(30);

    fn lease(acquired: Acquired) -> Lease {
        match acquired {
            Acquired::Granted(lease) | Acquired::Stolen(lease) | Acquired::Held(lease) => lease,
        }
    }

    #[tokio::test]
    async fn held_then_released_then_stolen() {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(clock.shared());
        let first = lease(store.acquire_lease("s", "a", TERM).await.unwrap());
        assert_eq!((first.generation, first.fence), (1, 0));
        assert!(matches!(store.acquire_lease("s", "b", TERM).await.unwrap(), Acquired::Held(_)));
        assert!(store.release_lease(&first).await.unwrap());
        assert!(!store.release_lease(&first).await.unwrap());

        let second = lease(store.acquire_lease("s", "b", TERM).await.unwrap());
        assert_eq!((second.generation, second.fence), (2, 0));
        assert_eq!(store.renew_leases(&[first, second.clone()], TERM).await.unwrap(), [false, true]);

        clock.advance(TERM);
        assert!(store.held_sessions().await.unwrap().is_empty());
        let Acquired::Stolen(third) = store.acquire_lease("s", "a", TERM).await.unwrap() else {
            panic!("an expired lease is stolen")
        };
        assert_eq!((third.generation, third.fence), (3, 3));
        assert_eq!(store.renew_leases(&[second], TERM).await.unwrap(), [false]);
    }

    #[tokio::test]
    async fn an_expired_lease_that_nobody_stole_is_still_ours() {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(clock.shared());
        let ours = lease(store.acquire_lease("s", "a", TERM).await.unwrap());
        clock.advance(TERM * 2);
        assert_eq!(store.renew_leases(std::slice::from_ref(&ours), TERM).await.unwrap(), [true]);
        assert!(matches!(store.acquire_lease("s", "b", TERM).await.unwrap(), Acquired::Held(_)));
    }

    #[tokio::test]
    async fn leases_are_forgotten_only_after_the_idle_time() {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(clock.shared());
        let ours = lease(store.acquire_lease("s", "a", TERM).await.unwrap());
        store.release_lease(&ours).await.unwrap();
        assert_eq!(store.forget_leases(TERM).await.unwrap(), 0);
        clock.advance(TERM);
        assert_eq!(store.forget_leases(TERM).await.unwrap(), 1);
        assert_eq!(store.get_lease("s").await.unwrap(), None);
    }
}
