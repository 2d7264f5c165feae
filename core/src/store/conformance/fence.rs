//! Rules of the [`AuthStore`](crate::store::AuthStore): who may write, and what a robbed owner left behind.

use std::time::Duration;

use bytes::Bytes;

use super::leases::{expire, granted, stolen};
use super::samples::{apply, assert_conflict, generation, key, put, value};
use crate::store::{AuthKey, AuthState, Store, Tenure, WriteBatch};

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(600);

/// A row of a newer generation is not replaced.
pub async fn a_stale_write_is_refused(store: &dyn Store) {
    apply(store, "s", generation(1), &put("a", "one")).await.unwrap();
    apply(store, "s", generation(3), &put("a", "three")).await.unwrap();
    for stale in [1, 2] {
        assert_conflict(apply(store, "s", generation(stale), &put("a", "stale")).await);
    }
    assert_eq!(value(store, "s", generation(3), "a").await.unwrap(), "three");
    apply(store, "s", generation(3), &put("a", "again")).await.unwrap();
    assert_eq!(value(store, "s", generation(3), "a").await.unwrap(), "again");
}

/// Nor are newer credentials.
pub async fn stale_credentials_are_refused(store: &dyn Store) {
    let creds = |text: &'static str| {
        let mut batch = WriteBatch::new();
        batch.set_creds(Bytes::from_static(text.as_bytes()));
        batch
    };
    apply(store, "s", generation(2), &creds("newer")).await.unwrap();
    assert_conflict(apply(store, "s", generation(1), &creds("stale")).await);
    assert_eq!(store.load_creds("s", generation(2)).await.unwrap().unwrap(), "newer");
}

/// Nor is a newer row deleted, whether or not the batch writes something else.
pub async fn a_stale_delete_is_refused(store: &dyn Store) {
    apply(store, "s", generation(2), &put("a", "newer")).await.unwrap();
    let mut alone = WriteBatch::new();
    alone.delete(key("a"));
    assert_conflict(apply(store, "s", generation(1), &alone).await);
    let mut mixed = put("b", "stale");
    mixed.delete(key("a"));
    assert_conflict(apply(store, "s", generation(1), &mixed).await);
    assert_eq!(value(store, "s", generation(2), "a").await.unwrap(), "newer");
}

/// Even if the rows are gone already, so that nothing but the lease tells.
pub async fn a_batch_of_stale_deletes_alone_is_refused(store: &dyn Store) {
    let old = granted(store, "s", "old", SHORT).await;
    apply(store, "s", old.tenure(), &put("a", "x")).await.unwrap();
    expire(store, &old).await;
    let new = stolen(store, "s", "new", LONG).await;
    store.fence_auth("s", new.tenure()).await.unwrap();
    let mut batch = WriteBatch::new();
    batch.delete(key("absent"));
    assert_conflict(apply(store, "s", old.tenure(), &batch).await);
    apply(store, "s", new.tenure(), &batch).await.unwrap();
}

/// No read shows them.
pub async fn rows_below_the_fence_are_absent(store: &dyn Store) {
    let mut old = put("ghost", "x");
    old.set_creds(Bytes::from_static(b"old")).put(AuthKey::new("pre-key", "ghost"), Bytes::new(), 1);
    apply(store, "s", generation(2), &old).await.unwrap();
    apply(store, "s", generation(4), &put("live", "y")).await.unwrap();

    let thief = Tenure { generation: 5, fence: 3 };
    let keys = [key("ghost"), key("live")];
    assert_eq!(store.get_auth("s", thief, &keys).await.unwrap(), [None, Some(Bytes::from_static(b"y"))]);
    assert_eq!(store.list_auth("s", thief, "session").await.unwrap().len(), 1);
    assert!(!store.has_auth_prefix("s", thief, "session", "gh").await.unwrap());
    assert!(store.has_auth_prefix("s", thief, "session", "li").await.unwrap());
    assert_eq!(store.load_creds("s", thief).await.unwrap(), None);
    let state = store.load_auth("s", thief, &[]).await.unwrap();
    assert_eq!((state.creds, state.entries.len()), (None, 1));
    // And writing over one brings the new value, not the old one.
    apply(store, "s", thief, &put("ghost", "new")).await.unwrap();
    assert_eq!(value(store, "s", thief, "ghost").await.unwrap(), "new");
}

