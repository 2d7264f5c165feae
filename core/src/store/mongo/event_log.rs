//! The event log. One `insert` an append: its statements are in order, so that only the last of them can be missing.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern};

use super::documents::{Fields, date, embedded, joined_id, parse_embedded, unsigned};
use super::errors::{Failure, corrupt, refused};
use super::{CONSUMERS, DEAD_LETTERS, EVENTS, Inner, MongoStore};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::event_log::{EventLog, EventMark, EventRange, EventRecord, NewEvent};

type Attempt<T> = std::result::Result<T, Failure>;

/// How often an append looks anew for the end of the log when another owner got in between.
const COLLISIONS: usize = 16;
/// Sessions in one query; each is a branch of it.
const RANGES_AT_ONCE: usize = 200;

#[async_trait]
impl EventLog for MongoStore {
    async fn append_events(&self, session: &str, after: u64, events: &[NewEvent]) -> Result<Vec<u64>> {
        let (session, events): (Arc<str>, Arc<[NewEvent]>) = (session.into(), events.into());
        self.call("append_events", move |inner| {
            let (session, events) = (Arc::clone(&session), Arc::clone(&events));
            async move { append(&inner, &session, after, &events).await }
        })
        .await
    }

    async fn read_events(&self, ranges: &[EventRange]) -> Result<Vec<EventRecord>> {
        let ranges: Arc<[EventRange]> =
            ranges.iter().filter(|range| range.after < range.upto).cloned().collect();
        self.call("read_events", move |inner| {
            let ranges = Arc::clone(&ranges);
            async move { read(&inner, &ranges).await }
        })
        .await
    }

    async fn last_events(&self, session: Option<&str>) -> Result<Vec<EventMark>> {
        self.marks("last_events", session, -1).await
    }

    async fn first_events(&self, session: Option<&str>) -> Result<Vec<EventMark>> {
        self.marks("first_events", session, 1).await
    }

    async fn trim_events(&self, session: &str, keep: u64, expired: Timestamp) -> Result<u64> {
        let session: Arc<str> = session.into();
        self.call("trim_events", move |inner| {
            let session = Arc::clone(&session);
            async move { trim(&inner, &session, keep, expired).await }
        })
        .await
    }

    async fn delete_events(&self, session: &str) -> Result<u64> {
        let all = doc! { "q": { "sessionId": session }, "limit": 0 };
        self.call("delete_events", move |inner| {
            let all = all.clone();
            async move {
                let gone = inner.delete(EVENTS, vec![all.clone()]).await?.all()?.count;
                inner.delete(CONSUMERS, vec![all.clone()]).await?.all()?;
                inner.delete(DEAD_LETTERS, vec![all]).await?.all()?;
                Ok(gone)
            }
        })
        .await
    }
}

impl MongoStore {
    async fn marks(&self, op: &'static str, session: Option<&str>, order: i32) -> Result<Vec<EventMark>> {
        let session: Option<Arc<str>> = session.map(Into::into);
        self.call(op, move |inner| {
            let session = session.clone();
            async move {
                match session {
                    Some(session) => Ok(mark_of(&inner, &session, order).await?.into_iter().collect()),
                    None => all_marks(&inner, order).await,
                }
            }
        })
        .await
    }
}

/// Events that a majority has: one that a failover takes back must not have been seen, as its number comes again.
fn settled(inner: &Inner) -> mongodb::Collection<Document> {
    let options = CollectionOptions::builder().read_concern(ReadConcern::majority()).build();
    inner.db.collection_with_options(EVENTS, options)
}

async fn append(inner: &Inner, session: &str, after: u64, events: &[NewEvent]) -> Attempt<Vec<u64>> {
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    let mut last = after;
    for _ in 0..COLLISIONS {
        let mut left: Vec<&NewEvent> = Vec::new();
        for event in events {
            let is_left = !numbers.contains_key(event.key.as_str());
            if is_left && !left.iter().any(|earlier| earlier.key == event.key) {
                left.push(event);
            }
        }
        if left.is_empty() {
            return Ok(events.iter().filter_map(|event| numbers.get(event.key.as_str()).copied()).collect());
        }
        let documents = left
            .iter()
            .zip(last + 1..)
            .map(|(event, seq)| document(session, seq, event))
            .collect::<Result<_>>()?;
        let written = inner.insert_in_order(EVENTS, documents).await?;
        if let Some((_, code)) = written.refused.first() {
            return Err(refused(*code));
        }
        for (event, seq) in left.iter().zip(last + 1..=last + written.count) {
            numbers.insert(&event.key, seq);
        }
        if written.duplicates.is_empty() {
            last += written.count;
            continue;
        }
        // A number or a key is taken: by an attempt of ours whose answer was lost, by an earlier delivery of the same
        // message, or by another owner.
        let keys: Vec<&str> = left.iter().map(|event| event.key.as_str()).collect();
        for (key, seq) in numbers_of(inner, session, &keys).await? {
            if let Some(event) = left.iter().find(|event| event.key == key) {
                numbers.insert(&event.key, seq);
            }
        }
        last = mark_of(inner, session, -1).await?.map_or(0, |mark| mark.seq);
    }
    Err(Failure::Again(Error::new(
        ErrorKind::Unavailable,
        "other writers got in between every time; retry later",
    )))
}

