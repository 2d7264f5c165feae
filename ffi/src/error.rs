//! `centralita_error`: what happened, to what, and what to do.

use std::time::Duration;

use centralita::{Error, ErrorKind};

use crate::boundary::guard;
use crate::status::{CENTRALITA_FORKED, CENTRALITA_OK, CENTRALITA_WOULD_DEADLOCK, code_of};
use crate::text::centralita_str;

/// What happened, to what, and what to do. Opaque; NULL means that there is none. Free it with
/// `centralita_error_free`, unless its documentation says that it is borrowed. It never holds a secret, a message
/// text or a phone number.
#[derive(Clone)]
pub struct centralita_error {
    code: i32,
    kind: &'static str,
    message: String,
    session: Option<String>,
    op: Option<&'static str>,
    is_retryable: bool,
    retry_after: Option<Duration>,
}

/// What a function of this crate fails with: the core's errors, and two that only a binding has.
#[derive(Debug)]
pub(crate) enum Failure {
    Core(Error),
    WouldDeadlock(&'static str),
    Forked,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

pub(crate) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Error::new(ErrorKind::Invalid, message).into()
}

impl From<Failure> for centralita_error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Core(error) => Self::from(&error),
            Failure::WouldDeadlock(message) => {
                Self::of_binding(CENTRALITA_WOULD_DEADLOCK, "would_deadlock", message)
            }
            Failure::Forked => Self::of_binding(
                CENTRALITA_FORKED,
                "forked",
                "the process was forked and this handle is the parent's; open a service in the child",
            ),
        }
    }
}

impl From<&Error> for centralita_error {
    fn from(error: &Error) -> Self {
        Self {
            code: code_of(error.kind()),
            kind: error.kind().name(),
            message: error.to_string(),
            session: error.session().map(str::to_owned),
            op: error.op(),
            is_retryable: error.is_retryable(),
            retry_after: error.retry_after_hint(),
        }
    }
}

impl centralita_error {
    fn of_binding(code: i32, kind: &'static str, message: &str) -> Self {
        Self {
            code,
            kind,
            message: message.to_owned(),
            session: None,
            op: None,
            is_retryable: false,
            retry_after: None,
        }
    }

    pub(crate) fn code(&self) -> i32 {
        self.code
    }
}

/// Its status code, `CENTRALITA_OK` if `error` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_code(error: *const centralita_error) -> i32 {
    // SAFETY: NULL or an error of this library, alive during the call (header, rule 1).
    guard(CENTRALITA_OK, || unsafe { error.as_ref() }.map_or(CENTRALITA_OK, centralita_error::code))
}

/// The name of its code in snake case, such as `rate_limited`. Borrowed from `error`; empty if NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_kind(error: *const centralita_error) -> centralita_str {
    // SAFETY: as in `centralita_error_code`.
    guard(centralita_str::NONE, || centralita_str::of(unsafe { error.as_ref() }.map(|error| error.kind)))
}

/// What happened, to what, and what to do: one line for people. Borrowed from `error`; empty if NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_message(error: *const centralita_error) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: as in `centralita_error_code`.
        centralita_str::of(unsafe { error.as_ref() }.map(|error| error.message.as_str()))
    })
}

/// The id of the session that it happened to. Borrowed from `error`; `{NULL, 0}` if it concerns none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_session(error: *const centralita_error) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: as in `centralita_error_code`.
        centralita_str::of(unsafe { error.as_ref() }.and_then(|error| error.session.as_deref()))
    })
}

/// The operation that failed, such as `send`. Borrowed from `error`; `{NULL, 0}` if not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_operation(error: *const centralita_error) -> centralita_str {
    // SAFETY: as in `centralita_error_code`.
    guard(centralita_str::NONE, || centralita_str::of(unsafe { error.as_ref() }.and_then(|error| error.op)))
}

/// Whether the same call may succeed later with no change by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_is_retryable(error: *const centralita_error) -> bool {
    // SAFETY: as in `centralita_error_code`.
    guard(false, || unsafe { error.as_ref() }.is_some_and(|error| error.is_retryable))
}

/// Milliseconds to wait before the next try; -1 if that is not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_retry_after_ms(error: *const centralita_error) -> i64 {
    guard(-1, || {
        // SAFETY: as in `centralita_error_code`.
        let wait = unsafe { error.as_ref() }.and_then(|error| error.retry_after);
        wait.map_or(-1, |wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Frees an error and sets `*error` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_error_free(error: *mut *mut centralita_error) {
    // SAFETY: the address of a handle of this library, or NULL.
    guard((), || drop(unsafe { crate::boundary::take(error) }));
}
