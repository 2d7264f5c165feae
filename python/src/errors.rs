//! `centralita::Error` to the exception tree, which is written in Python: a class there may have two bases.

use centralita::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::bridge::callable;

/// Every kind's name and code: a test of the package compares its tree with it.
pub(crate) fn kinds() -> Vec<(&'static str, u32)> {
    ErrorKind::ALL.iter().map(|kind| (kind.name(), kind.code())).collect()
}

/// The exception for an error.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyResult<Py<PyAny>> {
    make(py, error.kind().name(), error)
}

fn make(py: Python<'_>, kind: &str, error: &Error) -> PyResult<Py<PyAny>> {
    static FROM_NATIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let retry_after_s = error.retry_after_hint().map(|wait| wait.as_secs_f64());
    let facts = (
        kind,
        error.to_string(),
        error.code(),
        error.op(),
        error.session(),
        error.is_retryable(),
        retry_after_s,
    );
    let exception = callable(&FROM_NATIVE, py, "centralita.exceptions", "from_native")?.call1(facts)?;
    // An exception of a callback that failed on the other side comes back as the cause.
    if let Some(cause) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<PyErr>()) {
        exception.setattr("__cause__", cause.clone_ref(py).into_value(py))?;
    }
    Ok(exception.unbind())
}

/// The same, to be returned from a method.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(broken) => broken,
    }
}

/// What every call answers in a child of a fork.
pub(crate) fn raise_fork(py: Python<'_>) -> PyErr {
    let message = "this process was forked after centralita had started, and a fork does not copy threads; \
                   start the service in the child, and import alone before the fork";
    match make(py, "fork", &Error::new(ErrorKind::InvalidState, message)) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(broken) => broken,
    }
}

/// JSON of ours that cannot be read or written is a bug of ours.
pub(crate) fn internal(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, "the package and its native module do not fit together; reinstall both")
        .caused_by(error)
}

/// JSON whose content comes from the caller.
pub(crate) fn invalid(what: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: {error}"))
}
