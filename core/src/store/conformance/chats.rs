//! Rules of the [`MessageStore`](crate::store::MessageStore): chats.

use super::samples::{NOW, hostile_ids, message, session, stored_session};
use crate::clock::Timestamp;
use crate::store::{Chat, ChatPatch, Direction, Store};

const LATER: Timestamp = Timestamp::from_unix_s(NOW.unix_s() + 60);

fn patch(chat_id: &str) -> ChatPatch {
    ChatPatch { chat_id: chat_id.to_owned(), name: None, last_message_at: None, unread_count: None }
}

async fn chat(store: &dyn Store, chat_id: &str) -> Chat {
    store.get_chat("s", chat_id).await.unwrap().unwrap()
}

/// Only the fields that it names.
pub async fn a_patch_creates_and_changes(store: &dyn Store) {
    assert_eq!(store.get_chat("s", "g@g.us").await.unwrap(), None);
    assert_eq!(store.patch_chats("s", &[], NOW).await.unwrap(), 0);
    assert_eq!(store.patch_chats("s", &[patch("g@g.us")], NOW).await.unwrap(), 1);
    assert_eq!(chat(store, "g@g.us").await, Chat::new("g@g.us", NOW));
    assert!(chat(store, "g@g.us").await.is_group);

    let full = ChatPatch {
        name: Some("Équipe $x".into()),
        last_message_at: Some(LATER),
        unread_count: Some(4),
        ..patch("g@g.us")
    };
    assert_eq!(store.patch_chats("s", &[full], LATER).await.unwrap(), 0);
    let changed = chat(store, "g@g.us").await;
    assert_eq!(changed.name.as_deref(), Some("Équipe $x"));
    assert_eq!((changed.last_message_at, changed.unread_count), (Some(LATER), 4));
    assert_eq!((changed.created_at, changed.updated_at), (NOW, LATER));
    store.patch_chats("s", &[patch("g@g.us")], LATER).await.unwrap();
    assert_eq!(chat(store, "g@g.us").await, changed);
    assert_eq!(store.get_chat("other", "g@g.us").await.unwrap(), None);
}

/// Whether by a patch or by a message.
pub async fn new_chats_are_counted_once(store: &dyn Store) {
    session(store, "s").await;
    let patches = [patch("a"), patch("b"), ChatPatch { name: Some("A".into()), ..patch("a") }];
    assert_eq!(store.patch_chats("s", &patches, NOW).await.unwrap(), 2);
    assert_eq!(store.patch_chats("s", &patches, NOW).await.unwrap(), 0);
    let messages = [message("a", "1", Direction::In, 1), message("c", "2", Direction::Out, 2)];
    store.record_messages("s", &messages, &[], NOW).await.unwrap();
    assert_eq!(stored_session(store, "s").await.total_chats, 3);
    assert_eq!(chat(store, "a").await.name.as_deref(), Some("A"));

    let ids = hostile_ids();
    let patches: Vec<_> =
        ids.iter().map(|id| ChatPatch { name: Some(id.clone()), ..patch(&format!("chat {id}")) }).collect();
    assert_eq!(store.patch_chats("s", &patches, NOW).await.unwrap(), ids.len() as u64);
    for id in &ids {
        assert_eq!(chat(store, &format!("chat {id}")).await.name.as_ref(), Some(id));
    }
}

/// Also with a redelivered message.
pub async fn names_are_set_where_a_chat_is(store: &dyn Store) {
    let first = [message("c", "1", Direction::In, 1)];
    store.record_messages("s", &first, &[("c".into(), "Ana".into())], NOW).await.unwrap();
    assert_eq!(chat(store, "c").await.name.as_deref(), Some("Ana"));
    store.record_messages("s", &first, &[("c".into(), "Ana María".into())], NOW).await.unwrap();
    let named = chat(store, "c").await;
    assert_eq!((named.name.as_deref(), named.unread_count), (Some("Ana María"), 1));
}

/// And later messages count from zero.
pub async fn reading_clears_what_is_unread(store: &dyn Store) {
    for (id, unread) in [("1", 1), ("2", 2)] {
        store.record_messages("s", &[message("c", id, Direction::In, 1)], &[], NOW).await.unwrap();
        assert_eq!(chat(store, "c").await.unread_count, unread);
    }
    store.patch_chats("s", &[ChatPatch { unread_count: Some(0), ..patch("c") }], NOW).await.unwrap();
    assert_eq!(chat(store, "c").await.unread_count, 0);
    store.record_messages("s", &[message("c", "3", Direction::In, 1)], &[], NOW).await.unwrap();
    store.record_messages("s", &[message("c", "4", Direction::Out, 1)], &[], NOW).await.unwrap();
    assert_eq!(chat(store, "c").await.unread_count, 1);
}

/// Not the last one stored.
pub async fn the_newest_message_decides_the_time(store: &dyn Store) {
    let at = |second: i64| Some(Timestamp::from_unix_s(NOW.unix_s() + second));
    for (id, second, stands) in [("1", 50, 50), ("2", 20, 50), ("3", 70, 70)] {
        store.record_messages("s", &[message("c", id, Direction::In, second)], &[], NOW).await.unwrap();
        assert_eq!(chat(store, "c").await.last_message_at, at(stands));
    }
    for (second, stands) in [(60, 70), (80, 80)] {
        let patches = [ChatPatch { last_message_at: at(second), ..patch("c") }];
        store.patch_chats("s", &patches, NOW).await.unwrap();
        assert_eq!(chat(store, "c").await.last_message_at, at(stands));
    }
}
