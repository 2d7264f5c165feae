//! Leases, by the database's clock: each write notes its moment with `$currentDate` and reads it back. A lease
//! ends `leaseMs` after `renewedAt`; both are fields because an update cannot add to a date everywhere.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::documents::{Fields, date, unsigned};
use super::errors::{DUPLICATE, Failure, code_of, corrupt};
use super::{Inner, LEASES, MongoStore, SESSIONS};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::lease::{Acquired, Lease, LeaseStore};

type Attempt<T> = std::result::Result<T, Failure>;

/// How often an acquirer looks again when others change the lease between its look and its write.
const ROUNDS: usize = 64;

#[async_trait]
impl LeaseStore for MongoStore {
    async fn acquire_lease(&self, session: &str, owner: &str, duration: Duration) -> Result<Acquired> {
        if owner.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the owner of a lease needs a name"));
        }
        let (session, owner): (Arc<str>, Arc<str>) = (session.into(), owner.into());
        self.call("acquire_lease", move |inner| {
            let (session, owner) = (Arc::clone(&session), Arc::clone(&owner));
            async move { acquire(&inner, &session, &owner, duration).await }
        })
        .await
    }

    async fn renew_leases(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>> {
        let leases: Arc<[Lease]> = leases.into();
        self.call("renew_leases", move |inner| {
            let leases = Arc::clone(&leases);
            async move { renew(&inner, &leases, duration).await }
        })
        .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool> {
        let lease = Arc::new(lease.clone());
        self.call("release_lease", move |inner| {
            let lease = Arc::clone(&lease);
            async move {
                if lease.owner.is_empty() {
                    return Ok(false);
                }
                // In the past, so that whoever reads it knows that it is free.
                let free = doc! {
                    "$set": { "owner": "", "leaseMs": -1_i64 }, "$currentDate": { "renewedAt": true },
                };
                Ok(change(&inner, ours(&lease), free).await?.is_some())
            }
        })
        .await
    }

    async fn get_lease(&self, session: &str) -> Result<Option<Lease>> {
        let session: Arc<str> = session.into();
        self.call("get_lease", move |inner| {
            let session = Arc::clone(&session);
            async move {
                let found = inner.collection(LEASES).find_one(by_id(&session)).await?;
                let lease = found.map(|document| lease(&document)).transpose()?;
                // Somebody asked for it and nobody has had it yet.
                Ok(lease.filter(|lease| lease.generation > 0))
            }
        })
        .await
    }

    async fn held_sessions(&self) -> Result<Vec<Lease>> {
        self.call("held_sessions", |inner| async move {
            let now = now(&inner).await?;
            let mut found =
                inner.collection(LEASES).find(doc! { "owner": { "$gt": "" } }).batch_size(100_000).await?;
            let mut held = Vec::new();
            while let Some(document) = found.try_next().await? {
                let lease = lease(&document)?;
                if lease.expires_at > now {
                    held.push(lease);
                }
            }
            Ok(held)
        })
        .await
    }

    async fn released_sessions(&self, sessions: &[String]) -> Result<Vec<String>> {
        let sessions: Arc<[String]> = sessions.into();
        self.call("released_sessions", move |inner| {
            let sessions = Arc::clone(&sessions);
            async move {
                // A lease that was given back has no owner; this answers with nothing as long as all are held.
                let filter = doc! { "_id": { "$in": &*sessions }, "owner": "" };
                let found = inner.collection(LEASES).find(filter).batch_size(100_000).await?;
                let released: Vec<Document> = found.try_collect().await?;
                Ok(released
                    .iter()
                    .map(lease)
                    .collect::<Result<Vec<_>>>()?
                    .into_iter()
                    .map(|l| l.session)
                    .collect())
            }
        })
        .await
    }

    async fn forget_leases(&self, idle: Duration) -> Result<u64> {
        self.call("forget_leases", move |inner| async move { forget(&inner, idle).await }).await
    }

    async fn database_now(&self) -> Result<Timestamp> {
        self.call("database_now", |inner| async move { now(&inner).await }).await
    }
}

async fn acquire(inner: &Inner, session: &str, owner: &str, duration: Duration) -> Attempt<Acquired> {
    for _ in 0..ROUNDS {
        let Some(found) = look(inner, session).await? else { continue };
        let now = Fields(&found).date("askedAt")?.ok_or_else(|| corrupt("a lease has no time"))?;
        let seen = lease(&found)?;
        let (free, mine) = (seen.owner.is_empty(), seen.owner == owner);
        if !free && !mine && seen.expires_at > now {
            return Ok(Acquired::Held(seen));
        }
        // All that was seen must still be so: a renewal in between saves the lease.
        let unchanged = doc! {
            "_id": session,
            "sessionId": session,
            "owner": &seen.owner,
            "generation": unsigned(seen.generation),
            "renewedAt": found.get("renewedAt").cloned(),
        };
        let mut set = doc! { "owner": owner, "leaseMs": millis(duration) };
        if !mine {
            set.insert("generation", unsigned(seen.generation + 1));
            if !free {
                set.insert("fence", unsigned(seen.generation + 1));
            }
        }
        let take = doc! { "$set": set, "$currentDate": { "renewedAt": true } };
        if let Some(taken) = change(inner, unchanged, take).await? {
            let lease = lease(&taken)?;
            // Also if the steal was ours but its answer was lost, or we died before we had fenced.
            let unfenced =
                lease.fence == lease.generation && Fields(&taken).unsigned("fencedTo")? < lease.fence;
            return Ok(if unfenced { Acquired::Stolen(lease) } else { Acquired::Granted(lease) });
        }
    }
    Err(Failure::Again(Error::new(ErrorKind::Unavailable, "too many want the same lease; retry later")))
}

/// The lease with the database's time in `askedAt`, made if it is not there. `None` if two made it at once.
async fn look(inner: &Inner, session: &str) -> Attempt<Option<Document>> {
    let update = doc! {
        "$currentDate": { "askedAt": true },
        "$setOnInsert": {
            "owner": "",
            "generation": 0_i64,
            "fence": 0_i64,
            "fencedTo": 0_i64,
            "renewedAt": date(Timestamp::from_unix_ms(0)),
            "leaseMs": 0_i64,
        },
    };
    let leases = inner.collection(LEASES);
    let look = leases
        .find_one_and_update(by_id(session), update)
        .upsert(true)
        .return_document(ReturnDocument::After);
    match look.await {
        Ok(found) => Ok(found),
        Err(error) if code_of(&error) == Some(DUPLICATE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn change(inner: &Inner, filter: Document, update: Document) -> Attempt<Option<Document>> {
    let leases = inner.collection(LEASES);
    Ok(leases.find_one_and_update(filter, update).return_document(ReturnDocument::After).await?)
}

async fn renew(inner: &Inner, leases: &[Lease], duration: Duration) -> Attempt<Vec<bool>> {
    let held: Vec<&Lease> = leases.iter().filter(|lease| !lease.owner.is_empty()).collect();
    if held.is_empty() {
        return Ok(vec![false; leases.len()]);
    }
    let renewal = |lease: &&Lease| {
        let update = doc! { "$set": { "leaseMs": millis(duration) }, "$currentDate": { "renewedAt": true } };
        doc! { "q": ours(lease), "u": update }
    };
    let renewed = inner.update(LEASES, held.iter().map(renewal).collect()).await?.all()?.count;
    if renewed == leases.len() as u64 {
        return Ok(vec![true; leases.len()]);
    }
    let sessions: Vec<&str> = held.iter().map(|lease| lease.session.as_str()).collect();
    let filter = doc! { "_id": { "$in": &sessions }, "sessionId": { "$in": &sessions } };
    let mut found = inner.collection(LEASES).find(filter).batch_size(100_000).await?;
    let mut stored = std::collections::HashMap::new();
    while let Some(document) = found.try_next().await? {
        let lease = lease(&document)?;
        stored.insert(lease.session.clone(), lease);
    }
    let is_ours = |lease: &Lease| {
        let now = stored.get(&lease.session);
        !lease.owner.is_empty()
            && now.is_some_and(|now| now.owner == lease.owner && now.generation == lease.generation)
    };
    Ok(leases.iter().map(is_ours).collect())
}

async fn forget(inner: &Inner, idle: Duration) -> Attempt<u64> {
    let now = now(inner).await?;
    let filter = doc! { "renewedAt": { "$lte": date(now.minus(idle)) } };
    let mut found = inner.collection(LEASES).find(filter).batch_size(100_000).await?;
    let mut idle_leases = Vec::new();
    while let Some(document) = found.try_next().await? {
        let lease = lease(&document)?;
        if lease.expires_at.plus(idle) <= now {
            idle_leases.push((lease, document.get("renewedAt").cloned()));
        }
    }
    if idle_leases.is_empty() {
        return Ok(0);
    }
    let ids: Vec<&str> = idle_leases.iter().map(|(lease, _)| lease.session.as_str()).collect();
    let kept = inner.collection(SESSIONS).distinct("sessionId", doc! { "sessionId": { "$in": ids } }).await?;
    let statements: Vec<Document> = idle_leases
        .iter()
        .filter(|(lease, _)| !kept.contains(&Bson::String(lease.session.clone())))
        .map(|(lease, renewed_at)| {
            let mut unchanged = by_id(&lease.session);
            unchanged.insert("renewedAt", renewed_at.clone());
            doc! { "q": unchanged, "limit": 1 }
        })
        .collect();
    if statements.is_empty() {
        return Ok(0);
    }
    Ok(inner.delete(LEASES, statements).await?.all()?.count)
}

async fn now(inner: &Inner) -> Attempt<Timestamp> {
    let hello = inner.db.run_command(doc! { "hello": 1 }).await?;
    let now = Fields(&hello).date("localTime")?;
    Ok(now.ok_or_else(|| Error::new(ErrorKind::Store, "the database does not tell its time"))?)
}

fn by_id(session: &str) -> Document {
    doc! { "_id": session, "sessionId": session }
}

fn ours(lease: &Lease) -> Document {
    doc! {
        "_id": &lease.session,
        "sessionId": &lease.session,
        "owner": &lease.owner,
        "generation": unsigned(lease.generation),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn lease(document: &Document) -> Result<Lease> {
    let fields = Fields(document);
    let renewed_at = fields.date("renewedAt")?.unwrap_or_default();
    let expires_at = renewed_at.unix_ms().saturating_add(fields.signed("leaseMs")?);
    Ok(Lease {
        session: fields.required_text("sessionId")?,
        owner: fields.text("owner")?.unwrap_or_default(),
        generation: fields.unsigned("generation")?,
        fence: fields.unsigned("fence")?,
        expires_at: Timestamp::from_unix_ms(expires_at),
    })
}
