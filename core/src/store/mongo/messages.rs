//! Messages: stored first and for certain, then their chats and counters.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};

use super::documents::{
    Fields, date, embedded, message_document, message_id, message_key, status_name, stored_message, unsigned,
};
use super::errors::Failure;
use super::{CHATS, Inner, MESSAGES, MongoStore, SESSIONS, chats};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::message::{
    Chat, ChatPatch, Direction, MessageChange, MessageKey, MessagePage, MessageStore, Recorded, StoredMessage,
};
use crate::store::rules::{check_limit, open_page_token, page_token, revoked_content};
use crate::store::session::Page;

type Attempt<T> = std::result::Result<T, Failure>;

#[async_trait]
impl MessageStore for MongoStore {
    async fn record_messages(
        &self,
        session: &str,
        messages: &[StoredMessage],
        names: &[(String, String)],
        now: Timestamp,
    ) -> Result<Recorded> {
        let messages: Arc<[StoredMessage]> = messages.into();
        let inserted = self.insert(session, &messages, now).await?;
        let names: Arc<[(String, String)]> = names.into();
        let tally = Tally::of(&messages, &inserted);
        if tally.chats.is_empty() && names.is_empty() {
            return Ok(Recorded { inserted, new_chats: 0 });
        }
        let owner: Arc<str> = session.into();
        // The messages are safe. What follows may lag, and is made good before the session counts again.
        let counted = self
            .call("record_messages", move |inner| {
                let (owner, tally, names) = (Arc::clone(&owner), tally.clone(), Arc::clone(&names));
                async move { count(&inner, &owner, &tally, &names, now).await.map_err(once) }
            })
            .await;
        let new_chats = counted.unwrap_or_else(|error| {
            tracing::warn!(
                session,
                kind = error.kind().name(),
                "counters lag behind their messages; counting anew later"
            );
            self.0.uncounted().insert(session.to_owned());
            0
        });
        Ok(Recorded { inserted, new_chats })
    }

    async fn change_messages(
        &self,
        session: &str,
        changes: &[(MessageKey, MessageChange)],
        now: Timestamp,
    ) -> Result<Vec<Option<StoredMessage>>> {
        let statements = changes
            .iter()
            .map(|(key, change)| change_statement(session, key, change, now))
            .collect::<Result<Vec<_>>>()?;
        self.call("change_messages", move |inner| {
            let statements = statements.clone();
            async move {
                if !statements.is_empty() {
                    inner.update_in_order(MESSAGES, statements).await?.all()?;
                }
                Ok(())
            }
        })
        .await?;
        let keys: Vec<MessageKey> = changes.iter().map(|(key, _)| key.clone()).collect();
        self.get_messages(session, &keys).await
    }

