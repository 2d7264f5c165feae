//! Which sessions have something waiting. One look at the store for all of them, now and then: so a message is found
//! that another process has queued, and one whose session runs nowhere comes to its end.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ending::{OutboxOutcome, finish, open};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::session::context::SessionContext;
use crate::session::message_records::MessageRecords;
use crate::store::{OutboxBacklog, OutboxState, OutboxStep, Stepped};

/// How often the store is asked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);
const PAGE: u32 = 100;

/// The sessions that had entries at the last look, or got some since.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    sessions: Mutex<HashSet<String>>,
}

impl Backlogs {
    pub(crate) fn has(&self, session: &str) -> bool {
        self.sessions().contains(session)
    }

    /// A message was queued in this process.
    pub(super) fn note(&self, session: &str) {
        self.sessions().insert(session.to_owned());
    }

    /// What a look at the store has found.
    pub(crate) fn replace(&self, found: &[OutboxBacklog]) {
        *self.sessions() = found.iter().map(|backlog| backlog.session.clone()).collect();
    }

    fn sessions(&self) -> MutexGuard<'_, HashSet<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what has expired in the outbox of a session that runs nowhere. Their messages are marked; no event tells,
/// because nobody numbers the events of such a session.
pub(crate) async fn expire_orphans(context: &SessionContext, session: &str) -> Result<()> {
    let lease = context.store.get_lease(session).await?;
    let database_now = context.store.database_now().await?;
    if lease.is_some_and(|lease| !lease.owner.is_empty() && lease.expires_at > database_now) {
        return Ok(());
    }
    let now = context.clock.now();
    let mut after = 0;
    loop {
        let page = context.store.list_outbox(session, PAGE, after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.position;
        for entry in page {
            expire(context, session, &entry, now).await?;
        }
    }
}

async fn expire(
    context: &SessionContext,
    session: &str,
    entry: &crate::store::OutboxEntry,
    now: Timestamp,
) -> Result<()> {
    let records = MessageRecords { context, session, live: None, stop: &context.stop };
    let (outcome, entry) = match (OutboxOutcome::of_state(entry.state), entry.state) {
        (Some(outcome), _) => (outcome, entry.clone()),
        (None, _) if entry.expires_at > now => return Ok(()),
        (None, OutboxState::Queued) => {
            match context.store.step_outbox(session, &entry.message_id, OutboxStep::Expire).await? {
                Stepped::Done { entry, .. } => (OutboxOutcome::Expired, entry),
                _ => return Ok(()),
            }
        }
        (None, _) => (OutboxOutcome::Indeterminate, entry.clone()),
    };
    let content = open(records, &entry).await?;
    finish(records, &entry, content.as_ref(), outcome, None, None).await
}
