//! Which lease may add to a session's counters; see `counts`.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::counts::{Flush, Tally};
use super::documents::{Fields, unsigned};
use super::errors::Failure;
use super::{Inner, SESSIONS};

type Attempt<T> = std::result::Result<T, Failure>;

/// Narrows a filter to a session that nobody has counted anew under a younger lease, and that need not be.
pub(super) fn may_add(tally: &Tally, filter: &mut Document) {
    if let Some(generation) = tally.generation {
        filter.insert("countedGeneration", doc! { "$not": { "$gt": unsigned(generation) } });
        filter.insert("countAnew", doc! { "$ne": true });
    }
}

/// Of sessions some of whose additions matched nothing: those that must be counted anew here. Where a younger lease has
/// counted, its owner is asked to do it again.
pub(super) async fn unmatched(inner: &Inner, flush: &Flush, counting: &[&str]) -> Attempt<Vec<String>> {
    let filter = doc! {
        "sessionId": { "$in": counting },
        "$or": [{ "countedGeneration": { "$gt": 0 } }, { "countAnew": true }],
    };
    let fields = doc! { "sessionId": 1, "countedGeneration": 1, "countAnew": 1 };
    let mut rows = inner.collection(SESSIONS).find(filter).projection(fields).batch_size(100_000).await?;
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    while let Some(row) = rows.try_next().await? {
        let fields = Fields(&row);
        let session = fields.required_text("sessionId")?;
        let Some(tally) = flush.tallies.get(&session) else { continue };
        let Some(generation) = tally.generation else { continue };
        if fields.unsigned("countedGeneration")? <= generation {
            if row.get_bool("countAnew").unwrap_or_default() {
                here.push(session);
            }
        } else if tally.has_numbers() {
            let younger =
                doc! { "sessionId": &session, "countedGeneration": { "$gt": unsigned(generation) } };
            elsewhere.push(doc! { "q": younger, "u": { "$set": { "countAnew": true } } });
        }
    }
    if !elsewhere.is_empty() {
        tracing::warn!(
            sessions = elsewhere.len(),
            "sessions were taken over while messages were being counted"
        );
        inner.update(SESSIONS, elsewhere).await?.all()?;
    }
    Ok(here)
}

/// Makes a count anew the last word: whatever older leases still want to add comes too late, and asks for another.
pub(super) async fn claim(inner: &Inner, session: &str) -> Attempt<()> {
    let mut update = doc! { "$unset": { "countAnew": "" } };
    if let Some(generation) = inner.counts.generation(session) {
        update.insert("$max", doc! { "countedGeneration": unsigned(generation) });
    }
    inner.update(SESSIONS, vec![doc! { "q": { "sessionId": session }, "u": update }]).await?.all()?;
    Ok(())
}
