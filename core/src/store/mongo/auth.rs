//! Credentials and keys: reading, deleting and fencing. Writing is in `batches`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::try_join;
use mongodb::bson::{Document, doc};

use super::documents::{Fields, unsigned};
use super::errors::Failure;
use super::{ARCHIVES, AUTH_KEYS, AUTH_STATES, Inner, LEASES, MongoStore, archive, auth_groups, batches};
use crate::error::{Error, ErrorKind, Result};
use crate::store::auth::{AuthEntry, AuthKey, AuthState, AuthStore, Tenure, WriteBatch};

type Attempt<T> = std::result::Result<T, Failure>;

/// Documents of one answer, so that a session comes in one round trip.
pub(super) const WHOLE: u32 = 1_000_000;

#[async_trait]
impl AuthStore for MongoStore {
    async fn load_auth(&self, session: &str, tenure: Tenure, except_kinds: &[&str]) -> Result<AuthState> {
        let mut filter = visible(session, tenure);
        if !except_kinds.is_empty() {
            filter.insert("type", doc! { "$nin": except_kinds });
        }
        let session: Arc<str> = session.into();
        self.call("load_auth", move |inner| {
            let (session, filter) = (Arc::clone(&session), filter.clone());
            async move {
                let (creds, entries) =
                    try_join(load_creds(&inner, &session, tenure), find_entries(&inner, filter, false))
                        .await?;
                Ok(AuthState { creds, entries })
            }
        })
        .await
    }

    async fn load_auths(&self, sessions: &[(&str, Tenure)], except_kinds: &[&str]) -> Vec<Result<AuthState>> {
        auth_groups::load(self, sessions, except_kinds).await
    }

    async fn load_creds(&self, session: &str, tenure: Tenure) -> Result<Option<Bytes>> {
        let session: Arc<str> = session.into();
        self.call("load_creds", move |inner| {
            let session = Arc::clone(&session);
            async move { load_creds(&inner, &session, tenure).await }
        })
        .await
    }

