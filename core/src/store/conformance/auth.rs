//! Rules of the [`AuthStore`](crate::store::AuthStore): values and credentials.

use bytes::Bytes;

use super::samples::{apply, hostile_ids, key, put, value};
use crate::store::{AuthKey, AuthState, Store, Tenure, WriteBatch};

const MINE: Tenure = Tenure::FIRST;

/// An unknown session has nothing, and that is no error.
pub async fn nothing_is_there_at_first(store: &dyn Store) {
    assert_eq!(store.load_auth("s", MINE, &[]).await.unwrap(), AuthState::default());
    assert_eq!(store.load_creds("s", MINE).await.unwrap(), None);
    assert_eq!(store.get_auth("s", MINE, &[key("a"), key("b")]).await.unwrap(), [None, None]);
    assert!(store.get_auth("s", MINE, &[]).await.unwrap().is_empty());
    assert!(store.list_auth("s", MINE, "session").await.unwrap().is_empty());
    assert!(!store.has_auth_prefix("s", MINE, "session", "").await.unwrap());
    assert_eq!(store.delete_auth("s", MINE).await.unwrap(), 0);
    assert_eq!(store.delete_stamped_before("s", MINE, "session", i64::MAX).await.unwrap(), 0);
    store.fence_auth("s", MINE).await.unwrap();
    store.archive_auth("s", MINE, "nothing").await.unwrap();
}

/// Puts replace, deletes delete, and reads answer in the order of the question.
pub async fn values_come_back_as_written(store: &dyn Store) {
    let mut batch = WriteBatch::new();
    batch.put(AuthKey::new("pre-key", "1"), Bytes::from_static(b"\x00\xff"), 0);
    batch.put(AuthKey::new("session", "1"), Bytes::from_static(b"one"), -5);
    batch.put(AuthKey::new("session", "2"), Bytes::from_static(b"two"), 7);
    apply(store, "s", MINE, &batch).await.unwrap();
    apply(store, "s", MINE, &put("1", "uno")).await.unwrap();

    let keys = [key("2"), key("absent"), key("1"), key("2"), AuthKey::new("pre-key", "1")];
    let two = Some(Bytes::from_static(b"two"));
    let expected =
        [two.clone(), None, Some(Bytes::from_static(b"uno")), two, Some(Bytes::from_static(b"\x00\xff"))];
    assert_eq!(store.get_auth("s", MINE, &keys).await.unwrap(), expected);

    let list = store.list_auth("s", MINE, "session").await.unwrap();
    let stamps: Vec<_> = list.iter().map(|entry| (entry.key.id.as_str(), entry.stamp_s)).collect();
    assert_eq!(stamps, [("1", 0), ("2", 7)]);

    let mut batch = WriteBatch::new();
    batch.delete(key("1")).delete(key("absent"));
    apply(store, "s", MINE, &batch).await.unwrap();
    assert_eq!(value(store, "s", MINE, "1").await, None);
    assert_eq!(value(store, "s", MINE, "2").await, Some(Bytes::from_static(b"two")));
}

/// Byte order of UTF-8, without any collation.
pub async fn lists_are_ordered_by_the_bytes_of_the_id(store: &dyn Store) {
    let ids = ["10", "9", "a", "B", "é", "z", "日", "🦀", "\u{ffff}", " ", "", "a/b", "a-b", "a!"];
    let mut batch = WriteBatch::new();
    for id in ids {
        batch.put(key(id), Bytes::from(id.to_owned()), 0);
    }
    apply(store, "s", MINE, &batch).await.unwrap();
    let mut expected = ids.to_vec();
    expected.sort_unstable();
    let list = store.list_auth("s", MINE, "session").await.unwrap();
    assert_eq!(list.iter().map(|entry| entry.key.id.as_str()).collect::<Vec<_>>(), expected);
    assert!(list.iter().all(|entry| entry.value == entry.key.id.as_bytes()));
}

