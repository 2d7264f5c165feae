//! Rules of the [`OutboxStore`](crate::store::OutboxStore): order, bounds, steps, owners.

use super::samples::{Dice, NOW, assert_conflict, hostile_ids};
use crate::clock::Timestamp;
use crate::store::{OutboxEntry, OutboxState, OutboxStep, Pushed, Stepped, Store};

const MOST: u64 = 1_000;

fn second(second: i64) -> Timestamp {
    Timestamp::from_unix_s(NOW.unix_s() + second)
}

fn entry(id: &str) -> OutboxEntry {
    OutboxEntry::new(id, format!("content of {id}"), NOW, second(60))
}

async fn push(store: &dyn Store, session: &str, id: &str) -> u64 {
    match store.push_outbox(session, &entry(id), MOST).await.unwrap() {
        Pushed::New { position } => position,
        other => panic!("expected a new entry, got {other:?}"),
    }
}

async fn ids(store: &dyn Store, session: &str) -> Vec<String> {
    let entries = store.list_outbox(session, 1_000, 0).await.unwrap();
    entries.into_iter().map(|entry| entry.message_id).collect()
}

async fn done(store: &dyn Store, id: &str, step: OutboxStep) -> (OutboxState, OutboxEntry) {
    match store.step_outbox("s", id, step).await.unwrap() {
        Stepped::Done { was, entry } => (was, entry),
        other => panic!("expected {step:?} to be taken, got {other:?}"),
    }
}

async fn not_possible(store: &dyn Store, id: &str, step: OutboxStep) -> OutboxState {
    match store.step_outbox("s", id, step).await.unwrap() {
        Stepped::NotPossible(entry) => entry.state,
        other => panic!("expected {step:?} to be impossible, got {other:?}"),
    }
}

/// Every field, and those of an entry in doubt.
pub async fn an_entry_comes_back_as_pushed(store: &dyn Store) {
    assert_eq!(store.get_outbox("s", "1").await.unwrap(), None);
    assert!(ids(store, "s").await.is_empty());
    let large = OutboxEntry::new("2", "é\n\"$".repeat(30_000), second(5), second(90)).in_doubt();
    for pushed in [entry("1"), large] {
        let Pushed::New { position } = store.push_outbox("s", &pushed, MOST).await.unwrap() else {
            panic!("an entry is pushed")
        };
        let stored = OutboxEntry { position, ..pushed.clone() };
        assert_eq!(store.get_outbox("s", &pushed.message_id).await.unwrap(), Some(stored));
    }
    assert_eq!(store.get_outbox("other", "1").await.unwrap(), None);
    assert_eq!(ids(store, "s").await, ["1", "2"]);
}

/// Even if the clock stands still or goes back, and after the last one has gone.
pub async fn entries_are_listed_in_the_order_of_pushing(store: &dyn Store) {
    let mut positions = Vec::new();
    for (id, at) in [("c", 10), ("a", 10), ("b", 3), ("d", 40)] {
        let pushed = OutboxEntry::new(id, "", second(at), second(60));
        match store.push_outbox("s", &pushed, MOST).await.unwrap() {
            Pushed::New { position } => positions.push(position),
            other => panic!("expected a new entry, got {other:?}"),
        }
    }
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
    assert_eq!(ids(store, "s").await, ["c", "a", "b", "d"]);
    let page = store.list_outbox("s", 2, 0).await.unwrap();
    assert_eq!(page.len(), 2);
    let next = store.list_outbox("s", 2, page[1].position).await.unwrap();
    assert_eq!(next.iter().map(|entry| entry.message_id.as_str()).collect::<Vec<_>>(), ["b", "d"]);
    assert!(store.list_outbox("s", 0, 0).await.is_err());
    assert!(store.list_outbox("s", 1_001, 0).await.is_err());
}

/// The first one stays.
pub async fn the_same_message_is_pushed_once(store: &dyn Store) {
    push(store, "s", "1").await;
    let (_, claimed) = done(store, "1", OutboxStep::Claim { generation: 2 }).await;
    let again = OutboxEntry::new("1", "another content", second(9), second(99));
    assert_eq!(store.push_outbox("s", &again, MOST).await.unwrap(), Pushed::Known(claimed.clone()));
    // Also if there is no room.
    assert_eq!(store.push_outbox("s", &again, 1).await.unwrap(), Pushed::Known(claimed));
    push(store, "other", "1").await;
    assert_eq!(ids(store, "s").await.len(), 1);
}

