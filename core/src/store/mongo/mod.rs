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
mod batches;
mod calls;
mod chats;
mod connect;
mod consumers;
mod documents;
mod errors;
mod event_log;
mod indexes;
mod leases;
mod messages;
mod options;
mod patches;
mod sessions;
mod writes;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Collection, Database};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

pub use self::options::MongoOptions;
use super::Store;
use crate::error::{Error, ErrorKind, Result};

const SESSIONS: &str = "sessions";
const AUTH_STATES: &str = "authstates";
const AUTH_KEYS: &str = "authkeys";
const ARCHIVES: &str = "autharchives";
const MESSAGES: &str = "messages";
const CHATS: &str = "chats";
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
    /// Sessions whose counters may lag behind their messages, because a write's outcome is unknown.
    uncounted: Mutex<HashSet<String>>,
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

    fn uncounted(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.uncounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        "mongodb"
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
        inner.calls.close();
        inner.calls.wait().await;
        if first && inner.owned {
            let client = inner.client.clone();
            inner.runtime.spawn(async move { client.shutdown().immediate(true).await }).await.map_err(
                |error| Error::new(ErrorKind::Closed, "the runtime of the store has ended").caused_by(error),
            )?;
        }
        Ok(())
    }
}
