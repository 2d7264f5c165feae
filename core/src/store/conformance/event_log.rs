//! Rules of the [`EventLog`](crate::store::EventLog).

use futures::future::join_all;
use serde_json::json;

use super::consumers::{letter, position, register};
use super::samples::{Dice, NOW, hostile_ids};
use crate::clock::Timestamp;
use crate::store::{DeadLetterChoice, EventRange, EventRecord, NewEvent, Store};

/// An event, `second` seconds after [`NOW`], whose content is its key.
pub fn event(key: &str, second: i64) -> NewEvent {
    let at = Timestamp::from_unix_s(NOW.unix_s() + second);
    NewEvent {
        key: key.to_owned(),
        at,
        payload: json!({ "type": "test", "data": { "key": key, "n": second } }),
    }
}

/// Events with these keys, a second apart.
pub fn events<K: ToString>(keys: impl IntoIterator<Item = K>) -> Vec<NewEvent> {
    keys.into_iter().zip(0..).map(|(key, second)| event(&key.to_string(), second)).collect()
}

/// All of a range.
pub fn range(session: &str, after: u64, upto: u64) -> EventRange {
    EventRange { session: session.to_owned(), after, upto }
}

/// The numbers and keys of what a session's log holds.
pub async fn logged(store: &dyn Store, session: &str) -> Vec<(u64, String)> {
    let found = store.read_events(&[range(session, 0, u64::from(u32::MAX))]).await.unwrap();
    found.iter().map(|record| (record.seq, key_of(record))).collect()
}

fn key_of(record: &EventRecord) -> String {
    record.payload["data"]["key"].as_str().unwrap().to_owned()
}

/// The numbers of the first or last events, by session.
fn numbers(marks: &[crate::store::EventMark]) -> Vec<(&str, u64)> {
    let mut numbers: Vec<_> = marks.iter().map(|mark| (mark.session.as_str(), mark.seq)).collect();
    numbers.sort_unstable();
    numbers
}

/// From 1, in the order in which they were appended, in each session.
pub async fn numbers_rise_by_one(store: &dyn Store) {
    assert!(store.last_events(None).await.unwrap().is_empty());
    assert_eq!(store.append_events("s", 0, &events(["a", "b"])).await.unwrap(), [1, 2]);
    assert_eq!(store.append_events("s", 2, &events(["c"])).await.unwrap(), [3]);
    assert_eq!(store.append_events("t", 0, &events(["a"])).await.unwrap(), [1]);
    assert!(store.append_events("u", 0, &[]).await.unwrap().is_empty());
    let found = store.read_events(&[range("s", 1, 3), range("t", 0, 9)]).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|it| (it.session.as_str(), it.seq, key_of(it))).collect();
    found.sort();
    assert_eq!(found, [("s", 2, "b".to_owned()), ("s", 3, "c".to_owned()), ("t", 1, "a".to_owned())]);
    assert_eq!(numbers(&store.last_events(None).await.unwrap()), [("s", 3), ("t", 1)]);
    assert_eq!(numbers(&store.first_events(None).await.unwrap()), [("s", 1), ("t", 1)]);
    assert_eq!(numbers(&store.last_events(Some("s")).await.unwrap()), [("s", 3)]);
    assert_eq!(store.last_events(Some("s")).await.unwrap()[0].at, event("c", 0).at);
    assert!(store.first_events(Some("u")).await.unwrap().is_empty());
}

/// Content, time and number; ranges are cut exactly.
pub async fn an_event_comes_back_as_logged(store: &dyn Store) {
    let payload = json!({ "type": "message", "data": { "text": "¿qué tal?\u{0} 🦀", "none": null, "list": [1, -2, true],
        "nested": { "at": "2026-11-24T10:00:00.000Z", "ratio": 0.5 } } });
    let new = NewEvent { key: "k".into(), at: NOW, payload: payload.clone() };
    store.append_events("s", 0, &[new]).await.unwrap();
    let expected = EventRecord { session: "s".into(), seq: 1, at: NOW, payload };
    assert_eq!(store.read_events(&[range("s", 0, 1)]).await.unwrap(), [expected]);
    assert!(store.read_events(&[range("s", 1, 1), range("t", 0, 5)]).await.unwrap().is_empty());
    assert!(store.read_events(&[]).await.unwrap().is_empty());
}

