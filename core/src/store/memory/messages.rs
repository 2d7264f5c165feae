//! Messages and chats in memory.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;

use async_trait::async_trait;

use super::{Data, MemoryStore, check_limit, read_cursor, write_cursor};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::message::{
    ChangeBatch, Chat, ChatPatch, Direction, MessageKey, MessagePage, MessageStore, RecordBatch, Recorded,
    StoredMessage,
};
use crate::store::rules::{MessagePlace, apply_change, same_error};
use crate::store::session::Page;

/// The most that a page of messages or chats holds.
const MAX_LIMIT: u32 = 1_000;

/// A message, and when it came.
pub(super) struct Kept {
    message: StoredMessage,
    arrival: i64,
}

impl Data {
    fn chat_of(&mut self, session: &str, chat_id: &str, now: Timestamp) -> (&mut Chat, bool) {
        match self.chats.entry(session.to_owned()).or_default().entry(chat_id.to_owned()) {
            Entry::Occupied(chat) => (chat.into_mut(), false),
            Entry::Vacant(free) => (free.insert(Chat::new(chat_id, now)), true),
        }
    }

    fn add_chats(&mut self, session: &str, new_chats: u64, now: Timestamp) {
        if let Some(record) = self.sessions.get_mut(session).filter(|_| new_chats > 0) {
            record.total_chats += new_chats;
            record.updated_at = now;
        }
    }

    /// Stores one message unless it is there. Returns whether it was new, and whether its chat was.
    fn record(&mut self, session: &str, message: &StoredMessage, now: Timestamp) -> (bool, bool) {
        match self.messages.entry(session.to_owned()).or_default().entry(message.key.clone()) {
            Entry::Occupied(_) => return (false, false),
            Entry::Vacant(free) => {
                let arrival = self.arrivals.number(message, now);
                free.insert(Kept { message: message.clone(), arrival })
            }
        };
        let counts = !message.from_history;
        if let Some(record) = self.sessions.get_mut(session) {
            match message.direction {
                Direction::In => record.messages_received += u64::from(counts),
                Direction::Out => record.messages_sent += u64::from(counts),
            }
            record.last_activity = record.last_activity.max(now);
            record.updated_at = now;
        }
        let (chat, is_new) = self.chat_of(session, &message.key.chat_id, now);
        chat.last_message_at = chat.last_message_at.max(Some(message.timestamp));
        chat.unread_count += u32::from(counts && message.direction == Direction::In);
        chat.updated_at = now;
        (true, is_new)
    }

    fn record_batch(&mut self, batch: &RecordBatch<'_>) -> Recorded {
        let RecordBatch { session, now, .. } = *batch;
        let mut recorded = Recorded::default();
        let mut new_chats = 0;
        for message in batch.messages {
            let (inserted, new_chat) = self.record(session, message, now);
            recorded.inserted.push(inserted);
            new_chats += u64::from(new_chat);
        }
        for (chat_id, name) in batch.names {
            let chat = self.chats.get_mut(session).and_then(|chats| chats.get_mut(chat_id));
            if let Some(chat) = chat.filter(|chat| chat.name.as_ref() != Some(name)) {
                chat.name = Some(name.clone());
                chat.updated_at = now;
            }
        }
        self.add_chats(session, new_chats, now);
        recorded
    }

    fn change_batch(&mut self, batch: &ChangeBatch<'_>) -> Vec<Option<StoredMessage>> {
        let mut messages = self.messages.get_mut(batch.session);
        for (key, wanted) in batch.changes {
            if let Some(kept) = messages.as_mut().and_then(|messages| messages.get_mut(key)) {
                apply_change(&mut kept.message, wanted);
            }
        }
        batch.changes.iter().map(|(key, _)| Some(messages.as_ref()?.get(key)?.message.clone())).collect()
    }
}

