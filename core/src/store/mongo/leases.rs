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
use super::{Inner, LEASES, MongoStore, SESSIONS, lease_groups};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::lease::{Acquired, Lease, LeaseStore};
use crate::store::rules::same_error;

type Attempt<T> = std::result::Result<T, Failure>;

/// How often an acquirer looks again when others change the lease between its look and its write.
const ROUNDS: usize = 64;

impl MongoStore {
    /// What is counted from now on is counted under this lease.
    fn note(&self, acquired: &Acquired) {
        match acquired {
            Acquired::Granted(lease) | Acquired::Stolen(lease) => {
                self.0.counts.note_lease(&lease.session, lease.generation);
            }
            Acquired::Held(_) => {}
        }
    }
}

#[async_trait]
impl LeaseStore for MongoStore {
    async fn acquire_lease(&self, session: &str, owner: &str, duration: Duration) -> Result<Acquired> {
        if owner.is_empty() {
            return Err(nameless());
        }
        let (session, owner): (Arc<str>, Arc<str>) = (session.into(), owner.into());
        self.call("acquire_lease", move |inner| {
            let (session, owner) = (Arc::clone(&session), Arc::clone(&owner));
            async move { acquire(&inner, &session, &owner, duration).await }
        })
        .await
        .inspect(|acquired| self.note(acquired))
    }

    async fn acquire_leases(
        &self,
        sessions: &[&str],
        owner: &str,
        duration: Duration,
    ) -> Vec<Result<Acquired>> {
        if let [session] = sessions {
            return vec![self.acquire_lease(session, owner, duration).await];
        }
        if owner.is_empty() {
            return sessions.iter().map(|_| Err(nameless())).collect();
        }
        let owned: Arc<[String]> = sessions.iter().map(|&session| session.to_owned()).collect();
        let owner: Arc<str> = owner.into();
        let many = {
            let (owned, owner) = (Arc::clone(&owned), Arc::clone(&owner));
            self.call("acquire_leases", move |inner| {
                let (owned, owner) = (Arc::clone(&owned), Arc::clone(&owner));
                async move { lease_groups::acquire(&inner, &owned, &owner, duration).await }
            })
            .await
        };
        let mut acquired = match many {
            Ok(acquired) => acquired,
            Err(error) => return sessions.iter().map(|_| Err(same_error(&error))).collect(),
        };
        let mut results = Vec::with_capacity(sessions.len());
        for session in sessions {
            results.push(match acquired.remove(*session) {
                Some(acquired) => {
                    self.note(&acquired);
                    Ok(acquired)
                }
                // Somebody else was at it at the same time.
                None => self.acquire_lease(session, &owner, duration).await,
            });
        }
        results
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
        match consider(&found, owner, duration)? {
            Step::Leave(held) => return Ok(Acquired::Held(held)),
            Step::Take { unchanged, take, .. } => {
                if let Some(taken) = change(inner, unchanged, take).await? {
                    return Ok(acquired(&taken)?);
                }
            }
        }
    }
    Err(Failure::Again(Error::new(ErrorKind::Unavailable, "too many want the same lease; retry later")))
}

/// What follows from a lease as it was seen.
pub(super) enum Step {
    /// Somebody else owns it.
    Leave(Lease),
    /// It may be taken, by an update that applies only while all is as it was seen.
    Take { unchanged: Document, take: Document, generation: u64 },
}

/// Decides by the database's time, which the look has noted.
pub(super) fn consider(found: &Document, owner: &str, duration: Duration) -> Result<Step> {
    let now = Fields(found).date("askedAt")?.ok_or_else(|| corrupt("a lease has no time"))?;
    let seen = lease(found)?;
    let (free, mine) = (seen.owner.is_empty(), seen.owner == owner);
    if !free && !mine && seen.expires_at > now {
        return Ok(Step::Leave(seen));
    }
    // All that was seen must still be so: a renewal in between saves the lease.
    let unchanged = doc! {
        "_id": &seen.session,
        "sessionId": &seen.session,
        "owner": &seen.owner,
        "generation": unsigned(seen.generation),
        "renewedAt": found.get("renewedAt").cloned(),
    };
    let mut set = doc! { "owner": owner, "leaseMs": millis(duration) };
    let generation = if mine { seen.generation } else { seen.generation + 1 };
    if !mine {
        set.insert("generation", unsigned(generation));
        if !free {
            set.insert("fence", unsigned(generation));
        }
    }
    let take = doc! { "$set": set, "$currentDate": { "renewedAt": true } };
    Ok(Step::Take { unchanged, take, generation })
}

/// What a lease that was taken is to its new owner.
pub(super) fn acquired(taken: &Document) -> Result<Acquired> {
    let lease = lease(taken)?;
    // Also if the steal was ours but its answer was lost, or we died before we had fenced.
    let unfenced = lease.fence == lease.generation && Fields(taken).unsigned("fencedTo")? < lease.fence;
    Ok(if unfenced { Acquired::Stolen(lease) } else { Acquired::Granted(lease) })
}

fn nameless() -> Error {
    Error::new(ErrorKind::Invalid, "the owner of a lease needs a name")
}

/// The lease with the database's time in `askedAt`, made if it is not there. `None` if two made it at once.
async fn look(inner: &Inner, session: &str) -> Attempt<Option<Document>> {
    let leases = inner.collection(LEASES);
    let look = leases
        .find_one_and_update(by_id(session), asking())
        .upsert(true)
        .return_document(ReturnDocument::After);
    match look.await {
        Ok(found) => Ok(found),
        Err(error) if code_of(&error) == Some(DUPLICATE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The update that notes the database's time in a lease, made if it is not there.
pub(super) fn asking() -> Document {
    doc! {
        "$currentDate": { "askedAt": true },
        "$setOnInsert": {
            "owner": "",
            "generation": 0_i64,
            "fence": 0_i64,
            "fencedTo": 0_i64,
            "renewedAt": date(Timestamp::from_unix_ms(0)),
            "leaseMs": 0_i64,
        },
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

pub(super) fn by_id(session: &str) -> Document {
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

pub(super) fn lease(document: &Document) -> Result<Lease> {
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
