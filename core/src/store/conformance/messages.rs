//! Rules of the [`MessageStore`](crate::store::MessageStore): recording, changing, counting, deleting.

use futures::future::join_all;

use super::samples::{Dice, NOW, hostile_ids, message, message_key, session, stored_session, text};
use crate::clock::Timestamp;
use crate::store::session::Counter;
use crate::store::{
    ChangeBatch, Direction, MessageChange, MessageKey, MessageKind, MessageStatus, RecordBatch, Recorded,
    SessionPatch, Store, StoredMessage,
};

const LATER: Timestamp = Timestamp::from_unix_s(NOW.unix_s() + 3_600);

async fn get(store: &dyn Store, session: &str, key: &MessageKey) -> Option<StoredMessage> {
    store.get_messages(session, std::slice::from_ref(key)).await.unwrap().remove(0)
}

async fn counters(store: &dyn Store, session: &str) -> (u64, u64, u64) {
    let record = stored_session(store, session).await;
    (record.messages_sent, record.messages_received, record.total_chats)
}

/// Every kind, every field.
pub async fn a_message_comes_back_as_recorded(store: &dyn Store) {
    session(store, "s").await;
    let target = message_key("c", "quoted");
    let kinds = [
        text("hola 🦀 \0 $set"),
        MessageKind::Text { text: "re".into(), quoted: Some(target.clone()) },
        MessageKind::Reaction { target, emoji: "👍".into() },
        MessageKind::Media {
            media: "image".into(),
            caption: Some("pie".into()),
            mime_type: Some("image/jpeg".into()),
            size_bytes: Some(5 << 30),
        },
        MessageKind::Media { media: "audio".into(), caption: None, mime_type: None, size_bytes: None },
        MessageKind::Other { name: "poll_creation_message".into() },
    ];
    let messages: Vec<StoredMessage> = kinds
        .into_iter()
        .enumerate()
        .map(|(index, content)| {
            let mut message = message("c", &index.to_string(), Direction::In, index as i64);
            message.content = content;
            message.from_me = index % 2 == 0;
            message.sender_name = (index % 3 == 0).then(|| "Ana".to_owned());
            message.status = MessageStatus::ALL[index];
            message.edited_at = (index == 1).then_some(LATER);
            message
        })
        .collect();
    let recorded = store.record_messages("s", &messages, &[], NOW).await.unwrap();
    assert_eq!(recorded, Recorded { inserted: vec![true; 6] });
    let mut keys: Vec<_> = messages.iter().map(|message| message.key.clone()).collect();
    keys.push(message_key("c", "absent"));
    let mut expected: Vec<_> = messages.into_iter().map(Some).collect();
    expected.push(None);
    assert_eq!(store.get_messages("s", &keys).await.unwrap(), expected);
    assert!(store.get_messages("s", &[]).await.unwrap().is_empty());
    assert_eq!(get(store, "other", &keys[0]).await, None);
    let empty = store.record_messages("s", &[], &[], NOW).await.unwrap();
    assert_eq!(empty, Recorded::default());
}

/// The first stays as it is; nothing is counted again.
pub async fn a_redelivery_counts_once(store: &dyn Store) {
    session(store, "s").await;
    let first = message("c", "1", Direction::In, 1);
    store.record_messages("s", std::slice::from_ref(&first), &[], NOW).await.unwrap();
    let mut again = first.clone();
    again.content = text("other");
    let fresh = message("c", "2", Direction::In, 2);
    let recorded = store.record_messages("s", &[again, fresh], &[], LATER).await.unwrap();
    assert_eq!(recorded, Recorded { inserted: vec![false, true] });
    assert_eq!(get(store, "s", &first.key).await, Some(first));
    assert_eq!(counters(store, "s").await, (0, 2, 1));
    assert_eq!(store.get_chat("s", "c").await.unwrap().unwrap().unread_count, 2);
    assert_eq!(stored_session(store, "s").await.last_activity, LATER);
}