/// Whoever appends it, alone or among others, and twice in one call.
pub async fn a_key_is_logged_once(store: &dyn Store) {
    store.append_events("s", 0, &events(["a", "b"])).await.unwrap();
    assert_eq!(
        store.append_events("s", 2, &events(["b", "c", "a", "d", "d"])).await.unwrap(),
        [2, 3, 1, 4, 4]
    );
    assert_eq!(store.append_events("s", 4, &events(["c"])).await.unwrap(), [3]);
    let expected = [(1, "a"), (2, "b"), (3, "c"), (4, "d")].map(|(seq, key)| (seq, key.to_owned()));
    assert_eq!(logged(store, "s").await, expected);
    // Another session's key is another key.
    assert_eq!(store.append_events("t", 0, &events(["a"])).await.unwrap(), [1]);
}

/// An answer was lost, or another owner has appended meanwhile: what the caller knows is out of date.
pub async fn a_stale_number_does_no_harm(store: &dyn Store) {
    let first = events(["a", "b"]);
    store.append_events("s", 0, &first).await.unwrap();
    assert_eq!(store.append_events("s", 0, &first).await.unwrap(), [1, 2]);
    assert_eq!(store.append_events("s", 0, &events(["x", "b", "y"])).await.unwrap(), [3, 2, 4]);
    assert_eq!(store.append_events("s", 1, &events(["z"])).await.unwrap(), [5]);
    assert_eq!(logged(store, "s").await.into_iter().map(|(seq, _)| seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

/// Each caller's events stay in his order, none is lost, no number is given twice.
pub async fn two_owners_at_once_lose_nothing(store: &dyn Store) {
    let appends = (0..4).map(|owner| async move {
        let mut last = 0;
        for round in 0..5 {
            let keys: Vec<String> = (0..3).map(|n| format!("{owner}-{round}-{n}")).collect();
            last = *store.append_events("s", last, &events(keys)).await.unwrap().last().unwrap();
        }
    });
    join_all(appends).await;
    let log = logged(store, "s").await;
    assert_eq!(log.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    for owner in 0..4 {
        let own: Vec<&String> =
            log.iter().map(|(_, key)| key).filter(|key| key.starts_with(&format!("{owner}-"))).collect();
        assert_eq!(own.len(), 15);
        assert!(own.is_sorted(), "{own:?}");
    }
}

/// Sessions and keys are opaque.
pub async fn any_text_is_a_session_or_a_key(store: &dyn Store) {
    let ids = hostile_ids();
    for id in &ids {
        store.append_events(id, 0, &[event("k", 0)]).await.unwrap();
    }
    assert_eq!(store.last_events(None).await.unwrap().len(), ids.len());
    let ranges: Vec<EventRange> = ids.iter().map(|id| range(id, 0, 1)).collect();
    let mut found: Vec<String> =
        store.read_events(&ranges).await.unwrap().into_iter().map(|it| it.session).collect();
    found.sort();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(found, sorted);
    let numbers = store.append_events("keys", 0, &events(&ids)).await.unwrap();
    assert_eq!(numbers, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert_eq!(store.append_events("keys", 0, &events(&ids)).await.unwrap(), numbers);
}

/// The oldest go, and numbers go on.
pub async fn trimming_keeps_the_newest_of_the_number(store: &dyn Store) {
    store.append_events("s", 0, &events(1..=10)).await.unwrap();
    store.append_events("t", 0, &events(1..=3)).await.unwrap();
    assert_eq!(store.trim_events("s", 4, Timestamp::from_unix_ms(0)).await.unwrap(), 6);
    assert_eq!(store.trim_events("s", 4, Timestamp::from_unix_ms(0)).await.unwrap(), 0);
    assert_eq!(numbers(&store.first_events(None).await.unwrap()), [("s", 7), ("t", 1)]);
    assert_eq!(logged(store, "s").await.len(), 4);
    // The newest stays, so that the numbers are not given again.
    assert_eq!(store.trim_events("s", 0, Timestamp::from_unix_ms(0)).await.unwrap(), 3);
    assert_eq!(store.append_events("s", 10, &events(["x"])).await.unwrap(), [11]);
    assert_eq!(store.trim_events("none", 0, NOW).await.unwrap(), 0);
}

/// By age, from the front; one whose clock was wrong makes no hole.
pub async fn trimming_by_age_makes_no_hole(store: &dyn Store) {
    let at = |seconds: [i64; 5]| -> Vec<NewEvent> {
        seconds.iter().enumerate().map(|(index, second)| event(&index.to_string(), *second)).collect()
    };
    let expired = Timestamp::from_unix_s(NOW.unix_s() + 10);
    store.append_events("s", 0, &at([1, 2, 20, 3, 21])).await.unwrap();
    assert_eq!(store.trim_events("s", 100, expired).await.unwrap(), 2);
    assert_eq!(numbers(&store.first_events(Some("s")).await.unwrap()), [("s", 3)]);
    store.append_events("t", 0, &at([1, 2, 3, 4, 5])).await.unwrap();
    assert_eq!(store.trim_events("t", 100, expired).await.unwrap(), 4);
    assert_eq!(numbers(&store.first_events(Some("t")).await.unwrap()), [("t", 5)]);
    // Both bounds at once: whichever takes more.
    store.append_events("u", 0, &at([1, 20, 21, 22, 23])).await.unwrap();
    assert_eq!(store.trim_events("u", 2, expired).await.unwrap(), 3);
}

/// Events, positions and dead letters.
pub async fn deleting_takes_all_of_one_session_and_nothing_else(store: &dyn Store) {
    register(store, "crm", &[]).await;
    for session in ["s", "s/", "st"] {
        store.append_events(session, 0, &events(["a", "b"])).await.unwrap();
        store.advance_positions("crm", &[position(session, 1)], NOW).await.unwrap();
        store.put_dead_letter(&letter("crm", session, 1)).await.unwrap();
    }
    assert_eq!(store.delete_events("s").await.unwrap(), 2);
    assert_eq!(store.delete_events("s").await.unwrap(), 0);
    assert!(logged(store, "s").await.is_empty());
    assert_eq!(logged(store, "s/").await.len(), 2);
    let mut positions = store.load_positions("crm").await.unwrap();
    positions.sort();
    assert_eq!(positions, [position("s/", 1), position("st", 1)]);
    assert_eq!(store.list_dead_letters("crm", false, 10, None).await.unwrap().items.len(), 2);
    assert_eq!(store.delete_dead_letters("crm", DeadLetterChoice::All).await.unwrap(), 2);
    assert!(store.get_consumer("crm").await.unwrap().is_some());
}

/// If the store says that nothing changed, nothing did.
pub async fn a_change_makes_the_revision_rise(store: &dyn Store) {
    let mut before = store.event_revision();
    let mut rises = |what: &str| {
        let now = store.event_revision();
        assert!(now.is_none() || now > before, "{what}");
        before = now;
    };
    store.append_events("s", 0, &events(1..=3)).await.unwrap();
    rises("append");
    store.trim_events("s", 1, Timestamp::from_unix_ms(0)).await.unwrap();
    rises("trim");
    store.put_dead_letter(&letter("crm", "s", 1)).await.unwrap();
    store.replay_dead_letters("crm", DeadLetterChoice::All).await.unwrap();
    rises("replay");
    store.delete_events("s").await.unwrap();
    rises("delete");
}

/// A model of one session's log, and random calls.
pub async fn random_calls_agree_with_a_model(store: &dyn Store) {
    let mut dice = Dice::new(7);
    let mut model: Vec<(u64, String)> = Vec::new();
    let mut last = 0;
    for _ in 0..60 {
        if dice.below(5) == 0 {
            let keep = 1 + dice.below(12);
            let gone = store.trim_events("s", keep, Timestamp::from_unix_ms(0)).await.unwrap();
            let cut = model.len().saturating_sub(keep as usize);
            model.drain(..cut);
            assert_eq!(gone, cut as u64);
        } else {
            let keys: Vec<String> = (0..dice.below(5)).map(|_| dice.below(40).to_string()).collect();
            let oldest = model.first().map_or(0, |(seq, _)| seq - 1);
            let known = if dice.below(3) == 0 { oldest.max(last / 2) } else { last };
            let numbers = store.append_events("s", known, &events(&keys)).await.unwrap();
            for (key, number) in keys.iter().zip(numbers) {
                match model.iter().find(|(_, logged)| logged == key) {
                    Some((seq, _)) => assert_eq!(number, *seq),
                    None => {
                        last += 1;
                        assert_eq!(number, last);
                        model.push((last, key.clone()));
                    }
                }
            }
        }
        assert_eq!(logged(store, "s").await, model);
    }
}
