//! Putting a logged-out session's auth state away, so that a crash at any step leaves all of it in one place or
//! the other, and a repeat ends what was begun.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::auth::{conflict, delete_live, refuse_if_newer, visible, writable};
use super::documents::{Fields, date, joined_id};
use super::errors::Failure;
use super::{ARCHIVES, AUTH_KEYS, AUTH_STATES, Inner};
use crate::store::auth::Tenure;

type Attempt<T> = std::result::Result<T, Failure>;

pub(super) async fn archive(inner: &Inner, session: &str, tenure: Tenure, reason: &str) -> Attempt<()> {
    refuse_if_newer(inner, session, tenure).await?;
    let run = begin(inner, session, tenure).await?;
    let copies = copies(inner, session, tenure, &run, reason).await?;
    // Nothing live: a repeat of a call that came to its end must not replace the archive by nothing.
    if !copies.is_empty() {
        inner.update(ARCHIVES, copies).await?.all()?;
        let older = doc! { "sessionId": session, "run": { "$ne": &run } };
        inner.delete(ARCHIVES, vec![doc! { "q": older, "limit": 0 }]).await?.all()?;
    }
    delete_live(inner, session, tenure).await.map(drop)
}

/// The name of this archiving. It stands in the credentials, which go last, so that a repeat goes on with it
/// and does not take its own first part for an earlier archive.
async fn begin(inner: &Inner, session: &str, tenure: Tenure) -> Attempt<String> {
    let creds = inner.collection(AUTH_STATES).find_one(doc! { "sessionId": session }).await?;
    if let Some(run) = creds.as_ref().map(|creds| Fields(creds).text("archiving")).transpose()?.flatten() {
        return Ok(run);
    }
    let mut bytes = [0; 8];
    inner.options.clock.fill_random(&mut bytes);
    let run = format!("{:016x}", u64::from_le_bytes(bytes));
    if creds.is_some() {
        let mark = doc! { "q": writable(session, tenure), "u": { "$set": { "archiving": &run } } };
        if inner.update(AUTH_STATES, vec![mark]).await?.all()?.count == 0 {
            return Err(conflict(session).into());
        }
    }
    Ok(run)
}

/// Upserts of what a tenure can read.
async fn copies(
    inner: &Inner,
    session: &str,
    tenure: Tenure,
    run: &str,
    reason: &str,
) -> Attempt<Vec<Document>> {
    let now = date(inner.options.clock.now());
    let copy = |id: String, mut set: Document| {
        set.extend(doc! { "run": run, "reason": reason, "archivedAt": now.clone() });
        doc! { "q": { "_id": id, "sessionId": session }, "u": { "$set": set }, "upsert": true }
    };
    let mut copies = Vec::new();
    if let Some(creds) = inner.collection(AUTH_STATES).find_one(visible(session, tenure)).await? {
        let set = doc! { "creds": creds.get("creds").cloned() };
        copies.push(copy(joined_id(&[session]), set));
    }
    let mut rows = inner.collection(AUTH_KEYS).find(visible(session, tenure)).batch_size(100_000).await?;
    while let Some(row) = rows.try_next().await? {
        let (kind, id) = (Fields(&row).required_text("type")?, Fields(&row).required_text("id")?);
        let set = doc! {
            "type": &kind,
            "id": &id,
            "value": row.get("value").cloned(),
            "stamp": row.get("stamp").cloned(),
        };
        copies.push(copy(joined_id(&[session, &kind, &id]), set));
    }
    Ok(copies)
}