#[async_trait]
impl MessageStore for MemoryStore {
    async fn record_many(&self, batches: &[RecordBatch<'_>]) -> Vec<Result<Recorded>> {
        match self.enter("record_messages").await {
            Ok(mut data) => batches.iter().map(|batch| Ok(data.record_batch(batch))).collect(),
            Err(error) => batches.iter().map(|_| Err(same_error(&error))).collect(),
        }
    }

    async fn change_many(&self, batches: &[ChangeBatch<'_>]) -> Vec<Result<Vec<Option<StoredMessage>>>> {
        match self.enter("change_messages").await {
            Ok(mut data) => batches.iter().map(|batch| Ok(data.change_batch(batch))).collect(),
            Err(error) => batches.iter().map(|_| Err(same_error(&error))).collect(),
        }
    }

    async fn get_messages(&self, session: &str, keys: &[MessageKey]) -> Result<Vec<Option<StoredMessage>>> {
        let data = self.enter("get_messages").await?;
        let messages = data.messages.get(session);
        Ok(keys.iter().map(|key| Some(messages?.get(key)?.message.clone())).collect())
    }

    async fn list_messages(&self, session: &str, page: &MessagePage) -> Result<Page<StoredMessage>> {
        let limit = check_limit(page.limit, MAX_LIMIT)?;
        let after: Option<MessagePlace> = read_cursor(page.after.as_deref())?;
        let data = self.enter("list_messages").await?;
        let place = |kept: &Kept| (kept.message.timestamp.unix_ms(), kept.arrival, kept.message.key.clone());
        let messages = data.messages.get(session).into_iter().flat_map(|messages| messages.values());
        let mut found: Vec<_> = messages
            .filter(|kept| page.chat_id.as_ref().is_none_or(|chat| kept.message.key.chat_id == *chat))
            .filter(|kept| after.as_ref().is_none_or(|after| place(kept) < *after))
            .collect();
        found.sort_by_key(|kept| Reverse(place(kept)));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|kept| write_cursor(&place(kept)));
        let items = found.into_iter().map(|kept| kept.message.clone()).collect();
        Ok(Page { next, items, malformed: Vec::new() })
    }

    async fn patch_chats(&self, session: &str, patches: &[ChatPatch], now: Timestamp) -> Result<u64> {
        let mut data = self.enter("patch_chats").await?;
        let mut new_chats = 0;
        for patch in patches {
            let (chat, is_new) = data.chat_of(session, &patch.chat_id, now);
            new_chats += u64::from(is_new);
            if patch.name.is_some() {
                chat.name.clone_from(&patch.name);
            }
            chat.last_message_at = chat.last_message_at.max(patch.last_message_at);
            chat.unread_count = patch.unread_count.unwrap_or(chat.unread_count);
            chat.updated_at = now;
        }
        data.add_chats(session, new_chats, now);
        Ok(new_chats)
    }

    async fn get_chat(&self, session: &str, chat_id: &str) -> Result<Option<Chat>> {
        let data = self.enter("get_chat").await?;
        Ok(data.chats.get(session).and_then(|chats| chats.get(chat_id)).cloned())
    }

    async fn list_chats(&self, session: &str, limit: u32, after: Option<&str>) -> Result<Page<Chat>> {
        let limit = check_limit(limit, MAX_LIMIT)?;
        let after: Option<(Option<i64>, String)> = read_cursor(after)?;
        let data = self.enter("list_chats").await?;
        let time = |chat: &Chat| chat.last_message_at.map(Timestamp::unix_ms);
        let place = |chat: &Chat| (Reverse(time(chat)), chat.chat_id.clone());
        let after = after.map(|(time, id)| (Reverse(time), id));
        let chats = data.chats.get(session).into_iter().flat_map(|chats| chats.values());
        let mut found: Vec<_> =
            chats.filter(|chat| after.as_ref().is_none_or(|after| place(chat) > *after)).collect();
        found.sort_by_key(|chat| place(chat));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|chat| write_cursor(&(time(chat), &chat.chat_id)));
        Ok(Page { next, items: found.into_iter().cloned().collect(), malformed: Vec::new() })
    }

    async fn recount(&self, session: &str, now: Timestamp) -> Result<(u64, u64, u64)> {
        let mut data = self.enter("recount").await?;
        let messages = data.messages.get(session);
        let count = |direction| {
            let own = messages.into_iter().flat_map(|messages| messages.values());
            let counts = |kept: &&Kept| !kept.message.from_history && kept.message.direction == direction;
            own.filter(counts).count() as u64
        };
        let (sent, received) = (count(Direction::Out), count(Direction::In));
        let chats = data.chats.get(session).map_or(0, |chats| chats.len() as u64);
        if let Some(record) = data.sessions.get_mut(session) {
            record.messages_sent = sent;
            record.messages_received = received;
            record.total_chats = chats;
            record.updated_at = now;
        }
        Ok((sent, received, chats))
    }