/// And one that goes makes room.
pub async fn a_full_outbox_takes_nothing(store: &dyn Store) {
    for id in ["1", "2", "3"] {
        push(store, "s", id).await;
    }
    assert_eq!(store.push_outbox("s", &entry("4"), 3).await.unwrap(), Pushed::Full);
    assert_eq!(store.get_outbox("s", "4").await.unwrap(), None);
    assert!(store.remove_outbox("s", "2", None).await.unwrap());
    assert!(!store.remove_outbox("s", "2", None).await.unwrap());
    assert!(matches!(store.push_outbox("s", &entry("4"), 3).await.unwrap(), Pushed::New { .. }));
    assert_eq!(ids(store, "s").await, ["1", "3", "4"]);
}

/// Each has a place of its own, and no more get in than may.
pub async fn many_push_at_once(store: &dyn Store) {
    let push = |n: usize| async move { store.push_outbox("s", &entry(&n.to_string()), 12).await.unwrap() };
    let pushed = futures::future::join_all((0..20).map(push)).await;
    let mut positions: Vec<u64> = pushed
        .iter()
        .filter_map(|pushed| if let Pushed::New { position } = pushed { Some(*position) } else { None })
        .collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 12);
    assert_eq!(ids(store, "s").await.len(), 12);
}

/// Claimed, given back, claimed again: each claim counts.
pub async fn steps_move_an_entry(store: &dyn Store) {
    push(store, "s", "1").await;
    let (was, claimed) = done(store, "1", OutboxStep::Claim { generation: 3 }).await;
    assert_eq!((was, claimed.state), (OutboxState::Queued, OutboxState::Sending));
    assert_eq!((claimed.attempts, claimed.generation), (1, 3));
    assert_eq!(claimed.content, "content of 1");
    assert_eq!(not_possible(store, "1", OutboxStep::Cancel).await, OutboxState::Sending);
    assert_eq!(not_possible(store, "1", OutboxStep::Expire).await, OutboxState::Sending);
    let (was, again) = done(store, "1", OutboxStep::Claim { generation: 3 }).await;
    assert_eq!((was, again.attempts), (OutboxState::Sending, 2));
    let (_, back) = done(store, "1", OutboxStep::GiveBack { generation: 3 }).await;
    assert_eq!((back.state, back.attempts), (OutboxState::Queued, 2));
    for _ in 0..2 {
        let (_, cancelled) = done(store, "1", OutboxStep::Cancel).await;
        assert_eq!(cancelled.state, OutboxState::Cancelled);
    }
    assert_eq!(not_possible(store, "1", OutboxStep::Claim { generation: 3 }).await, OutboxState::Cancelled);
    assert_eq!(not_possible(store, "1", OutboxStep::Expire).await, OutboxState::Cancelled);
    assert_eq!(store.step_outbox("s", "2", OutboxStep::Cancel).await.unwrap(), Stepped::Absent);
    assert_eq!(store.step_outbox("other", "1", OutboxStep::Cancel).await.unwrap(), Stepped::Absent);
}

/// Of a claim and a cancel at the same time exactly one wins.
pub async fn a_claim_and_a_cancel_exclude_each_other(store: &dyn Store) {
    for n in 0..8 {
        let id = n.to_string();
        push(store, "s", &id).await;
        let claim = store.step_outbox("s", &id, OutboxStep::Claim { generation: 1 });
        let cancel = store.step_outbox("s", &id, OutboxStep::Cancel);
        let (claimed, cancelled) = futures::join!(claim, cancel);
        let claimed = matches!(claimed.unwrap(), Stepped::Done { .. });
        let cancelled = matches!(cancelled.unwrap(), Stepped::Done { .. });
        assert!(claimed != cancelled, "claimed: {claimed}, cancelled: {cancelled}");
    }
}

