//! [`MongoStore`]: one database, many processes.
//!
//! Works on a standalone server, a replica set and a sharded cluster: nothing needs a transaction or a change
//! stream. Every write waits for a majority and its journal; every read goes to the primary. Collections and
//! fields are the seed's, with more beside them; `documents` maps them, `indexes` lists the indexes.
//!
//! Calls run on the runtime in which the store was made, so that a caller that goes away leaves nothing half
//! done, and each has a deadline, because the driver has no socket time-out (`calls`).

mod archive;
mod auth;
mod auth_groups;
mod batches;
mod bulk;
mod calls;
mod change;
mod chats;
mod connect;
mod consumers;
mod counts;
mod documents;
mod errors;
mod event_log;
mod indexes;
mod lease_groups;
mod leases;
mod messages;
mod options;
mod outbox;
mod ownership;
mod patches;
mod pieces;
mod record;
mod recount;
mod session_groups;
mod sessions;
mod writes;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection, Database};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::bulk::BulkWrite;
use self::counts::Counts;
pub use self::options::MongoOptions;
use self::pieces::Pace;
use super::Store;
use super::rules::Arrivals;
use crate::error::{Error, ErrorKind, Result};

const SESSIONS: &str = "sessions";
const AUTH_STATES: &str = "authstates";
const AUTH_KEYS: &str = "authkeys";
const ARCHIVES: &str = "autharchives";
const MESSAGES: &str = "messages";
const CHATS: &str = "chats";
const OUTBOX: &str = "outbox";
const LEASES: &str = "leases";
const EVENTS: &str = "events";
const CONSUMERS: &str = "consumers";
const DEAD_LETTERS: &str = "deadletters";

/// Sessions in MongoDB. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct MongoStore(Arc<Inner>);

struct Inner {
    client: Client,
    /// Whether the client is ours to shut down.
    owned: bool,
    db: Database,
    options: MongoOptions,
    runtime: Handle,
    calls: TaskTracker,
    closed: AtomicBool,
    /// Cancelled when the store begins to close: what waits for its time need wait no longer.
    closing: CancellationToken,
    counts: Counts,
    arrivals: Arrivals,
    bulk_write: BulkWrite,
    pace: Pace,
    /// Commands sent, if the client is ours and tells us.
    commands: Option<Arc<AtomicU64>>,
}

impl fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStore").field("database", &self.0.db.name()).finish_non_exhaustive()
    }
}

impl Inner {
    fn collection(&self, name: &str) -> Collection<Document> {
        self.db.collection(name)
    }
}

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn commands_sent(&self) -> Option<u64> {
        self.0.commands.as_ref().map(|commands| commands.load(Ordering::Relaxed))
    }

    async fn ping(&self) -> Result<()> {
        self.call("ping", |inner| async move {
            // Matches nothing, and yet is refused wherever a write would be.
            let nobody = doc! { "q": { "sessionId": "", "_id": 0 }, "u": { "$set": { "isActive": false } } };
            inner.update(SESSIONS, vec![nobody]).await.map(drop)
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        let inner = &self.0;
        let first = !inner.closed.swap(true, Ordering::SeqCst);
        inner.closing.cancel();
        inner.calls.close();
        inner.calls.wait().await;
        if first && let Err(error) = counts::flush(inner).await {
            tracing::warn!(%error, "chats and counters lag behind their messages; count anew at the next start");
        }
        if first && inner.owned {
            let client = inner.client.clone();
            inner.runtime.spawn(async move { client.shutdown().immediate(true).await }).await.map_err(
                |error| Error::new(ErrorKind::Closed, "the runtime of the store has ended").caused_by(error),
            )?;
        }
        Ok(())
    }
}
