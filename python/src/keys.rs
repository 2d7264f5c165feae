//! A key provider written in Python: its coroutines run on the loop that the service was started on.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use centralita::vault::{KeyProvider, Zeroizing};
use centralita::{Error, ErrorKind, Result};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyConnectionError, PyTimeoutError};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::delivery::{Delivery, Sender};

pub(crate) struct PythonKeyProvider {
    event_loop: Arc<Py<PyAny>>,
    /// Takes `(method, context, data, KeyReply)` and answers the reply.
    ask: Arc<Py<PyAny>>,
    sender: Sender,
}

impl PythonKeyProvider {
    pub(crate) fn new(event_loop: Py<PyAny>, ask: Py<PyAny>, sender: Sender) -> Self {
        Self { event_loop: Arc::new(event_loop), ask: Arc::new(ask), sender }
    }

    async fn ask(&self, method: &'static str, context: &[u8], data: &[u8]) -> Result<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        let (context, data) = (context.to_vec(), data.to_vec());
        self.sender.send(Delivery::Call {
            event_loop: Arc::clone(&self.event_loop),
            callable: Arc::clone(&self.ask),
            argument: Box::new(move |py| {
                let reply = KeyReply(Mutex::new(Some(answer)));
                (method, context, data, reply).into_py_any(py)
            }),
        });
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the key provider gave no answer; is the event loop that the service was started on running?",
            ))
        })
    }
}

#[async_trait]
impl KeyProvider for PythonKeyProvider {
    async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>> {
        self.ask("wrap", context, data_key).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let opened = Zeroizing::new(self.ask("unwrap", context, wrapped).await?);
        let mut data_key = Zeroizing::new([0; 32]);
        if opened.len() != data_key.len() {
            let message = "the key provider unwrapped a data key that has not 32 bytes";
            return Err(Error::new(ErrorKind::Crypto, message));
        }
        data_key.copy_from_slice(&opened);
        Ok(data_key)
    }

    /// A service that keeps keys rotates them itself.
    fn is_current(&self, _wrapped: &[u8]) -> bool {
        true
    }
}

/// Answers one question to a key provider, once; what comes after is ignored.
#[pyclass(frozen)]
pub(crate) struct KeyReply(Mutex<Option<oneshot::Sender<Result<Vec<u8>>>>>);

impl KeyReply {
    fn answer(&self, answer: Result<Vec<u8>>) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have been stopped.
            drop(sender.send(answer));
        }
    }
}

#[pymethods]
impl KeyReply {
    fn resolve(&self, value: Vec<u8>) {
        self.answer(Ok(value));
    }

    /// `ConnectionError` and `TimeoutError` say that the keys cannot be reached; anything else is a refusal.
    fn reject(&self, py: Python<'_>, exception: Py<PyAny>) {
        let cause = PyErr::from_value(exception.into_bound(py));
        let away =
            cause.is_instance_of::<PyConnectionError>(py) || cause.is_instance_of::<PyTimeoutError>(py);
        let (kind, message) = if away {
            (ErrorKind::Unavailable, "the key provider cannot be reached")
        } else {
            (ErrorKind::Crypto, "the key provider refused")
        };
        self.answer(Err(Error::new(kind, message).caused_by(cause)));
    }
}
