//! Outboxes: one document an entry; a unique index on session and position keeps their order.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::documents::{Fields, date, joined_id, unsigned};
use super::errors::{DUPLICATE, Failure, code_of, corrupt};
use super::{Inner, MongoStore, OUTBOX};
use crate::error::{Error, ErrorKind, Result};
use crate::store::outbox::{
    OutboxBacklog, OutboxEntry, OutboxState, OutboxStep, OutboxStore, Pushed, Stepped, position_after,
    taken_over,
};
use crate::store::rules::check_limit;

type Attempt<T> = std::result::Result<T, Failure>;

/// How often a push looks again because another took the place that it wanted.
const ROUNDS: usize = 64;

#[async_trait]
impl OutboxStore for MongoStore {
    async fn push_outbox(&self, session: &str, entry: &OutboxEntry, most: u64) -> Result<Pushed> {
        let (session, entry): (Arc<str>, _) = (session.into(), Arc::new(entry.clone()));
        self.call("push_outbox", move |inner| {
            let (session, entry) = (Arc::clone(&session), Arc::clone(&entry));
            async move { push(&inner, &session, &entry, most).await }
        })
        .await
    }

    async fn list_outbox(&self, session: &str, limit: u32, after: u64) -> Result<Vec<OutboxEntry>> {
        check_limit(limit)?;
        let session: Arc<str> = session.into();
        self.call("list_outbox", move |inner| {
            let session = Arc::clone(&session);
            async move {
                let filter = doc! { "sessionId": &*session, "position": { "$gt": unsigned(after) } };
                let outbox = inner.collection(OUTBOX);
                let find = outbox.find(filter).sort(doc! { "sessionId": 1, "position": 1 });
                let mut found = find.limit(i64::from(limit)).await?;
                let mut entries = Vec::new();
                while let Some(document) = found.try_next().await? {
                    entries.push(read(&document)?);
                }
                Ok(entries)
            }
        })
        .await
    }

    async fn get_outbox(&self, session: &str, message_id: &str) -> Result<Option<OutboxEntry>> {
        let id = by_id(session, message_id);
        self.call("get_outbox", move |inner| {
            let id = id.clone();
            async move { get(&inner, id).await }
        })
        .await
    }

    async fn step_outbox(&self, session: &str, message_id: &str, step: OutboxStep) -> Result<Stepped> {
        let id = by_id(session, message_id);
        self.call("step_outbox", move |inner| {
            let id = id.clone();
            async move { take_step(&inner, id, step).await }
        })
        .await
    }

    async fn remove_outbox(&self, session: &str, message_id: &str, generation: Option<u64>) -> Result<bool> {
        let id = by_id(session, message_id);
        self.call("remove_outbox", move |inner| {
            let id = id.clone();
            async move {
                let removed = inner.collection(OUTBOX).delete_one(not_newer(id.clone(), generation)).await?;
                if removed.deleted_count == 0 && get(&inner, id).await?.is_some() {
                    return Err(taken_over().into());
                }
                Ok(removed.deleted_count > 0)
            }
        })
        .await
    }

    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>> {
        self.call("outbox_backlog", |inner| async move {
            let group = doc! {
                "_id": "$sessionId", "entries": { "$sum": 1 }, "firstExpiry": { "$min": "$expiresAt" },
            };
            let pipeline = [doc! { "$group": group }, doc! { "$sort": { "_id": 1 } }];
            let mut found = inner.collection(OUTBOX).aggregate(pipeline).await?;
            let mut backlog = Vec::new();
            while let Some(document) = found.try_next().await? {
                let fields = Fields(&document);
                backlog.push(OutboxBacklog {
                    session: fields.required_text("_id")?,
                    entries: fields.unsigned("entries")?,
                    first_expiry: fields.date("firstExpiry")?.unwrap_or_default(),
                });
            }
            Ok(backlog)
        })
        .await
    }

    async fn delete_outbox(&self, session: &str) -> Result<u64> {
        let session: Arc<str> = session.into();
        self.call("delete_outbox", move |inner| {
            let session = Arc::clone(&session);
            async move {
                let deleted = inner.collection(OUTBOX).delete_many(doc! { "sessionId": &*session }).await?;
                Ok(deleted.deleted_count)
            }
        })
        .await
    }
}