/// The first of the two.
pub async fn twice_in_one_call_counts_once(store: &dyn Store) {
    session(store, "s").await;
    let first = message("c", "1", Direction::In, 1);
    let mut second = first.clone();
    second.content = text("second");
    let recorded = store.record_messages("s", &[first.clone(), second], &[], NOW).await.unwrap();
    assert_eq!(recorded.inserted, [true, false]);
    assert_eq!(get(store, "s", &first.key).await, Some(first));
    assert_eq!(counters(store, "s").await, (0, 1, 1));
}

/// Received, sent, and the phone's history.
pub async fn counters_follow_direction_and_history(store: &dyn Store) {
    session(store, "s").await;
    let mut history = message("d", "4", Direction::In, -100);
    history.from_history = true;
    let messages = [
        message("c", "1", Direction::In, 1),
        message("c", "2", Direction::Out, 2),
        message("c", "3", Direction::In, 3),
        history,
    ];
    let recorded = store.record_messages("s", &messages, &[], NOW).await.unwrap();
    assert_eq!(recorded, Recorded { inserted: vec![true; 4] });
    assert_eq!(counters(store, "s").await, (1, 2, 2));
    let chat = store.get_chat("s", "c").await.unwrap().unwrap();
    assert_eq!((chat.unread_count, chat.last_message_at), (2, Some(messages[2].timestamp)));
    let chat = store.get_chat("s", "d").await.unwrap().unwrap();
    assert_eq!((chat.unread_count, chat.last_message_at), (0, Some(messages[3].timestamp)));
}

/// Session, chat and sender belong to the key.
pub async fn the_same_id_elsewhere_is_another_message(store: &dyn Store) {
    let mut other_sender = message("c", "1", Direction::In, 3);
    other_sender.key.sender = "someone else".into();
    let messages = [message("c", "1", Direction::In, 1), message("d", "1", Direction::In, 2), other_sender];
    for name in ["s", "s2"] {
        session(store, name).await;
        let recorded = store.record_messages(name, &messages, &[], NOW).await.unwrap();
        assert_eq!(recorded, Recorded { inserted: vec![true; 3] });
        assert_eq!(counters(store, name).await, (0, 3, 2));
    }
}

/// In every part of it.
pub async fn any_text_is_a_message_key(store: &dyn Store) {
    session(store, "s").await;
    let mut messages = Vec::new();
    for id in hostile_ids() {
        let keys = [
            message_key(&id, "as chat"),
            message_key("c", &id),
            MessageKey { chat_id: "c".into(), sender: id.clone(), message_id: "as sender".into() },
        ];
        messages.extend(keys.map(|key| StoredMessage::new(key, Direction::In, NOW, text(&id))));
    }
    for (a, b) in [("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c"), ("a", "b%2Fc")] {
        messages.push(message(a, b, Direction::In, 1));
        let key = MessageKey { chat_id: "c".into(), sender: a.into(), message_id: b.into() };
        messages.push(StoredMessage::new(key, Direction::In, NOW, text("x")));
    }
    let recorded = store.record_messages("s", &messages, &[], NOW).await.unwrap();
    assert!(recorded.inserted.iter().all(|new| *new));
    let keys: Vec<_> = messages.iter().map(|message| message.key.clone()).collect();
    let read: Vec<_> =
        store.get_messages("s", &keys).await.unwrap().into_iter().map(Option::unwrap).collect();
    assert_eq!(read, messages);
    assert_eq!(counters(store, "s").await.1, messages.len() as u64);
}