/// `load_auth` brings credentials and all kinds but those named.
pub async fn loading_leaves_out_the_kinds_named(store: &dyn Store) {
    let mut batch = WriteBatch::new();
    batch.set_creds(Bytes::from_static(b"creds"));
    for kind in ["pre-key", "session", "sender-key", "pre"] {
        for id in ["1", "2"] {
            batch.put(AuthKey::new(kind, id), Bytes::from(format!("{kind} {id}")), 3);
        }
    }
    apply(store, "s", MINE, &batch).await.unwrap();
    apply(store, "s2", MINE, &put("other", "session")).await.unwrap();

    for (except, count) in [(&[][..], 8), (&["pre-key"], 6), (&["pre-key", "session", "no"], 4)] {
        let state = store.load_auth("s", MINE, except).await.unwrap();
        assert_eq!(state.creds, Some(Bytes::from_static(b"creds")));
        assert_eq!(state.entries.len(), count);
        for entry in state.entries {
            assert!(!except.contains(&entry.key.kind.as_str()));
            assert_eq!(entry.value, format!("{} {}", entry.key.kind, entry.key.id));
            assert_eq!(entry.stamp_s, 3);
        }
    }
}

/// In order, each by its own tenure, and those that have nothing.
pub async fn many_states_are_loaded_as_one_by_one(store: &dyn Store) {
    let at = |generation, fence| Tenure { generation, fence };
    for (session, tenure) in [("a", at(1, 0)), ("b", at(2, 0)), ("c", at(1, 0))] {
        let mut batch = put("1", session);
        batch.put(AuthKey::new("pre-key", "9"), Bytes::from_static(b"x"), 0);
        batch.set_creds(Bytes::from(session.to_owned()));
        apply(store, session, tenure, &batch).await.unwrap();
    }
    // What lies below a fence is absent.
    let sessions = [("c", at(2, 2)), ("none", MINE), ("a", at(1, 0)), ("b", at(2, 2))];
    let loaded = store.load_auths(&sessions, &["pre-key"]).await;
    assert_eq!(loaded.len(), sessions.len());
    for (loaded, (session, tenure)) in loaded.into_iter().zip(sessions) {
        let loaded = loaded.unwrap();
        assert_eq!(loaded, store.load_auth(session, tenure, &["pre-key"]).await.unwrap(), "{session}");
        assert_eq!(loaded.entries.len(), usize::from(matches!(session, "a" | "b")), "{session}");
    }
    assert!(store.load_auths(&[], &[]).await.is_empty());

    let keys = [key("1"), key("absent"), AuthKey::new("pre-key", "9")];
    let reads =
        sessions.map(|(session, tenure)| (session, tenure, &keys[..if session == "a" { 3 } else { 2 }]));
    let read = store.get_auths(&reads).await;
    assert_eq!(read.len(), reads.len());
    for (read, (session, tenure, keys)) in read.into_iter().zip(reads) {
        assert_eq!(read.unwrap(), store.get_auth(session, tenure, keys).await.unwrap(), "{session}");
    }
    assert!(store.get_auths(&[]).await.is_empty());
}

/// Credentials are replaced whole and are no value of any kind.
pub async fn credentials_are_kept_beside_the_values(store: &dyn Store) {
    for creds in [&b"first"[..], b"second", b""] {
        let mut batch = WriteBatch::new();
        batch.set_creds(Bytes::from_static(creds));
        apply(store, "s", MINE, &batch).await.unwrap();
        assert_eq!(store.load_creds("s", MINE).await.unwrap(), Some(Bytes::from_static(creds)));
    }
    assert_eq!(store.load_creds("other", MINE).await.unwrap(), None);
    assert!(store.load_auth("s", MINE, &[]).await.unwrap().entries.is_empty());
    assert_eq!(store.delete_auth("s", MINE).await.unwrap(), 1);
}