    async fn get_auth(&self, session: &str, tenure: Tenure, keys: &[AuthKey]) -> Result<Vec<Option<Bytes>>> {
        let filter = with_keys(visible(session, tenure), keys.iter());
        let entries = self
            .call("get_auth", move |inner| {
                let filter = filter.clone();
                async move {
                    match filter {
                        Some(filter) => find_entries(&inner, filter, false).await,
                        None => Ok(Vec::new()),
                    }
                }
            })
            .await?;
        let found: std::collections::HashMap<AuthKey, Bytes> =
            entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn get_auths(&self, reads: &[(&str, Tenure, &[AuthKey])]) -> Vec<Result<Vec<Option<Bytes>>>> {
        match reads {
            [(session, tenure, keys)] => vec![self.get_auth(session, *tenure, keys).await],
            many => auth_groups::get(self, many).await,
        }
    }

    async fn list_auth(&self, session: &str, tenure: Tenure, kind: &str) -> Result<Vec<AuthEntry>> {
        let mut filter = visible(session, tenure);
        filter.insert("type", kind);
        self.call("list_auth", move |inner| {
            let filter = filter.clone();
            async move { find_entries(&inner, filter, true).await }
        })
        .await
    }

    async fn has_auth_prefix(&self, session: &str, tenure: Tenure, kind: &str, prefix: &str) -> Result<bool> {
        let mut filter = visible(session, tenure);
        // The first id from the prefix on has it, or none has: no pattern to escape.
        filter.extend(doc! { "type": kind, "id": { "$gte": prefix } });
        let first = self
            .call("has_auth_prefix", move |inner| {
                let filter = filter.clone();
                async move {
                    let first = inner
                        .collection(AUTH_KEYS)
                        .find_one(filter)
                        .sort(doc! { "sessionId": 1, "type": 1, "id": 1 })
                        .projection(doc! { "id": 1 })
                        .await?;
                    first.map(|row| Fields(&row).required_text("id")).transpose().map_err(Failure::from)
                }
            })
            .await?;
        Ok(first.is_some_and(|id| id.starts_with(prefix)))
    }

    async fn apply_auth(&self, batches: &[(&str, Tenure, &WriteBatch)]) -> Vec<Result<()>> {
        batches::apply(self, batches).await
    }

    async fn delete_stamped_before(
        &self,
        session: &str,
        tenure: Tenure,
        kind: &str,
        cutoff_s: i64,
    ) -> Result<u64> {
        let mut filter = writable(session, tenure);
        filter.extend(doc! { "type": kind, "stamp": { "$lt": cutoff_s, "$ne": 0 } });
        let session: Arc<str> = session.into();
        self.call("delete_stamped_before", move |inner| {
            let (session, filter) = (Arc::clone(&session), filter.clone());
            async move {
                refuse_if_robbed(&inner, &session, tenure).await?;
                let gone = inner.delete(AUTH_KEYS, vec![doc! { "q": filter, "limit": 0 }]).await?;
                Ok(gone.all()?.count)
            }
        })
        .await
    }

    async fn delete_auth(&self, session: &str, tenure: Tenure) -> Result<u64> {
        let session: Arc<str> = session.into();
        self.call("delete_auth", move |inner| {
            let session = Arc::clone(&session);
            async move {
                refuse_if_newer(&inner, &session, tenure).await?;
                let all = doc! { "q": { "sessionId": &*session }, "limit": 0 };
                inner.delete(ARCHIVES, vec![all]).await?.all()?;
                delete_live(&inner, &session, tenure).await
            }
        })
        .await
    }

    async fn fence_auth(&self, session: &str, tenure: Tenure) -> Result<()> {
        let session: Arc<str> = session.into();
        self.call("fence_auth", move |inner| {
            let session = Arc::clone(&session);
            async move { fence(&inner, &session, tenure).await }
        })
        .await
    }

    async fn archive_auth(&self, session: &str, tenure: Tenure, reason: &str) -> Result<()> {
        let (session, reason): (Arc<str>, Arc<str>) = (session.into(), reason.into());
        self.call("archive_auth", move |inner| {
            let (session, reason) = (Arc::clone(&session), Arc::clone(&reason));
            async move { archive::archive(&inner, &session, tenure, &reason).await }
        })
        .await
    }
}

/// Rows of a session that a tenure may read: those below its fence are a robbed owner's.
pub(super) fn visible(session: &str, tenure: Tenure) -> Document {
    let mut filter = doc! { "sessionId": session };
    if tenure.fence > 0 {
        filter.insert("generation", doc! { "$gte": unsigned(tenure.fence) });
    }
    filter
}

/// Rows of a session that a tenure may write. `$lte` would not match the seed's own, which have no generation.
pub(super) fn writable(session: &str, tenure: Tenure) -> Document {
    doc! { "sessionId": session, "generation": { "$not": { "$gt": unsigned(tenure.generation) } } }
}

/// Narrows a filter to keys, by the unique index. `None` for no keys.
pub(super) fn with_keys<'a>(
    mut filter: Document,
    keys: impl Iterator<Item = &'a AuthKey>,
) -> Option<Document> {
    let mut kinds: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for key in keys {
        kinds.entry(&key.kind).or_default().push(&key.id);
    }
    let mut kinds: Vec<Document> =
        kinds.into_iter().map(|(kind, ids)| doc! { "type": kind, "id": { "$in": ids } }).collect();
    match kinds.len() {
        0 => return None,
        1 => filter.extend(kinds.remove(0)),
        _ => drop(filter.insert("$or", kinds)),
    }
    Some(filter)
}

async fn load_creds(inner: &Inner, session: &str, tenure: Tenure) -> Attempt<Option<Bytes>> {
    let row = inner.collection(AUTH_STATES).find_one(visible(session, tenure)).await?;
    let creds = row.map(|row| Fields(&row).bytes("creds")).transpose();
    Ok(creds.map_err(|error| error.of_session(session))?)
}