    async fn delete_messages(&self, session: &str) -> Result<(u64, u64)> {
        let mut data = self.enter("delete_messages").await?;
        let messages = data.messages.remove(session).map_or(0, |messages| messages.len() as u64);
        let chats = data.chats.remove(session).map_or(0, |chats| chats.len() as u64);
        Ok((messages, chats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::message::{MessageChange, MessageKind};
    use crate::store::{MessageStatus, SessionPatch, SessionRecord, SessionStore};

    const NOW: Timestamp = Timestamp::from_unix_s(1_000);

    fn key(id: &str) -> MessageKey {
        MessageKey { chat_id: "c".into(), sender: "p".into(), message_id: id.into() }
    }

    fn text(text: &str) -> MessageKind {
        MessageKind::Text { text: text.into(), quoted: None }
    }

    async fn store_with(messages: &[StoredMessage]) -> MemoryStore {
        let store = MemoryStore::new();
        store.upsert_session(&SessionRecord::new("s", NOW), &SessionPatch::default()).await.unwrap();
        store.record_messages("s", messages, &[], NOW).await.unwrap();
        store
    }

    #[tokio::test]
    async fn a_redelivery_counts_nowhere() {
        let message = StoredMessage::new(key("1"), Direction::In, NOW, text("hola"));
        let store = store_with(std::slice::from_ref(&message)).await;
        let names = [("c".to_owned(), "Ana".to_owned())];
        let again = store.record_messages("s", &[message.clone(), message], &names, NOW).await.unwrap();
        assert_eq!(again, Recorded { inserted: vec![false, false] });
        let record = store.get_session("s").await.unwrap().unwrap();
        assert_eq!((record.messages_received, record.total_chats), (1, 1));
        let chat = store.get_chat("s", "c").await.unwrap().unwrap();
        assert_eq!((chat.unread_count, chat.name.as_deref()), (1, Some("Ana")));
    }

    #[tokio::test]
    async fn edits_and_revocations_end_alike_in_any_order() {
        let edit = (key("1"), MessageChange::Edited { content: text("b"), at: Timestamp::from_unix_s(5) });
        let revoke = (key("1"), MessageChange::Revoked { at: Timestamp::from_unix_s(6) });
        let status = (key("1"), MessageChange::Status(MessageStatus::Read));
        let lower = (key("1"), MessageChange::Status(MessageStatus::Sent));
        let message = StoredMessage::new(key("1"), Direction::Out, NOW, text("a"));
        let mut ends = Vec::new();
        for order in [[&edit, &revoke, &status, &lower], [&revoke, &edit, &lower, &status]] {
            let store = store_with(std::slice::from_ref(&message)).await;
            let changes: Vec<_> = order.into_iter().cloned().collect();
            for _ in 0..2 {
                let after = store.change_messages("s", &changes, NOW).await.unwrap();
                ends.push(after[0].clone().unwrap());
            }
        }
        assert!(ends.iter().all(|end| *end == ends[0]));
        assert_eq!(ends[0].status, MessageStatus::Read);
        assert_ne!(ends[0].content, text("b"));
    }

    #[tokio::test]
    async fn pages_go_from_new_to_old_and_miss_nothing() {
        let at = |id, s| StoredMessage::new(key(id), Direction::In, Timestamp::from_unix_s(s), text("x"));
        let store = store_with(&[at("a", 1), at("b", 2), at("c", 2), at("d", 3)]).await;
        let mut page = MessagePage { limit: 1, ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let answer = store.list_messages("s", &page).await.unwrap();
            seen.extend(answer.items.into_iter().map(|message| message.key.message_id));
            page.after = answer.next;
            if page.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["d", "c", "b", "a"]);
    }

    #[tokio::test]
    async fn recount_mends_counters_and_leaves_history_out() {
        let mut old = StoredMessage::new(key("1"), Direction::In, NOW, text("x"));
        old.from_history = true;
        let sent = StoredMessage::new(key("2"), Direction::Out, NOW, text("y"));
        let store = store_with(&[old, sent]).await;
        assert_eq!(store.recount("s", NOW).await.unwrap(), (1, 0, 1));
        assert_eq!(store.get_chat("s", "c").await.unwrap().unwrap().unread_count, 0);
        assert_eq!(store.delete_messages("s").await.unwrap(), (2, 1));
    }
}
