//! Leases of many sessions in four commands, whatever their number: look, read, take, read.

use std::collections::HashMap;
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::errors::{Failure, refused};
use super::leases::{Step, acquired, asking, by_id, consider, lease};
use super::{Inner, LEASES};
use crate::store::lease::Acquired;

type Attempt<T> = std::result::Result<T, Failure>;

/// By session. Those that somebody else changed at the same time are left out: ask for them again.
pub(super) async fn acquire(
    inner: &Inner,
    sessions: &[String],
    owner: &str,
    duration: Duration,
) -> Attempt<HashMap<String, Acquired>> {
    let looks =
        sessions.iter().map(|session| doc! { "q": by_id(session), "u": asking(), "upsert": true }).collect();
    let written = inner.update(LEASES, looks).await?;
    // A duplicate is one that two made at once: it is there.
    if let Some((_, code)) = written.refused.first() {
        return Err(refused(*code));
    }
    let mut outcome = HashMap::new();
    let mut wanted: HashMap<String, u64> = HashMap::new();
    let mut takes = Vec::new();
    for found in read(inner, sessions.iter()).await? {
        match consider(&found, owner, duration)? {
            Step::Leave(held) => drop(outcome.insert(held.session.clone(), Acquired::Held(held))),
            Step::Take { unchanged, take, generation } => {
                wanted.insert(lease(&found)?.session, generation);
                takes.push(doc! { "q": unchanged, "u": take });
            }
        }
    }
    if takes.is_empty() {
        return Ok(outcome);
    }
    inner.update(LEASES, takes).await?.all()?;
    for taken in read(inner, wanted.keys()).await? {
        let now = lease(&taken)?;
        if now.owner == owner && wanted.get(&now.session) == Some(&now.generation) {
            outcome.insert(now.session, acquired(&taken)?);
        }
    }
    Ok(outcome)
}

async fn read(inner: &Inner, sessions: impl Iterator<Item = &String>) -> Attempt<Vec<Document>> {
    let sessions: Vec<&String> = sessions.collect();
    let filter = doc! { "_id": { "$in": &sessions }, "sessionId": { "$in": &sessions } };
    Ok(inner.collection(LEASES).find(filter).batch_size(100_000).await?.try_collect().await?)
}
