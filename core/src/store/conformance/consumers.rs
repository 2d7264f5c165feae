//! Rules of the [`ConsumerStore`](crate::store::ConsumerStore).

use serde_json::json;

use super::samples::{NOW, assert_kind, hostile_ids};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::store::{ConsumerRecord, DeadLetterChoice, DeadLetterRecord, EventRecord, Position, Store};

/// A position.
pub fn position(session: &str, seq: u64) -> Position {
    Position { session: session.to_owned(), seq }
}

/// Registers a consumer at [`NOW`].
pub async fn register(store: &dyn Store, name: &str, start: &[Position]) -> ConsumerRecord {
    let consumer = ConsumerRecord { name: name.to_owned(), created_at: NOW };
    store.register_consumer(&consumer, start).await.unwrap();
    consumer
}

/// A dead letter that failed once.
pub fn letter(consumer: &str, session: &str, seq: u64) -> DeadLetterRecord {
    DeadLetterRecord {
        consumer: consumer.to_owned(),
        event: EventRecord {
            session: session.to_owned(),
            seq,
            at: NOW,
            payload: json!({ "type": "undecryptable" }),
        },
        attempts: 1,
        error: "no such customer".to_owned(),
        failed_at: Timestamp::from_unix_s(NOW.unix_s() + 1),
        replay: false,
    }
}

async fn positions(store: &dyn Store, consumer: &str) -> Vec<Position> {
    let mut positions = store.load_positions(consumer).await.unwrap();
    positions.sort();
    positions
}

async fn letters(store: &dyn Store, consumer: &str, replay: bool) -> Vec<(String, u64)> {
    let page = store.list_dead_letters(consumer, replay, 1_000, None).await.unwrap();
    assert!(page.next.is_none() && page.malformed.is_empty());
    page.items.into_iter().map(|letter| (letter.event.session, letter.event.seq)).collect()
}

/// The first registration counts, with where it starts.
pub async fn a_consumer_is_registered_once(store: &dyn Store) {
    assert_eq!(store.get_consumer("crm").await.unwrap(), None);
    let crm = register(store, "crm", &[position("s", 3)]).await;
    let later = ConsumerRecord { created_at: Timestamp::from_unix_s(9), ..crm.clone() };
    store.register_consumer(&later, &[position("s", 8), position("t", 1)]).await.unwrap();
    assert_eq!(store.get_consumer("crm").await.unwrap(), Some(crm.clone()));
    assert_eq!(positions(store, "crm").await, [position("s", 3)]);
    let bi = register(store, "bi", &[]).await;
    assert_eq!(store.list_consumers().await.unwrap(), [bi, crm]);
    assert!(positions(store, "bi").await.is_empty());
}

/// Whatever order the calls come in.
pub async fn a_position_never_goes_back(store: &dyn Store) {
    register(store, "crm", &[]).await;
    register(store, "bi", &[position("s", 1)]).await;
    store.advance_positions("crm", &[position("s", 5), position("t", 2)], NOW).await.unwrap();
    store.advance_positions("crm", &[position("s", 4), position("t", 3)], NOW).await.unwrap();
    store.advance_positions("crm", &[], NOW).await.unwrap();
    assert_eq!(positions(store, "crm").await, [position("s", 5), position("t", 3)]);
    // Unless it is forgotten.
    store.forget_positions("crm", &["s".to_owned(), "u".to_owned()]).await.unwrap();
    assert_eq!(positions(store, "crm").await, [position("t", 3)]);
    store.advance_positions("crm", &[position("s", 2)], NOW).await.unwrap();
    assert_eq!(positions(store, "crm").await, [position("s", 2), position("t", 3)]);
    assert_eq!(positions(store, "bi").await, [position("s", 1)]);
}

/// With everything that is its, and nothing of another.
pub async fn a_deleted_consumer_is_gone(store: &dyn Store) {
    for name in ["crm", "crm2"] {
        register(store, name, &[position("s", 1)]).await;
        store.put_dead_letter(&letter(name, "s", 1)).await.unwrap();
    }
    assert!(store.delete_consumer("crm").await.unwrap());
    assert!(!store.delete_consumer("crm").await.unwrap());
    assert_eq!(store.get_consumer("crm").await.unwrap(), None);
    assert!(positions(store, "crm").await.is_empty());
    assert!(letters(store, "crm", false).await.is_empty());
    assert_eq!(positions(store, "crm2").await, [position("s", 1)]);
    assert_eq!(letters(store, "crm2", false).await.len(), 1);
}

