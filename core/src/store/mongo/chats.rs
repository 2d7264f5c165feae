//! Chats.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};

use super::documents::{Fields, date, joined_id, stored_chat, unsigned};
use super::errors::Failure;
use super::{CHATS, Inner, MongoStore, SESSIONS};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::message::{Chat, ChatPatch};
use crate::store::rules::{check_limit, open_page_token, page_token};
use crate::store::session::Page;

type Attempt<T> = std::result::Result<T, Failure>;

/// How often statements that met another's insert are written again.
const COLLISIONS: usize = 8;

/// Notes new messages in their chats: the newest time, and how many more are unread. Returns how many chats are new.
pub(super) async fn bump(
    inner: &Inner,
    session: &str,
    chats: &HashMap<String, (Timestamp, u32)>,
    now: Timestamp,
) -> Attempt<u64> {
    let statements = chats.iter().map(|(chat_id, (newest, unread))| {
        let mut update = doc! {
            "$setOnInsert": fresh(chat_id, now),
            "$max": { "lastMessageAt": date(*newest) },
            "$inc": { "unreadCount": i64::from(*unread) },
        };
        update.insert("$set", doc! { "updatedAt": date(now) });
        upsert(session, chat_id, update)
    });
    write(inner, statements.collect()).await
}

/// Names chats that are there.
pub(super) async fn set_names(
    inner: &Inner,
    session: &str,
    names: &[(String, String)],
    now: Timestamp,
) -> Attempt<()> {
    // The last name of a chat counts; a batch never names a document twice.
    let names: HashMap<&str, &str> =
        names.iter().map(|(chat, name)| (chat.as_str(), name.as_str())).collect();
    if names.is_empty() {
        return Ok(());
    }
    let statements = names.into_iter().map(|(chat_id, name)| {
        let filter =
            doc! { "_id": joined_id(&[session, chat_id]), "sessionId": session, "name": { "$ne": name } };
        doc! { "q": filter, "u": { "$set": { "name": name, "updatedAt": date(now) } } }
    });
    inner.update(CHATS, statements.collect()).await?.all()?;
    Ok(())
}

pub(super) async fn patch(
    store: &MongoStore,
    session: &str,
    patches: &[ChatPatch],
    now: Timestamp,
) -> Result<u64> {
    let merged = merge(patches);
    let statements: Vec<Document> = merged.iter().map(|patch| patch_statement(session, patch, now)).collect();
    let owner: Arc<str> = session.into();
    let created = store
        .call("patch_chats", move |inner| {
            let (statements, owner) = (statements.clone(), Arc::clone(&owner));
            async move {
                let new = write(&inner, statements).await?;
                if new > 0 {
                    let update = doc! {
                        "$inc": { "totalChats": unsigned(new) }, "$set": { "updatedAt": date(now) },
                    };
                    let added =
                        inner.collection(SESSIONS).update_one(doc! { "sessionId": &*owner }, update).await;
                    if added.is_err() {
                        // The chats are there; the counter is made good before it counts again.
                        inner.uncounted().insert(owner.to_string());
                    }
                }
                Ok(new)
            }
        })
        .await;
    if created.as_ref().is_err_and(Error::is_retryable) {
        store.0.uncounted().insert(session.to_owned());
    }
    created
}

/// One patch a chat: later ones over earlier ones, the newest time of all.
fn merge(patches: &[ChatPatch]) -> Vec<ChatPatch> {
    let mut merged: Vec<ChatPatch> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for patch in patches {
        let Some(place) = places.get(patch.chat_id.as_str()) else {
            places.insert(&patch.chat_id, merged.len());
            merged.push(patch.clone());
            continue;
        };
        let earlier = &mut merged[*place];
        if patch.name.is_some() {
            earlier.name.clone_from(&patch.name);
        }
        earlier.last_message_at = earlier.last_message_at.max(patch.last_message_at);
        earlier.unread_count = patch.unread_count.or(earlier.unread_count);
    }
    merged
}

