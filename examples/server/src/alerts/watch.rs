//! Compares what is wrong with what was, and tells everybody what changed.

use std::time::{Duration, Instant};

use centralita::clock::Timestamp;
use centralita::{Error, ErrorKind, Result};
use socketioxide::SocketIo;

use super::store_watch::Look;
use super::{Alert, AlertChange, rules};
use crate::app::App;
use crate::socket::Frame;

const KIND: &str = "alert";
/// Alerts read at a time.
const PAGE: u32 = 1_000;
/// How long the store may take before it counts as down.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// How long an alert that is over is still shown.
const SHOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks at the rules until the application stops.
pub(crate) async fn watch(app: App, io: SocketIo) {
    let interval = Duration::from_secs(app.options().alert_interval_s);
    let cooldown = Duration::from_secs(app.options().alert_cooldown_s);
    while app.stop().run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let look = look_at_store(&app).await;
        let changes = app.alerts().store_watch().note(look, app.manager().clock().now(), cooldown);
        tell(&app, &io, changes).await;
        if look == Look::Down {
            continue;
        }
        match look_at_sessions(&app, cooldown).await {
            Ok(changes) => tell(&app, &io, changes).await,
            Err(error) => tracing::warn!(%error, "the alert rules could not be looked at; trying again"),
        }
    }
}

async fn look_at_store(app: &App) -> Look {
    let began = Instant::now();
    match tokio::time::timeout(STORE_PATIENCE, app.store().ping()).await {
        Ok(Ok(())) => {
            let took = began.elapsed();
            let slow = Duration::from_millis(app.options().alert_store_slow_ms);
            if took >= slow { Look::Slow(took) } else { Look::Fine }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store refused");
            Look::Down
        }
        Err(_) => Look::Down,
    }
}

/// Who wins the change of the stored alert tells everybody.
async fn look_at_sessions(app: &App, cooldown: Duration) -> Result<Vec<AlertChange>> {
    let mut wrong = rules::look(app).await?;
    let now = app.manager().clock().now();
    let mut changes = Vec::new();
    for (id, text) in stored(app).await? {
        let known = parse(&text)?;
        let rule = known.rule.clone();
        let session = known.session_id.clone().unwrap_or_default();
        let found = wrong.iter().find(|((r, s), _)| *r == rule && *s == session).map(|(key, _)| key.clone());
        let message = found.and_then(|key| wrong.remove(&key));
        match (message, known.resolved_at) {
            (Some(_), None) => {}
            (Some(message), Some(resolved)) => {
                if now.since(resolved) >= cooldown {
                    let alert = Alert { message, fired_at: now, resolved_at: None, ..known };
                    if replace(app, &id, Some(&text), Some(&alert)).await? {
                        changes.push(AlertChange::fired(alert));
                    }
                }
            }
            (None, None) => {
                if is_ours_to_resolve(app, &known).await? {
                    let alert = Alert { resolved_at: Some(now), ..known };
                    if replace(app, &id, Some(&text), Some(&alert)).await? {
                        changes.push(AlertChange::resolved(alert));
                    }
                }
            }
            (None, Some(resolved)) => {
                if now.since(resolved) >= SHOWN_FOR.max(cooldown) {
                    replace(app, &id, Some(&text), None).await?;
                }
            }
        }
    }
    for ((rule, session), message) in wrong {
        let alert = new_alert(rule, session, message, now);
        if replace(app, &alert.id(), None, Some(&alert)).await? {
            changes.push(AlertChange::fired(alert));
        }
    }
    Ok(changes)
}

fn new_alert(rule: &str, session: String, message: String, now: Timestamp) -> Alert {
    Alert { rule: rule.to_owned(), session_id: Some(session), message, fired_at: now, resolved_at: None }
}

/// Memory and stalls are seen where a session runs; the other rules are read from the store by everybody alike.
async fn is_ours_to_resolve(app: &App, alert: &Alert) -> Result<bool> {
    let Some(session) =
        alert.session_id.as_deref().filter(|_| matches!(alert.rule.as_str(), "memory" | "send_stalled"))
    else {
        return Ok(true);
    };
    if app.service().running_sessions().iter().any(|id| id == session) {
        return Ok(true);
    }
    Ok(app.store().get_session(session).await?.is_none_or(|record| !record.is_connected))
}

async fn stored(app: &App) -> Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    loop {
        let after = all.last().map(|(id, _)| id.clone());
        let page = app.documents().list(KIND, after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

async fn replace(app: &App, id: &str, old: Option<&str>, new: Option<&Alert>) -> Result<bool> {
    let new = new.map(serde_json::to_string).transpose().map_err(|error| {
        Error::new(ErrorKind::Internal, "an alert cannot be written as JSON; report it").caused_by(error)
    })?;
    app.documents().compare_and_set(KIND, id, old, new.as_deref()).await
}

fn parse(text: &str) -> Result<Alert> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "a stored alert cannot be understood; delete it").caused_by(error)
    })
}

async fn tell(app: &App, io: &SocketIo, changes: Vec<AlertChange>) {
    for change in changes {
        tracing::warn!(
            rule = change.alert.rule,
            session = change.alert.session_id,
            state = change.state,
            "alert: {}",
            change.alert.message
        );
        app.replay().tell(io, &Frame::of_alert(&change)).await;
        app.webhook().enqueue(app.documents(), &change).await;
    }
}

/// The alerts that last, and those that were over within a day; the newest first.
pub(crate) async fn list(app: &App) -> Result<Vec<Alert>> {
    let mut alerts = app.alerts().of_store();
    for (_, text) in stored(app).await? {
        alerts.push(parse(&text)?);
    }
    alerts.sort_by_key(|alert| std::cmp::Reverse((alert.resolved_at.is_none(), alert.fired_at)));
    Ok(alerts)
}
