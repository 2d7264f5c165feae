//! The last hour of each running session: its messages and its memory, for a curve.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use centralita::Result;
use centralita::clock::Timestamp;
use centralita::session::health::VitalState;
use centralita::store::{PageRequest, SessionFilter, SessionRecord};

use crate::app::App;

/// Time between two points.
const INTERVAL: Duration = Duration::from_secs(15);
/// An hour of them.
const POINTS: usize = 240;
/// Bytes in a MB.
const MB: f64 = 1_048_576.0;

/// One moment of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) at: Timestamp,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) memory_mb: f32,
    /// Why what is sent is not acknowledged, if that is so.
    pub(crate) send_stalled: Option<String>,
}

/// Points by session.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<HashMap<String, VecDeque<Point>>>);

impl History {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Point>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The points of a session, oldest first.
    pub(crate) fn of(&self, session_id: &str) -> Vec<Point> {
        self.sessions().get(session_id).map(|points| points.iter().cloned().collect()).unwrap_or_default()
    }

    /// The memory of each session that was measured last, in MB.
    pub(crate) fn memory(&self) -> Vec<(String, f32)> {
        let sessions = self.sessions();
        sessions.iter().filter_map(|(id, points)| Some((id.clone(), points.back()?.memory_mb))).collect()
    }

    /// The sessions whose messages go out and are not acknowledged, and why.
    pub(crate) fn stalled(&self) -> Vec<(String, String)> {
        let sessions = self.sessions();
        sessions
            .iter()
            .filter_map(|(id, points)| Some((id.clone(), points.back()?.send_stalled.clone()?)))
            .collect()
    }

    fn add(&self, session_id: &str, point: Point) {
        let mut sessions = self.sessions();
        let points = sessions.entry(session_id.to_owned()).or_default();
        if points.len() == POINTS {
            points.pop_front();
        }
        points.push_back(point);
    }

    fn keep_only(&self, running: &[String]) {
        self.sessions().retain(|id, _| running.binary_search(id).is_ok());
    }
}

/// Measures the running sessions until the application stops.
pub(crate) async fn keep(app: App) {
    loop {
        if let Err(error) = measure(&app).await {
            // The store is watched by the alerts; here a point is missing.
            tracing::debug!(%error, "no point in the history of the sessions");
        }
        app.forget_idle_tokens();
        if app.stop().run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

async fn measure(app: &App) -> Result<()> {
    let running = app.service().running_sessions();
    app.history().keep_only(&running);
    for ids in running.chunks(PageRequest::MAX_LIMIT as usize) {
        let filter = SessionFilter { session_ids: ids.to_vec(), ..Default::default() };
        let page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
        for record in app.store().list_sessions(&filter, &page).await?.items {
            let point = point(app, &record).await;
            app.history().add(&record.session_id, point);
        }
    }
    Ok(())
}

/// A session as it is now.
pub(crate) async fn point(app: &App, record: &SessionRecord) -> Point {
    // It may not run here: then what was stored of it must do.
    let health = match app.service().session(&record.session_id).await {
        Ok(session) => session.health().await.ok(),
        Err(_) => None,
    };
    let measured = health.as_ref().and_then(|health| health.memory_bytes);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a curve needs no more")]
    let memory_mb = measured.map_or(record.memory_usage, |bytes| bytes as f64 / MB) as f32;
    Point {
        at: app.manager().clock().now(),
        messages_sent: record.messages_sent,
        messages_received: record.messages_received,
        memory_mb,
        send_stalled: health.filter(|health| health.send.state == VitalState::Bad).map(|health| {
            health.send.reason.unwrap_or_else(|| "what is sent is not acknowledged".to_owned())
        }),
    }
}
