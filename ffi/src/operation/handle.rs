//! `centralita_op`: waiting for what was started, looking at what it gave, cancelling it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use centralita::{Error, ErrorKind};

use super::call::Handle as _;
use super::{Done, Operation, Output};
use crate::boundary::{Out, call, enter, get, guard, required, take};
use crate::callback;
use crate::durable::consumer::centralita_consumer;
use crate::error::{Failure, centralita_error};
use crate::service::centralita_service;
use crate::session::centralita_session;
use crate::status::CENTRALITA_PENDING;
use crate::text::centralita_str;
use crate::wait::{self, Patience};

/// An operation that was started with a `centralita_async`. Opaque, thread-safe.
pub struct centralita_op(pub(super) Arc<Operation>);

impl centralita_op {
    fn done(&self) -> Option<&Done> {
        self.0.done.get()
    }
}

/// Waits until an operation has ended and answers as the call would have done that waits. `CENTRALITA_PENDING` if it
/// has not ended within `timeout_ms` (negative: for ever; 0: only looks). Any number of threads may wait. Inside a
/// callback only 0 is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_wait(
    op: *const centralita_op,
    timeout_ms: i64,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(err, || {
            let operation = Arc::clone(&get(op, "op")?.0);
            operation.birth.check()?;
            if timeout_ms != 0 {
                callback::refuse_inside()?;
            }
            let Some(done) = wait::wait(operation.wait(), Patience::from_ms(timeout_ms)) else {
                return Ok(CENTRALITA_PENDING);
            };
            if let Some(error) = &done.error
                && !err.is_null()
            {
                err.write(Box::into_raw(Box::new(error.clone())));
            }
            Ok(done.code)
        })
    }
}

/// How an operation ended; `CENTRALITA_PENDING` if it has not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_status(op: *const centralita_op) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(std::ptr::null_mut(), || Ok(get(op, "op")?.done().map_or(CENTRALITA_PENDING, |done| done.code)))
    }
}

/// Why an operation failed: borrowed from `op`. NULL if it has not failed or not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_error(op: *const centralita_op) -> *const centralita_error {
    guard(std::ptr::null(), || {
        // SAFETY: see `centralita_config_new`.
        let done = unsafe { op.as_ref() }.and_then(centralita_op::done);
        done.and_then(|done| done.error.as_ref()).map_or(std::ptr::null(), std::ptr::from_ref)
    })
}

/// The text or JSON that an operation gave: what the call that waits puts into its buffer. Borrowed from `op`.
/// `{NULL, 0}` if there is none or it has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_text(op: *const centralita_op) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        match unsafe { op.as_ref() }.and_then(centralita_op::done).map(|done| &done.output) {
            Some(Output::Text(text)) => centralita_str::of(Some(text)),
            _ => centralita_str::NONE,
        }
    })
}

/// A new handle on the session that an operation gave. `CENTRALITA_INVALID_STATE` if it gave none or has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_session(
    op: *const centralita_op,
    service: *const centralita_service,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out: Out<_> = required(out, "out")?.null();
            let service = get(service, "service")?.open()?.0;
            let Some(Output::Session(session)) = get(op, "op")?.done().map(|done| &done.output) else {
                return Err(not_given("session"));
            };
            out.put_handle(centralita_session::new(service, session.clone()));
            Ok(())
        })
    }
}

/// A new handle on the consumer that an operation opened. `CENTRALITA_INVALID_STATE` if it gave none or has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_consumer(
    op: *const centralita_op,
    service: *const centralita_service,
    out: *mut *mut centralita_consumer,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out: Out<_> = required(out, "out")?.null();
            let service = get(service, "service")?.open()?.0;
            let Some(Output::Consumer(consumer)) = get(op, "op")?.done().map(|done| &done.output) else {
                return Err(not_given("consumer"));
            };
            out.put_handle(centralita_consumer::new(service, consumer.clone()));
            Ok(())
        })
    }
}

fn not_given(what: &str) -> Failure {
    let message = format!("the operation has given no {what}; wait for its end and look at its status");
    Error::new(ErrorKind::InvalidState, message).into()
}

/// Asks an operation to end at once. It ends with `CENTRALITA_CANCELLED`, or as it would have if it was quicker.
/// A message that is being sent goes on: WhatsApp may have it already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_cancel(
    op: *const centralita_op,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let operation = &get(op, "op")?.0;
            operation.birth.check()?;
            operation.cancelled.store(true, Ordering::Release);
            if let Some(task) = operation.task.get() {
                task.abort();
            }
            Ok(())
        })
    }
}

/// Frees the handle and sets `*op` to NULL; the operation goes on and its completion still comes. NULL is fine, twice
/// is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_free(op: *mut *mut centralita_op) {
    guard((), || {
        // SAFETY: see `centralita_config_new`.
        if let Some(op) = unsafe { take(op) }
            && !op.0.birth.is_here()
        {
            // The parent's: its threads are not here to let go of their share.
            std::mem::forget(op);
        }
    });
}
