//! Chats.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};

use super::calls::repeated;
use super::counts::{self, Flush, Tally, is_unsure};
use super::documents::{Fields, date, joined_id, stored_chat};
use super::errors::Failure;
use super::{CHATS, Inner, MongoStore};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::message::{Chat, ChatPatch};
use crate::store::rules::{check_limit, open_page_token, page_token};
use crate::store::session::Page;

type Attempt<T> = std::result::Result<T, Failure>;

/// How often statements that met another's insert are written again.
pub(super) const COLLISIONS: usize = 8;

/// What new messages add to their chats, for all sessions of a flush: the newest time, how many more are unread,
/// the name. Each with its session.
pub(super) fn count_statements(flush: &Flush) -> Vec<(&str, Document)> {
    let mut statements: Vec<(&str, Document)> = Vec::new();
    for (session, tally) in &flush.tallies {
        for (chat_id, (newest, unread)) in &tally.chats {
            statements.push((session, count_statement(flush, session, tally, chat_id, *newest, *unread)));
        }
        for (chat_id, name) in tally.names.iter().filter(|(chat_id, _)| !tally.chats.contains_key(*chat_id)) {
            let filter =
                doc! { "_id": joined_id(&[session, chat_id]), "sessionId": session, "name": { "$ne": name } };
            let update = doc! { "$set": { "name": name, "updatedAt": date(flush.now) } };
            statements.push((session, doc! { "q": filter, "u": update }));
        }
    }
    statements
}

fn count_statement(
    flush: &Flush,
    session: &str,
    tally: &Tally,
    chat_id: &str,
    newest: Timestamp,
    unread: u32,
) -> Document {
    let now = tally.activity.unwrap_or(flush.now);
    let mut filter = doc! { "_id": joined_id(&[session, chat_id]), "sessionId": session };
    flush.once(&mut filter);
    let mut set = doc! { "updatedAt": date(now) };
    flush.mark(&mut set);
    if let Some(name) = tally.names.get(chat_id) {
        set.insert("name", name);
    }
    let update = doc! {
        "$setOnInsert": fresh(chat_id, now),
        "$max": { "lastMessageAt": date(newest) },
        "$inc": { "unreadCount": i64::from(unread) },
        "$set": set,
    };
    doc! { "q": filter, "u": update, "upsert": true }
}

/// Of statements whose chat was there and not matched: those that an earlier attempt of the flush has applied.
pub(super) async fn counted_already(
    inner: &Inner,
    flush: &Flush,
    statements: &[(&str, Document)],
    taken: &[usize],
) -> Attempt<HashSet<usize>> {
    let id = |index: usize| {
        statements[index].1.get_document("q").ok().and_then(|filter| filter.get("_id").cloned())
    };
    let ids: Vec<Bson> = taken.iter().filter_map(|index| id(*index)).collect();
    let ours = doc! { "_id": { "$in": ids }, "countedBy": &flush.by, "countedSeq": { "$gte": flush.seq } };
    let found = inner.collection(CHATS).find(ours).projection(doc! { "_id": 1 }).batch_size(100_000).await?;
    let found: Vec<Document> = found.try_collect().await?;
    let found: Vec<&Bson> = found.iter().filter_map(|row| row.get("_id")).collect();
    let applied = |index: &&usize| id(**index).is_some_and(|id| found.contains(&&id));
    Ok(taken.iter().filter(applied).copied().collect())
}

/// Makes sure that chats are there that have these messages.
pub(super) async fn restore(
    inner: &Inner,
    session: &str,
    newest: &HashMap<String, Timestamp>,
    now: Timestamp,
) -> Attempt<()> {
    let statements = newest.iter().map(|(chat_id, at)| {
        let mut on_insert = fresh(chat_id, now);
        on_insert.extend(doc! { "unreadCount": 0_i64, "updatedAt": date(now) });
        let update = doc! { "$setOnInsert": on_insert, "$max": { "lastMessageAt": date(*at) } };
        upsert(session, chat_id, update)
    });
    write(inner, statements.collect()).await.map(drop)
}

pub(super) async fn patch(
    store: &MongoStore,
    session: &str,
    patches: &[ChatPatch],
    now: Timestamp,
) -> Result<u64> {
    let merged = merge(patches);
    let statements: Vec<Document> = merged.iter().map(|patch| patch_statement(session, patch, now)).collect();
    // What is unread is counted before it is set.
    store.catch_up(Some(session)).await?;
    let (inner, owner) = (Arc::clone(&store.0), session.to_owned());
    store
        .to_its_end("patch_chats", async move {
            let statements = &statements;
            let outcome =
                repeated(&inner, |inner| async move { write(&inner, statements.clone()).await }).await;
            match &outcome {
                Ok(0) => {}
                Ok(new) => inner.counts.note_new_chats(&owner, *new),
                Err(error) if is_unsure(error) => inner.counts.doubt(&owner),
                Err(_) => {}
            }
            counts::schedule(&inner);
            outcome
        })
        .await
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
        false => Err(collided()),
    }
}

pub(super) fn collided() -> Failure {
    Failure::Final(Error::new(
        ErrorKind::Unavailable,
        "others insert and delete the same chats every time; retry later",
    ))
}

pub(super) async fn get(store: &MongoStore, session: &str, chat_id: &str) -> Result<Option<Chat>> {
    store.catch_up(Some(session)).await?;
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
    store.catch_up(Some(session)).await?;
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