/// Names and sessions are opaque, and do not run into each other.
pub async fn any_text_is_a_consumer_or_a_session(store: &dyn Store) {
    let ids = hostile_ids();
    let start: Vec<Position> = ids.iter().zip(1..).map(|(id, seq)| position(id, seq)).collect();
    register(store, "crm", &start).await;
    let mut expected = start.clone();
    expected.sort();
    assert_eq!(positions(store, "crm").await, expected);
    for id in &ids {
        register(store, id, &[position("s", 1)]).await;
        store.put_dead_letter(&letter(id, id, 1)).await.unwrap();
    }
    assert_eq!(store.list_consumers().await.unwrap().len(), ids.len() + 1);
    for id in &ids {
        assert_eq!(positions(store, id).await, [position("s", 1)]);
        assert_eq!(letters(store, id, false).await, [(id.clone(), 1)]);
        let one = DeadLetterChoice::One { session: id, seq: 1 };
        assert_eq!(store.delete_dead_letters(id, one).await.unwrap(), 1);
    }
}

/// Every field; put again it is replaced.
pub async fn a_dead_letter_comes_back_as_put(store: &dyn Store) {
    let first = letter("crm", "s", 7);
    store.put_dead_letter(&first).await.unwrap();
    let list = || store.list_dead_letters("crm", false, 10, None);
    assert_eq!(list().await.unwrap().items, std::slice::from_ref(&first));
    let again = DeadLetterRecord { attempts: 9, error: "¡otra vez!".into(), replay: true, ..first };
    store.put_dead_letter(&again).await.unwrap();
    assert_eq!(list().await.unwrap().items, [again]);
}

/// One, all, and none that is not there.
pub async fn dead_letters_are_replayed_and_removed_as_chosen(store: &dyn Store) {
    for (session, seq) in [("s", 1), ("s", 2), ("t", 1)] {
        store.put_dead_letter(&letter("crm", session, seq)).await.unwrap();
    }
    store.put_dead_letter(&letter("bi", "s", 1)).await.unwrap();
    let one = |session, seq| DeadLetterChoice::One { session, seq };
    assert_eq!(store.replay_dead_letters("crm", one("s", 2)).await.unwrap(), 1);
    assert_eq!(store.replay_dead_letters("crm", one("s", 3)).await.unwrap(), 0);
    assert_eq!(letters(store, "crm", true).await, [("s".to_owned(), 2)]);
    assert_eq!(store.replay_dead_letters("crm", DeadLetterChoice::All).await.unwrap(), 3);
    assert_eq!(letters(store, "crm", true).await.len(), 3);
    assert!(letters(store, "bi", true).await.is_empty());
    assert_eq!(store.delete_dead_letters("crm", one("s", 1)).await.unwrap(), 1);
    assert_eq!(store.delete_dead_letters("crm", one("s", 1)).await.unwrap(), 0);
    assert_eq!(store.delete_dead_letters("crm", DeadLetterChoice::All).await.unwrap(), 2);
    assert_eq!(letters(store, "bi", false).await.len(), 1);
}

/// By session and number, complete, whatever the size of a page.
pub async fn dead_letters_come_in_pages(store: &dyn Store) {
    let mut expected = Vec::new();
    for session in ["a", "b", "c"] {
        for seq in [2, 10, 1] {
            store.put_dead_letter(&letter("crm", session, seq)).await.unwrap();
        }
        expected.extend([1, 2, 10].map(|seq| (session.to_owned(), seq)));
    }
    for limit in [1, 2, 9, 1_000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list_dead_letters("crm", false, limit, after.as_deref()).await.unwrap();
            assert!(page.items.len() <= limit as usize);
            seen.extend(page.items.into_iter().map(|letter| (letter.event.session, letter.event.seq)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }
    for limit in [0, 1_001] {
        assert_kind(store.list_dead_letters("crm", false, limit, None).await, ErrorKind::Invalid);
    }
    assert_kind(store.list_dead_letters("crm", false, 1, Some("elsewhere")).await, ErrorKind::Invalid);
}
