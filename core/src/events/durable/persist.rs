//! Writing to a store that may be away, until the end and a little beyond.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::patience::until_available;

/// How long a last write may take once everything is stopping.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Waits while the store is away. Once `stop` is cancelled it tries once more and no longer: what goes through then is
/// not done twice after the next start.
pub(super) async fn persist<T, F, Fut>(clock: &SharedClock, stop: &CancellationToken, attempt: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    if !stop.is_cancelled() {
        match until_available(clock, stop, |_| {}, &attempt).await {
            Err(error) if error.kind() == ErrorKind::Closed && stop.is_cancelled() => {}
            outcome => return outcome,
        }
    }
    tokio::time::timeout(LAST_WRITE, attempt()).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            "the store did not take a last write while everything was stopping",
        ))
    })
}
