//! Recording messages of many sessions in one command. Their chats and counters follow (`counts`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};

use super::calls::repeated;
use super::counts::{self, is_unsure};
use super::documents::{message_document, message_id};
use super::errors::{Failure, refused};
use super::{Inner, MESSAGES, MongoStore};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::message::{RecordBatch, Recorded, StoredMessage};
use crate::store::rules::same_error;

/// A batch that may outlive its caller.
struct Batch {
    session: String,
    messages: Vec<StoredMessage>,
    names: Vec<(String, String)>,
    now: Timestamp,
}

pub(super) async fn record(store: &MongoStore, batches: &[RecordBatch<'_>]) -> Vec<Result<Recorded>> {
    let owned: Vec<Batch> = batches
        .iter()
        .map(|batch| Batch {
            session: batch.session.to_owned(),
            messages: batch.messages.to_vec(),
            names: batch.names.to_vec(),
            now: batch.now,
        })
        .collect();
    let inner = Arc::clone(&store.0);
    let outcome =
        store.to_its_end("record_messages", async move { Ok(record_all(&inner, &owned).await) }).await;
    match outcome {
        Ok(results) => {
            results.into_iter().map(|one| one.map_err(|error| error.during("record_messages"))).collect()
        }
        Err(error) => batches.iter().map(|batch| Err(same_error(&error).of_session(batch.session))).collect(),
    }
}

async fn record_all(inner: &Arc<Inner>, batches: &[Batch]) -> Vec<Result<Recorded>> {
    // Until what was inserted is noted, nobody counts anew.
    let _recording = inner.counts.recording.read().await;
    let mut results: Vec<Result<Recorded>> =
        batches.iter().map(|batch| Ok(Recorded { inserted: vec![false; batch.messages.len()] })).collect();
    let insertion = &Insertion::of(inner, batches, &mut results);
    match repeated(inner, |inner| async move { insertion.attempt(&inner).await }).await {
        Ok(outcome) => {
            for (place, _) in insertion.places.iter().zip(&outcome.new).filter(|(_, new)| **new) {
                if let Ok(recorded) = &mut results[place.batch] {
                    recorded.inserted[place.message] = true;
                }
            }
            for (statement, code) in outcome.refused {
                let index = insertion.places[statement].batch;
                // Others of the batch may have been inserted.
                inner.counts.doubt(&batches[index].session);
                results[index] = Err(refused(code).into_error().of_session(&batches[index].session));
            }
        }
        Err(error) => {
            for (batch, result) in batches.iter().zip(&mut results) {
                if is_unsure(&error) && !batch.messages.is_empty() {
                    // Some may have been inserted; the caller's repeat finds them there and does not count them.
                    inner.counts.doubt(&batch.session);
                }
                *result = Err(same_error(&error).of_session(&batch.session));
            }
        }
    }
    for (batch, result) in batches.iter().zip(&results) {
        if let Ok(recorded) = result {
            let Batch { session, messages, names, now } = batch;
            inner.counts.note(session, messages, &recorded.inserted, names, *now);
        }
    }
    counts::schedule(inner);
    results
}

/// Where a statement's message stands.
struct Place {
    batch: usize,
    message: usize,
}

/// One statement a message that is not there.
struct Insertion {
    statements: Vec<Document>,
    places: Vec<Place>,
    /// Tells what this call inserted from what others did.
    mark: Bson,
    attempts: AtomicUsize,
}

#[derive(Default)]
struct Outcome {
    new: Vec<bool>,
    refused: Vec<(usize, i32)>,
}

impl Insertion {
    fn of(inner: &Inner, batches: &[Batch], results: &mut [Result<Recorded>]) -> Self {
        let mut mark = [0; 12];
        inner.options.clock.fill_random(&mut mark);
        let mark = Bson::ObjectId(mark.into());
        let (mut statements, mut places) = (Vec::new(), Vec::new());
        // Of two in one call with the same key the first counts.
        let mut seen = HashSet::new();
        for (index, batch) in batches.iter().enumerate() {
            for (position, message) in batch.messages.iter().enumerate() {
                let id = message_id(&batch.session, &message.key);
                if seen.contains(&id) {
                    continue;
                }
                let mut document = match message_document(message, batch.now) {
                    Ok(document) => document,
                    Err(error) => {
                        results[index] = Err(error.of_session(&batch.session));
                        break;
                    }
                };
                document.insert("arrival", inner.arrivals.number(message, batch.now));
                document.insert("recordedBy", mark.clone());
                let filter = doc! { "_id": &id, "sessionId": &batch.session };
                statements.push(doc! { "q": filter, "u": { "$setOnInsert": document }, "upsert": true });
                places.push(Place { batch: index, message: position });
                seen.insert(id);
            }
        }
        Self { statements, places, mark, attempts: AtomicUsize::new(0) }
    }

    async fn attempt(&self, inner: &Inner) -> std::result::Result<Outcome, Failure> {
        let again = self.attempts.fetch_add(1, Ordering::Relaxed) > 0;
        if self.statements.is_empty() {
            return Ok(Outcome::default());
        }
        // A duplicate was taken at the same moment by another delivery of it: a redelivery.
        let written = inner.update(MESSAGES, self.statements.clone()).await?;
        let mut new = vec![false; self.statements.len()];
        for index in written.inserted {
            new[index] = true;
        }
        // An earlier attempt may have inserted some, its answer lost: they bear our mark.
        if again {
            let ids: HashMap<&str, usize> = self
                .statements
                .iter()
                .enumerate()
                .filter_map(|(index, one)| Some((one.get_document("q").ok()?.get_str("_id").ok()?, index)))
                .collect();
            let keys: Vec<&str> = ids.keys().copied().collect();
            let filter = doc! { "_id": { "$in": keys }, "recordedBy": self.mark.clone() };
            let found = inner.collection(MESSAGES).find(filter).projection(doc! { "_id": 1 }).await?;
            let found: Vec<Document> = found.try_collect().await?;
            for id in found.iter().filter_map(|document| document.get_str("_id").ok()) {
                if let Some(index) = ids.get(id) {
                    new[*index] = true;
                }
            }
        }
        Ok(Outcome { new, refused: written.refused })
    }
}