async fn find_entries(inner: &Inner, filter: Document, ordered: bool) -> Attempt<Vec<AuthEntry>> {
    let collection = inner.collection(AUTH_KEYS);
    let mut find = collection.find(filter).batch_size(WHOLE);
    if ordered {
        find = find.sort(doc! { "sessionId": 1, "type": 1, "id": 1 });
    }
    let mut rows = find.await?;
    let mut entries = Vec::new();
    while let Some(row) = rows.try_next().await? {
        entries.push(entry(&row)?);
    }
    Ok(entries)
}

pub(super) fn entry(row: &Document) -> Result<AuthEntry> {
    let fields = Fields(row);
    let read = || {
        let key = AuthKey { kind: fields.required_text("type")?, id: fields.required_text("id")? };
        Ok(AuthEntry { key, value: fields.bytes("value")?, stamp_s: fields.signed("stamp")? })
    };
    read().map_err(|error: Error| match row.get_str("sessionId") {
        Ok(session) => error.of_session(session),
        Err(_) => error,
    })
}

async fn fence(inner: &Inner, session: &str, tenure: Tenure) -> Attempt<()> {
    let lease = inner.collection(LEASES).find_one(doc! { "_id": session, "sessionId": session }).await?;
    let (generation, fenced_to) = match &lease {
        Some(lease) => (Fields(lease).unsigned("generation")?, Fields(lease).unsigned("fencedTo")?),
        None => (0, 0),
    };
    if generation > tenure.generation {
        return Err(conflict(session).into());
    }
    let mine = unsigned(tenure.generation);
    for collection in [AUTH_STATES, AUTH_KEYS] {
        // What lies below the last fence that was completed came from an owner that had been robbed already:
        // raising it would bring it back.
        if fenced_to > 0 {
            let ghosts =
                doc! { "sessionId": session, "generation": { "$not": { "$gte": unsigned(fenced_to) } } };
            inner.delete(collection, vec![doc! { "q": ghosts, "limit": 0 }]).await?.all()?;
        }
        let older = doc! { "sessionId": session, "generation": { "$not": { "$gte": mine.clone() } } };
        let raise = doc! { "q": older, "u": { "$set": { "generation": mine.clone() } }, "multi": true };
        inner.update(collection, vec![raise]).await?.all()?;
    }
    let done = doc! {
        "q": { "_id": session, "sessionId": session, "generation": mine.clone() },
        "u": { "$max": { "fencedTo": mine } },
    };
    inner.update(LEASES, vec![done]).await?.all()?;
    Ok(())
}

/// Deletes credentials and values, but no newer ones. Returns how many documents went.
pub(super) async fn delete_live(inner: &Inner, session: &str, tenure: Tenure) -> Attempt<u64> {
    let mine = doc! { "q": writable(session, tenure), "limit": 0 };
    // Credentials last: a session without them but with keys would look as if it was never linked.
    let keys = inner.delete(AUTH_KEYS, vec![mine.clone()]).await?.all()?.count;
    Ok(keys + inner.delete(AUTH_STATES, vec![mine]).await?.all()?.count)
}

/// Refuses if a newer generation holds the lease.
async fn refuse_if_robbed(inner: &Inner, session: &str, tenure: Tenure) -> Attempt<()> {
    let newer = doc! { "_id": session, "sessionId": session, "generation": newer_than(tenure) };
    match inner.collection(LEASES).find_one(newer).await? {
        None => Ok(()),
        Some(_) => Err(conflict(session).into()),
    }
}

/// Refuses if a newer generation holds the lease or wrote any row.
pub(super) async fn refuse_if_newer(inner: &Inner, session: &str, tenure: Tenure) -> Attempt<()> {
    refuse_if_robbed(inner, session, tenure).await?;
    for collection in [AUTH_STATES, AUTH_KEYS] {
        let newer = doc! { "sessionId": session, "generation": newer_than(tenure) };
        if inner.collection(collection).find_one(newer).await?.is_some() {
            return Err(conflict(session).into());
        }
    }
    Ok(())
}

pub(super) fn newer_than(tenure: Tenure) -> Document {
    doc! { "$gt": unsigned(tenure.generation) }
}

pub(super) fn conflict(session: &str) -> Error {
    Error::new(ErrorKind::Conflict, "a newer owner has the session; stop it here").of_session(session)
}