/// Whatever the order of receipts.
pub async fn a_status_never_falls(store: &dyn Store) {
    let sent = message("c", "1", Direction::Out, 1);
    store.record_messages("s", std::slice::from_ref(&sent), &[], NOW).await.unwrap();
    let mut highest = MessageStatus::Pending;
    for status in [
        MessageStatus::Indeterminate,
        MessageStatus::Sent,
        MessageStatus::Failed,
        MessageStatus::Read,
        MessageStatus::Delivered,
        MessageStatus::Pending,
        MessageStatus::Played,
        MessageStatus::Read,
    ] {
        highest = highest.max(status);
        let changes = [(sent.key.clone(), MessageChange::Status(status))];
        let changed = store.change_messages("s", &changes, LATER).await.unwrap();
        assert_eq!(changed[0].as_ref().unwrap().status, highest);
        assert_eq!(get(store, "s", &sent.key).await.unwrap().status, highest);
    }
}

/// All orders of two edits, a revocation and a receipt, each applied twice.
pub async fn edits_and_revocations_end_alike_in_any_order(store: &dyn Store) {
    let at = |second: i64| Timestamp::from_unix_s(NOW.unix_s() + second);
    let changes = [
        MessageChange::Edited { content: text("first edit"), at: at(10) },
        MessageChange::Edited { content: text("second edit"), at: at(20) },
        MessageChange::Revoked { at: at(30) },
        MessageChange::Revoked { at: at(40) },
    ];
    let mut ends = Vec::new();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2], [1, 0, 2, 3]] {
        let id = format!("{order:?}");
        let original = message("c", &id, Direction::In, 1);
        store.record_messages("s", std::slice::from_ref(&original), &[], NOW).await.unwrap();
        for _ in 0..2 {
            for step in order {
                let change = [(original.key.clone(), changes[step].clone())];
                store.change_messages("s", &change, LATER).await.unwrap();
            }
            let mut end = get(store, "s", &original.key).await.unwrap();
            assert_eq!(end.revoked_at, Some(at(30)));
            assert!(
                [text("first edit"), text("second edit"), text(&id)].iter().all(|text| *text != end.content)
            );
            end.key.message_id.clear();
            ends.push(end);
        }
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:#?}");
}

/// And one of the same moment too.
pub async fn an_older_edit_is_ignored(store: &dyn Store) {
    let original = message("c", "1", Direction::In, 1);
    store.record_messages("s", std::slice::from_ref(&original), &[], NOW).await.unwrap();
    let edit = |content: &str, second: i64| {
        let at = Timestamp::from_unix_s(NOW.unix_s() + second);
        (original.key.clone(), MessageChange::Edited { content: text(content), at })
    };
    for (change, stands) in [
        (edit("new", 20), "new"),
        (edit("old", 10), "new"),
        (edit("same", 20), "new"),
        (edit("newer", 21), "newer"),
    ] {
        let changed = store.change_messages("s", &[change], LATER).await.unwrap();
        assert_eq!(changed[0].as_ref().unwrap().content, text(stands));
    }
}

