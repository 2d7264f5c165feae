//! A subscription, taken in batches: each batch is one entry into Python and one text of JSON.

use std::sync::Arc;

use centralita::events::{Filter, Overflow, SubscriptionOptions};
use centralita::{Error, ErrorKind, Result, events};
use futures::FutureExt;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::bridge::{Operation, spawn};
use crate::errors;
use crate::runtime::ProcessBound;

/// A batch ends at this size: what the loop decodes in one turn stays short.
const BATCH_BYTES: usize = 128 << 10;

/// Events from now on. Ends with its last reference, which a batch under way has, too.
#[pyclass(frozen)]
pub(crate) struct Subscription(ProcessBound<Arc<Mutex<Taking>>>);

pub(crate) struct Taking {
    subscription: events::Subscription,
    /// An end that came behind events, which go first.
    failed: Option<Error>,
}

impl Subscription {
    pub(crate) fn new(handle: &tokio::runtime::Handle, subscription: events::Subscription) -> Self {
        let taking = Taking { subscription, failed: None };
        Self(ProcessBound::new(handle, Arc::new(Mutex::new(taking))))
    }
}

#[pymethods]
impl Subscription {
    /// The next events, at least one and `most` at most, as a JSON list; `None` after the last.
    fn next_batch(&self, py: Python<'_>, future: Py<PyAny>, most: usize) -> PyResult<Operation> {
        let taking = Arc::clone(self.0.get(py)?);
        spawn(py, future, async move { taking.lock().await.next_batch(most).await })
    }
}

impl Taking {
    async fn next_batch(&mut self, most: usize) -> Result<Option<String>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let subscription = &mut self.subscription;
        let Some(first) = subscription.next().await? else { return Ok(None) };
        let mut batch = String::from("[");
        batch.push_str(&serde_json::to_string(&*first).map_err(errors::internal)?);
        let mut count = 1_u64;
        while count < most as u64 && batch.len() < BATCH_BYTES {
            match subscription.next().now_or_never() {
                Some(Ok(Some(event))) => {
                    batch.push(',');
                    batch.push_str(&serde_json::to_string(&*event).map_err(errors::internal)?);
                    count += 1;
                }
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
                Some(Ok(None)) | None => break,
            }
        }
        batch.push(']');
        metrics::counter!("centralita_python_events_total").increment(count);
        Ok(Some(batch))
    }
}

pub(crate) fn options(
    sessions: Option<Vec<String>>,
    capacity: usize,
    overflow: &str,
) -> Result<SubscriptionOptions> {
    let overflow = match overflow {
        "wait" => Overflow::Wait,
        "drop_oldest" => Overflow::DropOldest,
        "close" => Overflow::Close,
        _ => {
            let message = "overflow must be \"wait\", \"drop_oldest\" or \"close\"";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    };
    let filter = sessions.map_or_else(Filter::all, Filter::sessions);
    Ok(SubscriptionOptions::from(filter).capacity(capacity).overflow(overflow))
}
