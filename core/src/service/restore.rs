//! Starting what was running before: paced, the most recently active first, with progress.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::handle::WhatsAppService;
use crate::error::Result;
use crate::session::live::Origin;
use crate::session::status::Status;
use crate::store::{PageRequest, SessionFilter, SessionRecord, StatusDetail};

/// How far a restore has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreProgress {
    /// Sessions to start in all.
    pub total: u64,
    /// Of them looked at so far.
    pub done: u64,
    /// Started and connected so far.
    pub connected: u64,
    /// Started and ended already: logged out, banned, outdated, owned elsewhere.
    pub ended: u64,
    /// The one that the step is about.
    pub session_id: String,
}

/// What came of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Sessions that were started, the most recently active first.
    pub started: Vec<String>,
    /// Of them connected when a restore that waits returned, in the order in which they were.
    pub connected: Vec<String>,
    /// Sessions that were left alone because they are not linked: start them for a code.
    pub not_linked: Vec<String>,
    /// Sessions whose record cannot be understood.
    pub malformed: Vec<String>,
}

/// A phone number is written down at the first link: without one there is nothing to resume. Nor is there after a
/// logout, and whoever was asked for a code in vain is not asked again at each start.
fn can_resume(record: &SessionRecord) -> bool {
    let unlinked = matches!(record.status_detail, Some(StatusDetail::LoggedOut | StatusDetail::LinkTimedOut));
    record.phone.is_some() && !unlinked
}

pub(super) async fn restore_all(
    service: &WhatsAppService,
    mut progress: impl FnMut(&RestoreProgress) + Send,
) -> Result<RestoreReport> {
    let store = service.store();
    // Those in `error` need somebody; those put away are not active.
    let filter = SessionFilter {
        is_active: Some(true),
        statuses: vec![Status::Pending, Status::QrReady, Status::Connected, Status::Disconnected],
        ..SessionFilter::default()
    };
    let total = store.count_sessions(&filter).await?;
    let mut page =
        PageRequest { limit: PageRequest::MAX_LIMIT, after: None, most_recently_active_first: true };
    let mut report = RestoreReport::default();
    let mut done = 0;
    loop {
        let records = store.list_sessions(&filter, &page).await?;
        for id in records.malformed {
            tracing::error!(session = %id, "the record of a session cannot be understood; repair or delete it");
            report.malformed.push(id);
        }
        for record in records.items {
            done += 1;
            let session_id = record.session_id.clone();
            progress(&RestoreProgress { total, done, connected: 0, ended: 0, session_id });
            if !can_resume(&record) {
                report.not_linked.push(record.session_id);
                continue;
            }
            service.spawn(&record, Origin::Restored { rank: done })?;
            report.started.push(record.session_id);
        }
        match records.next {
            Some(next) => page.after = Some(next),
            None => return Ok(report),
        }
    }
}

pub(super) async fn restore_all_and_wait(
    service: &WhatsAppService,
    patience: Duration,
    mut progress: impl FnMut(&RestoreProgress) + Send,
) -> Result<RestoreReport> {
    let (mut total, mut done) = (0, 0);
    let mut report = restore_all(service, |step| {
        (total, done) = (step.total, step.done);
        progress(step);
    })
    .await?;
    let deadline = tokio::time::Instant::now() + patience;
    let mut settling: FuturesUnordered<_> = report
        .started
        .iter()
        .filter_map(|id| service.live(id))
        .map(|live| async move {
            let outcome = live.wait_connected(Duration::MAX).await;
            (live.id.clone(), outcome)
        })
        .collect();
    let mut ended = 0;
    // At the deadline the rest goes on by itself.
    while let Ok(Some((session_id, outcome))) = tokio::time::timeout_at(deadline, settling.next()).await {
        match outcome {
            Ok(()) => report.connected.push(session_id.clone()),
            Err(_) => ended += 1,
        }
        let connected = report.connected.len() as u64;
        progress(&RestoreProgress { total, done, connected, ended, session_id });
    }
    drop(settling);
    Ok(report)
}
