//! What is wrong with a session.

use std::collections::BTreeMap;
use std::time::Duration;

use centralita::Result;
use centralita::session::status::Status;
use centralita::store::{PageRequest, SessionFilter, SessionRecord, StatusDetail};

use crate::app::App;

/// Rule and session of each thing that is wrong, and what to tell people.
pub(super) type Wrong = BTreeMap<(&'static str, String), String>;

/// Looks at the sessions that a rule may concern; each look is over an index.
pub(super) async fn look(app: &App) -> Result<Wrong> {
    let options = app.options();
    let mut wrong = Wrong::new();
    let problematic =
        SessionFilter { problematic_from_attempts: Some(options.alert_attempts), ..Default::default() };
    each(app, problematic, |record| {
        if record.connection_attempts >= options.alert_attempts {
            let message = format!("{} connection attempts in a row failed", record.connection_attempts);
            wrong.insert(("attempts", record.session_id.clone()), message);
        }
        if let Some((rule, message)) = failure(record) {
            wrong.insert((rule, record.session_id.clone()), message.to_owned());
        }
    })
    .await?;
    let now = app.manager().clock().now();
    let disconnected = SessionFilter {
        is_active: Some(true),
        statuses: vec![Status::Disconnected],
        last_activity_before: Some(now.minus(Duration::from_secs(options.alert_disconnected_s))),
        ..Default::default()
    };
    each(app, disconnected, |record| {
        if is_involuntary(record) {
            let minutes = now.since(record.last_activity).as_secs() / 60;
            let message = format!("the session has been disconnected for {minutes} minutes");
            wrong.insert(("disconnected", record.session_id.clone()), message);
        }
    })
    .await?;
    for (id, memory_mb) in app.history().memory() {
        if f64::from(memory_mb) > options.alert_memory_mb {
            wrong.insert(("memory", id), format!("the session takes {memory_mb:.1} MB of memory"));
        }
    }
    for (id, reason) in app.history().stalled() {
        wrong.insert(("send_stalled", id), reason);
    }
    Ok(wrong)
}

fn failure(record: &SessionRecord) -> Option<(&'static str, &'static str)> {
    match (&record.status, &record.status_detail) {
        (_, Some(StatusDetail::LoggedOut)) => {
            Some(("logged_out", "the phone removed this device; link it again"))
        }
        (_, Some(StatusDetail::Banned { .. })) => Some(("banned", "WhatsApp banned the account")),
        (Status::Error, _) => Some(("failed", "the session failed and needs somebody; see its details")),
        _ => None,
    }
}

/// Somebody who stops or parks a session, or never links it, need not be told.
fn is_involuntary(record: &SessionRecord) -> bool {
    !matches!(
        record.status_detail,
        None | Some(StatusDetail::LinkTimedOut | StatusDetail::LoggedOut | StatusDetail::Parked { .. })
    )
}

async fn each(app: &App, filter: SessionFilter, mut see: impl FnMut(&SessionRecord)) -> Result<()> {
    let mut page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
    loop {
        let found = app.store().list_sessions(&filter, &page).await?;
        found.items.iter().for_each(&mut see);
        page.after = found.next;
        if page.after.is_none() {
            return Ok(());
        }
    }
}
