//! Every call: on the store's own runtime, with a deadline, tried again while the database is away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Either, select};

use super::errors::Failure;
use super::{Inner, MongoStore};
use crate::error::{Error, ErrorKind, Result};

/// Attempts of one call, each after twice the pause of the one before.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

impl MongoStore {
    /// Runs `work`, which must be harmless to repeat. The caller may go away; the work goes on to its end.
    pub(super) async fn call<T, W, F>(&self, op: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Fn(Arc<Inner>) -> F + Send + 'static,
        F: Future<Output = std::result::Result<T, Failure>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        self.to_its_end(op, async move { repeated(&inner, work).await }).await
    }

    /// Runs `work` to its end on the store's runtime, whether or not the caller stays.
    pub(super) async fn to_its_end<T, F>(&self, op: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let inner = &self.0;
        if inner.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the store was closed; open it again").during(op));
        }
        let task = inner.calls.track_future(work);
        let outcome = inner.runtime.spawn(task).await.unwrap_or_else(|error| {
            Err(if error.is_panic() {
                Error::new(ErrorKind::Panic, "a store operation panicked; its outcome is unknown")
            } else {
                Error::new(ErrorKind::Closed, "the runtime of the store has ended; make a new store")
            })
        });
        outcome.map_err(|error| error.during(op))
    }
}

/// Tries `work` until it answers, is refused, or has taken too long.
pub(super) async fn repeated<T, W, F>(inner: &Arc<Inner>, work: W) -> Result<T>
where
    W: Fn(Arc<Inner>) -> F,
    F: Future<Output = std::result::Result<T, Failure>>,
{
    let deadline = inner.options.clock.sleep(inner.options.deadline);
    match select(std::pin::pin!(attempts(inner, work)), deadline).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "no answer from the database in {} s; the outcome is unknown",
                inner.options.deadline.as_secs_f64()
            ),
        )),
    }
}

async fn attempts<T, W, F>(inner: &Arc<Inner>, work: W) -> Result<T>
where
    W: Fn(Arc<Inner>) -> F,
    F: Future<Output = std::result::Result<T, Failure>>,
{
    let clock = &inner.options.clock;
    let start = clock.monotonic();
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match work(Arc::clone(inner)).await {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Again(error)) => {
                // A search for a server takes seconds by itself: a few of them are enough.
                let late = clock.monotonic().saturating_sub(start) > inner.options.deadline / 4;
                if attempt == ATTEMPTS || late {
                    return Err(error);
                }
                tracing::debug!(attempt, kind = error.kind().name(), "the database is away; trying again");
            }
        }
        clock.sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the last attempt returns")
}
