//! The one way in from C: no panic gets out, `err` is always set or NULL, and handles are checked.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};

use centralita::{Error, ErrorKind};

use crate::error::{Failure, Outcome, centralita_error, invalid};
use crate::status::CENTRALITA_OK;

/// Runs the body of a function that answers a status code.
///
/// # Safety
/// `err` is NULL or the address of a pointer that may be overwritten.
pub(crate) unsafe fn enter(err: *mut *mut centralita_error, body: impl FnOnce() -> Outcome<i32>) -> i32 {
    if !err.is_null() {
        // SAFETY: promised by the caller. What was in it is not freed: it may be uninitialised.
        unsafe { err.write(std::ptr::null_mut()) };
    }
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => return code,
        Ok(Err(failure)) => failure,
        Err(panic) => panicked(panic),
    };
    let error = centralita_error::from(failure);
    let code = error.code();
    if !err.is_null() {
        // SAFETY: as above.
        unsafe { err.write(Box::into_raw(Box::new(error))) };
    }
    code
}

/// As [`enter`], for a body that has nothing to say but that it is done.
///
/// # Safety
/// As for [`enter`].
pub(crate) unsafe fn call(err: *mut *mut centralita_error, body: impl FnOnce() -> Outcome<()>) -> i32 {
    // SAFETY: passed on.
    unsafe { enter(err, || body().map(|()| CENTRALITA_OK)) }
}

/// Runs the body of a function that cannot fail; a panic gives `default`.
pub(crate) fn guard<T>(default: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        std::mem::forget(panic);
        default
    })
}

/// The error of a caught panic. The payload is leaked: dropping it might panic once more.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    std::mem::forget(panic);
    Error::new(ErrorKind::Panic, format!("unexpected panic: {text}; report it")).into()
}

/// A handle that must be there.
///
/// # Safety
/// `handle` is NULL or a living handle of this type.
pub(crate) unsafe fn get<'a, T>(handle: *const T, what: &'static str) -> Outcome<&'a T> {
    // SAFETY: promised by the caller.
    unsafe { handle.as_ref() }.ok_or_else(|| invalid(format!("{what} is NULL")))
}

/// An out-parameter that must be there.
pub(crate) fn required<T>(out: *mut T, what: &'static str) -> Outcome<Out<T>> {
    if out.is_null() { Err(invalid(format!("{what} is NULL"))) } else { Ok(Out(out)) }
}

/// A checked out-parameter.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes without dropping what was there: it may be uninitialised.
    ///
    /// # Safety
    /// The pointer is good for a write.
    pub(crate) unsafe fn put(self, value: T) {
        // SAFETY: not NULL (checked), and promised by the caller.
        unsafe { self.0.write(value) };
    }
}

impl<T> Out<*mut T> {
    /// Nulls it at once, so that it never dangles after a failure.
    ///
    /// # Safety
    /// As for [`put`](Self::put).
    pub(crate) unsafe fn null(self) -> Self {
        // SAFETY: passed on.
        unsafe { self.0.write(std::ptr::null_mut()) };
        self
    }

    /// Hands a new handle out.
    ///
    /// # Safety
    /// As for [`put`](Self::put).
    pub(crate) unsafe fn put_handle(self, value: T) {
        // SAFETY: passed on.
        unsafe { self.put(Box::into_raw(Box::new(value))) };
    }
}

/// Takes a handle back from its owner and nulls his pointer. Two threads that free one variable get it once.
///
/// # Safety
/// `handle` is NULL, or the address of NULL or of a handle that this library made with `Box`.
pub(crate) unsafe fn take<T>(handle: *mut *mut T) -> Option<Box<T>> {
    if handle.is_null() || !handle.is_aligned() {
        return None;
    }
    // SAFETY: not NULL, aligned, and promised to be a pointer variable.
    let taken = unsafe { AtomicPtr::from_ptr(handle) }.swap(std::ptr::null_mut(), Ordering::AcqRel);
    if taken.is_null() {
        return None;
    }
    // SAFETY: made by `Box::into_raw` and, by the swap, ours alone now.
    Some(unsafe { Box::from_raw(taken) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{CENTRALITA_INVALID, CENTRALITA_PANIC};

    #[test]
    fn a_panic_becomes_a_status_with_its_text() {
        let mut err = std::ptr::null_mut();
        // SAFETY: the address of a local.
        let code = unsafe { enter(&raw mut err, || panic!("boom {}", 7)) };
        assert_eq!(code, CENTRALITA_PANIC);
        // SAFETY: set by `enter`.
        let error = unsafe { take(&raw mut err) }.unwrap();
        assert_eq!(error.code(), CENTRALITA_PANIC);
        assert!(err.is_null());
        assert_eq!(guard(3, || panic!("boom")), 3);
    }

    #[test]
    fn an_error_without_a_place_for_it_is_only_a_code() {
        // SAFETY: NULL is allowed.
        let code = unsafe { call(std::ptr::null_mut(), || Err(invalid("x"))) };
        assert_eq!(code, CENTRALITA_INVALID);
    }

    #[test]
    fn a_handle_is_taken_once() {
        let mut handle = Box::into_raw(Box::new(5_u32));
        // SAFETY: made by `Box`.
        assert_eq!(unsafe { take(&raw mut handle) }.as_deref(), Some(&5));
        // SAFETY: it is NULL now.
        assert!(unsafe { take(&raw mut handle) }.is_none());
        // SAFETY: NULL is allowed.
        assert!(unsafe { take::<u32>(std::ptr::null_mut()) }.is_none());
    }
}
