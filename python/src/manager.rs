//! The seed's `SessionManager`.

use centralita::clock::Timestamp;
use centralita::session::status::Status;
use centralita::session_manager::{ConnectionMetadata, SessionData, SessionManager};
use centralita::store::{Direction, PageRequest, SessionFilter, StatusDetail};
use centralita::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use serde::Deserialize;

use crate::bridge::{Operation, spawn};
use crate::errors;
use crate::runtime::ProcessBound;
use crate::session::{page_to_json, to_json};

/// Reads and changes session records.
#[pyclass(frozen)]
pub(crate) struct Manager(ProcessBound<SessionManager>);

impl Manager {
    pub(crate) fn new(handle: &tokio::runtime::Handle, manager: SessionManager) -> Self {
        Self(ProcessBound::new(handle, manager))
    }

    fn call<T, W>(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        work: impl FnOnce(SessionManager) -> W,
    ) -> PyResult<Operation>
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let manager = self.0.get(py)?.clone();
        spawn(py, future, work(manager))
    }
}

/// What is said of a session, as the package writes it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Data {
    name: Option<String>,
    phone: Option<String>,
    user_agent: Option<String>,
    platform: Option<String>,
    version: Option<String>,
    disconnect_reason: Option<String>,
    status_detail: Option<StatusDetail>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Query {
    is_active: Option<bool>,
    is_connected: Option<bool>,
    statuses: Vec<Status>,
    min_connection_attempts: Option<u32>,
    session_ids: Vec<String>,
    problematic_from_attempts: Option<u32>,
    last_activity_before: Option<Timestamp>,
    limit: Option<u32>,
    after: Option<String>,
    most_recently_active_first: bool,
}

impl Query {
    fn split(self) -> (SessionFilter, PageRequest) {
        let page = PageRequest::default();
        let filter = SessionFilter {
            is_active: self.is_active,
            is_connected: self.is_connected,
            statuses: self.statuses,
            min_connection_attempts: self.min_connection_attempts,
            session_ids: self.session_ids,
            problematic_from_attempts: self.problematic_from_attempts,
            last_activity_before: self.last_activity_before,
        };
        let page = PageRequest {
            limit: self.limit.unwrap_or(page.limit),
            after: self.after,
            most_recently_active_first: self.most_recently_active_first,
        };
        (filter, page)
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &str, text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| errors::invalid(what, &error))
}

#[pymethods]
impl Manager {
    fn create_or_update_session(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        data: &str,
    ) -> PyResult<Operation> {
        let data = parse::<Data>("the session's data", data);
        self.call(py, future, |manager| async move {
            let Data { name, phone, user_agent, platform, version, .. } = data?;
            let data = SessionData { name, phone, user_agent, platform, version };
            to_json(&manager.create_or_update_session(&session_id, &data).await?)
        })
    }

    fn get_session(&self, py: Python<'_>, future: Py<PyAny>, session_id: String) -> PyResult<Operation> {
        self.call(py, future, |manager| async move { to_json(&manager.get_session(&session_id).await?) })
    }

    /// A page of records, by a query given as JSON.
    fn list_sessions(&self, py: Python<'_>, future: Py<PyAny>, query: &str) -> PyResult<Operation> {
        let query = parse::<Query>("the query", query);
        self.call(py, future, |manager| async move {
            let (filter, page) = query?.split();
            page_to_json(&manager.list_sessions(&filter, &page).await?)
        })
    }

    fn count_sessions(&self, py: Python<'_>, future: Py<PyAny>, query: &str) -> PyResult<Operation> {
        let query = parse::<Query>("the query", query);
        self.call(py, future, |manager| async move {
            let (filter, _) = query?.split();
            manager.count_sessions(&filter).await
        })
    }

    fn get_statistics(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |manager| async move { to_json(&manager.get_statistics().await?) })
    }

    fn update_connection_status(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        is_connected: bool,
        status: String,
        metadata: &str,
    ) -> PyResult<Operation> {
        let metadata = parse::<Data>("the metadata", metadata);
        self.call(py, future, move |manager| async move {
            let metadata = metadata?;
            let metadata = ConnectionMetadata {
                phone: metadata.phone,
                name: metadata.name,
                platform: metadata.platform,
                version: metadata.version,
                user_agent: metadata.user_agent,
                disconnect_reason: metadata.disconnect_reason,
                status_detail: metadata.status_detail,
            };
            let status: Status = status.parse()?;
            to_json(&manager.update_connection_status(&session_id, is_connected, status, metadata).await?)
        })
    }

    fn record_connection_attempt(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        success: bool,
        reason: Option<String>,
    ) -> PyResult<Operation> {
        self.call(py, future, move |manager| async move {
            to_json(&manager.record_connection_attempt(&session_id, success, reason.as_deref()).await?)
        })
    }

    fn update_qr_code(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        qr_code: Option<String>,
    ) -> PyResult<Operation> {
        self.call(py, future, |manager| async move {
            to_json(&manager.update_qr_code(&session_id, qr_code.as_deref()).await?)
        })
    }

    fn increment_message_count(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        direction: &str,
    ) -> PyResult<Operation> {
        let direction = match direction {
            "sent" => Ok(Direction::Out),
            "received" => Ok(Direction::In),
            _ => Err(Error::new(ErrorKind::Invalid, "type must be \"sent\" or \"received\"")),
        };
        self.call(py, future, |manager| async move {
            to_json(&manager.increment_message_count(&session_id, direction?).await?)
        })
    }

    fn update_chat_count(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
    ) -> PyResult<Operation> {
        self.call(
            py,
            future,
            |manager| async move { to_json(&manager.update_chat_count(&session_id).await?) },
        )
    }

    fn update_health_check(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        memory_mb: f64,
    ) -> PyResult<Operation> {
        self.call(py, future, move |manager| async move {
            to_json(&manager.update_health_check(&session_id, memory_mb).await?)
        })
    }

    fn mark_as_inactive(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
        reason: String,
    ) -> PyResult<Operation> {
        self.call(py, future, |manager| async move {
            to_json(&manager.mark_as_inactive(&session_id, &reason).await?)
        })
    }

    fn delete_session(&self, py: Python<'_>, future: Py<PyAny>, session_id: String) -> PyResult<Operation> {
        self.call(
            py,
            future,
            |manager| async move { to_json(&manager.delete_session(&session_id, None).await?) },
        )
    }

    fn cleanup_inactive_sessions(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        days_inactive: u32,
        dry_run: bool,
    ) -> PyResult<Operation> {
        self.call(py, future, move |manager| async move {
            to_json(&manager.cleanup_inactive_sessions(days_inactive, dry_run).await?)
        })
    }

    fn reset_connection_attempts(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        session_id: String,
    ) -> PyResult<Operation> {
        self.call(py, future, |manager| async move {
            to_json(&manager.reset_connection_attempts(&session_id).await?)
        })
    }
}
