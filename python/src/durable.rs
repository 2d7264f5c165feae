//! Durable events: consumers by name, and the events that their handlers failed on.

use std::sync::Arc;

use centralita::events::durable::{
    ConsumerOptions, DeadLetters, DurableConsumer, DurableEventOptions, LoggedEvent, StartFrom,
};
use centralita::{Error, ErrorKind, Result};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use serde::Deserialize;

use crate::bridge::{Done, Operation, spawn};
use crate::callback::{Callback, Failure};
use crate::errors;
use crate::options::{duration, seconds, set};
use crate::runtime::{ProcessBound, Runtime};
use crate::session::{page_to_json, to_json};

/// What is logged and for how long, as the package writes it: durations in seconds.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSettings {
    max_age_s: Option<f64>,
    max_events_per_session: Option<u64>,
    trim_interval_s: Option<f64>,
    log_presence: Option<bool>,
}

impl LogSettings {
    pub(crate) fn options(self) -> Result<DurableEventOptions> {
        let mut options = DurableEventOptions::default();
        set(&mut options.max_age, seconds("durable_events.max_age", self.max_age_s)?);
        set(&mut options.max_events_per_session, self.max_events_per_session);
        set(&mut options.trim_interval, seconds("durable_events.trim_interval", self.trim_interval_s)?);
        set(&mut options.log_presence, self.log_presence);
        Ok(options)
    }
}

/// How a consumer reads, as the package writes it. How long a handler may take is kept there.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConsumerSettings {
    start: Option<String>,
    stand_by: Option<bool>,
    poll_interval_s: Option<f64>,
    concurrency: Option<usize>,
    max_attempts: Option<u32>,
    min_pause_s: Option<f64>,
    max_pause_s: Option<f64>,
}

pub(crate) fn consumer_options(text: &str) -> Result<ConsumerOptions> {
    let settings: ConsumerSettings =
        serde_json::from_str(text).map_err(|error| errors::invalid("the consumer's options", &error))?;
    let mut options = ConsumerOptions::default();
    options.start = match settings.start.as_deref() {
        None | Some("oldest") => StartFrom::Oldest,
        Some("newest") => StartFrom::Newest,
        Some(_) => return Err(Error::new(ErrorKind::Invalid, "start must be \"oldest\" or \"newest\"")),
    };
    set(&mut options.stand_by, settings.stand_by);
    set(&mut options.poll_interval, seconds("poll_interval", settings.poll_interval_s)?);
    set(&mut options.concurrency, settings.concurrency);
    set(&mut options.retry.max_attempts, settings.max_attempts);
    set(&mut options.retry.min_pause, seconds("min_pause", settings.min_pause_s)?);
    set(&mut options.retry.max_pause, seconds("max_pause", settings.max_pause_s)?);
    Ok(options)
}

/// An event from the log, as it was handed out.
#[pyclass(frozen)]
pub(crate) struct Logged(LoggedEvent);

#[pymethods]
impl Logged {
    /// The event as JSON.
    fn json(&self, py: Python<'_>) -> PyResult<String> {
        to_json(&*self.0.event).map_err(|error| errors::raise(py, &error))
    }

    #[getter]
    fn cursor(&self) -> String {
        self.0.cursor.to_string()
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.0.attempt
    }

    #[getter]
    fn replayed(&self) -> bool {
        self.0.replayed
    }
}

/// An open consumer.
#[pyclass(frozen)]
pub(crate) struct Consumer(ProcessBound<DurableConsumer>);

impl Consumer {
    pub(crate) fn new(handle: &tokio::runtime::Handle, consumer: DurableConsumer) -> Self {
        Self(ProcessBound::new(handle, consumer))
    }

    fn call<T, W>(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        work: impl FnOnce(DurableConsumer) -> W,
    ) -> PyResult<Operation>
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let consumer = self.0.get(py)?.clone();
        spawn(py, future, work(consumer))
    }
}

#[pymethods]
impl Consumer {
    fn next_batch(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        most: usize,
        patience_s: f64,
    ) -> PyResult<Operation> {
        self.call(py, future, move |consumer| async move {
            let events = consumer.next_batch(most, duration("timeout", patience_s)?).await?;
            Ok(events.into_iter().map(Logged).collect::<Vec<_>>())
        })
    }

    fn ack(&self, py: Python<'_>, future: Py<PyAny>, cursor: String) -> PyResult<Operation> {
        self.call(py, future, |consumer| async move {
            consumer.ack_cursor(&cursor).await?;
            Ok(Done)
        })
    }

    fn reject(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        event: &Bound<'_, Logged>,
        reason: String,
    ) -> PyResult<Operation> {
        let event = event.get().0.clone();
        self.call(py, future, |consumer| async move {
            consumer.reject(&event, &reason).await?;
            Ok(Done)
        })
    }

    /// Calls `ask` with `(event, reply)` for every event, on the loop of `future`, until it is stopped.
    fn run(&self, py: Python<'_>, future: Py<PyAny>, ask: Py<PyAny>) -> PyResult<Operation> {
        let sender = Runtime::current(py)?.delivery.sender();
        let event_loop = future.call_method0(py, "get_loop")?;
        let handler = Arc::new(Callback::new(event_loop, ask, sender));
        self.call(py, future, |consumer| async move {
            let run = consumer.run(move |event| {
                let handler = Arc::clone(&handler);
                async move {
                    let asked = handler.ask(move |py, reply| (Logged(event), reply).into_py_any(py));
                    match asked.await {
                        Ok(_) => Ok(()),
                        Err(Failure::Raised { text, .. }) => Err(text),
                        Err(Failure::Unanswered) => Err("the event loop of the handler is closed".to_owned()),
                    }
                }
            });
            run.await?;
            Ok(Done)
        })
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.stop();
        Ok(())
    }

    fn close(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |consumer| async move {
            consumer.close().await;
            Ok(Done)
        })
    }
}

/// The dead letters of one consumer.
#[pyclass(frozen)]
pub(crate) struct Letters(ProcessBound<DeadLetters>);

impl Letters {
    pub(crate) fn new(handle: &tokio::runtime::Handle, letters: DeadLetters) -> Self {
        Self(ProcessBound::new(handle, letters))
    }
}

#[pymethods]
impl Letters {
    fn list(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        limit: u32,
        after: Option<String>,
    ) -> PyResult<Operation> {
        let letters = self.0.get(py)?.clone();
        spawn(py, future, async move {
            let page = letters.list(limit, after.as_deref()).await?;
            let items: Vec<_> = page
                .items
                .iter()
                .map(|letter| {
                    serde_json::json!({
                        "event": &*letter.event,
                        "attempts": letter.attempts,
                        "error": letter.error,
                        "failedAt": letter.failed_at,
                        "replay": letter.replay,
                    })
                })
                .collect();
            page_to_json(&centralita::store::Page { items, next: page.next, malformed: page.malformed })
        })
    }

    /// `replay` or `discard`, of one event or, without one, of all. Returns of how many.
    fn act(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        what: &str,
        event: Option<(String, u64)>,
    ) -> PyResult<Operation> {
        let letters = self.0.get(py)?.clone();
        let replay = what == "replay";
        spawn(py, future, async move {
            match event {
                Some((session, seq)) if replay => letters.replay(&session, seq).await.map(|()| 1),
                Some((session, seq)) => letters.discard(&session, seq).await.map(|()| 1),
                None if replay => letters.replay_all().await,
                None => letters.discard_all().await,
            }
        })
    }
}
