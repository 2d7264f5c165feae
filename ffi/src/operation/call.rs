//! What every function with a `later` is: a handle, an input that is read at once, and what the core does with it.

use std::sync::Arc;

use super::{Later, Output, Target, centralita_async, perform};
use crate::boundary::{call, get};
use crate::callback;
use crate::error::{Outcome, centralita_error, invalid};
use crate::service::Service;

/// A handle that operations are called on.
pub(crate) trait Handle {
    /// For errors.
    const NAME: &'static str;
    /// What an operation takes along.
    type Core: Send + 'static;

    /// The service and the core's handle, unless they are closed or belong to the parent of a fork.
    fn open(&self) -> Outcome<(&Arc<Service>, Self::Core)>;
}

/// Reads `later` before anything that can fail, so that its `drop` runs on every path; then the handle, then `input`;
/// then runs `work`.
///
/// # Safety
/// As the header says of the function that calls it.
pub(crate) unsafe fn operate<H: Handle, I, F, T>(
    handle: *const H,
    later: *const centralita_async,
    target: Target,
    err: *mut *mut centralita_error,
    input: impl FnOnce() -> Outcome<I>,
    work: impl FnOnce(H::Core, I) -> F,
) -> i32
where
    F: Future<Output = centralita::Result<T>> + Send + 'static,
    T: Into<Output>,
{
    // SAFETY: passed on.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let (service, core) = get(handle, H::NAME)?.open()?;
            let work = work(core, input()?);
            perform(service, later, target, async move { work.await.map(Into::into) })
        })
    }
}

/// The input of an operation that wants none.
pub(crate) fn nothing() -> Outcome<()> {
    Ok(())
}

/// For the input of what waits until something comes of itself: inside a callback only with a `later`.
pub(crate) fn refuse_inside_without(later: *const centralita_async) -> Outcome<()> {
    if later.is_null() { callback::refuse_inside() } else { Ok(()) }
}

/// A flag of a caller: C has no `bool` that is safe to take from everybody.
pub(crate) fn flag(value: i32, what: &'static str) -> Outcome<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(invalid(format!("{what} must be 0 or 1"))),
    }
}

/// How long a caller wants to wait for an operation.
pub(crate) fn patience(ms: i64) -> Outcome<std::time::Duration> {
    let ms = u64::try_from(ms).map_err(|_| invalid("patience_ms must not be negative"))?;
    Ok(std::time::Duration::from_millis(ms))
}
