//! One session.

use centralita::service;
use centralita::store::{MessageKey, MessagePage, Page, Store};
use centralita::{Error, Result};
use pyo3::prelude::*;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

use crate::bridge::{Done, Operation, spawn};
use crate::errors;
use crate::link::Link;
use crate::options::duration;
use crate::runtime::{ProcessBound, Runtime};

/// A handle on one session; it holds nothing open.
#[pyclass(frozen)]
pub(crate) struct Session(ProcessBound<(service::Session, Arc<dyn Store>)>);

impl Session {
    pub(crate) fn new(
        handle: &tokio::runtime::Handle,
        session: service::Session,
        store: Arc<dyn Store>,
    ) -> Self {
        Self(ProcessBound::new(handle, (session, store)))
    }

    /// Runs a call on this session.
    fn call<T, W>(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        work: impl FnOnce(service::Session, Arc<dyn Store>) -> W,
    ) -> PyResult<Operation>
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let (session, store) = self.0.get(py)?.clone();
        spawn(py, future, work(session, store))
    }
}

#[pymethods]
impl Session {
    #[getter]
    fn id(&self) -> &str {
        self.0.0.id()
    }

    /// The status in this process, by the seed's name.
    fn status(&self, py: Python<'_>) -> PyResult<&'static str> {
        let status = self.0.get(py)?.0.status();
        status.map(|status| status.as_str()).map_err(|error| errors::raise(py, &error))
    }

    fn is_connected(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.get(py)?.0.is_connected())
    }

    fn is_parked(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.get(py)?.0.is_parked())
    }

    fn health(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |session, _| async move { to_json(&session.health().await?) })
    }

    fn reconnect_now(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.0.reconnect_now().map_err(|error| errors::raise(py, &error))
    }

    fn link(&self, py: Python<'_>) -> PyResult<Link> {
        let handle = &Runtime::current(py)?.handle;
        let link = self.0.get(py)?.0.link();
        link.map(|stream| Link::new(handle, stream)).map_err(|error| errors::raise(py, &error))
    }

    fn record(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |session, _| async move { to_json(&session.record().await?) })
    }

    fn wait_connected(&self, py: Python<'_>, future: Py<PyAny>, patience_s: f64) -> PyResult<Operation> {
        self.call(py, future, move |session, _| async move {
            session.wait_connected(duration("timeout", patience_s)?).await?;
            Ok(Done)
        })
    }

    fn request_pair_code(&self, py: Python<'_>, future: Py<PyAny>, phone: String) -> PyResult<Operation> {
        self.call(py, future, |session, _| async move { session.request_pair_code(&phone).await })
    }

    fn answer_passkey(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        assertion_json: Vec<u8>,
        credential_id: Vec<u8>,
    ) -> PyResult<Operation> {
        self.call(py, future, |session, _| async move {
            session.answer_passkey(assertion_json, credential_id).await?;
            Ok(Done)
        })
    }

    fn confirm_passkey(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |session, _| async move {
            session.confirm_passkey().await?;
            Ok(Done)
        })
    }

    /// Marks messages read, their keys given as a JSON list.
    fn mark_read(&self, py: Python<'_>, future: Py<PyAny>, keys: &str) -> PyResult<Operation> {
        let keys = serde_json::from_str::<Vec<MessageKey>>(keys);
        self.call(py, future, |session, _| async move {
            let keys = keys.map_err(|error| errors::invalid("the message keys", &error))?;
            session.mark_read(&keys).await?;
            Ok(Done)
        })
    }

    fn set_typing(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        to: String,
        composing: bool,
    ) -> PyResult<Operation> {
        self.call(py, future, move |session, _| async move {
            session.set_typing(&to, composing).await?;
            Ok(Done)
        })
    }

    /// A page of what waits in the outbox, in the order in which it is sent.
    fn outbox(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        limit: u32,
        after: Option<String>,
    ) -> PyResult<Operation> {
        self.call(py, future, move |session, _| async move {
            let page = session.outbox(limit, after.as_deref()).await?;
            let items: Vec<_> = page
                .items
                .iter()
                .map(|queued| {
                    json!({
                        "key": queued.key,
                        "state": queued.state,
                        "attempts": queued.attempts,
                        "queuedAt": queued.queued_at,
                        "expiresAt": queued.expires_at,
                    })
                })
                .collect();
            page_to_json(&Page { items, next: page.next, malformed: page.malformed })
        })
    }

    fn cancel_queued(&self, py: Python<'_>, future: Py<PyAny>, message_id: String) -> PyResult<Operation> {
        self.call(py, future, |session, _| async move {
            session.cancel_queued(&message_id).await?;
            Ok(Done)
        })
    }

    /// A page of stored messages, newest first.
    fn messages(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        chat_id: Option<String>,
        limit: u32,
        after: Option<String>,
    ) -> PyResult<Operation> {
        self.call(py, future, move |session, store| async move {
            let page = MessagePage { chat_id, limit, after };
            let found = store.list_messages(session.id(), &page).await;
            page_to_json(&found.map_err(|error| named(error, &session, "messages"))?)
        })
    }

    /// A page of stored chats, the one with the newest message first.
    fn chats(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        limit: u32,
        after: Option<String>,
    ) -> PyResult<Operation> {
        self.call(py, future, move |session, store| async move {
            let found = store.list_chats(session.id(), limit, after.as_deref()).await;
            page_to_json(&found.map_err(|error| named(error, &session, "chats"))?)
        })
    }
}

fn named(error: Error, session: &service::Session, op: &'static str) -> Error {
    error.of_session(session.id()).during(op)
}

pub(crate) fn to_json<T: Serialize>(record: &T) -> Result<String> {
    serde_json::to_string(record).map_err(errors::internal)
}

pub(crate) fn page_to_json<T: Serialize>(page: &Page<T>) -> Result<String> {
    to_json(&json!({"items": page.items, "next": page.next, "malformed": page.malformed}))
}
