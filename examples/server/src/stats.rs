//! The system figures, asked of the store at most once a second however many ask.

use std::time::{Duration, Instant};

use centralita::Result;
use centralita::store::Statistics;
use tokio::sync::Mutex;

use crate::app::App;

/// How old the figures may be.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Holds the figures of a moment ago.
#[derive(Debug, Default)]
pub(crate) struct StatsCache(Mutex<Option<(Instant, Statistics)>>);

impl StatsCache {
    /// The figures. Whoever comes while they are being read waits for that one reading.
    pub(crate) async fn get(&self, app: &App) -> Result<Statistics> {
        let mut held = self.0.lock().await;
        if let Some((read_at, statistics)) = &*held
            && read_at.elapsed() < FRESH_FOR
        {
            return Ok(*statistics);
        }
        // Counted from before the reading, which takes time itself.
        let read_at = Instant::now();
        let statistics = app.manager().get_statistics().await?;
        *held = Some((read_at, statistics));
        Ok(statistics)
    }

    /// What was just changed here must be seen by whoever changed it.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}
