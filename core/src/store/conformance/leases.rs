//! Rules of the [`LeaseStore`](crate::store::LeaseStore).

use std::time::Duration;

use futures::future::join_all;

use super::samples::{hostile_ids, session};
use crate::store::{Acquired, Lease, Store, Tenure};

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(600);

/// Acquires a lease that must be free.
pub async fn granted(store: &dyn Store, session: &str, owner: &str, duration: Duration) -> Lease {
    match store.acquire_lease(session, owner, duration).await.unwrap() {
        Acquired::Granted(lease) => lease,
        other => panic!("expected the lease to be granted, got {other:?}"),
    }
}

/// Acquires a lease that must have run out.
pub async fn stolen(store: &dyn Store, session: &str, owner: &str, duration: Duration) -> Lease {
    match store.acquire_lease(session, owner, duration).await.unwrap() {
        Acquired::Stolen(lease) => lease,
        other => panic!("expected the lease to be stolen, got {other:?}"),
    }
}

/// Waits until a lease has run out by the database's clock.
pub async fn expire(store: &dyn Store, lease: &Lease) {
    while store.database_now().await.unwrap() <= lease.expires_at {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nobody owned it: generation 1, no fence.
pub async fn the_first_owner_gets_the_first_generation(store: &dyn Store) {
    assert_eq!(store.get_lease("s").await.unwrap(), None);
    let before = store.database_now().await.unwrap();
    let lease = granted(store, "s", "me", LONG).await;
    let after = store.database_now().await.unwrap();
    assert_eq!(lease.tenure(), Tenure::FIRST);
    assert_eq!((lease.session.as_str(), lease.owner.as_str()), ("s", "me"));
    assert!(before.plus(LONG) <= lease.expires_at && lease.expires_at <= after.plus(LONG));
    assert_eq!(store.get_lease("s").await.unwrap(), Some(lease));
}

/// Another one is told who holds it, and until when.
pub async fn a_held_lease_is_not_given_away(store: &dyn Store) {
    let lease = granted(store, "s", "me", LONG).await;
    assert_eq!(store.acquire_lease("s", "you", LONG).await.unwrap(), Acquired::Held(lease.clone()));
    assert_eq!(store.get_lease("s").await.unwrap(), Some(lease));
    granted(store, "s2", "you", LONG).await;
}

/// Same owner, same generation, more time.
pub async fn the_owner_gets_it_again_unchanged(store: &dyn Store) {
    let first = granted(store, "s", "me", SHORT).await;
    let again = granted(store, "s", "me", LONG).await;
    assert_eq!(again.tenure(), first.tenure());
    assert!(again.expires_at > first.expires_at);

    let short = granted(store, "s2", "me", SHORT).await;
    expire(store, &short).await;
    assert_eq!(granted(store, "s2", "me", LONG).await.tenure(), Tenure::FIRST);
}

/// Free, ours, held and run out, in one call: the same answers, in order.
pub async fn many_leases_are_acquired_as_one_by_one(store: &dyn Store) {
    assert!(store.acquire_leases(&[], "me", LONG).await.is_empty());
    granted(store, "mine", "me", LONG).await;
    let held = granted(store, "held", "you", LONG).await;
    let old = granted(store, "old", "you", SHORT).await;
    let released = granted(store, "released", "you", LONG).await;
    assert!(store.release_lease(&released).await.unwrap());
    expire(store, &old).await;
    let sessions = ["fresh", "held", "mine", "old", "released"];
    let mut acquired: Vec<Acquired> =
        store.acquire_leases(&sessions, "me", LONG).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(acquired.len(), sessions.len());
    assert_eq!(acquired.remove(1), Acquired::Held(held));
    let tenures = acquired.into_iter().map(|acquired| match acquired {
        Acquired::Granted(lease) => (lease.session.clone(), false, lease.tenure()),
        Acquired::Stolen(lease) => (lease.session.clone(), true, lease.tenure()),
        Acquired::Held(lease) => panic!("{lease:?}"),
    });
    let second = |fence| Tenure { generation: 2, fence };
    let expected = [
        ("fresh", false, Tenure::FIRST),
        ("mine", false, Tenure::FIRST),
        ("old", true, second(2)),
        ("released", false, second(0)),
    ];
    assert_eq!(
        tenures.collect::<Vec<_>>(),
        expected.map(|(session, stolen, tenure)| (session.to_owned(), stolen, tenure))
    );
    for session in ["fresh", "mine", "old", "released"] {
        assert_eq!(store.get_lease(session).await.unwrap().unwrap().owner, "me");
    }

    // Two who want the same at once: each lease has one owner.
    let names: Vec<String> = (0..12).map(|index| format!("both {index}")).collect();
    let sessions: Vec<&str> = names.iter().map(String::as_str).collect();
    let (one, other) = tokio::join!(
        store.acquire_leases(&sessions, "one", LONG),
        store.acquire_leases(&sessions, "other", LONG)
    );
    for (one, other) in one.into_iter().zip(other) {
        let granted = [one.unwrap(), other.unwrap()].map(|acquired| matches!(acquired, Acquired::Granted(_)));
        assert_eq!(granted.into_iter().filter(|granted| *granted).count(), 1);
    }
}

/// At once, with a new generation.
pub async fn a_released_lease_passes_without_a_fence(store: &dyn Store) {
    let first = granted(store, "s", "me", LONG).await;
    assert!(store.release_lease(&first).await.unwrap());
    assert!(!store.release_lease(&first).await.unwrap());
    let free = store.get_lease("s").await.unwrap().unwrap();
    assert_eq!((free.owner.as_str(), free.generation), ("", 1));
    assert!(free.expires_at < store.database_now().await.unwrap().plus(Duration::from_millis(1)));
    let second = granted(store, "s", "you", LONG).await;
    assert_eq!(second.tenure(), Tenure { generation: 2, fence: 0 });
    assert!(store.release_lease(&second).await.unwrap());
    // Whoever comes back after a release has a new generation too.
    assert_eq!(granted(store, "s", "you", LONG).await.tenure(), Tenure { generation: 3, fence: 0 });
}

/// The fence is the new generation, and later clean hand-overs keep it.
pub async fn an_expired_lease_is_stolen_with_a_fence(store: &dyn Store) {
    let first = granted(store, "s", "me", SHORT).await;
    expire(store, &first).await;
    let second = stolen(store, "s", "you", LONG).await;
    assert_eq!(second.tenure(), Tenure { generation: 2, fence: 2 });
    assert_eq!(second.owner, "you");
    assert!(store.release_lease(&second).await.unwrap());
    let third = granted(store, "s", "me", SHORT).await;
    assert_eq!(third.tenure(), Tenure { generation: 3, fence: 2 });
    expire(store, &third).await;
    assert_eq!(stolen(store, "s", "you", LONG).await.tenure(), Tenure { generation: 4, fence: 4 });
}

/// Late is not lost.
pub async fn an_expired_lease_that_nobody_stole_is_renewed(store: &dyn Store) {
    let lease = granted(store, "s", "me", SHORT).await;
    expire(store, &lease).await;
    assert_eq!(store.renew_leases(std::slice::from_ref(&lease), LONG).await.unwrap(), [true]);
    let renewed = store.get_lease("s").await.unwrap().unwrap();
    assert!(renewed.expires_at > lease.expires_at.plus(LONG / 2));
    assert_eq!(renewed.tenure(), lease.tenure());
    assert!(matches!(store.acquire_lease("s", "you", LONG).await.unwrap(), Acquired::Held(_)));
}

/// Neither renew nor release.
pub async fn a_robbed_owner_can_do_nothing(store: &dyn Store) {
    let old = granted(store, "s", "me", SHORT).await;
    expire(store, &old).await;
    let new = stolen(store, "s", "you", LONG).await;
    assert_eq!(store.renew_leases(std::slice::from_ref(&old), LONG).await.unwrap(), [false]);
    assert!(!store.release_lease(&old).await.unwrap());
    assert_eq!(store.get_lease("s").await.unwrap(), Some(new.clone()));
    // Nor does the same name help, if the generation is an old one.
    let mut impostor = new.clone();
    impostor.generation = 1;
    assert!(!store.release_lease(&impostor).await.unwrap());
    assert_eq!(store.renew_leases(&[impostor, new], LONG).await.unwrap(), [false, true]);
}

/// One answer for each, whatever became of the others.
pub async fn renewals_answer_in_order(store: &dyn Store) {
    assert!(store.renew_leases(&[], LONG).await.unwrap().is_empty());
    let mut leases = Vec::new();
    for index in 0..12 {
        leases.push(granted(store, &format!("s{index}"), "me", SHORT).await);
    }
    for index in [3, 7] {
        assert!(store.release_lease(&leases[index]).await.unwrap());
        granted(store, &format!("s{index}"), "you", LONG).await;
    }
    leases[9].session = "unknown".to_owned();
    let expected: Vec<bool> = (0..12).map(|index| ![3, 7, 9].contains(&index)).collect();
    assert_eq!(store.renew_leases(&leases, LONG).await.unwrap(), expected);
    let kept = store.get_lease("s0").await.unwrap().unwrap();
    assert!(kept.expires_at > leases[0].expires_at.plus(LONG / 2));
    let theirs = store.get_lease("s3").await.unwrap().unwrap();
    assert_eq!(theirs.owner, "you");
}

/// Exactly one.
pub async fn of_many_at_once_one_gets_it(store: &dyn Store) {
    let owners: Vec<String> = (0..12).map(|index| format!("owner {index}")).collect();
    let outcomes = join_all(owners.iter().map(|owner| store.acquire_lease("s", owner, LONG))).await;
    let mut winners = Vec::new();
    for outcome in outcomes {
        match outcome.unwrap() {
            Acquired::Granted(lease) => winners.push(lease),
            Acquired::Held(lease) => assert_eq!(lease.generation, 1),
            Acquired::Stolen(lease) => panic!("nothing to steal: {lease:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].tenure(), Tenure::FIRST);
    assert_eq!(store.get_lease("s").await.unwrap(), winners.pop());
}

/// Exactly one, and the generation rises once.
pub async fn of_many_thieves_one_gets_it(store: &dyn Store) {
    let old = granted(store, "s", "old", SHORT).await;
    expire(store, &old).await;
    let owners: Vec<String> = (0..12).map(|index| format!("thief {index}")).collect();
    let outcomes = join_all(owners.iter().map(|owner| store.acquire_lease("s", owner, LONG))).await;
    let mut winners = Vec::new();
    for outcome in outcomes {
        match outcome.unwrap() {
            Acquired::Stolen(lease) => winners.push(lease),
            Acquired::Held(lease) => assert_eq!(lease.generation, 2),
            Acquired::Granted(lease) => panic!("it was not free: {lease:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].tenure(), Tenure { generation: 2, fence: 2 });
}

/// Neither released nor expired ones.
pub async fn held_sessions_are_those_held_now(store: &dyn Store) {
    assert!(store.held_sessions().await.unwrap().is_empty());
    let expired = granted(store, "expired", "me", SHORT).await;
    let released = granted(store, "released", "me", LONG).await;
    store.release_lease(&released).await.unwrap();
    let a = granted(store, "a", "me", LONG).await;
    let b = granted(store, "b", "you", LONG).await;
    expire(store, &expired).await;
    let mut held = store.held_sessions().await.unwrap();
    held.sort_by(|one, other| one.session.cmp(&other.session));
    assert_eq!(held, [a, b]);
}

/// They outlive their session for a while, and no session loses its lease.
pub async fn leases_are_forgotten_when_idle_and_without_a_session(store: &dyn Store) {
    session(store, "kept").await;
    for name in ["kept", "released", "expired"] {
        let lease = granted(store, name, "me", SHORT).await;
        if name == "expired" {
            expire(store, &lease).await;
        } else {
            assert!(store.release_lease(&lease).await.unwrap());
        }
    }
    granted(store, "held", "me", LONG).await;
    assert_eq!(store.forget_leases(LONG).await.unwrap(), 0);
    let idle = store.get_lease("expired").await.unwrap().unwrap();
    let now = store.database_now().await.unwrap();
    let after_release = now.plus(SHORT);
    while store.database_now().await.unwrap() <= after_release.max(idle.expires_at.plus(SHORT)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.forget_leases(SHORT).await.unwrap(), 2);
    assert_eq!(store.forget_leases(Duration::ZERO).await.unwrap(), 0);
    assert!(store.get_lease("kept").await.unwrap().is_some());
    assert!(store.get_lease("held").await.unwrap().is_some());
    assert_eq!(store.get_lease("released").await.unwrap(), None);
}

/// Sessions and owners are opaque.
pub async fn any_text_is_a_session(store: &dyn Store) {
    let ids = hostile_ids();
    let mut leases = Vec::new();
    for id in &ids {
        leases.push(granted(store, id, id, LONG).await);
    }
    assert!(store.renew_leases(&leases, LONG).await.unwrap().into_iter().all(|ours| ours));
    assert_eq!(store.held_sessions().await.unwrap().len(), ids.len());
    for (id, lease) in ids.iter().zip(&leases) {
        let stored = store.get_lease(id).await.unwrap().unwrap();
        assert_eq!((&stored.session, &stored.owner), (id, id));
        assert!(store.release_lease(lease).await.unwrap());
    }
    assert!(store.held_sessions().await.unwrap().is_empty());
}

/// It does not go back, and it goes on.
pub async fn the_database_has_a_clock(store: &dyn Store) {
    let start = store.database_now().await.unwrap();
    let mut last = start;
    while last <= start.plus(Duration::from_millis(20)) {
        let now = store.database_now().await.unwrap();
        assert!(now >= last);
        last = now;
    }
    store.ping().await.unwrap();
}
