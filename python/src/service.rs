//! The service.

use std::sync::Arc;
use std::time::Duration;

use centralita::service::{RestoreProgress, RestoreReport, WhatsAppService};
use centralita::store::Store;
use centralita::vault::{KeyProvider, RewrapReport};
use centralita::{Error, ErrorKind, Result};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use serde_json::json;

use crate::bridge::{Done, Operation, spawn};
use crate::callback::Callback;
use crate::cleanup::{self, Cleanup};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::durable::{self, Consumer, Letters};
use crate::events::{self, Subscription};
use crate::keys::PythonKeyProvider;
use crate::manager::Manager;
use crate::options::duration;
use crate::outgoing;
use crate::runtime::{ProcessBound, Runtime};
use crate::session::Session;
use crate::{errors, session};

/// A started service and its store.
pub(crate) struct Open {
    pub(crate) service: WhatsAppService,
    pub(crate) store: Arc<dyn Store>,
}

impl Open {
    /// Stops the sessions and closes the store. Idempotent.
    pub(crate) async fn shut_down(&self, patience: Duration) -> Result<()> {
        let stopped = self.service.shutdown(patience).await;
        self.store.close().await.map_err(|error| error.during("shutdown"))?;
        stopped
    }
}

/// A started service.
#[pyclass(frozen)]
pub(crate) struct Service(ProcessBound<Arc<Open>>);

impl Service {
    fn call<T, W>(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        work: impl FnOnce(Arc<Open>) -> W,
    ) -> PyResult<Operation>
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let open = Arc::clone(self.0.get(py)?);
        spawn(py, future, work(open))
    }

    #[cfg(feature = "stand-in")]
    pub(crate) fn subscribe_here(
        &self,
        py: Python<'_>,
        options: centralita::events::SubscriptionOptions,
    ) -> PyResult<Result<centralita::events::Subscription>> {
        Ok(self.0.get(py)?.service.subscribe(options))
    }
}

#[pymethods]
impl Service {
    /// Starts a service with settings given as JSON. `ask_keys` is the caller of a key provider, if there is one.
    #[staticmethod]
    fn start(
        py: Python<'_>,
        future: Py<PyAny>,
        settings: &str,
        ask_keys: Option<Py<PyAny>>,
    ) -> PyResult<Operation> {
        let runtime = Runtime::current(py)?;
        let provider = match ask_keys {
            Some(ask) => {
                let event_loop = future.call_method0(py, "get_loop")?;
                let provider = PythonKeyProvider(Callback::new(event_loop, ask, runtime.delivery.sender()));
                Some(Arc::new(provider) as Arc<dyn KeyProvider>)
            }
            None => None,
        };
        let config = Config::parse(settings);
        spawn(py, future, async move {
            let started = match config {
                Ok(config) => config.start(provider).await,
                Err(error) => Err(error),
            };
            let open = Arc::new(started.map_err(|error| error.during("start"))?);
            runtime.watch(Arc::downgrade(&open));
            Ok(Self(ProcessBound::new(&runtime.handle, open)))
        })
    }

