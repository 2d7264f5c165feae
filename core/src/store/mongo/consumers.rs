//! Consumers of the event log. In `consumers`, the document of a consumer has its name as `_id`, that of a position
//! `consumer/sessionId`.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::documents::{Fields, date, embedded, joined_id, unsigned};
use super::errors::{DUPLICATE, Failure, refused};
use super::event_log::event;
use super::{CONSUMERS, DEAD_LETTERS, Inner, MongoStore};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::event_log::{ConsumerRecord, ConsumerStore, DeadLetterChoice, DeadLetterRecord, Position};
use crate::store::rules::{check_limit, open_page_token, page_token};
use crate::store::session::Page;

type Attempt<T> = std::result::Result<T, Failure>;

#[async_trait]
impl ConsumerStore for MongoStore {
    async fn register_consumer(&self, consumer: &ConsumerRecord, start: &[Position]) -> Result<()> {
        let (consumer, start) = (Arc::new(consumer.clone()), Arc::<[Position]>::from(start));
        self.call("register_consumer", move |inner| {
            let (consumer, start) = (Arc::clone(&consumer), Arc::clone(&start));
            async move {
                if get(&inner, &consumer.name).await?.is_some() {
                    return Ok(());
                }
                // The positions first: who finds the consumer finds them.
                advance(&inner, &consumer.name, &start, consumer.created_at).await?;
                let new = doc! { "$setOnInsert": { "createdAt": date(consumer.created_at) } };
                let statement = doc! { "q": by_name(&consumer.name), "u": new, "upsert": true };
                upserted(inner.update(CONSUMERS, vec![statement]).await?)
            }
        })
        .await
    }

    async fn get_consumer(&self, name: &str) -> Result<Option<ConsumerRecord>> {
        let name: Arc<str> = name.into();
        self.call("get_consumer", move |inner| {
            let name = Arc::clone(&name);
            async move { get(&inner, &name).await }
        })
        .await
    }

    async fn list_consumers(&self) -> Result<Vec<ConsumerRecord>> {
        self.call("list_consumers", |inner| async move {
            // Positions have a session.
            let registered = doc! { "sessionId": null };
            let mut found = inner.collection(CONSUMERS).find(registered).sort(doc! { "consumer": 1 }).await?;
            let mut consumers = Vec::new();
            while let Some(document) = found.try_next().await? {
                consumers.push(consumer(&document)?);
            }
            Ok(consumers)
        })
        .await
    }

    async fn load_positions(&self, consumer: &str) -> Result<Vec<Position>> {
        let mine = doc! { "consumer": consumer, "sessionId": { "$exists": true } };
        self.call("load_positions", move |inner| {
            let mine = mine.clone();
            async move {
                let mut found = inner.collection(CONSUMERS).find(mine).batch_size(100_000).await?;
                let mut positions = Vec::new();
                while let Some(document) = found.try_next().await? {
                    let fields = Fields(&document);
                    let session = fields.required_text("sessionId")?;
                    positions.push(Position { session, seq: fields.unsigned("seq")? });
                }
                Ok(positions)
            }
        })
        .await
    }

    async fn advance_positions(&self, consumer: &str, positions: &[Position], now: Timestamp) -> Result<()> {
        let (consumer, positions): (Arc<str>, Arc<[Position]>) = (consumer.into(), positions.into());
        self.call("advance_positions", move |inner| {
            let (consumer, positions) = (Arc::clone(&consumer), Arc::clone(&positions));
            async move { advance(&inner, &consumer, &positions, now).await }
        })
        .await
    }

