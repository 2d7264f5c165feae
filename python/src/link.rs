//! The steps of a link.

use std::sync::Arc;

use centralita::session::{LinkStep, LinkStream};
use pyo3::prelude::*;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::bridge::{Operation, spawn};
use crate::runtime::ProcessBound;

/// The steps of one link, one at a time.
#[pyclass(frozen)]
pub(crate) struct Link(ProcessBound<Arc<Mutex<LinkStream>>>);

impl Link {
    pub(crate) fn new(handle: &tokio::runtime::Handle, stream: LinkStream) -> Self {
        Self(ProcessBound::new(handle, Arc::new(Mutex::new(stream))))
    }
}

#[pymethods]
impl Link {
    /// The next step as JSON; `None` after the last.
    fn next_step(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        let stream = Arc::clone(self.0.get(py)?);
        spawn(py, future, async move {
            Ok(stream.lock().await.next().await.map(|step| to_json(&step).to_string()))
        })
    }
}

fn to_json(step: &LinkStep) -> Value {
    match step {
        LinkStep::Qr { code, expires_at } => {
            json!({"kind": "qr", "text": code.text(), "expiresAt": expires_at})
        }
        LinkStep::PairCode { code, expires_at } => {
            json!({"kind": "pair_code", "code": code.expose(), "expiresAt": expires_at})
        }
        LinkStep::PasskeyChallenge { request_options_json } => {
            json!({"kind": "passkey_challenge", "requestOptions": request_options_json.expose()})
        }
        LinkStep::PasskeyConfirmation { code, must_compare } => {
            json!({"kind": "passkey_confirmation", "code": code.expose(), "mustCompare": must_compare})
        }
        LinkStep::Linked => json!({"kind": "linked"}),
        LinkStep::TimedOut => json!({"kind": "timed_out"}),
        LinkStep::Failed { kind, message } => {
            json!({"kind": "failed", "errorKind": kind.name(), "errorCode": kind.code(), "message": message})
        }
        // A later version of core knows more; the package shows it by its kind.
        other => json!({"kind": "other", "message": format!("{other:?}")}),
    }
}
