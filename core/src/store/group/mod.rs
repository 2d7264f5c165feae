//! Group commit: what many sessions want to write at about the same time goes to the store together.
//!
//! Between the sessions and the store. `Ok` still means durable: whoever submits waits until the store has said
//! so of its group. Of one session only one group is in flight in each lane, so the order of its writes is kept,
//! and one session's refusal is its own. What waits is bounded in entries and bytes, so that a store that is slow
//! or away holds its callers up instead of filling the memory.
//!
//! | lane | store call | several of one session in a group |
//! | --- | --- | --- |
//! | auth | `apply_auth` | no: a batch never names a session twice |
//! | records | `record_many` | yes, in order |
//! | changes | `change_many` | yes, in order |
//! | leases | `acquire_leases` | no |
//! | loads | `load_auths` | no |
//! | reads | `get_auths` | no |
//! | statuses | `patch_by_status` | no |

mod connecting;
mod lane;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::runtime::Handle;

use self::connecting::{LeaseWork, LoadWork, ReadWork, StatusWork};
use self::lane::{Lane, LaneOptions, Work};
use super::auth::{AuthWrite, Tenure, WriteBatch};
use super::message::{ChangeBatch, MessageChange, MessageKey, RecordBatch, Recorded, StoredMessage};
use super::{MessageKind, Store};
use crate::clock::{SharedClock, Timestamp};
use crate::error::Result;

/// Groups of one lane in flight: a large one, or one that the database is slow with, must not hold up all sessions.
const IN_FLIGHT: usize = 2;
/// But each would make the next smaller, so the next gathers while one is in flight, unless that takes longer than this.
const OVERLAP: Duration = Duration::from_secs(1);
/// Groups of one lane begin at least this far apart, unless they are full: only a busy lane ever waits for it.
const SPACING: Duration = Duration::from_millis(10);
/// A lane that began a group less than this ago is busy.
const BUSY: Duration = Duration::from_secs(1);
/// In a busy lane a group waits until nothing has joined it for so long, at most [`SPACING`].
const GAP: Duration = Duration::from_millis(2);
/// Entries in one group.
const GROUP: usize = 1_024;
/// Auth states read at once.
const LOADS: usize = 64;
/// Bytes in one group, about: far below what one command may have.
const GROUP_BYTES: usize = 8 << 20;
/// Entries that may wait or be in flight in one lane.
const WAITING: usize = 16_384;
/// Bytes that may wait or be in flight in one lane, about.
const WAITING_BYTES: usize = 64 << 20;

/// Collects what sessions write. One a service.
pub(crate) struct GroupCommit {
    store: Arc<dyn Store>,
    auth: Lane<AuthWork>,
    records: Lane<RecordWork>,
    changes: Lane<ChangeWork>,
    leases: Lane<LeaseWork>,
    loads: Lane<LoadWork>,
    reads: Lane<ReadWork>,
    statuses: Lane<StatusWork>,
}

impl std::fmt::Debug for GroupCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCommit").field("store", &self.store.name()).finish_non_exhaustive()
    }
}

impl GroupCommit {
    pub(crate) fn new(store: Arc<dyn Store>, clock: &SharedClock, runtime: &Handle) -> Self {
        // A store that groups by itself is given everything at once.
        let groups = store.groups_writes();
        let options = |merges_sessions| LaneOptions {
            in_flight: if groups { usize::MAX } else { IN_FLIGHT },
            spacing: if groups { Duration::ZERO } else { SPACING },
            busy: if groups { Duration::ZERO } else { BUSY },
            gap: if groups { Duration::ZERO } else { GAP },
            overlap: if groups { Duration::ZERO } else { OVERLAP },
            group: GROUP,
            group_bytes: GROUP_BYTES,
            waiting: WAITING,
            waiting_bytes: WAITING_BYTES,
            merges_sessions,
        };
        Self {
            auth: Lane::start(&store, clock, runtime, options(false)),
            records: Lane::start(&store, clock, runtime, options(true)),
            changes: Lane::start(&store, clock, runtime, options(true)),
            leases: Lane::start(&store, clock, runtime, options(false)),
            // Whole states are in memory at once: few at a time.
            loads: Lane::start(&store, clock, runtime, LaneOptions { group: LOADS, ..options(false) }),
            reads: Lane::start(&store, clock, runtime, options(false)),
            statuses: Lane::start(&store, clock, runtime, options(false)),
            store,
        }
    }