    async fn forget_positions(&self, consumer: &str, sessions: &[String]) -> Result<()> {
        let filter = doc! { "consumer": consumer, "sessionId": { "$in": sessions } };
        let statement = doc! { "q": filter, "limit": 0 };
        self.call("forget_positions", move |inner| {
            let statement = statement.clone();
            async move { inner.delete(CONSUMERS, vec![statement]).await?.all().map(drop) }
        })
        .await
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool> {
        let name: Arc<str> = name.into();
        self.call("delete_consumer", move |inner| {
            let name = Arc::clone(&name);
            async move {
                let all = doc! { "q": { "consumer": &*name }, "limit": 0 };
                inner.delete(DEAD_LETTERS, vec![all.clone()]).await?.all()?;
                // The consumer itself last: a deletion that was broken off can be repeated.
                let mut positions = all;
                positions.insert("q", doc! { "consumer": &*name, "sessionId": { "$exists": true } });
                inner.delete(CONSUMERS, vec![positions]).await?.all()?;
                let registered = doc! { "q": by_name(&name), "limit": 1 };
                Ok(inner.delete(CONSUMERS, vec![registered]).await?.all()?.count == 1)
            }
        })
        .await
    }

    async fn put_dead_letter(&self, letter: &DeadLetterRecord) -> Result<()> {
        let filter = doc! {
            "_id": joined_id(&[&letter.consumer, &letter.event.session, &letter.event.seq.to_string()]),
            "consumer": &letter.consumer,
            "sessionId": &letter.event.session,
            "seq": unsigned(letter.event.seq),
        };
        let set = doc! {
            "at": date(letter.event.at),
            "payload": embedded(&letter.event.payload)?,
            "attempts": i64::from(letter.attempts),
            "error": &letter.error,
            "failedAt": date(letter.failed_at),
            "replay": letter.replay,
        };
        let statement = doc! { "q": filter, "u": { "$set": set }, "upsert": true };
        self.call("put_dead_letter", move |inner| {
            let statement = statement.clone();
            async move { upserted(inner.update(DEAD_LETTERS, vec![statement]).await?) }
        })
        .await
    }

    async fn list_dead_letters(
        &self,
        consumer: &str,
        replay: bool,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<DeadLetterRecord>> {
        check_limit(limit)?;
        let mut filter = doc! { "consumer": consumer };
        if replay {
            filter.insert("replay", true);
        }
        if let Some(after) = after {
            let (session, seq): (String, u64) = open_page_token(after)?;
            let beyond = vec![
                doc! { "sessionId": { "$gt": &session } },
                doc! { "sessionId": &session, "seq": { "$gt": unsigned(seq) } },
            ];
            filter.insert("$or", beyond);
        }
        self.call("list_dead_letters", move |inner| {
            let filter = filter.clone();
            async move { list(&inner, filter, limit).await }
        })
        .await
    }

    async fn replay_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64> {
        let replay = doc! { "$set": { "replay": true } };
        let statement = doc! { "q": chosen(consumer, choice), "u": replay, "multi": true };
        self.call("replay_dead_letters", move |inner| {
            let statement = statement.clone();
            async move { Ok(inner.update(DEAD_LETTERS, vec![statement]).await?.all()?.count) }
        })
        .await
    }

    async fn delete_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64> {
        let statement = doc! { "q": chosen(consumer, choice), "limit": 0 };
        self.call("delete_dead_letters", move |inner| {
            let statement = statement.clone();
            async move { Ok(inner.delete(DEAD_LETTERS, vec![statement]).await?.all()?.count) }
        })
        .await
    }
}

fn by_name(name: &str) -> Document {
    doc! { "_id": joined_id(&[name]), "consumer": name }
}

fn chosen(consumer: &str, choice: DeadLetterChoice<'_>) -> Document {
    match choice {
        DeadLetterChoice::All => doc! { "consumer": consumer },
        DeadLetterChoice::One { session, seq } => {
            doc! { "consumer": consumer, "sessionId": session, "seq": unsigned(seq) }
        }
    }
}

/// Two inserts of one document at once: the second finds it if it is written again.
fn upserted(written: super::writes::Written) -> Attempt<()> {
    match (written.refused.first(), written.duplicates.first()) {
        (Some((_, code)), _) => Err(refused(*code)),
        (None, Some(_)) => Err(Failure::Again(Error::new(
            ErrorKind::Unavailable,
            format!("another writer got in between (code {DUPLICATE}); retry later"),
        ))),
        (None, None) => Ok(()),
    }
}

async fn get(inner: &Inner, name: &str) -> Attempt<Option<ConsumerRecord>> {
    let found = inner.collection(CONSUMERS).find_one(by_name(name)).await?;
    Ok(found.as_ref().map(consumer).transpose()?)
}

fn consumer(document: &Document) -> Result<ConsumerRecord> {
    let fields = Fields(document);
    Ok(ConsumerRecord {
        name: fields.required_text("consumer")?,
        created_at: fields.date("createdAt")?.unwrap_or_default(),
    })
}

async fn advance(inner: &Inner, consumer: &str, positions: &[Position], now: Timestamp) -> Attempt<()> {
    if positions.is_empty() {
        return Ok(());
    }
    let statement = |Position { session, seq }: &Position| {
        let filter = doc! {
            "_id": joined_id(&[consumer, session]), "consumer": consumer, "sessionId": session,
        };
        let forward = doc! { "$max": { "seq": unsigned(*seq) }, "$set": { "updatedAt": date(now) } };
        doc! { "q": filter, "u": forward, "upsert": true }
    };
    upserted(inner.update(CONSUMERS, positions.iter().map(statement).collect()).await?)
}

async fn list(inner: &Inner, filter: Document, limit: u32) -> Attempt<Page<DeadLetterRecord>> {
    let sort = doc! { "consumer": 1, "sessionId": 1, "seq": 1 };
    let mut found =
        inner.collection(DEAD_LETTERS).find(filter).sort(sort).limit(i64::from(limit) + 1).await?;
    let mut page = Page::default();
    let mut last: Option<(String, u64)> = None;
    let mut seen = 0;
    while let Some(document) = found.try_next().await? {
        if seen == limit {
            page.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        match dead_letter(&document) {
            Ok(letter) => page.items.push(letter),
            Err(_) => page.malformed.push(document.get("_id").map(ToString::to_string).unwrap_or_default()),
        }
        let fields = Fields(&document);
        if let (Ok(session), Ok(seq)) = (fields.required_text("sessionId"), fields.unsigned("seq")) {
            last = Some((session, seq));
        }
    }
    Ok(page)
}

fn dead_letter(document: &Document) -> Result<DeadLetterRecord> {
    let fields = Fields(document);
    Ok(DeadLetterRecord {
        consumer: fields.required_text("consumer")?,
        event: event(document)?,
        attempts: fields.small("attempts")?,
        error: fields.text("error")?.unwrap_or_default(),
        failed_at: fields.date("failedAt")?.unwrap_or_default(),
        replay: fields.flag("replay")?.unwrap_or(false),
    })
}