/// What the old owner wrote before the steal stays readable; what it writes afterwards is refused or unseen.
pub async fn fencing_keeps_what_was_there_and_shuts_out_the_old_owner(store: &dyn Store) {
    let old = granted(store, "s", "old", SHORT).await;
    let mut batch = put("a", "before");
    batch.set_creds(Bytes::from_static(b"creds"));
    apply(store, "s", old.tenure(), &batch).await.unwrap();
    apply(store, "other", generation(1), &batch).await.unwrap();
    expire(store, &old).await;
    let new = stolen(store, "s", "new", LONG).await;
    for _ in 0..2 {
        store.fence_auth("s", new.tenure()).await.unwrap();
        let state = store.load_auth("s", new.tenure(), &[]).await.unwrap();
        assert_eq!((state.creds, state.entries.len()), (Some(Bytes::from_static(b"creds")), 1));
    }

    assert_conflict(apply(store, "s", old.tenure(), &put("a", "after")).await);
    let mut creds = WriteBatch::new();
    creds.set_creds(Bytes::from_static(b"after"));
    assert_conflict(apply(store, "s", old.tenure(), &creds).await);
    // A row that was not there cannot be defended, only hidden.
    if let Err(error) = apply(store, "s", old.tenure(), &put("fresh", "after")).await {
        assert_conflict::<()>(Err(error));
    }
    assert_eq!(value(store, "s", new.tenure(), "fresh").await, None);
    assert_eq!(value(store, "s", new.tenure(), "a").await.unwrap(), "before");
    apply(store, "s", new.tenure(), &put("a", "mine")).await.unwrap();
    // The other session was not fenced.
    apply(store, "other", generation(1), &put("a", "mine")).await.unwrap();
}

/// A robbed owner's late insert stays unseen through later steals too.
pub async fn a_ghost_is_not_brought_back_by_the_next_fence(store: &dyn Store) {
    let first = granted(store, "s", "first", SHORT).await;
    apply(store, "s", first.tenure(), &put("kept", "1")).await.unwrap();
    expire(store, &first).await;
    let second = stolen(store, "s", "second", SHORT).await;
    store.fence_auth("s", second.tenure()).await.unwrap();
    if let Err(error) = apply(store, "s", first.tenure(), &put("ghost", "late")).await {
        assert_conflict::<()>(Err(error));
    }
    expire(store, &second).await;
    let third = stolen(store, "s", "third", SHORT).await;
    // This thief dies before it has fenced; the next one must still lose nothing.
    expire(store, &third).await;
    let fourth = stolen(store, "s", "fourth", LONG).await;
    store.fence_auth("s", fourth.tenure()).await.unwrap();
    let list = store.list_auth("s", fourth.tenure(), "session").await.unwrap();
    assert_eq!(list.iter().map(|entry| entry.key.id.as_str()).collect::<Vec<_>>(), ["kept"]);
}

/// All or nothing of a session goes only by its owner's word.
pub async fn a_stale_owner_deletes_and_archives_nothing(store: &dyn Store) {
    let old = granted(store, "s", "old", LONG).await;
    assert!(store.release_lease(&old).await.unwrap());
    let new = granted(store, "s", "new", LONG).await;
    let mut batch = put("a", "x");
    batch.set_creds(Bytes::from_static(b"creds"));
    apply(store, "s", new.tenure(), &batch).await.unwrap();
    assert_conflict(store.delete_auth("s", old.tenure()).await);
    assert_conflict(store.archive_auth("s", old.tenure(), "stale").await);
    assert_eq!(store.load_auth("s", new.tenure(), &[]).await.unwrap().entries.len(), 1);
    assert_eq!(store.delete_auth("s", new.tenure()).await.unwrap(), 2);
    assert_eq!(store.load_auth("s", new.tenure(), &[]).await.unwrap(), AuthState::default());
}

/// Nor do newer rows go because of their stamp.
pub async fn a_stale_owner_deletes_no_newer_stamps(store: &dyn Store) {
    let mut batch = WriteBatch::new();
    batch.put(key("a"), Bytes::new(), 5);
    apply(store, "s", generation(2), &batch).await.unwrap();
    match store.delete_stamped_before("s", generation(1), "session", 10).await {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_conflict::<()>(Err(error)),
    }
    assert_eq!(store.list_auth("s", generation(2), "session").await.unwrap().len(), 1);
}
