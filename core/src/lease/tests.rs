use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::store::MemoryStore;
use crate::testing::ManualClock;

const SECOND: Duration = Duration::from_secs(1);
const TIMES: LeaseTimes =
    LeaseTimes { duration: Duration::from_secs(30), heartbeat: Duration::from_secs(10) };

/// A database with a clock of its own, and an instance on a host with another.
struct Place {
    database: ManualClock,
    store: Arc<MemoryStore>,
}

impl Place {
    fn new() -> Self {
        let database = ManualClock::new();
        let store = Arc::new(MemoryStore::with_clock(database.shared()));
        Self { database, store }
    }

    fn instance(&self, name: &str) -> (LeaseKeeper, ManualClock) {
        let host = ManualClock::new();
        let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&self.store);
        let group = GroupCommit::new(store, &host.shared(), &tokio::runtime::Handle::current());
        (LeaseKeeper::new(Arc::new(group), host.shared(), name.to_owned(), TIMES), host)
    }
}

async fn own(keeper: &LeaseKeeper) -> HeldLease {
    keeper.acquire("s").await.unwrap().ours().unwrap()
}

async fn is_elsewhere(keeper: &LeaseKeeper) -> bool {
    matches!(keeper.acquire("s").await.unwrap(), Acquisition::Elsewhere(_))
}

#[tokio::test]
async fn only_the_databases_clock_ends_a_lease() {
    let hour = Duration::from_secs(3_600);
    let place = Place::new();
    let (one, host) = place.instance("one");
    let (two, _) = place.instance("two");
    let held = own(&one).await;
    // The host's wall clock jumps an hour forward, then two back.
    for wall in [host.now().plus(hour), host.now().minus(hour)] {
        host.set_now(wall);
        assert!(is_elsewhere(&two).await);
        one.confirm(&held).await.unwrap();
    }
    // The database's time is what counts.
    place.database.advance(31 * SECOND);
    let theirs = own(&two).await;
    assert_eq!(theirs.lease.generation, held.lease.generation + 1);
    assert_eq!(theirs.lease.fence, theirs.lease.generation);
}

#[tokio::test]
async fn after_a_pause_longer_than_the_lease_the_database_is_asked_before_anything_is_written() {
    let place = Place::new();
    let (one, host) = place.instance("one");
    let (two, _) = place.instance("two");
    let held = own(&one).await;
    let commands = place.store.commands();
    one.confirm(&held).await.unwrap();
    assert_eq!(place.store.commands(), commands, "a fresh lease is not asked about");
    // Paused, and nobody came: still the owner.
    host.advance(31 * SECOND);
    place.database.advance(31 * SECOND);
    one.confirm(&held).await.unwrap();
    assert!(is_elsewhere(&two).await);
    // Paused, and somebody came.
    host.advance(31 * SECOND);
    place.database.advance(31 * SECOND);
    let theirs = own(&two).await;
    assert_eq!(one.confirm(&held).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(held.lost.is_cancelled());
    // What it gives back is not theirs.
    one.release(&held).await.unwrap();
    two.confirm(&theirs).await.unwrap();
    assert!(is_elsewhere(&one).await);
}

#[tokio::test]
async fn the_heartbeat_keeps_a_lease_and_notices_its_loss() {
    let place = Place::new();
    let (one, host) = place.instance("one");
    let (two, _) = place.instance("two");
    let held = own(&one).await;
    let one = Arc::new(one);
    let stop = CancellationToken::new();
    let beating = tokio::spawn({
        let (one, stop) = (Arc::clone(&one), stop.clone());
        async move { one.beat(stop).await }
    });
    for _ in 0..10 {
        host.wait_for_sleepers(1).await;
        place.database.advance(10 * SECOND);
        host.advance(10 * SECOND);
        host.wait_for_sleepers(1).await;
    }
    assert!(is_elsewhere(&two).await);
    place.database.advance(31 * SECOND);
    own(&two).await;
    host.advance(10 * SECOND);
    held.lost.cancelled().await;
    stop.cancel();
    beating.await.unwrap();
}

#[tokio::test]
async fn who_stands_by_is_woken_within_a_second_of_a_release_and_after_the_lease_of_a_dead_owner() {
    let place = Place::new();
    let (one, _) = place.instance("one");
    let (two, host) = place.instance("two");
    let (two, stop) = (Arc::new(two), CancellationToken::new());
    let watching = tokio::spawn({
        let (two, stop) = (Arc::clone(&two), stop.clone());
        async move { two.watch_standby(stop).await }
    });
    for dies in [false, true] {
        let held = own(&one).await;
        let woken = tokio::spawn({
            let two = Arc::clone(&two);
            async move { two.may_be_free("s").await }
        });
        host.wait_for_sleepers(1).await;
        assert!(!woken.is_finished());
        let mut waited = Duration::ZERO;
        if dies {
            place.database.advance(31 * SECOND);
        } else {
            one.release(&held).await.unwrap();
        }
        while !woken.is_finished() {
            host.wait_for_sleepers(1).await;
            host.advance(Duration::from_millis(100));
            waited += Duration::from_millis(100);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            assert!(waited <= 2 * SECOND, "it was not woken");
        }
        assert!(waited <= SECOND || dies);
        let theirs = own(&two).await;
        two.release(&theirs).await.unwrap();
        place.database.advance(SECOND);
    }
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn a_fresh_lease_costs_no_command_and_an_old_one_is_not_believed_while_the_store_is_away() {
    let place = Place::new();
    let (keeper, host) = place.instance("one");
    let held = own(&keeper).await;
    place.store.set_unavailable(true);
    keeper.confirm(&held).await.unwrap();
    // A machine that slept: only the wall clock knows.
    host.set_now(host.now().plus(TIMES.duration));
    assert_eq!(keeper.confirm(&held).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!held.lost.is_cancelled());
}