/// Session, kind and id are opaque.
pub async fn any_text_is_an_id(store: &dyn Store) {
    let ids = hostile_ids();
    // As ids of one kind, all at once; as kinds and as sessions, one each.
    let mut batch = WriteBatch::new();
    for id in &ids {
        batch.put(key(id), Bytes::from(format!("id {id}")), 0);
        batch.put(AuthKey::new(id.clone(), "as kind"), Bytes::from(format!("kind {id}")), 0);
    }
    apply(store, "hostile", MINE, &batch).await.unwrap();
    let per_session: Vec<WriteBatch> = ids.iter().map(|id| put(id, id)).collect();
    let batches: Vec<_> =
        ids.iter().zip(&per_session).map(|(id, batch)| (id.as_str(), MINE, batch)).collect();
    for result in store.apply_auth(&batches).await {
        result.unwrap();
    }

    let keys: Vec<_> = ids.iter().map(|id| key(id)).collect();
    let read = store.get_auth("hostile", MINE, &keys).await.unwrap();
    let list = store.list_auth("hostile", MINE, "session").await.unwrap();
    assert_eq!(list.len(), ids.len());
    for (id, read) in ids.iter().zip(read) {
        assert_eq!(read.unwrap(), format!("id {id}"));
        let kind = store.get_auth("hostile", MINE, &[AuthKey::new(id.clone(), "as kind")]).await.unwrap();
        assert_eq!(kind[0].as_deref(), Some(format!("kind {id}").as_bytes()));
        let own = store.list_auth(id, MINE, "session").await.unwrap();
        assert_eq!(own.len(), 1, "session {id:?}");
        assert_eq!((own[0].key.id.as_str(), &own[0].value[..]), (id.as_str(), id.as_bytes()));
    }
    for id in &ids {
        assert_eq!(store.delete_auth(id, MINE).await.unwrap(), 1, "session {id:?}");
    }
}

/// `a/b` + `c` is not `a` + `b/c`, whatever a store joins its parts with.
pub async fn ids_that_join_alike_are_different(store: &dyn Store) {
    let mut triples = Vec::new();
    for separator in ["/", "%2F", "\0", ":", "|", ".", "\u{1f}"] {
        let join = |a: &str, b: &str| format!("{a}{separator}{b}");
        triples.push((join("a", "b"), "c".to_owned(), "d".to_owned()));
        triples.push(("a".to_owned(), join("b", "c"), "d".to_owned()));
        triples.push(("a".to_owned(), "b".to_owned(), join("c", "d")));
    }
    for (index, (session, kind, id)) in triples.iter().enumerate() {
        let mut batch = WriteBatch::new();
        batch.put(AuthKey::new(kind.clone(), id.clone()), Bytes::from(index.to_string()), 0);
        apply(store, session, MINE, &batch).await.unwrap();
    }
    for (index, (session, kind, id)) in triples.iter().enumerate() {
        let read = store.get_auth(session, MINE, &[AuthKey::new(kind.clone(), id.clone())]).await.unwrap();
        assert_eq!(read[0].as_deref(), Some(index.to_string().as_bytes()), "{session:?} {kind:?} {id:?}");
    }
}

/// Nothing, and one mebibyte.
pub async fn values_may_be_empty_or_large(store: &dyn Store) {
    let large = Bytes::from((0..1_u32 << 20).map(|byte| (byte % 251) as u8).collect::<Vec<_>>());
    let mut batch = WriteBatch::new();
    batch.set_creds(large.clone());
    batch.put(key("empty"), Bytes::new(), 0).put(key("large"), large.clone(), 0);
    apply(store, "s", MINE, &batch).await.unwrap();
    assert_eq!(value(store, "s", MINE, "empty").await, Some(Bytes::new()));
    assert_eq!(value(store, "s", MINE, "large").await, Some(large.clone()));
    let state = store.load_auth("s", MINE, &[]).await.unwrap();
    assert_eq!(state.creds, Some(large));
    assert_eq!(state.entries.len(), 2);
}

