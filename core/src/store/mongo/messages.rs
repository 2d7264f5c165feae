//! Messages: reading and deleting. Recording is in `record`, changing in `change`.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::calls::repeated;
use super::documents::{Fields, date, message_id, message_key, stored_message};
use super::errors::Failure;
use super::{CHATS, Inner, MESSAGES, MongoStore, change, chats, record};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::message::{
    ChangeBatch, Chat, ChatPatch, MessageKey, MessagePage, MessageStore, RecordBatch, Recorded, StoredMessage,
};
use crate::store::rules::{MessagePlace, check_limit, open_page_token, page_token};
use crate::store::session::Page;

type Attempt<T> = std::result::Result<T, Failure>;

#[async_trait]
impl MessageStore for MongoStore {
    async fn record_many(&self, batches: &[RecordBatch<'_>]) -> Vec<Result<Recorded>> {
        record::record(self, batches).await
    }

    async fn change_many(&self, batches: &[ChangeBatch<'_>]) -> Vec<Result<Vec<Option<StoredMessage>>>> {
        change::change(self, batches).await
    }

    async fn flush_counts(&self) -> Result<()> {
        self.catch_up(None).await
    }

    async fn get_messages(&self, session: &str, keys: &[MessageKey]) -> Result<Vec<Option<StoredMessage>>> {
        let ids: Vec<String> = keys.iter().map(|key| message_id(session, key)).collect();
        let filter = doc! { "sessionId": session, "_id": { "$in": &ids } };
        let found = self
            .call("get_messages", move |inner| {
                let filter = filter.clone();
                async move { by_id(&inner, filter).await }
            })
            .await?;
        ids.iter().map(|id| found.get(id).map(stored_message).transpose()).collect()
    }

    async fn list_messages(&self, session: &str, page: &MessagePage) -> Result<Page<StoredMessage>> {
        check_limit(page.limit)?;
        let (session, page): (Arc<str>, _) = (session.into(), page.clone());
        self.call("list_messages", move |inner| {
            let (session, page) = (Arc::clone(&session), page.clone());
            async move { list(&inner, &session, &page).await }
        })
        .await
    }

    async fn patch_chats(&self, session: &str, patches: &[ChatPatch], now: Timestamp) -> Result<u64> {
        chats::patch(self, session, patches, now).await
    }

    async fn get_chat(&self, session: &str, chat_id: &str) -> Result<Option<Chat>> {
        chats::get(self, session, chat_id).await
    }

    async fn list_chats(&self, session: &str, limit: u32, after: Option<&str>) -> Result<Page<Chat>> {
        chats::list(self, session, limit, after).await
    }

    async fn recount(&self, session: &str, _now: Timestamp) -> Result<(u64, u64, u64)> {
        self.count_anew(session).await
    }

    async fn delete_messages(&self, session: &str) -> Result<(u64, u64)> {
        // So that the answer counts every chat.
        self.catch_up(Some(session)).await?;
        let all = doc! { "q": { "sessionId": session }, "limit": 0 };
        let inner = Arc::clone(&self.0);
        let delete = async move {
            let all = &all;
            repeated(&inner, |inner| async move {
                let messages = inner.delete(MESSAGES, vec![all.clone()]).await?.all()?.count;
                Ok((messages, inner.delete(CHATS, vec![all.clone()]).await?.all()?.count))
            })
            .await
        };
        self.uncounted("delete_messages", session, delete).await
    }
}

/// The documents that match, by `_id`.
pub(super) async fn by_id(inner: &Inner, filter: Document) -> Attempt<HashMap<String, Document>> {
    let mut rows = inner.collection(MESSAGES).find(filter).batch_size(100_000).await?;
    let mut found = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        if let Ok(id) = row.get_str("_id") {
            found.insert(id.to_owned(), row);
        }
    }
    Ok(found)
}

async fn list(inner: &Inner, session: &str, page: &MessagePage) -> Attempt<Page<StoredMessage>> {
    let mut filter = doc! { "sessionId": session };
    if let Some(chat_id) = &page.chat_id {
        filter.insert("chatId", chat_id);
    }
    if let Some(after) = &page.after {
        let (at, arrival, key): MessagePlace = open_page_token(after)?;
        let at = date(Timestamp::from_unix_ms(at));
        // Rows without the number are older programs': they come last of their second.
        let (earlier, same) = match arrival {
            0 => (None, doc! { "$not": { "$gt": 0 } }),
            arrival => (Some(doc! { "$not": { "$gte": arrival } }), doc! { "$eq": arrival }),
        };
        let tie = |rest: Document| {
            let mut place = doc! { "timestamp": at.clone(), "arrival": same.clone() };
            place.extend(rest);
            place
        };
        let mut later = vec![
            doc! { "timestamp": { "$lt": at.clone() } },
            tie(doc! { "chatId": { "$lt": &key.chat_id } }),
            tie(doc! { "chatId": &key.chat_id, "sender": { "$lt": &key.sender } }),
            tie(doc! {
                "chatId": &key.chat_id,
                "sender": &key.sender,
                "messageId": { "$lt": &key.message_id },
            }),
        ];
        later.extend(earlier.map(|earlier| doc! { "timestamp": at.clone(), "arrival": earlier }));
        filter.insert("timestamp", doc! { "$lte": at });
        filter.insert("$or", later);
    }
    let sort = match page.chat_id {
        Some(_) => doc! { "timestamp": -1, "arrival": -1, "sender": -1, "messageId": -1 },
        None => doc! { "timestamp": -1, "arrival": -1, "chatId": -1, "sender": -1, "messageId": -1 },
    };
    let mut found =
        inner.collection(MESSAGES).find(filter).sort(sort).limit(i64::from(page.limit) + 1).await?;
    let mut result = Page::default();
    let mut last: Option<MessagePlace> = None;
    let mut seen = 0;
    while let Some(document) = found.try_next().await? {
        if seen == page.limit {
            result.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        match stored_message(&document) {
            Ok(message) => result.items.push(message),
            Err(_) => result.malformed.push(document.get("_id").map(ToString::to_string).unwrap_or_default()),
        }
        // One without a place cannot be gone on from; the one before it can.
        let fields = Fields(&document);
        let (at, arrival) = (fields.date("timestamp"), fields.signed("arrival"));
        if let (Ok(Some(at)), Ok(arrival), Ok(key)) = (at, arrival, message_key(&document)) {
            last = Some((at.unix_ms(), arrival, key));
        }
    }
    Ok(result)
}