async fn push(inner: &Inner, session: &str, entry: &OutboxEntry, most: u64) -> Attempt<Pushed> {
    for _ in 0..ROUNDS {
        // One look for both: whoever comes in between takes the next position, and the insert below is refused.
        let group = doc! {
            "_id": null, "entries": { "$sum": 1 }, "last": { "$max": "$position" },
        };
        let pipeline = [doc! { "$match": { "sessionId": session } }, doc! { "$group": group }];
        let summary = inner.collection(OUTBOX).aggregate(pipeline).await?.try_next().await?;
        let (entries, last) = match &summary {
            None => (0, None),
            Some(document) => {
                let fields = Fields(document);
                (fields.unsigned("entries")?, Some(fields.unsigned("last")?))
            }
        };
        if entries >= most {
            let known = get(inner, by_id(session, &entry.message_id)).await?;
            return Ok(known.map_or(Pushed::Full, Pushed::Known));
        }
        let position = position_after(last, entry.queued_at);
        match inner.collection(OUTBOX).insert_one(document(session, entry, position)).await {
            Ok(_) => return Ok(Pushed::New { position }),
            Err(error) if code_of(&error) == Some(DUPLICATE) => {
                if let Some(known) = get(inner, by_id(session, &entry.message_id)).await? {
                    return Ok(Pushed::Known(known));
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Again(Error::new(ErrorKind::Unavailable, "too many write to the same outbox; retry later")))
}

async fn take_step(inner: &Inner, id: Document, step: OutboxStep) -> Attempt<Stepped> {
    let mut filter = not_newer(id.clone(), step.generation());
    let from: Vec<&str> = step.from().iter().map(|state| state.as_str()).collect();
    filter.insert("state", doc! { "$in": from });
    let mut set = doc! { "state": step.to().as_str() };
    if let Some(generation) = step.generation() {
        set.insert("generation", unsigned(generation));
    }
    let mut update = doc! { "$set": set };
    if matches!(step, OutboxStep::Claim { .. }) {
        update.insert("$inc", doc! { "attempts": 1_i64 });
    }
    let outbox = inner.collection(OUTBOX);
    let before = outbox.find_one_and_update(filter, update).return_document(ReturnDocument::Before).await?;
    if let Some(before) = before {
        let before = read(&before)?;
        let after = step.apply(&before)?.ok_or_else(|| corrupt("an outbox entry took a wrong step"))?;
        return Ok(Stepped::Done { was: before.state, entry: after });
    }
    let Some(entry) = get(inner, id).await? else { return Ok(Stepped::Absent) };
    match step.apply(&entry)? {
        None => Ok(Stepped::NotPossible(entry)),
        // It became possible between the two looks.
        Some(_) => Err(Failure::Again(Error::new(
            ErrorKind::Unavailable,
            "another changes the same outbox entry; retry later",
        ))),
    }
}

async fn get(inner: &Inner, id: Document) -> Attempt<Option<OutboxEntry>> {
    let found = inner.collection(OUTBOX).find_one(id).await?;
    Ok(found.map(|document| read(&document)).transpose()?)
}

fn by_id(session: &str, message_id: &str) -> Document {
    doc! { "_id": joined_id(&[session, message_id]), "sessionId": session }
}

fn not_newer(mut filter: Document, generation: Option<u64>) -> Document {
    if let Some(mine) = generation {
        filter.insert("generation", doc! { "$not": { "$gt": unsigned(mine) } });
    }
    filter
}

fn document(session: &str, entry: &OutboxEntry, position: u64) -> Document {
    doc! {
        "_id": joined_id(&[session, &entry.message_id]),
        "sessionId": session,
        "messageId": &entry.message_id,
        "position": unsigned(position),
        "content": &entry.content,
        "state": entry.state.as_str(),
        "attempts": i64::from(entry.attempts),
        "generation": unsigned(entry.generation),
        "queuedAt": date(entry.queued_at),
        "expiresAt": date(entry.expires_at),
    }
}

fn read(document: &Document) -> Result<OutboxEntry> {
    let fields = Fields(document);
    let state = fields.text("state")?;
    Ok(OutboxEntry {
        message_id: fields.required_text("messageId")?,
        position: fields.unsigned("position")?,
        content: fields.text("content")?.ok_or_else(|| corrupt("a stored outbox entry has no content"))?,
        state: state
            .and_then(|state| OutboxState::from_name(&state))
            .ok_or_else(|| corrupt("the stored state of an outbox entry is unknown"))?,
        attempts: fields.small("attempts")?,
        generation: fields.unsigned("generation")?,
        queued_at: fields.date("queuedAt")?.unwrap_or_default(),
        expires_at: fields.date("expiresAt")?.unwrap_or_default(),
    })
}