/// A prefix is no pattern, has case, and looks at one kind of one session.
pub async fn prefixes_are_plain_text(store: &dyn Store) {
    let mut batch = WriteBatch::new();
    for id in ["user:1", "User:2", "%x", "a.b", "z\0y", "🦀🦀"] {
        batch.put(key(id), Bytes::new(), 0);
    }
    batch.put(AuthKey::new("sender-key", "group"), Bytes::new(), 0);
    apply(store, "s", MINE, &batch).await.unwrap();
    for (prefix, found) in [
        ("", true),
        ("user:", true),
        ("user:1", true),
        ("user:10", false),
        ("USER", false),
        ("u.er", false),
        (".", false),
        ("a.", true),
        ("a_", false),
        ("%", true),
        ("%y", false),
        ("z\0", true),
        ("z\0z", false),
        ("🦀", true),
        ("group", false),
        ("zz", false),
    ] {
        let answer = store.has_auth_prefix("s", MINE, "session", prefix).await.unwrap();
        assert_eq!(answer, found, "prefix {prefix:?}");
    }
    assert!(!store.has_auth_prefix("other", MINE, "session", "").await.unwrap());
    assert!(!store.has_auth_prefix("s", MINE, "no", "").await.unwrap());
}

/// Zero is never old; the cut-off itself is not old.
pub async fn only_old_stamps_are_deleted(store: &dyn Store) {
    let mut batch = WriteBatch::new();
    for (id, stamp) in [("never", 0), ("old", 10), ("older", -3), ("edge", 20), ("new", 21)] {
        batch.put(AuthKey::new("tc-token", id), Bytes::new(), stamp);
    }
    batch.put(AuthKey::new("other", "old"), Bytes::new(), 1);
    apply(store, "s", MINE, &batch).await.unwrap();
    apply(store, "s2", MINE, &batch).await.unwrap();
    assert_eq!(store.delete_stamped_before("s", MINE, "tc-token", 20).await.unwrap(), 2);
    assert_eq!(store.delete_stamped_before("s", MINE, "tc-token", 20).await.unwrap(), 0);
    let left = store.list_auth("s", MINE, "tc-token").await.unwrap();
    assert_eq!(left.iter().map(|entry| entry.key.id.as_str()).collect::<Vec<_>>(), ["edge", "never", "new"]);
    assert_eq!(store.list_auth("s", MINE, "other").await.unwrap().len(), 1);
    assert_eq!(store.list_auth("s2", MINE, "tc-token").await.unwrap().len(), 5);
}

/// Not even of a session whose id begins alike.
pub async fn deleting_takes_all_of_one_session_and_nothing_else(store: &dyn Store) {
    let mut batch = put("1", "x");
    batch.set_creds(Bytes::from_static(b"creds")).put(AuthKey::new("pre-key", "1"), Bytes::new(), 0);
    let sessions = ["ventas", "ventas2", "ventas/2", "ventas%", "venta", "Ventas"];
    for session in sessions {
        apply(store, session, MINE, &batch).await.unwrap();
    }
    assert_eq!(store.delete_auth("ventas", MINE).await.unwrap(), 3);
    assert_eq!(store.delete_auth("ventas", MINE).await.unwrap(), 0);
    assert_eq!(store.load_auth("ventas", MINE, &[]).await.unwrap(), AuthState::default());
    for session in &sessions[1..] {
        let state = store.load_auth(session, MINE, &[]).await.unwrap();
        assert_eq!((state.creds.is_some(), state.entries.len()), (true, 2), "session {session:?}");
    }
}

/// What was archived is no longer live, a repeat is fine, and the session can be linked anew.
pub async fn an_archive_empties_the_session(store: &dyn Store) {
    for round in 0..2 {
        let mut batch = put("1", &format!("round {round}"));
        batch.set_creds(Bytes::from_static(b"creds"));
        apply(store, "s", MINE, &batch).await.unwrap();
        apply(store, "s2", MINE, &batch).await.unwrap();
        for _ in 0..2 {
            store.archive_auth("s", MINE, "logged out").await.unwrap();
            assert_eq!(store.load_auth("s", MINE, &[]).await.unwrap(), AuthState::default());
        }
        assert_eq!(store.load_auth("s2", MINE, &[]).await.unwrap().entries.len(), 1);
    }
    store.delete_auth("s", MINE).await.unwrap();
}
