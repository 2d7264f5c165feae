//! Repeating a call until the database is back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Whether the database is merely away, so that the same call will succeed later.
pub(crate) fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}

/// Calls `attempt` until it gives anything but an outage, with growing pauses. `Closed` once `stop` is cancelled.
/// `away` is told of each outage.
pub(crate) async fn until_available<T, F, Fut>(
    clock: &SharedClock,
    stop: &CancellationToken,
    mut away: impl FnMut(&Error),
    mut attempt: F,
) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = stop.run_until_cancelled(attempt()).await.ok_or_else(stopped)?;
        match outcome {
            Err(error) if is_outage(&error) => {
                away(&error);
                crate::metrics::store_waited();
                // Half fixed, half random: many sessions wait for the same database.
                let jittered = pause.mul_f64(0.5 + clock.random_unit() / 2.0);
                stop.run_until_cancelled(clock.sleep(jittered)).await.ok_or_else(stopped)?;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// What whoever waits is told when its session stops.
pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the session was stopped")
}