fn document(session: &str, seq: u64, event: &NewEvent) -> Result<Document> {
    Ok(doc! {
        "_id": joined_id(&[session, &seq.to_string()]),
        "sessionId": session,
        "seq": unsigned(seq),
        "key": &event.key,
        "at": date(event.at),
        "payload": embedded(&event.payload)?,
    })
}

async fn numbers_of(inner: &Inner, session: &str, keys: &[&str]) -> Attempt<Vec<(String, u64)>> {
    let filter = doc! { "sessionId": session, "key": { "$in": keys } };
    let mut found = inner.collection(EVENTS).find(filter).projection(doc! { "key": 1, "seq": 1 }).await?;
    let mut numbers = Vec::new();
    while let Some(document) = found.try_next().await? {
        let fields = Fields(&document);
        numbers.push((fields.required_text("key")?, fields.unsigned("seq")?));
    }
    Ok(numbers)
}

async fn read(inner: &Inner, ranges: &[EventRange]) -> Attempt<Vec<EventRecord>> {
    let mut events = Vec::new();
    for part in ranges.chunks(RANGES_AT_ONCE) {
        let branches: Vec<Document> = part
            .iter()
            .map(|range| {
                let wanted = doc! { "$gt": unsigned(range.after), "$lte": unsigned(range.upto) };
                doc! { "sessionId": &range.session, "seq": wanted }
            })
            .collect();
        let mut found = settled(inner)
            .find(doc! { "$or": branches })
            .sort(doc! { "sessionId": 1, "seq": 1 })
            .batch_size(100_000)
            .await?;
        while let Some(document) = found.try_next().await? {
            events.push(event(&document)?);
        }
    }
    Ok(events)
}

pub(super) fn event(document: &Document) -> Result<EventRecord> {
    let fields = Fields(document);
    Ok(EventRecord {
        session: fields.required_text("sessionId")?,
        seq: fields.unsigned("seq")?,
        at: fields.date("at")?.unwrap_or_default(),
        payload: document
            .get("payload")
            .map(parse_embedded)
            .transpose()?
            .ok_or_else(|| corrupt("a logged event has no content; delete its session's events"))?,
    })
}

async fn mark_of(inner: &Inner, session: &str, order: i32) -> Attempt<Option<EventMark>> {
    let found = inner
        .collection(EVENTS)
        .find_one(doc! { "sessionId": session })
        .sort(doc! { "sessionId": order, "seq": order })
        .projection(doc! { "sessionId": 1, "seq": 1, "at": 1 })
        .await?;
    Ok(found.as_ref().map(mark).transpose()?)
}

/// Sorted as the index is, and with nothing but `$first`: so the server jumps from session to session.
async fn all_marks(inner: &Inner, order: i32) -> Attempt<Vec<EventMark>> {
    let sort = doc! { "$sort": { "sessionId": order, "seq": order } };
    let group = doc! { "$group": {
        "_id": "$sessionId",
        "sessionId": { "$first": "$sessionId" },
        "seq": { "$first": "$seq" },
        "at": { "$first": "$at" },
    } };
    let mut rows = settled(inner).aggregate([sort, group]).batch_size(100_000).await?;
    let mut marks = Vec::new();
    while let Some(row) = rows.try_next().await? {
        marks.push(mark(&row)?);
    }
    Ok(marks)
}

fn mark(document: &Document) -> Result<EventMark> {
    let fields = Fields(document);
    Ok(EventMark {
        session: fields.required_text("sessionId")?,
        seq: fields.unsigned("seq")?,
        at: fields.date("at")?.unwrap_or_default(),
    })
}

async fn trim(inner: &Inner, session: &str, keep: u64, expired: Timestamp) -> Attempt<u64> {
    let Some(last) = mark_of(inner, session, -1).await? else { return Ok(0) };
    let young = inner
        .collection(EVENTS)
        .find_one(doc! { "sessionId": session, "at": { "$gte": date(expired) } })
        .sort(doc! { "sessionId": 1, "seq": 1 })
        .projection(doc! { "sessionId": 1, "seq": 1, "at": 1 })
        .await?;
    let young = young.as_ref().map(mark).transpose()?.map_or(last.seq, |mark| mark.seq);
    let counted = (last.seq + 1).saturating_sub(keep);
    let before = young.max(counted).min(last.seq);
    let old = doc! { "q": { "sessionId": session, "seq": { "$lt": unsigned(before) } }, "limit": 0 };
    Ok(inner.delete(EVENTS, vec![old]).await?.all()?.count)
}
