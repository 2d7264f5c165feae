//! Rules of the [`AuthStore`](crate::store::AuthStore): batches.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;

use super::samples::{Dice, apply, assert_conflict, generation, key, put, value};
use crate::store::{AuthKey, AuthWrite, Store, Tenure, WriteBatch};

const MINE: Tenure = Tenure::FIRST;

/// Nothing to write is written at once.
pub async fn an_empty_batch_is_fine(store: &dyn Store) {
    assert!(store.apply_auth(&[]).await.is_empty());
    apply(store, "s", MINE, &WriteBatch::new()).await.unwrap();
}

/// One call, many sessions, a result for each.
pub async fn batches_of_many_sessions_go_together(store: &dyn Store) {
    let names: Vec<String> = (0..40).map(|index| format!("s{index}")).collect();
    let batches: Vec<WriteBatch> = names
        .iter()
        .map(|name| {
            let mut batch = put("1", name);
            batch.set_creds(Bytes::from(name.clone()));
            batch.delete(key("2"));
            batch
        })
        .collect();
    let calls: Vec<_> =
        names.iter().zip(&batches).map(|(name, batch)| (name.as_str(), MINE, batch)).collect();
    let results = store.apply_auth(&calls).await;
    assert_eq!(results.len(), calls.len());
    assert!(results.iter().all(Result::is_ok));
    for name in &names {
        assert_eq!(value(store, name, MINE, "1").await.unwrap(), *name);
        assert_eq!(store.load_creds(name, MINE).await.unwrap().unwrap(), *name);
    }
}

/// Each batch has its own result, at its own place.
pub async fn one_refusal_holds_up_no_other(store: &dyn Store) {
    apply(store, "b", generation(5), &put("1", "newer")).await.unwrap();
    let batch = put("1", "mine");
    let mut with_creds = put("2", "mine");
    with_creds.set_creds(Bytes::from_static(b"creds"));
    let calls = [("a", MINE, &batch), ("b", MINE, &batch), ("c", MINE, &with_creds)];
    let mut results = store.apply_auth(&calls).await;
    assert_eq!(results.len(), 3);
    results.remove(2).unwrap();
    assert_conflict(results.remove(1));
    results.remove(0).unwrap();
    assert_eq!(value(store, "a", MINE, "1").await.unwrap(), "mine");
    assert_eq!(value(store, "b", MINE, "1").await.unwrap(), "newer");
    assert_eq!(store.load_creds("c", MINE).await.unwrap().unwrap(), "creds");
}

/// A caller that does not know what became of a batch writes it again.
pub async fn a_repeated_batch_changes_nothing(store: &dyn Store) {
    apply(store, "s", MINE, &put("gone", "x")).await.unwrap();
    let mut batch = put("1", "one");
    batch.put(key("2"), Bytes::from_static(b"two"), 9).delete(key("gone"));
    batch.set_creds(Bytes::from_static(b"creds"));
    apply(store, "s", MINE, &batch).await.unwrap();
    let first = store.load_auth("s", MINE, &[]).await.unwrap();
    for _ in 0..3 {
        apply(store, "s", MINE, &batch).await.unwrap();
    }
    assert_eq!(store.load_auth("s", MINE, &[]).await.unwrap(), first);
    assert_eq!(first.entries.len(), 2);
}

/// Random batches, whole in one session and statement by statement in another, against a map.
pub async fn a_batch_equals_its_statements_one_by_one(store: &dyn Store) {
    let mut dice = Dice::new(7);
    let mut model: BTreeMap<AuthKey, Bytes> = BTreeMap::new();
    for round in 0..12 {
        let writes: Vec<AuthWrite> = (0..dice.below(12))
            .map(|_| {
                let kind = ["session", "pre-key", "a/b"][dice.below(3) as usize];
                let id = ["1", "2", "b/1", "%", "é"][dice.below(5) as usize];
                let mut one = WriteBatch::new();
                if dice.below(3) == 0 {
                    one.delete(AuthKey::new(kind, id));
                } else {
                    let value = format!("{round} {}", dice.below(1_000));
                    one.put(AuthKey::new(kind, id), Bytes::from(value), 0);
                }
                one.writes()[0].clone()
            })
            .collect();
        for write in &writes {
            match write {
                AuthWrite::Put(entry) => drop(model.insert(entry.key.clone(), entry.value.clone())),
                AuthWrite::Delete(key) => drop(model.remove(key)),
            }
            apply(store, "loop", MINE, &WriteBatch::from_iter([write.clone()])).await.unwrap();
        }
        apply(store, "batch", MINE, &writes.into_iter().collect()).await.unwrap();
        for session in ["loop", "batch"] {
            let state = store.load_auth(session, MINE, &[]).await.unwrap();
            let stored: BTreeMap<_, _> =
                state.entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
            assert_eq!(stored, model, "{session}, round {round}");
        }
    }
}

/// As many as a fresh device uploads pre-keys.
pub async fn a_large_batch_is_written_whole(store: &dyn Store) {
    let batch: WriteBatch = (0..812)
        .map(|id| {
            let mut one = WriteBatch::new();
            one.put(AuthKey::new("pre-key", format!("{id:04}")), Bytes::from(vec![3; 120]), 0);
            one.writes()[0].clone()
        })
        .collect();
    apply(store, "s", MINE, &batch).await.unwrap();
    let list = store.list_auth("s", MINE, "pre-key").await.unwrap();
    assert_eq!(list.len(), 812);
    assert!(list.iter().enumerate().all(|(id, entry)| entry.key.id == format!("{id:04}")));
    let keys: Vec<_> = list.into_iter().map(|entry| entry.key).collect();
    let read = store.get_auth("s", MINE, &keys).await.unwrap();
    assert!(read.iter().all(Option::is_some));
}

/// Sessions that write at the same time see their own writes, in order, and no one else's.
pub async fn many_sessions_write_at_once(store: &dyn Store) {
    let session = async |index: usize| {
        let name = format!("s{index}");
        for round in 0..8 {
            let text = format!("{index} {round}");
            let mut batch = put("ratchet", &text);
            batch.put(key(&format!("round {round}")), Bytes::from(text.clone()), 0);
            apply(store, &name, MINE, &batch).await.unwrap();
            assert_eq!(value(store, &name, MINE, "ratchet").await.unwrap(), text);
        }
        assert_eq!(store.list_auth(&name, MINE, "session").await.unwrap().len(), 9);
    };
    join_all((0..16).map(session)).await;
}
