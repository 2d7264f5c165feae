//! `centralita_session`: one session of a service.
//!
//! | file | what |
//! | --- | --- |
//! | `linking` | codes, passkeys, waiting for the phone |
//! | `running` | its state and health; reconnecting, parking, stopping, deleting |
//! | `messaging` | sending, reading, typing; what is stored |
//! | `outbox` | what waits to be sent |

pub mod linking;
pub mod messaging;
pub mod outbox;
pub mod running;

use std::sync::Arc;

use centralita::service::Session;
use centralita::session::status::Status;

use crate::boundary::{guard, take};
use crate::error::{Outcome, centralita_error};
use crate::operation::call::{Handle, operate};
use crate::operation::{Target, centralita_async};
use crate::service::{Service, centralita_service};
use crate::text::centralita_str;

/// One session. Opaque, thread-safe; it holds nothing open but its service. Free it with `centralita_session_free`.
pub struct centralita_session {
    service: Arc<Service>,
    session: Session,
}

impl centralita_session {
    pub(crate) fn new(service: &Arc<Service>, session: Session) -> Self {
        Self { service: Arc::clone(service), session }
    }
}

impl Handle for centralita_session {
    const NAME: &'static str = "session";
    type Core = Session;

    fn open(&self) -> Outcome<(&Arc<Service>, Session)> {
        self.service.check()?;
        Ok((&self.service, self.session.clone()))
    }
}

/// Created, or starting; no code yet.
pub const CENTRALITA_STATUS_PENDING: i32 = 1;
/// A QR code, a pair code or a passkey challenge waits for the user.
pub const CENTRALITA_STATUS_QR_READY: i32 = 2;
/// Logged in.
pub const CENTRALITA_STATUS_CONNECTED: i32 = 3;
/// Not connected: stopped, or waiting for the next attempt.
pub const CENTRALITA_STATUS_DISCONNECTED: i32 = 4;
/// It needs somebody: logged out, banned, outdated, or broken.
pub const CENTRALITA_STATUS_ERROR: i32 = 5;
/// Put away: not restored at start.
pub const CENTRALITA_STATUS_INACTIVE: i32 = 6;

/// 0 for one that this version does not know.
pub(crate) fn status_code(status: Status) -> i32 {
    match status {
        Status::Pending => CENTRALITA_STATUS_PENDING,
        Status::QrReady => CENTRALITA_STATUS_QR_READY,
        Status::Connected => CENTRALITA_STATUS_CONNECTED,
        Status::Disconnected => CENTRALITA_STATUS_DISCONNECTED,
        Status::Error => CENTRALITA_STATUS_ERROR,
        Status::Inactive => CENTRALITA_STATUS_INACTIVE,
        _ => 0,
    }
}

/// Registers a session and starts it. One that exists is started with its credentials; one that runs already is simply
/// given: there is never a second socket. `session_id`: 1 to 128 bytes of letters and digits of any script and
/// `-_.:@+`. `out` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_create(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || session_id.owned("session_id");
        operate(service, later, Target::Session(out), err, input, |service, id| async move {
            service.create_session(&id).await
        })
    }
}

/// Starts a stored session. `CENTRALITA_NOT_FOUND` if it was never created; a running one is simply given. `out` may be
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_start(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || session_id.owned("session_id");
        operate(service, later, Target::Session(out), err, input, |service, id| async move {
            service.start_session(&id).await
        })
    }
}

/// A handle on a stored session, running or not. `CENTRALITA_NOT_FOUND` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_get(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || session_id.owned("session_id");
        operate(service, later, Target::Session(out), err, input, |service, id| async move {
            service.session(&id).await
        })
    }
}

/// Its id. Borrowed from `session`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_id(session: *const centralita_session) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { session.as_ref() }.map(|session| session.session.id()))
    })
}

/// Frees the handle, not the session, and sets `*session` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_free(session: *mut *mut centralita_session) {
    // SAFETY: see `centralita_config_new`.
    guard((), || drop(unsafe { take(session) }));
}
