//! Batches of many sessions in few commands, each session with its own result.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::auth::{conflict, newer_than, with_keys, writable};
use super::documents::{Fields, binary, date, joined_id, unsigned};
use super::errors::{Failure, refused};
use super::pieces::{Pieces, values_of};
use super::{AUTH_KEYS, AUTH_STATES, Inner, LEASES, MongoStore};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::auth::{AuthKey, AuthWrite, Tenure, WriteBatch};
use crate::store::rules::same_error;

type Attempt<T> = std::result::Result<T, Failure>;

/// The largest value: a document may have 16 MB, and ids take some of it.
const MAX_VALUE: usize = 15 << 20;
/// How often statements that met a duplicate key are written again.
const COLLISIONS: usize = 8;
pub(super) struct Batch {
    pub(super) session: String,
    pub(super) tenure: Tenure,
    pub(super) writes: WriteBatch,
}

/// One upsert, and whose it is.
struct Upsert {
    /// Index of its batch.
    batch: usize,
    /// `None` for credentials.
    key: Option<AuthKey>,
    set: Document,
    on_insert: Document,
    unset: Document,
}

/// The outcome of each batch, as far as it is known: `None` is still fine.
type Refusals = Vec<Option<Error>>;

pub(super) async fn apply(store: &MongoStore, batches: &[(&str, Tenure, &WriteBatch)]) -> Vec<Result<()>> {
    let mut outcomes: Vec<Result<()>> = batches.iter().map(|_| Ok(())).collect();
    let mut pieces = Pieces::of(batches);
    let (pace, clock) = (&store.0.pace, &store.0.options.clock);
    while let Some(mut piece) = pieces.next(pace.values()) {
        piece.retain(|(index, _)| outcomes[*index].is_ok());
        let (indexes, piece): (Vec<usize>, Vec<Batch>) = piece.into_iter().unzip();
        let values = piece.iter().map(|batch| values_of(&batch.writes)).sum();
        let start = clock.monotonic();
        let applied = apply_piece(store, piece.into()).await;
        pace.learn(values, clock.monotonic().saturating_sub(start));
        for (index, outcome) in indexes.into_iter().zip(applied) {
            outcomes[index] = outcome;
        }
    }
    outcomes
}

async fn apply_piece(store: &MongoStore, batches: Arc<[Batch]>) -> Vec<Result<()>> {
    let owned = Arc::clone(&batches);
    let outcome = store
        .call("apply_auth", move |inner| {
            let batches = Arc::clone(&owned);
            async move { apply_all(&inner, &batches).await }
        })
        .await;
    match outcome {
        Ok(refusals) => refusals
            .into_iter()
            .map(|refusal| refusal.map_or(Ok(()), |error| Err(error.during("apply_auth"))))
            .collect(),
        Err(error) => {
            batches.iter().map(|batch| Err(same_error(&error).of_session(&batch.session))).collect()
        }
    }
}

async fn apply_all(inner: &Inner, batches: &[Batch]) -> Attempt<Refusals> {
    let mut refusals: Refusals = batches.iter().map(too_large).collect();
    let now = inner.options.clock.now();
    // Values, then deletions, then credentials: credentials may count on values that are there.
    let values =
        batches.iter().enumerate().flat_map(|(index, batch)| value_upserts(index, batch, now)).collect();
    write_upserts(inner, AUTH_KEYS, batches, values, &mut refusals).await?;
    delete(inner, batches, &mut refusals).await?;
    let creds =
        batches.iter().enumerate().filter_map(|(index, batch)| creds_upsert(index, batch, now)).collect();
    write_upserts(inner, AUTH_STATES, batches, creds, &mut refusals).await?;
    Ok(refusals)
}

fn too_large(batch: &Batch) -> Option<Error> {
    let puts = batch.writes.writes().iter().filter_map(|write| match write {
        AuthWrite::Put(entry) => Some(entry.value.len()),
        AuthWrite::Delete(_) => None,
    });
    let largest = puts.chain(batch.writes.creds().map(|creds| creds.len())).max()?;
    (largest > MAX_VALUE).then(|| {
        Error::new(ErrorKind::Invalid, "a value is larger than a document may be (15 MiB)")
            .of_session(&batch.session)
    })
}