/// And make nothing.
pub async fn changes_of_what_is_not_there_are_none(store: &dyn Store) {
    assert!(store.change_messages("s", &[], NOW).await.unwrap().is_empty());
    let there = message("c", "1", Direction::Out, 1);
    store.record_messages("s", std::slice::from_ref(&there), &[], NOW).await.unwrap();
    let absent = message_key("c", "absent");
    let changes = [
        (absent.clone(), MessageChange::Status(MessageStatus::Read)),
        (there.key.clone(), MessageChange::Status(MessageStatus::Sent)),
        (absent.clone(), MessageChange::Edited { content: text("x"), at: NOW }),
        (absent.clone(), MessageChange::Revoked { at: NOW }),
    ];
    let changed = store.change_messages("s", &changes, LATER).await.unwrap();
    assert_eq!(changed.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!(get(store, "s", &absent).await, None);
}

/// In one call, in order; both answers show the end.
pub async fn two_changes_of_one_message_both_count(store: &dyn Store) {
    let sent = message("c", "1", Direction::Out, 1);
    store.record_messages("s", std::slice::from_ref(&sent), &[], NOW).await.unwrap();
    let changes = [
        (sent.key.clone(), MessageChange::Status(MessageStatus::Read)),
        (sent.key.clone(), MessageChange::Edited { content: text("edit"), at: LATER }),
        (sent.key.clone(), MessageChange::Status(MessageStatus::Sent)),
    ];
    let changed = store.change_messages("s", &changes, LATER).await.unwrap();
    for message in changed {
        let message = message.unwrap();
        assert_eq!((message.status, message.content), (MessageStatus::Read, text("edit")));
    }
}

/// Whatever they were.
pub async fn recounting_mends_the_counters(store: &dyn Store) {
    session(store, "s").await;
    let mut history = message("d", "3", Direction::Out, 3);
    history.from_history = true;
    let messages = [
        message("c", "1", Direction::In, 1),
        message("c", "2", Direction::Out, 2),
        message("e", "1", Direction::In, 1),
        history,
    ];
    store.record_messages("s", &messages, &[], NOW).await.unwrap();
    let wrong = SessionPatch {
        messages_sent: Some(Counter::Set(90)),
        messages_received: Some(Counter::Set(0)),
        total_chats: Some(0),
        ..Default::default()
    };
    store.patch_session("s", &wrong, NOW).await.unwrap();
    assert_eq!(store.recount("s", LATER).await.unwrap(), (1, 2, 3));
    assert_eq!(counters(store, "s").await, (1, 2, 3));
    assert_eq!(store.recount("nobody", LATER).await.unwrap(), (0, 0, 0));
}

/// The same messages from many tasks: each is new to exactly one.
pub async fn concurrent_deliveries_count_once(store: &dyn Store) {
    session(store, "s").await;
    session(store, "s2").await;
    let messages: Vec<_> = (0..5).map(|id| message("c", &id.to_string(), Direction::In, id)).collect();
    let tasks = (0..12).map(|task| {
        let name = if task % 2 == 0 { "s" } else { "s2" };
        store.record_messages(name, &messages, &[], NOW)
    });
    let mut new = 0;
    for recorded in join_all(tasks).await {
        new += recorded.unwrap().inserted.iter().filter(|new| **new).count();
    }
    assert_eq!(new, 10);
    for name in ["s", "s2"] {
        assert_eq!(counters(store, name).await, (0, 5, 1));
        assert_eq!(store.get_chat(name, "c").await.unwrap().unwrap().unread_count, 5);
    }
}

/// As one call after the other would, with the answers in order.
pub async fn recording_many_equals_recording_one_by_one(store: &dyn Store) {
    let mut dice = Dice::new(11);
    let names = ["a", "b", "c"];
    for name in names {
        session(store, &format!("{name} many")).await;
        session(store, &format!("{name} loop")).await;
    }
    for _ in 0..6 {
        let calls: Vec<(&str, Vec<StoredMessage>)> = (0..dice.below(6))
            .map(|_| {
                let messages = (0..dice.below(5)).map(|_| {
                    let chat = ["x", "y@g.us"][dice.below(2) as usize];
                    let direction = if dice.below(3) == 0 { Direction::Out } else { Direction::In };
                    let mut one = message(chat, &dice.below(12).to_string(), direction, dice.below(9) as i64);
                    one.from_history = dice.below(6) == 0;
                    one
                });
                let messages = messages.collect();
                (names[dice.below(3) as usize], messages)
            })
            .collect();
        let sessions: Vec<String> = calls.iter().map(|(name, _)| format!("{name} many")).collect();
        let batches: Vec<RecordBatch<'_>> = sessions
            .iter()
            .zip(&calls)
            .map(|(session, (_, messages))| RecordBatch { session, messages, names: &[], now: NOW })
            .collect();
        let many = store.record_many(&batches).await;
        assert_eq!(many.len(), calls.len());
        for (many, (name, messages)) in many.into_iter().zip(&calls) {
            let one = store.record_messages(&format!("{name} loop"), messages, &[], NOW).await.unwrap();
            assert_eq!(many.unwrap(), one);
        }
    }
    for name in names {
        let (many, one) = (format!("{name} many"), format!("{name} loop"));
        assert_eq!(counters(store, &many).await, counters(store, &one).await);
        for chat in ["x", "y@g.us"] {
            let of = async |session: &str| store.get_chat(session, chat).await.unwrap();
            assert_eq!(of(&many).await, of(&one).await);
        }
        let page = crate::store::MessagePage { limit: 1_000, ..Default::default() };
        let items = async |session: &str| store.list_messages(session, &page).await.unwrap().items;
        assert_eq!(items(&many).await, items(&one).await);
    }
}

/// Of several sessions, in one call: each answer at its place, and what is not there is none.
pub async fn changing_many_equals_changing_one_by_one(store: &dyn Store) {
    let sent = message("c", "1", Direction::Out, 1);
    for name in ["a", "b"] {
        store.record_messages(name, std::slice::from_ref(&sent), &[], NOW).await.unwrap();
    }
    let status = |status| [(sent.key.clone(), MessageChange::Status(status))];
    let edit = [
        (sent.key.clone(), MessageChange::Edited { content: text("edit"), at: LATER }),
        (message_key("c", "absent"), MessageChange::Status(MessageStatus::Read)),
    ];
    let (read, played) = (status(MessageStatus::Read), status(MessageStatus::Played));
    let batch = |session, changes| ChangeBatch { session, changes, now: LATER };
    let many = [
        batch("a", &read[..]),
        batch("b", &played),
        batch("none", &read),
        batch("a", &edit),
        batch("b", &[]),
    ];
    let answers: Vec<_> = store.change_many(&many).await.into_iter().map(Result::unwrap).collect();
    let shown = |answer: &[Option<StoredMessage>]| -> Vec<Option<(MessageStatus, MessageKind)>> {
        answer.iter().map(|one| one.as_ref().map(|one| (one.status, one.content.clone()))).collect()
    };
    // As they stand after all changes of the call, or after their own.
    let first = &shown(&answers[0])[0];
    assert!(first.as_ref().is_some_and(|(status, _)| *status == MessageStatus::Read));
    assert_eq!(shown(&answers[1]), [Some((MessageStatus::Played, text("1")))]);
    assert_eq!(shown(&answers[2]), [None]);
    assert_eq!(shown(&answers[3]), [Some((MessageStatus::Read, text("edit"))), None]);
    assert!(answers[4].is_empty());
    assert_eq!(get(store, "b", &sent.key).await.unwrap().content, text("1"));
}

/// There is nothing to count into, and none is made.
pub async fn without_a_session_record_messages_are_kept(store: &dyn Store) {
    let first = message("c", "1", Direction::In, 1);
    let recorded = store.record_messages("s", std::slice::from_ref(&first), &[], NOW).await.unwrap();
    assert_eq!(recorded, Recorded { inserted: vec![true] });
    assert_eq!(get(store, "s", &first.key).await, Some(first));
    assert_eq!(store.get_session("s").await.unwrap(), None);
}

/// Not even of a session whose id begins alike.
pub async fn deleting_takes_all_of_one_session_and_nothing_else(store: &dyn Store) {
    let sessions = ["ventas", "ventas2", "ventas/2", "ventas%", "venta"];
    let messages = [
        message("c", "1", Direction::In, 1),
        message("d", "2", Direction::Out, 2),
        message("c", "3", Direction::In, 3),
    ];
    for name in sessions {
        store.record_messages(name, &messages, &[], NOW).await.unwrap();
    }
    assert_eq!(store.delete_messages("ventas").await.unwrap(), (3, 2));
    assert_eq!(store.delete_messages("ventas").await.unwrap(), (0, 0));
    assert_eq!(get(store, "ventas", &messages[0].key).await, None);
    assert_eq!(store.get_chat("ventas", "c").await.unwrap(), None);
    for name in &sessions[1..] {
        assert!(get(store, name, &messages[0].key).await.is_some(), "session {name:?}");
        assert!(store.get_chat(name, "d").await.unwrap().is_some(), "session {name:?}");
    }
}
