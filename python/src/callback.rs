//! Questions to Python: asked on a loop, answered by a reply object, awaited in Rust.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyConnectionError, PyTimeoutError};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::delivery::{Delivery, Sender};

/// What became of a question that got no answer.
pub(crate) enum Failure {
    /// Python raised something.
    Raised {
        exception: PyErr,
        /// The same in words, made where Python is at hand.
        text: String,
        /// Whether it says that something cannot be reached at present.
        away: bool,
    },
    /// The loop is closed, or the reply was dropped.
    Unanswered,
}

/// A Python callable that takes a question and answers by its reply.
pub(crate) struct Callback {
    event_loop: Arc<Py<PyAny>>,
    callable: Arc<Py<PyAny>>,
    sender: Sender,
}

impl Callback {
    /// `callable` is called on `event_loop`.
    pub(crate) fn new(event_loop: Py<PyAny>, callable: Py<PyAny>, sender: Sender) -> Self {
        Self { event_loop: Arc::new(event_loop), callable: Arc::new(callable), sender }
    }

    /// Asks, with the argument that `question` makes of the reply, and waits.
    pub(crate) async fn ask(
        &self,
        question: impl for<'py> FnOnce(Python<'py>, Reply) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Result<Vec<u8>, Failure> {
        let (answer, answered) = oneshot::channel();
        self.sender.send(Delivery::Call {
            event_loop: Arc::clone(&self.event_loop),
            callable: Arc::clone(&self.callable),
            argument: Box::new(move |py| question(py, Reply(Mutex::new(Some(answer))))),
        });
        answered.await.unwrap_or(Err(Failure::Unanswered))
    }
}

type Answer = Result<Vec<u8>, Failure>;

/// Answers one question, once; what comes after is ignored.
#[pyclass(frozen)]
pub(crate) struct Reply(Mutex<Option<oneshot::Sender<Answer>>>);

impl Reply {
    fn answer(&self, answer: Answer) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have been stopped.
            drop(sender.send(answer));
        }
    }
}

#[pymethods]
impl Reply {
    fn resolve(&self, value: Vec<u8>) {
        self.answer(Ok(value));
    }

    fn reject(&self, py: Python<'_>, exception: Py<PyAny>) {
        let exception = PyErr::from_value(exception.into_bound(py));
        let text = in_words(py, &exception);
        let away = exception.is_instance_of::<PyConnectionError>(py)
            || exception.is_instance_of::<PyTimeoutError>(py);
        self.answer(Err(Failure::Raised { exception, text, away }));
    }
}

/// As the last line of a traceback has it.
fn in_words(py: Python<'_>, exception: &PyErr) -> String {
    let name = exception.get_type(py).name().map(|name| name.to_string());
    let said = exception.value(py).str().map(|said| said.to_string());
    match (name, said) {
        (Ok(name), Ok(said)) if said.is_empty() => name,
        (Ok(name), Ok(said)) => format!("{name}: {said}"),
        _ => "an exception that cannot be shown".to_owned(),
    }
}