fn value_upserts(index: usize, batch: &Batch, now: Timestamp) -> impl Iterator<Item = Upsert> {
    batch.writes.writes().iter().filter_map(move |write| {
        let AuthWrite::Put(entry) = write else { return None };
        Some(Upsert {
            batch: index,
            key: Some(entry.key.clone()),
            set: doc! {
                "value": binary(&entry.value),
                "stamp": entry.stamp_s,
                "generation": unsigned(batch.tenure.generation),
                "updatedAt": date(now),
            },
            on_insert: doc! { "type": &entry.key.kind, "id": &entry.key.id },
            unset: Document::new(),
        })
    })
}

fn creds_upsert(index: usize, batch: &Batch, now: Timestamp) -> Option<Upsert> {
    let creds = batch.writes.creds()?;
    Some(Upsert {
        batch: index,
        key: None,
        set: doc! {
            "creds": binary(creds),
            "generation": unsigned(batch.tenure.generation),
            "updatedAt": date(now),
        },
        on_insert: Document::new(),
        // Fresh credentials end an archiving that was broken off.
        unset: doc! { "archiving": "" },
    })
}

impl Upsert {
    /// By our own `_id`. A row of the seed's has another one; it then collides on the key.
    fn by_id(&self, batch: &Batch) -> Document {
        let mut filter = writable(&batch.session, batch.tenure);
        filter.insert("_id", self.id(&batch.session));
        self.statement(filter, self.on_insert.clone())
    }

    /// By the key alone, for a row that has an `_id` of somebody else's making.
    fn by_key(&self, batch: &Batch) -> Document {
        let mut filter = writable(&batch.session, batch.tenure);
        if let Some(key) = &self.key {
            filter.extend(doc! { "type": &key.kind, "id": &key.id });
        }
        self.statement(filter, doc! { "_id": self.id(&batch.session) })
    }

    fn id(&self, session: &str) -> String {
        match &self.key {
            Some(key) => joined_id(&[session, &key.kind, &key.id]),
            None => session.to_owned(),
        }
    }

    fn statement(&self, filter: Document, on_insert: Document) -> Document {
        let mut update = doc! { "$set": self.set.clone() };
        if !on_insert.is_empty() {
            update.insert("$setOnInsert", on_insert);
        }
        if !self.unset.is_empty() {
            update.insert("$unset", self.unset.clone());
        }
        doc! { "q": filter, "u": update, "upsert": true }
    }
}

async fn write_upserts(
    inner: &Inner,
    collection: &str,
    batches: &[Batch],
    mut upserts: Vec<Upsert>,
    refusals: &mut Refusals,
) -> Attempt<()> {
    upserts.retain(|upsert| refusals[upsert.batch].is_none());
    for round in 0..COLLISIONS {
        if upserts.is_empty() {
            return Ok(());
        }
        let statement = |upsert: &Upsert| {
            let batch = &batches[upsert.batch];
            if round == 0 { upsert.by_id(batch) } else { upsert.by_key(batch) }
        };
        let written = inner.update(collection, upserts.iter().map(statement).collect()).await?;
        for (index, code) in &written.refused {
            let batch = upserts[*index].batch;
            refusals[batch]
                .get_or_insert_with(|| refused(*code).into_error().of_session(&batches[batch].session));
        }
        // The key is taken: by a newer owner, or by an insert of our own generation at the same moment, or
        // by a row with a foreign `_id`. Only the first is a refusal.
        let mut collided: Vec<Upsert> = Vec::new();
        let mut index = 0;
        upserts.retain_mut(|upsert| {
            let taken = written.duplicates.contains(&index);
            index += 1;
            if taken {
                let empty = Upsert {
                    batch: upsert.batch,
                    key: None,
                    set: Document::new(),
                    on_insert: Document::new(),
                    unset: Document::new(),
                };
                collided.push(std::mem::replace(upsert, empty));
            }
            false
        });
        upserts = collided;
        for upsert in &upserts {
            let batch = &batches[upsert.batch];
            if refusals[upsert.batch].is_none()
                && is_newer(inner, collection, batch, upsert.key.as_ref()).await?
            {
                refusals[upsert.batch] = Some(conflict(&batch.session));
            }
        }
        upserts.retain(|upsert| refusals[upsert.batch].is_none());
    }
    match upserts.is_empty() {
        true => Ok(()),
        false => Err(Failure::Again(Error::new(
            ErrorKind::Unavailable,
            "other writers got in between every time; retry later",
        ))),
    }
}

