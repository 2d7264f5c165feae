//! Changing messages of many sessions in one command, and reading them as they then stand in another.

use std::collections::HashMap;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::documents::{date, embedded, message_id, status_name, stored_message};
use super::errors::{Failure, refused};
use super::messages::by_id;
use super::{Inner, MESSAGES, MongoStore};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::message::{ChangeBatch, MessageChange, MessageKey, StoredMessage};
use crate::store::rules::{revoked_content, same_error};

type Attempt<T> = std::result::Result<T, Failure>;
type Changed = Result<Vec<Option<StoredMessage>>>;

/// One change, and whose it is.
struct Change {
    batch: usize,
    id: String,
    filter: Document,
    update: Document,
}

/// What became of all changes.
#[derive(Default)]
struct Outcome {
    found: HashMap<String, Document>,
    refused: Vec<(usize, i32)>,
}

pub(super) async fn change(store: &MongoStore, batches: &[ChangeBatch<'_>]) -> Vec<Changed> {
    let mut unfit: Vec<Option<Error>> = batches.iter().map(|_| None).collect();
    let mut changes = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        for (key, wanted) in batch.changes {
            match one_change(index, batch.session, key, wanted, batch.now) {
                Ok(one) => changes.push(one),
                Err(error) => unfit[index] = Some(error),
            }
        }
    }
    let sessions: Arc<[String]> = batches.iter().map(|batch| batch.session.to_owned()).collect();
    let changes: Arc<[Change]> = changes.into();
    let work = {
        let changes = Arc::clone(&changes);
        move |inner: Arc<Inner>| {
            let (changes, sessions) = (Arc::clone(&changes), Arc::clone(&sessions));
            async move { apply(&inner, &changes, &sessions).await }
        }
    };
    let outcome = match store.call("change_messages", work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            return batches.iter().map(|batch| Err(same_error(&error).of_session(batch.session))).collect();
        }
    };
    for (change, code) in outcome.refused {
        unfit[changes[change].batch].get_or_insert_with(|| refused(code).into_error());
    }
    batches
        .iter()
        .zip(unfit)
        .map(|(batch, unfit)| match unfit {
            Some(error) => Err(error.of_session(batch.session).during("change_messages")),
            None => batch
                .changes
                .iter()
                .map(|(key, _)| {
                    outcome.found.get(&message_id(batch.session, key)).map(stored_message).transpose()
                })
                .collect(),
        })
        .collect()
}

async fn apply(inner: &Inner, changes: &[Change], sessions: &[String]) -> Attempt<Outcome> {
    let mut outcome = Outcome::default();
    match changes {
        [] => return Ok(outcome),
        [one] => {
            let messages = inner.collection(MESSAGES);
            let changed = messages
                .find_one_and_update(one.filter.clone(), one.update.clone())
                .return_document(ReturnDocument::After)
                .await?;
            if let Some(document) = changed {
                outcome.found.insert(one.id.clone(), document);
                return Ok(outcome);
            }
        }
        many => {
            // Two may be for one message: their order makes no difference.
            let statements =
                many.iter().map(|one| doc! { "q": one.filter.clone(), "u": one.update.clone() }).collect();
            let mut written = inner.update(MESSAGES, statements).await?;
            outcome.refused = std::mem::take(&mut written.refused);
            written.all()?;
        }
    }
    let ids: Vec<&str> = changes.iter().map(|change| change.id.as_str()).collect();
    let filter = doc! { "sessionId": { "$in": sessions }, "_id": { "$in": ids } };
    outcome.found = by_id(inner, filter).await?;
    Ok(outcome)
}

fn one_change(
    batch: usize,
    session: &str,
    key: &MessageKey,
    change: &MessageChange,
    now: Timestamp,
) -> Result<Change> {
    let id = message_id(session, key);
    let mut filter = doc! { "_id": &id, "sessionId": session };
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
    Ok(Change { batch, id, filter, update })
}