    #[getter]
    fn instance_id(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.service.instance_id().to_owned())
    }

    fn running_sessions(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let open = self.0.get(py)?;
        Ok(py.detach(|| open.service.running_sessions()))
    }

    fn manager(&self, py: Python<'_>) -> PyResult<Manager> {
        let runtime = Runtime::current(py)?;
        Ok(Manager::new(&runtime.handle, self.0.get(py)?.service.manager().clone()))
    }

    /// A handle on a session: created, started, or merely looked up.
    fn session(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        how: &str,
        session_id: String,
    ) -> PyResult<Operation> {
        let how = how.to_owned();
        let handle = Runtime::current(py)?.handle.clone();
        self.call(py, future, |open| async move {
            let service = &open.service;
            let session = match how.as_str() {
                "create" => service.create_session(&session_id).await?,
                "start" => service.start_session(&session_id).await?,
                "get" => service.session(&session_id).await?,
                _ => return Err(Error::new(ErrorKind::Internal, "no such way to get a session; report it")),
            };
            Ok(Session::new(&handle, session, Arc::clone(&open.store)))
        })
    }

    fn stop_session(&self, py: Python<'_>, future: Py<PyAny>, session_id: String) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            open.service.stop_session(&session_id).await?;
            Ok(Done)
        })
    }

    fn log_out_session(&self, py: Python<'_>, future: Py<PyAny>, session_id: String) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            open.service.log_out_session(&session_id).await?;
            Ok(Done)
        })
    }

    fn delete_session(&self, py: Python<'_>, future: Py<PyAny>, session_id: String) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            open.service.delete_session(&session_id).await?;
            Ok(Done)
        })
    }

    /// Sends a message, given as JSON, from a session.
    fn send(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        message: &str,
    ) -> PyResult<Operation> {
        let message = outgoing::parse(message);
        self.call(py, future, |open| async move {
            let message = message.map_err(|error| error.of_session(&session_id).during("send"))?;
            Ok(outgoing::sent_to_json(&open.service.send(&session_id, message).await?))
        })
    }

    fn park_session(&self, py: Python<'_>, future: Py<PyAny>, session_id: String) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            open.service.park_session(&session_id).await?;
            Ok(Done)
        })
    }

    /// How connections are paced at this moment, as JSON.
    fn pacing(&self, py: Python<'_>) -> PyResult<String> {
        let pacing = self.0.get(py)?.service.pacing();
        let mut fields =
            serde_json::to_value(pacing).map_err(|error| errors::raise(py, &errors::internal(error)))?;
        fields["pausedUntil"] = json!(pacing.breaker.until());
        Ok(fields.to_string())
    }

    /// Starts what is linked and, with `patience_s`, waits until all are connected or have ended. `progress` is called
    /// on the loop of `future` with `(total, done, connected, ended, session_id)`.
    fn restore_all(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        patience_s: Option<f64>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Operation> {
        let sender = Runtime::current(py)?.delivery.sender();
        let event_loop = Arc::new(future.call_method0(py, "get_loop")?);
        let progress = progress.map(Arc::new);
        let tell = move |step: &RestoreProgress| {
            if let Some(progress) = &progress {
                let facts = (step.total, step.done, step.connected, step.ended, step.session_id.clone());
                sender.send(Delivery::Call {
                    event_loop: Arc::clone(&event_loop),
                    callable: Arc::clone(progress),
                    argument: Box::new(move |py| facts.into_py_any(py)),
                });
            }
        };
        self.call(py, future, move |open| async move {
            let report = match patience_s {
                None => open.service.restore_all(tell).await,
                Some(patience_s) => {
                    let patience =
                        duration("wait", patience_s).map_err(|error| error.during("restore_all"))?;
                    open.service.restore_all_and_wait(patience, tell).await
                }
            };
            let RestoreReport { started, connected, not_linked, malformed, .. } = report?;
            session::to_json(&json!({
                "started": started,
                "connected": connected,
                "notLinked": not_linked,
                "malformed": malformed,
            }))
        })
    }

    /// Wraps every session's data key with the primary master key.
    fn rewrap_keys(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            let RewrapReport { rewrapped, already_current, held_elsewhere, failed, .. } =
                open.service.rewrap_keys(|_| {}).await?;
            let failed: Vec<_> = failed
                .iter()
                .map(|failure| {
                    json!({
                        "sessionId": failure.session_id,
                        "kind": failure.error.kind().name(),
                        "message": failure.error.to_string(),
                    })
                })
                .collect();
            session::to_json(&json!({
                "rewrapped": rewrapped,
                "alreadyCurrent": already_current,
                "heldElsewhere": held_elsewhere,
                "failed": failed,
            }))
        })
    }

    fn subscribe(
        &self,
        py: Python<'_>,
        sessions: Option<Vec<String>>,
        capacity: usize,
        overflow: &str,
    ) -> PyResult<Subscription> {
        let open = self.0.get(py)?;
        let handle = &Runtime::current(py)?.handle;
        events::options(sessions, capacity, overflow)
            .and_then(|options| open.service.subscribe(options))
            .map(|subscription| Subscription::new(handle, subscription))
            .map_err(|error| errors::raise(py, &error.during("subscribe")))
    }

    /// Opens a consumer of durable events, with options given as JSON.
    fn consumer(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        name: String,
        options: &str,
    ) -> PyResult<Operation> {
        let options = durable::consumer_options(options);
        let handle = Runtime::current(py)?.handle.clone();
        self.call(py, future, |open| async move {
            let options = options.map_err(|error| error.during("consumer"))?;
            Ok(Consumer::new(&handle, open.service.consumer(&name, options).await?))
        })
    }

    fn consumers(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            let consumers = open.service.consumers().await?;
            let consumers: Vec<_> = consumers
                .iter()
                .map(|one| json!({"name": one.name, "createdAt": one.created_at, "behind": one.behind}))
                .collect();
            session::to_json(&consumers)
        })
    }

    fn delete_consumer(&self, py: Python<'_>, future: Py<PyAny>, name: String) -> PyResult<Operation> {
        self.call(py, future, |open| async move {
            open.service.delete_consumer(&name).await?;
            Ok(Done)
        })
    }

    fn dead_letters(&self, py: Python<'_>, future: Py<PyAny>, consumer: String) -> PyResult<Operation> {
        let handle = Runtime::current(py)?.handle.clone();
        self.call(py, future, |open| async move {
            Ok(Letters::new(&handle, open.service.dead_letters(&consumer).await?))
        })
    }

    /// Starts the automatic cleanup with options given as JSON.
    fn start_cleanup(&self, py: Python<'_>, options: &str) -> PyResult<Cleanup> {
        let open = Arc::clone(self.0.get(py)?);
        let runtime = Runtime::current(py)?;
        cleanup::options(options)
            .and_then(|options| open.service.start_cleanup(options))
            .map(|cleanup| Cleanup::new(&runtime.handle, cleanup))
            .map_err(|error| errors::raise(py, &error.during("start_cleanup")))
    }

    fn shutdown(&self, py: Python<'_>, future: Py<PyAny>, patience_s: f64) -> PyResult<Operation> {
        self.call(py, future, move |open| async move {
            open.shut_down(duration("timeout", patience_s)?).await?;
            Ok(Done)
        })
    }
}
