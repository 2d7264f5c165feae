//! Rules about closing a store and opening it again. A kill -9 in between is `core/tests/store_crash.rs`.

use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use super::consumers::{letter, position, register};
use super::event_log::{events, logged};
use super::leases::granted;
use super::samples::{NOW, apply, assert_kind, message, put, session, stored_session, value};
use crate::error::ErrorKind;
use crate::store::{Direction, SessionFilter, Tenure};

/// All data, as they were.
pub async fn everything_is_there_after_reopening(harness: &dyn Harness) {
    let store = harness.open().await;
    session(&*store, "s").await;
    let mut batch = put("a", "value");
    batch.set_creds(Bytes::from_static(b"creds"));
    apply(&*store, "s", Tenure::FIRST, &batch).await.unwrap();
    let messages = [message("c", "1", Direction::In, 1)];
    store.record_messages("s", &messages, &[("c".into(), "Ana".into())], NOW).await.unwrap();
    let lease = granted(&*store, "s", "me", Duration::from_secs(600)).await;
    store.append_events("s", 0, &events(["a", "b"])).await.unwrap();
    register(&*store, "crm", &[position("s", 1)]).await;
    store.put_dead_letter(&letter("crm", "s", 1)).await.unwrap();
    let record = stored_session(&*store, "s").await;
    let chat = store.get_chat("s", "c").await.unwrap();
    store.close().await.unwrap();
    drop(store);
    if !harness.can_reopen() {
        return;
    }

    for _ in 0..2 {
        let store = harness.open().await;
        assert_eq!(stored_session(&*store, "s").await, record);
        assert_eq!(value(&*store, "s", Tenure::FIRST, "a").await.unwrap(), "value");
        assert_eq!(store.load_creds("s", Tenure::FIRST).await.unwrap().unwrap(), "creds");
        let keys = [messages[0].key.clone()];
        assert_eq!(store.get_messages("s", &keys).await.unwrap(), [Some(messages[0].clone())]);
        assert_eq!(store.get_chat("s", "c").await.unwrap(), chat);
        assert_eq!(logged(&*store, "s").await, [(1, "a".to_owned()), (2, "b".to_owned())]);
        assert_eq!(store.load_positions("crm").await.unwrap(), [position("s", 1)]);
        let letters = store.list_dead_letters("crm", false, 10, None).await.unwrap().items;
        assert_eq!(letters, [letter("crm", "s", 1)]);
        let found = store.get_lease("s").await.unwrap().unwrap();
        assert_eq!((found.generation, found.fence), (lease.generation, lease.fence));
        // A store that only one process can have open knows that every owner is gone.
        assert!(
            found == lease || (found.owner.is_empty() && found.expires_at < lease.expires_at),
            "{found:?}"
        );
        store.close().await.unwrap();
    }
}

/// To every later call, in every trait.
pub async fn a_closed_store_says_so(harness: &dyn Harness) {
    let store = harness.open().await;
    store.ping().await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_kind(store.ping().await, ErrorKind::Closed);
    assert_kind(store.load_creds("s", Tenure::FIRST).await, ErrorKind::Closed);
    assert_kind(apply(&*store, "s", Tenure::FIRST, &put("a", "x")).await, ErrorKind::Closed);
    assert_kind(store.get_session("s").await, ErrorKind::Closed);
    assert_kind(store.count_sessions(&SessionFilter::default()).await, ErrorKind::Closed);
    assert_kind(store.get_messages("s", &[]).await, ErrorKind::Closed);
    assert_kind(store.get_lease("s").await, ErrorKind::Closed);
    assert_kind(store.last_events(None).await, ErrorKind::Closed);
    assert_kind(store.list_consumers().await, ErrorKind::Closed);
}
