//! Keeps the log within its bounds. Every process does it for all sessions: to do it twice changes nothing.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::log::DurableLog;
use crate::error::Result;

impl DurableLog {
    /// Trims now and then until `stop`.
    pub(crate) async fn trim_until(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.clock.sleep(self.options.trim_interval)).await.is_some() {
            match stop.run_until_cancelled(self.trim()).await {
                Some(Ok(0)) | None => {}
                Some(Ok(events)) => tracing::debug!(events, "cut off old events of the log"),
                Some(Err(error)) => {
                    tracing::warn!(
                        kind = error.kind().name(),
                        "the event log was not trimmed; trying again later"
                    );
                }
            }
        }
    }

    /// Cuts off what the bounds say. Returns how many events.
    async fn trim(&self) -> Result<u64> {
        let keep = self.options.max_events_per_session;
        // The database's clock: one that is wrong on some host must not empty the log.
        let expired = self.store.database_now().await?.minus(self.options.max_age);
        let last: HashMap<String, u64> =
            self.store.last_events(None).await?.into_iter().map(|mark| (mark.session, mark.seq)).collect();
        let mut gone = 0;
        for first in self.store.first_events(None).await? {
            let Some(last) = last.get(&first.session).copied() else { continue };
            let too_many = (last + 1).saturating_sub(first.seq) > keep;
            let too_old = first.at < expired && first.seq < last;
            if too_many || too_old {
                gone += self.store.trim_events(&first.session, keep, expired).await?;
            }
        }
        Ok(gone)
    }
}