/// It neither sends nor removes what a newer owner has in hand.
pub async fn a_late_owner_is_refused(store: &dyn Store) {
    push(store, "s", "1").await;
    done(store, "1", OutboxStep::Claim { generation: 5 }).await;
    assert_conflict(store.step_outbox("s", "1", OutboxStep::Claim { generation: 4 }).await);
    assert_conflict(store.step_outbox("s", "1", OutboxStep::GiveBack { generation: 4 }).await);
    assert_conflict(store.remove_outbox("s", "1", Some(4)).await);
    let kept = store.get_outbox("s", "1").await.unwrap().unwrap();
    assert_eq!((kept.state, kept.attempts, kept.generation), (OutboxState::Sending, 1, 5));
    done(store, "1", OutboxStep::Claim { generation: 6 }).await;
    assert!(store.remove_outbox("s", "1", Some(6)).await.unwrap());
    assert!(!store.remove_outbox("s", "1", Some(6)).await.unwrap());
}

/// One line a session, with the first expiry.
pub async fn the_backlog_names_sessions_with_entries(store: &dyn Store) {
    assert!(store.outbox_backlog().await.unwrap().is_empty());
    for (session, id, expiry) in [("a", "1", 70), ("b", "1", 90), ("b", "2", 80)] {
        store.push_outbox(session, &OutboxEntry::new(id, "", NOW, second(expiry)), MOST).await.unwrap();
    }
    let line = |backlog: &crate::store::OutboxBacklog| {
        (backlog.session.clone(), backlog.entries, backlog.first_expiry)
    };
    let backlog = store.outbox_backlog().await.unwrap();
    let lines: Vec<_> = backlog.iter().map(line).collect();
    assert_eq!(lines, [("a".into(), 1, second(70)), ("b".into(), 2, second(80))]);
    store.remove_outbox("a", "1", None).await.unwrap();
    let backlog = store.outbox_backlog().await.unwrap();
    assert_eq!(backlog.iter().map(line).collect::<Vec<_>>(), [("b".into(), 2, second(80))]);
}

/// And of no other.
pub async fn deleting_takes_all_entries_of_one_session(store: &dyn Store) {
    for (session, id) in [("s", "1"), ("s", "2"), ("other", "1")] {
        push(store, session, id).await;
    }
    assert_eq!(store.delete_outbox("s").await.unwrap(), 2);
    assert_eq!(store.delete_outbox("s").await.unwrap(), 0);
    assert!(ids(store, "s").await.is_empty());
    assert_eq!(ids(store, "other").await, ["1"]);
}

/// Sessions and messages may be named anyhow.
pub async fn any_text_is_a_message_id(store: &dyn Store) {
    let names = hostile_ids();
    for name in &names {
        push(store, name, "1").await;
        push(store, "s", name).await;
    }
    assert_eq!(ids(store, "s").await, names);
    for name in &names {
        assert!(matches!(store.step_outbox("s", name, OutboxStep::Expire).await, Ok(Stepped::Done { .. })));
        assert!(store.remove_outbox("s", name, None).await.unwrap(), "{name:?}");
        assert_eq!(ids(store, name).await.len(), 1, "{name:?}");
    }
}

/// Random steps by random owners: each answer and each state is what the rule says.
pub async fn steps_follow_the_rule(store: &dyn Store) {
    let mut dice = Dice::new(7);
    for round in 0..4 {
        let id = round.to_string();
        let position = push(store, "s", &id).await;
        let mut model = OutboxEntry { position, ..entry(&id) };
        for _ in 0..20 {
            let generation = dice.below(4);
            let step = match dice.below(6) {
                0..=1 => OutboxStep::Claim { generation },
                2..=3 => OutboxStep::GiveBack { generation },
                4 => OutboxStep::Cancel,
                _ => OutboxStep::Expire,
            };
            let answer = store.step_outbox("s", &id, step).await;
            match step.apply(&model) {
                Ok(Some(after)) => {
                    let was = std::mem::replace(&mut model, after.clone()).state;
                    assert_eq!(answer.unwrap(), Stepped::Done { was, entry: after });
                }
                Ok(None) => assert_eq!(answer.unwrap(), Stepped::NotPossible(model.clone())),
                Err(_) => assert_conflict(answer),
            }
            assert_eq!(store.get_outbox("s", &id).await.unwrap(), Some(model.clone()));
        }
    }
}
