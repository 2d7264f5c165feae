//! Changes of status of many sessions: one command that writes, one that reads.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};

use super::errors::{Failure, refused};
use super::sessions::record;
use super::{Inner, MongoStore, SESSIONS, patches};
use crate::error::Result;
use crate::store::rules::same_error;
use crate::store::session::{SessionRecord, SessionStore, StatusChange};

type Attempt<T> = std::result::Result<T, Failure>;

pub(super) async fn patch(
    store: &MongoStore,
    changes: &[StatusChange<'_>],
) -> Vec<Result<Option<SessionRecord>>> {
    if let [one] = changes {
        return vec![patch_one(store, one).await];
    }
    match patch_many(store, changes).await {
        Ok(results) => results,
        Err(error) => {
            changes.iter().map(|change| Err(same_error(&error).of_session(change.session))).collect()
        }
    }
}

/// Case by case: mostly the first fits, and reads what it wrote.
async fn patch_one(store: &MongoStore, change: &StatusChange<'_>) -> Result<Option<SessionRecord>> {
    for case in change.cases {
        let patched = store.patch_session_if(change.session, &case.from, &case.patch, change.now).await?;
        if patched.is_some() {
            return Ok(patched);
        }
    }
    Ok(None)
}

async fn patch_many(
    store: &MongoStore,
    changes: &[StatusChange<'_>],
) -> Result<Vec<Result<Option<SessionRecord>>>> {
    store.catch_up(None).await?;
    // What this call has changed bears its mark: no second case applies, and no repeat.
    let mut mark = [0; 12];
    store.0.options.clock.fill_random(&mut mark);
    let mark = Bson::ObjectId(mark.into());
    let mut statements = Vec::new();
    let mut owners = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        for case in change.cases {
            let from: Vec<&str> = case.from.iter().map(|status| status.as_str()).collect();
            let filter = doc! {
                "sessionId": change.session,
                "status": { "$in": from },
                "changedBy": { "$ne": mark.clone() },
            };
            let mut update = patches::update(&case.patch, change.now)?;
            if let Ok(set) = update.get_document_mut("$set") {
                set.insert("changedBy", mark.clone());
            }
            statements.push(doc! { "q": filter, "u": update });
            owners.push(index);
        }
    }
    let sessions: Vec<&str> = changes.iter().map(|change| change.session).collect();
    let ours = doc! { "sessionId": { "$in": sessions }, "changedBy": mark };
    let work = Arc::new((statements, ours));
    let (mut found, unfit) = store
        .call("patch_by_status", move |inner| {
            let work = Arc::clone(&work);
            async move { write(&inner, work.0.clone(), work.1.clone()).await }
        })
        .await?;
    let mut results: Vec<Result<Option<SessionRecord>>> = changes
        .iter()
        .map(|change| found.remove(change.session).map(|document| record(&document)).transpose())
        .collect();
    for (statement, code) in unfit {
        let index = owners[statement];
        results[index] = Err(refused(code).into_error().of_session(changes[index].session));
    }
    Ok(results)
}

async fn write(
    inner: &Inner,
    statements: Vec<Document>,
    ours: Document,
) -> Attempt<(HashMap<String, Document>, Vec<(usize, i32)>)> {
    let mut written = inner.update(SESSIONS, statements).await?;
    let unfit = std::mem::take(&mut written.refused);
    written.all()?;
    let mut rows = inner.collection(SESSIONS).find(ours).batch_size(100_000).await?;
    let mut found = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        if let Ok(session) = row.get_str("sessionId") {
            found.insert(session.to_owned(), row);
        }
    }
    Ok((found, unfit))
}