    /// The store, for everything that is not grouped.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// As [`AuthStore::apply_auth`](super::AuthStore::apply_auth).
    pub(crate) async fn apply_auth(
        &self,
        session: &str,
        tenure: Tenure,
        batch: Arc<WriteBatch>,
    ) -> Result<()> {
        self.auth.submit(AuthWork { session: session.to_owned(), tenure, batch }).await
    }

    /// As [`MessageStore::record_messages`](super::MessageStore::record_messages).
    pub(crate) async fn record(
        &self,
        session: &str,
        messages: Arc<[StoredMessage]>,
        names: Arc<[(String, String)]>,
        now: Timestamp,
    ) -> Result<Recorded> {
        self.records.submit(RecordWork { session: session.to_owned(), messages, names, now }).await
    }

    /// As [`MessageStore::change_messages`](super::MessageStore::change_messages).
    pub(crate) async fn change(
        &self,
        session: &str,
        changes: Arc<[(MessageKey, MessageChange)]>,
        now: Timestamp,
    ) -> Result<Vec<Option<StoredMessage>>> {
        self.changes.submit(ChangeWork { session: session.to_owned(), changes, now }).await
    }

    /// Waits until nothing of a session is on its way any more: nothing may be written once its lease is released.
    pub(crate) async fn settle(&self, session: &str) {
        self.auth.settle(session).await;
        self.records.settle(session).await;
        self.changes.settle(session).await;
        self.statuses.settle(session).await;
    }
}

struct AuthWork {
    session: String,
    tenure: Tenure,
    batch: Arc<WriteBatch>,
}

impl Work for AuthWork {
    type Answer = ();

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        let creds = self.batch.creds().map_or(0, |creds| creds.len());
        let values = self.batch.writes().iter().map(|write| match write {
            AuthWrite::Put(entry) => ROW + entry.value.len(),
            AuthWrite::Delete(_) => ROW,
        });
        creds + values.sum::<usize>()
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<()>>> {
        Box::pin(async move {
            let batches: Vec<_> =
                group.iter().map(|work| (work.session.as_str(), work.tenure, &*work.batch)).collect();
            store.apply_auth(&batches).await
        })
    }
}

struct RecordWork {
    session: String,
    messages: Arc<[StoredMessage]>,
    names: Arc<[(String, String)]>,
    now: Timestamp,
}

impl Work for RecordWork {
    type Answer = Recorded;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        self.messages.iter().map(|message| ROW + content_bytes(&message.content)).sum()
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<Recorded>>> {
        Box::pin(async move {
            let batches: Vec<_> = group
                .iter()
                .map(|work| RecordBatch {
                    session: &work.session,
                    messages: &work.messages,
                    names: &work.names,
                    now: work.now,
                })
                .collect();
            store.record_many(&batches).await
        })
    }
}

struct ChangeWork {
    session: String,
    changes: Arc<[(MessageKey, MessageChange)]>,
    now: Timestamp,
}

impl Work for ChangeWork {
    type Answer = Vec<Option<StoredMessage>>;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        let content = |change: &MessageChange| match change {
            MessageChange::Edited { content, .. } => content_bytes(content),
            MessageChange::Status(_) | MessageChange::Revoked { .. } => 0,
        };
        self.changes.iter().map(|(_, change)| ROW + content(change)).sum()
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<Self::Answer>>> {
        Box::pin(async move {
            let batches: Vec<_> = group
                .iter()
                .map(|work| ChangeBatch { session: &work.session, changes: &work.changes, now: work.now })
                .collect();
            store.change_many(&batches).await
        })
    }
}

/// What a row takes beside its content, about.
const ROW: usize = 256;

fn content_bytes(content: &MessageKind) -> usize {
    match content {
        MessageKind::Text { text, .. } => text.len(),
        MessageKind::Media { caption, .. } => caption.as_ref().map_or(0, String::len),
        MessageKind::Reaction { .. } | MessageKind::Other { .. } => 0,
    }
}