fn patch_statement(session: &str, patch: &ChatPatch, now: Timestamp) -> Document {
    let mut on_insert = fresh(&patch.chat_id, now);
    let mut set = doc! { "updatedAt": date(now) };
    if let Some(name) = &patch.name {
        set.insert("name", name);
    }
    match patch.unread_count {
        Some(count) => drop(set.insert("unreadCount", i64::from(count))),
        None => drop(on_insert.insert("unreadCount", 0_i64)),
    }
    let mut update = doc! { "$set": set, "$setOnInsert": on_insert };
    if let Some(at) = patch.last_message_at {
        update.insert("$max", doc! { "lastMessageAt": date(at) });
    }
    upsert(session, &patch.chat_id, update)
}

fn fresh(chat_id: &str, now: Timestamp) -> Document {
    let chat = Chat::new(chat_id, now);
    doc! { "chatId": chat_id, "isGroup": chat.is_group, "createdAt": date(now) }
}

fn upsert(session: &str, chat_id: &str, update: Document) -> Document {
    let filter = doc! { "_id": joined_id(&[session, chat_id]), "sessionId": session };
    doc! { "q": filter, "u": update, "upsert": true }
}

/// Writes upserts, those again that met another's insert. Returns how many inserted.
async fn write(inner: &Inner, mut statements: Vec<Document>) -> Attempt<u64> {
    let mut new = 0;
    for _ in 0..COLLISIONS {
        if statements.is_empty() {
            return Ok(new);
        }
        let mut written = inner.update(CHATS, statements.clone()).await?;
        let collided: Vec<Document> =
            written.duplicates.drain(..).map(|index| statements[index].clone()).collect();
        new += written.all()?.inserted.len() as u64;
        statements = collided;
    }
    match statements.is_empty() {
        true => Ok(new),
        false => Err(Failure::Final(Error::new(
            ErrorKind::Unavailable,
            "others insert and delete the same chats every time; retry later",
        ))),
    }
}

pub(super) async fn get(store: &MongoStore, session: &str, chat_id: &str) -> Result<Option<Chat>> {
    let filter = doc! { "_id": joined_id(&[session, chat_id]), "sessionId": session };
    store
        .call("get_chat", move |inner| {
            let filter = filter.clone();
            async move {
                let found = inner.collection(CHATS).find_one(filter).await?;
                Ok(found.map(|document| stored_chat(&document)).transpose()?)
            }
        })
        .await
}

/// The newest first, those without a message last, ties by id.
pub(super) async fn list(
    store: &MongoStore,
    session: &str,
    limit: u32,
    after: Option<&str>,
) -> Result<Page<Chat>> {
    check_limit(limit)?;
    let mut filter = doc! { "sessionId": session };
    if let Some(after) = after {
        let (at, chat_id): (Option<i64>, String) = open_page_token(after)?;
        match at {
            Some(at) => {
                let at = date(Timestamp::from_unix_ms(at));
                let later = vec![
                    doc! { "lastMessageAt": { "$lt": at.clone() } },
                    doc! { "lastMessageAt": at, "chatId": { "$gt": chat_id } },
                    doc! { "lastMessageAt": null },
                ];
                filter.insert("$or", later);
            }
            None => filter.extend(doc! { "lastMessageAt": null, "chatId": { "$gt": chat_id } }),
        }
    }
    store
        .call("list_chats", move |inner| {
            let filter = filter.clone();
            async move { read_page(&inner, filter, limit).await }
        })
        .await
}

async fn read_page(inner: &Inner, filter: Document, limit: u32) -> Attempt<Page<Chat>> {
    let chats = inner.collection(CHATS);
    let find = chats.find(filter).sort(doc! { "lastMessageAt": -1, "chatId": 1 });
    let mut found = find.limit(i64::from(limit) + 1).await?;
    let mut result = Page::default();
    let mut last: Option<(Option<i64>, String)> = None;
    let mut seen = 0;
    while let Some(document) = found.try_next().await? {
        if seen == limit {
            result.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        match stored_chat(&document) {
            Ok(chat) => result.items.push(chat),
            Err(_) => result.malformed.push(document.get("_id").map(Bson::to_string).unwrap_or_default()),
        }
        let fields = Fields(&document);
        if let (Ok(at), Ok(chat_id)) = (fields.date("lastMessageAt"), fields.required_text("chatId")) {
            last = Some((at.map(Timestamp::unix_ms), chat_id));
        }
    }
    Ok(result)
}
