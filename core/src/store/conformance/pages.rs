//! Rules of the [`MessageStore`](crate::store::MessageStore): pages.

use std::cmp::Reverse;

use super::samples::{NOW, assert_kind, message};
use crate::error::ErrorKind;
use crate::store::{Chat, ChatPatch, Direction, MessagePage, RecordBatch, Store, StoredMessage};

/// Messages with ties in time, in three chats, from two senders.
async fn fill(store: &dyn Store) -> Vec<StoredMessage> {
    let mut messages: Vec<StoredMessage> = (0..24)
        .map(|index| {
            let chat = ["a@g.us", "b", "a"][index % 3];
            let mut message = message(chat, &format!("m{}", index * 5 % 24), Direction::In, index as i64 / 6);
            message.key.sender = ["x", "y-1", "y/1", "y"][index % 4].to_owned();
            message
        })
        .collect();
    store.record_messages("s", &messages, &[], NOW).await.unwrap();
    store.record_messages("s2", &messages[..5], &[], NOW).await.unwrap();
    // Of one second the one that was recorded last comes first.
    messages.reverse();
    messages
}

async fn walk(store: &dyn Store, chat_id: Option<&str>, limit: u32) -> Vec<StoredMessage> {
    let mut page = MessagePage { chat_id: chat_id.map(str::to_owned), limit, after: None };
    let mut seen = Vec::new();
    loop {
        let answer = store.list_messages("s", &page).await.unwrap();
        assert!(answer.items.len() <= limit as usize && answer.malformed.is_empty());
        seen.extend(answer.items);
        assert!(seen.len() <= 24, "a page comes again");
        page.after = answer.next;
        if page.after.is_none() {
            return seen;
        }
    }
}

/// Ties by arrival, the last first; of one chat or of all; whatever the size of a page.
pub async fn messages_come_newest_first_and_complete(store: &dyn Store) {
    let messages = fill(store).await;
    for limit in [1, 5, 24, 1_000] {
        assert_eq!(walk(store, None, limit).await, messages, "limit {limit}");
        for chat in ["a", "b", "a@g.us", "none"] {
            let expected: Vec<_> =
                messages.iter().filter(|message| message.key.chat_id == chat).cloned().collect();
            assert_eq!(walk(store, Some(chat), limit).await, expected, "chat {chat}, limit {limit}");
        }
    }
}

/// Neither twice nor left out.
pub async fn a_page_stays_right_while_messages_arrive(store: &dyn Store) {
    let messages = fill(store).await;
    let first = store.list_messages("s", &MessagePage { limit: 10, ..Default::default() }).await.unwrap();
    assert_eq!(first.items, messages[..10]);
    let newer: Vec<_> = (0..3).map(|id| message("b", &format!("new {id}"), Direction::In, 1_000)).collect();
    store.record_messages("s", &newer, &[], NOW).await.unwrap();
    let page = MessagePage { limit: 1_000, after: first.next, chat_id: None };
    assert_eq!(store.list_messages("s", &page).await.unwrap().items, messages[10..]);
}

/// Whatever their keys, and in whatever calls they came; a redelivery stays where it was. What comes from the phone's
/// history is older than what arrived.
pub async fn messages_of_one_second_come_in_order_of_arrival(store: &dyn Store) {
    let arrived = ["m", "z", "a", "q", "b"].map(|id| message("c", id, Direction::In, 7));
    let mut history = ["y", "x"].map(|id| message("c", id, Direction::Out, 7));
    history.iter_mut().for_each(|message| message.from_history = true);
    store.record_messages("s", &arrived[..2], &[], NOW).await.unwrap();
    store.record_messages("s", &history, &[], NOW).await.unwrap();
    // A clock that has gone back makes no difference.
    let earlier = crate::clock::Timestamp::from_unix_s(NOW.unix_s() - 3_600);
    store.record_messages("s", &arrived[1..4], &[], earlier).await.unwrap();
    let batch = |messages| RecordBatch { session: "s", messages, names: &[], now: NOW };
    for recorded in store.record_many(&[batch(&arrived[4..]), batch(&arrived[..1])]).await {
        recorded.unwrap();
    }
    let expected = ["b", "q", "a", "z", "m", "y", "x"];
    for limit in [1, 3, 7] {
        for chat in [None, Some("c")] {
            let seen = walk(store, chat, limit).await;
            let seen: Vec<_> = seen.iter().map(|message| message.key.message_id.as_str()).collect();
            assert_eq!(seen, expected, "limit {limit}");
        }
    }
}

/// Those without a message last, ties by id.
pub async fn chats_come_newest_first_and_complete(store: &dyn Store) {
    let times = [Some(5), None, Some(9), Some(5), Some(5), None, Some(1)];
    let patches: Vec<ChatPatch> = times
        .into_iter()
        .enumerate()
        .map(|(index, second)| ChatPatch {
            chat_id: format!("c{}", index * 3 % 7),
            name: Some(format!("chat {index}")),
            last_message_at: second.map(crate::clock::Timestamp::from_unix_s),
            unread_count: None,
        })
        .collect();
    store.patch_chats("s", &patches, NOW).await.unwrap();
    store.patch_chats("s2", &patches[..2], NOW).await.unwrap();
    let mut expected: Vec<_> =
        patches.iter().map(|patch| (Reverse(patch.last_message_at), patch.chat_id.clone())).collect();
    expected.sort();
    for limit in [1, 2, 3, 7, 1_000] {
        let mut after = None;
        let mut seen: Vec<Chat> = Vec::new();
        loop {
            let answer = store.list_chats("s", limit, after.as_deref()).await.unwrap();
            assert!(answer.items.len() <= limit as usize && answer.malformed.is_empty());
            seen.extend(answer.items);
            assert!(seen.len() <= 7, "a page comes again");
            after = answer.next;
            if after.is_none() {
                break;
            }
        }
        let seen: Vec<_> =
            seen.into_iter().map(|chat| (Reverse(chat.last_message_at), chat.chat_id)).collect();
        assert_eq!(seen, expected, "limit {limit}");
    }
}

/// Before anything is read.
pub async fn a_bad_page_request_is_refused(store: &dyn Store) {
    for limit in [0, 1_001] {
        let page = MessagePage { limit, ..Default::default() };
        assert_kind(store.list_messages("s", &page).await, ErrorKind::Invalid);
        assert_kind(store.list_chats("s", limit, None).await, ErrorKind::Invalid);
    }
    let page = MessagePage { after: Some("{not a token".into()), ..Default::default() };
    assert_kind(store.list_messages("s", &page).await, ErrorKind::Invalid);
    assert_kind(store.list_chats("s", 5, Some("{not a token")).await, ErrorKind::Invalid);
}