    async fn get_messages(&self, session: &str, keys: &[MessageKey]) -> Result<Vec<Option<StoredMessage>>> {
        let ids: Vec<String> = keys.iter().map(|key| message_id(session, key)).collect();
        let filter = doc! { "sessionId": session, "_id": { "$in": &ids } };
        let found = self
            .call("get_messages", move |inner| {
                let filter = filter.clone();
                async move {
                    let mut found = inner.collection(MESSAGES).find(filter).batch_size(100_000).await?;
                    let mut messages = HashMap::new();
                    while let Some(document) = found.try_next().await? {
                        let message = stored_message(&document)?;
                        messages.insert(message.key.clone(), message);
                    }
                    Ok(messages)
                }
            })
            .await?;
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
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

    async fn recount(&self, session: &str, now: Timestamp) -> Result<(u64, u64, u64)> {
        let session: Arc<str> = session.into();
        self.call("recount", move |inner| {
            let session = Arc::clone(&session);
            async move { recount(&inner, &session, now).await }
        })
        .await
    }

    async fn delete_messages(&self, session: &str) -> Result<(u64, u64)> {
        let all = doc! { "q": { "sessionId": session }, "limit": 0 };
        self.call("delete_messages", move |inner| {
            let all = all.clone();
            async move {
                let messages = inner.delete(MESSAGES, vec![all.clone()]).await?.all()?.count;
                Ok((messages, inner.delete(CHATS, vec![all]).await?.all()?.count))
            }
        })
        .await
    }
}

impl MongoStore {
    /// Inserts messages that are not there. Says of each whether it was new.
    async fn insert(
        &self,
        session: &str,
        messages: &Arc<[StoredMessage]>,
        now: Timestamp,
    ) -> Result<Vec<bool>> {
        let mut mark = [0; 12];
        self.0.options.clock.fill_random(&mut mark);
        let mark = Bson::ObjectId(mark.into());
        // Of two in one call with the same key the first counts.
        let mut first = HashMap::new();
        let mut statements = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let id = message_id(session, &message.key);
            if first.contains_key(&id) {
                continue;
            }
            let mut document = message_document(message, now)?;
            document.insert("recordedBy", mark.clone());
            let filter = doc! { "_id": &id, "sessionId": session };
            statements.push(doc! { "q": filter, "u": { "$setOnInsert": document }, "upsert": true });
            first.insert(id, index);
        }
        let ids: Arc<HashMap<String, usize>> = Arc::new(first);
        let order: Vec<usize> = {
            let mut order: Vec<usize> = ids.values().copied().collect();
            order.sort_unstable();
            order
        };
        let count = messages.len();
        let tries = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let outcome = self
            .call("record_messages", move |inner| {
                let (statements, mark, ids, order) =
                    (statements.clone(), mark.clone(), Arc::clone(&ids), order.clone());
                let again = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
                async move {
                    let mut new = vec![false; count];
                    if statements.is_empty() {
                        return Ok(new);
                    }
                    let mut written = inner.update(MESSAGES, statements).await?;
                    // Taken at the same moment by another delivery of it: a redelivery.
                    written.duplicates.clear();
                    let written = written.all()?;
                    for index in written.inserted {
                        new[order[index]] = true;
                    }
                    // An earlier attempt may have inserted some, its answer lost: they bear our mark.
                    if again {
                        let keys: Vec<&String> = ids.keys().collect();
                        let filter = doc! { "_id": { "$in": keys }, "recordedBy": mark };
                        let found =
                            inner.collection(MESSAGES).find(filter).projection(doc! { "_id": 1 }).await?;
                        let found: Vec<Document> = found.try_collect().await?;
                        for id in found.iter().filter_map(|document| document.get_str("_id").ok()) {
                            if let Some(index) = ids.get(id) {
                                new[*index] = true;
                            }
                        }
                    }
                    Ok(new)
                }
            })
            .await;
        if outcome.as_ref().is_err_and(Error::is_retryable) {
            // Some may have been inserted; the caller's repeat will find them there and not count them.
            self.0.uncounted().insert(session.to_owned());
        }
        outcome
    }
}

/// What new messages add.
#[derive(Clone, Default)]
struct Tally {
    sent: u64,
    received: u64,
    /// By chat: the newest time, and how many are unread.
    chats: HashMap<String, (Timestamp, u32)>,
}

impl Tally {
    fn of(messages: &[StoredMessage], inserted: &[bool]) -> Self {
        let mut tally = Self::default();
        for (message, _) in messages.iter().zip(inserted).filter(|(_, new)| **new) {
            let counts = u32::from(!message.from_history);
            let chat = tally.chats.entry(message.key.chat_id.clone()).or_insert((message.timestamp, 0));
            chat.0 = chat.0.max(message.timestamp);
            match message.direction {
                Direction::In => {
                    tally.received += u64::from(counts);
                    chat.1 += counts;
                }
                Direction::Out => tally.sent += u64::from(counts),
            }
        }
        tally
    }
}

/// Additions must not be sent twice.
fn once(failure: Failure) -> Failure {
    Failure::Final(failure.into_error())
}

async fn count(
    inner: &Inner,
    session: &str,
    tally: &Tally,
    names: &[(String, String)],
    now: Timestamp,
) -> Attempt<u64> {
    let new_chats = chats::bump(inner, session, &tally.chats, now).await?;
    chats::set_names(inner, session, names, now).await?;
    if tally.chats.is_empty() {
        return Ok(new_chats);
    }
    if inner.uncounted().remove(session) {
        // Puts it back if it fails: the caller notes every failure.
        recount(inner, session, now).await?;
        return Ok(new_chats);
    }
    let add = doc! {
        "messagesSent": unsigned(tally.sent),
        "messagesReceived": unsigned(tally.received),
        "totalChats": unsigned(new_chats),
    };
    let update =
        doc! { "$inc": add, "$max": { "lastActivity": date(now) }, "$set": { "updatedAt": date(now) } };
    inner.collection(SESSIONS).update_one(doc! { "sessionId": session }, update).await?;
    Ok(new_chats)
}

