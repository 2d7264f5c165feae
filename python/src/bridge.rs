//! An asyncio future on one side, a task of the runtime on the other.

use std::panic::AssertUnwindSafe;

use centralita::{Error, ErrorKind, Result};
use futures::FutureExt;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyNone;
use tokio::task::AbortHandle;

use crate::delivery::{Delivery, Outcome, Sender};
use crate::runtime::Runtime;

/// Nothing but success: `None` in Python.
pub(crate) struct Done;

impl<'py> IntoPyObject<'py> for Done {
    type Target = PyNone;
    type Output = Borrowed<'py, 'py, PyNone>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> std::result::Result<Self::Output, Self::Error> {
        Ok(PyNone::get(py))
    }
}

/// A call under way. Cancelling it drops the work; a message that is being written goes on.
#[pyclass(frozen)]
pub(crate) struct Operation(AbortHandle);

#[pymethods]
impl Operation {
    /// Ends the work; the future is answered with `CancelledError` if it still waits.
    fn cancel(&self) {
        self.0.abort();
    }
}

/// Runs `work` on the runtime and answers `future`, an `asyncio.Future`, on the loop that it belongs to.
pub(crate) fn spawn<T>(
    py: Python<'_>,
    future: Py<PyAny>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<Operation>
where
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    let runtime = Runtime::current(py)?;
    let completer = Completer { sender: runtime.delivery.sender(), future: Some(future) };
    let task = runtime.handle.spawn(async move {
        let outcome = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panic, "the call panicked; its outcome is unknown; report it"))
        });
        completer.complete(outcome);
    });
    Ok(Operation(task.abort_handle()))
}

/// Answers a future exactly once: also when the work is dropped, so that nobody waits for ever.
struct Completer {
    sender: Sender,
    future: Option<Py<PyAny>>,
}

impl Completer {
    fn complete<T>(mut self, outcome: Result<T>)
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
    {
        self.send(match outcome {
            Ok(value) => Outcome::Value(Box::new(move |py| value.into_py_any(py))),
            Err(error) => Outcome::Error(error),
        });
    }

    fn send(&mut self, outcome: Outcome) {
        if let Some(future) = self.future.take() {
            self.sender.send(Delivery::Answer { future, outcome });
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.send(Outcome::Error(Error::new(ErrorKind::Cancelled, "the call was cancelled")));
    }
}

/// For `import`s of Python callables that are looked up once.
pub(crate) fn callable<'py>(
    cell: &pyo3::sync::PyOnceLock<Py<PyAny>>,
    py: Python<'py>,
    module: &str,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let found = cell.get_or_try_init(py, || Ok::<_, PyErr>(py.import(module)?.getattr(name)?.unbind()))?;
    Ok(found.bind(py).clone())
}