async fn is_newer(inner: &Inner, collection: &str, batch: &Batch, key: Option<&AuthKey>) -> Attempt<bool> {
    let mut filter = doc! { "sessionId": &batch.session, "generation": newer_than(batch.tenure) };
    if let Some(key) = key {
        filter.extend(doc! { "type": &key.kind, "id": &key.id });
    }
    Ok(inner.collection(collection).find_one(filter).projection(doc! { "_id": 1 }).await?.is_some())
}

/// Deletes, and asks the leases and the rows that are left whether the deletions were stale: a fenced delete
/// that finds nothing cannot tell gone from newer.
async fn delete(inner: &Inner, batches: &[Batch], refusals: &mut Refusals) -> Attempt<()> {
    let mut deleting: HashMap<&str, (usize, Vec<&AuthKey>)> = HashMap::new();
    for (index, batch) in batches.iter().enumerate().filter(|(index, _)| refusals[*index].is_none()) {
        for write in batch.writes.writes() {
            let AuthWrite::Delete(key) = write else { continue };
            deleting.entry(&batch.session).or_insert((index, Vec::new())).1.push(key);
        }
    }
    if deleting.is_empty() {
        return Ok(());
    }
    let wanted = deleting.values().map(|(_, keys)| keys.len() as u64).sum::<u64>();
    // One statement a session: a slow server looks each up by itself.
    let statements = deleting
        .values()
        .filter_map(|(index, keys)| {
            let batch = &batches[*index];
            let rows = with_keys(writable(&batch.session, batch.tenure), keys.iter().copied())?;
            Some(doc! { "q": rows, "limit": 0 })
        })
        .collect();
    let deleted = inner.delete(AUTH_KEYS, statements).await?.all()?.count;

    let sessions: Vec<&str> = deleting.keys().copied().collect();
    let filter = doc! { "_id": { "$in": &sessions }, "sessionId": { "$in": &sessions } };
    let mut leases = inner.collection(LEASES).find(filter).batch_size(100_000).await?;
    while let Some(lease) = leases.try_next().await? {
        let fields = Fields(&lease);
        let session = fields.required_text("sessionId")?;
        let Some((index, _)) = deleting.get(session.as_str()) else { continue };
        if fields.unsigned("generation")? > batches[*index].tenure.generation {
            refusals[*index].get_or_insert_with(|| conflict(&session));
        }
    }
    if deleted == wanted {
        return Ok(());
    }
    let left: Vec<Document> = deleting
        .values()
        .filter(|(index, _)| refusals[*index].is_none())
        .filter_map(|(index, keys)| {
            let batch = &batches[*index];
            let newer = doc! { "sessionId": &batch.session, "generation": newer_than(batch.tenure) };
            with_keys(newer, keys.iter().copied())
        })
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let mut newer =
        inner.collection(AUTH_KEYS).find(doc! { "$or": left }).projection(doc! { "sessionId": 1 }).await?;
    while let Some(row) = newer.try_next().await? {
        let session = Fields(&row).required_text("sessionId")?;
        if let Some((index, _)) = deleting.get(session.as_str()) {
            refusals[*index].get_or_insert_with(|| conflict(&session));
        }
    }
    Ok(())
}