fn change_statement(
    session: &str,
    key: &MessageKey,
    change: &MessageChange,
    now: Timestamp,
) -> Result<Document> {
    let mut filter = doc! { "_id": message_id(session, key), "sessionId": session };
    let update = match change {
        MessageChange::Status(status) => {
            filter.insert("statusRank", doc! { "$not": { "$gte": status.rank() } });
            doc! { "$set": {
                "status": status_name(*status)?,
                "statusRank": status.rank(),
                "updatedAt": date(now),
            } }
        }
        MessageChange::Edited { content, at } => {
            filter.extend(doc! { "revokedAt": null, "editedAt": { "$not": { "$gte": date(*at) } } });
            doc! { "$set": { "content": embedded(content)?, "editedAt": date(*at), "updatedAt": date(now) } }
        }
        MessageChange::Revoked { at } => {
            filter.insert("revokedAt", doc! { "$not": { "$lte": date(*at) } });
            doc! {
                "$set": { "content": embedded(&revoked_content())?, "revokedAt": date(*at), "updatedAt": date(now) },
                "$unset": { "editedAt": "" },
            }
        }
    };
    Ok(doc! { "q": filter, "u": update })
}

async fn list(inner: &Inner, session: &str, page: &MessagePage) -> Attempt<Page<StoredMessage>> {
    let mut filter = doc! { "sessionId": session };
    if let Some(chat_id) = &page.chat_id {
        filter.insert("chatId", chat_id);
    }
    if let Some(after) = &page.after {
        let (at, key): (i64, MessageKey) = open_page_token(after)?;
        let at = date(Timestamp::from_unix_ms(at));
        filter.insert("timestamp", doc! { "$lte": at.clone() });
        filter.insert(
            "$or",
            vec![
                doc! { "timestamp": { "$lt": at.clone() } },
                doc! { "timestamp": at.clone(), "chatId": { "$lt": &key.chat_id } },
                doc! { "timestamp": at.clone(), "chatId": &key.chat_id, "sender": { "$lt": &key.sender } },
                doc! {
                    "timestamp": at,
                    "chatId": &key.chat_id,
                    "sender": &key.sender,
                    "messageId": { "$lt": &key.message_id },
                },
            ],
        );
    }
    let sort = match page.chat_id {
        Some(_) => doc! { "timestamp": -1, "sender": -1, "messageId": -1 },
        None => doc! { "timestamp": -1, "chatId": -1, "sender": -1, "messageId": -1 },
    };
    let mut found =
        inner.collection(MESSAGES).find(filter).sort(sort).limit(i64::from(page.limit) + 1).await?;
    let mut result = Page::default();
    let mut last: Option<(i64, MessageKey)> = None;
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
        if let (Ok(Some(at)), Ok(key)) = (Fields(&document).date("timestamp"), message_key(&document)) {
            last = Some((at.unix_ms(), key));
        }
    }
    Ok(result)
}

async fn recount(inner: &Inner, session: &str, now: Timestamp) -> Attempt<(u64, u64, u64)> {
    let mine = doc! { "$match": { "sessionId": session } };
    let group = doc! { "$group": {
        "_id": "$chatId",
        "sent": { "$sum": { "$cond": [counted("out"), 1, 0] } },
        "received": { "$sum": { "$cond": [counted("in"), 1, 0] } },
        "newest": { "$max": "$timestamp" },
    } };
    let mut rows = inner.collection(MESSAGES).aggregate([mine, group]).await?;
    let (mut sent, mut received) = (0, 0);
    let mut newest = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        let fields = Fields(&row);
        sent += fields.unsigned("sent")?;
        received += fields.unsigned("received")?;
        if let (Some(chat_id), Some(at)) = (fields.text("_id")?, fields.date("newest")?) {
            newest.insert(chat_id, (at, 0));
        }
    }
    // A crash may have left messages without their chat.
    chats::bump(inner, session, &newest, now).await?;
    let chats = inner.collection(CHATS).count_documents(doc! { "sessionId": session }).await?;
    let set = doc! {
        "messagesSent": unsigned(sent),
        "messagesReceived": unsigned(received),
        "totalChats": unsigned(chats),
        "updatedAt": date(now),
    };
    let statement = doc! { "q": { "sessionId": session }, "u": { "$set": set } };
    inner.update(SESSIONS, vec![statement]).await?.all()?;
    inner.uncounted().remove(session);
    Ok((sent, received, chats))
}

fn counted(direction: &str) -> Document {
    doc! { "$and": [{ "$eq": ["$direction", direction] }, { "$ne": ["$fromHistory", true] }] }
}
