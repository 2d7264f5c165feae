//! A session that runs: its state and health, and what changes them.

use centralita::session::health::{SessionHealth, Vital, VitalState};

use super::{centralita_session, status_code};
use crate::boundary::{call, get, guard, required};
use crate::error::centralita_error;
use crate::json::Json;
use crate::operation::call::{Handle as _, nothing, operate};
use crate::operation::{Target, centralita_async};
use crate::sized::{self, Sized_};
use crate::text::centralita_buf;
use crate::wait;

/// Its record as stored, as JSON with the fields of the `sessions` collection (`sessionId`, `status`, `isConnected`,
/// `messagesReceived`, …; dates in RFC 3339).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_record(
    session: *const centralita_session,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(session, later, Target::Text(out), err, nothing, |session, ()| async move {
            session.record().await.map(Json)
        })
    }
}

/// Its status in this process, `CENTRALITA_STATUS_…`. `CENTRALITA_INVALID_STATE` if it does not run here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_status(
    session: *const centralita_session,
    out: *mut i32,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?;
            let (_, session) = get(session, "session")?.open()?;
            out.put(status_code(session.status()?));
            Ok(())
        })
    }
}

/// Whether it is logged in at this moment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_is_connected(session: *const centralita_session) -> bool {
    guard(false, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { session.as_ref() }
            .and_then(|session| session.open().ok())
            .is_some_and(|(_, session)| session.is_connected())
    })
}

/// Whether it is parked, or on its way back from that. See `centralita_session_park`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_is_parked(session: *const centralita_session) -> bool {
    guard(false, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { session.as_ref() }
            .and_then(|session| session.open().ok())
            .is_some_and(|(_, session)| session.is_parked())
    })
}

/// Its health as JSON: `{"link":VITAL,"receive":VITAL,"send":VITAL,"parked":false,"restarts":0,"memoryBytes":…}`, each
/// `VITAL` `{"state":"good"|"unknown"|"suspect"|"bad","since":date,"reason":…}`. `CENTRALITA_INVALID_STATE` if it does
/// not run here. The main figures without JSON: `centralita_session_get_figures`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_health(
    session: *const centralita_session,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(session, later, Target::Text(out), err, nothing, |session, ()| async move {
            session.health().await.map(Json)
        })
    }
}

/// As it should be.
pub const CENTRALITA_VITAL_GOOD: i32 = 1;
/// Nothing can be said while there is no connection.
pub const CENTRALITA_VITAL_UNKNOWN: i32 = 2;
/// It may be about to fail; being looked into.
pub const CENTRALITA_VITAL_SUSPECT: i32 = 3;
/// It does not work.
pub const CENTRALITA_VITAL_BAD: i32 = 4;

/// The main figures of a session's health. Start from `CENTRALITA_SESSION_FIGURES_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_session_figures {
    /// `sizeof(centralita_session_figures)`.
    pub struct_size: u32,
    /// The connection to WhatsApp, `CENTRALITA_VITAL_…`.
    pub link: i32,
    /// Whether anything comes in, `CENTRALITA_VITAL_…`.
    pub receive: i32,
    /// Whether what is written is acknowledged, `CENTRALITA_VITAL_…`.
    pub send: i32,
    /// 1 if it is parked.
    pub parked: i32,
    /// Zero.
    pub reserved: u32,
    /// How often it was restarted because it was not well, since it was started.
    pub restarts: u64,
    /// Bytes that its engine and socket take, by the engine's own report; -1 while there is no engine.
    pub memory_bytes: i64,
}

// SAFETY: numbers.
unsafe impl Sized_ for centralita_session_figures {
    const NAME: &'static str = "centralita_session_figures";
    const FIRST_SIZE: usize = 40;
}

fn figures(health: &SessionHealth, struct_size: u32) -> centralita_session_figures {
    let code = |vital: &Vital| match vital.state {
        VitalState::Good => CENTRALITA_VITAL_GOOD,
        VitalState::Suspect => CENTRALITA_VITAL_SUSPECT,
        VitalState::Bad => CENTRALITA_VITAL_BAD,
        // A state that this version does not know says nothing.
        _ => CENTRALITA_VITAL_UNKNOWN,
    };
    centralita_session_figures {
        struct_size,
        link: code(&health.link),
        receive: code(&health.receive),
        send: code(&health.send),
        parked: i32::from(health.parked),
        reserved: 0,
        restarts: health.restarts,
        memory_bytes: health.memory_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
    }
}

/// Fills in the main figures of its health. `CENTRALITA_INVALID_STATE` if it does not run here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_get_figures(
    session: *const centralita_session,
    out: *mut centralita_session_figures,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            sized::fill(out, |size| {
                let (service, session) = get(session, "session")?.open()?;
                let health = wait::run(service.runtime(), async move { session.health().await })?;
                Ok(figures(&health, size))
            })
        })
    }
}

/// Closes its socket and frees its memory, but keeps it: WhatsApp queues what comes, and a send, a start, the option
/// `park_wake_every_ms` or `centralita_session_reconnect_now` wakes it. Ends once it is parked; its status is then
/// `disconnected`. `CENTRALITA_INVALID_STATE` if it does not run here or was never linked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_park(
    session: *const centralita_session,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(
            session,
            later,
            Target::Nothing,
            err,
            nothing,
            |session, ()| async move { session.park().await },
        )
    }
}

/// Ends a pause between two connections, or wakes a parked session: the next attempt is made now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_reconnect_now(
    session: *const centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let (_, session) = get(session, "session")?.open()?;
            Ok(session.reconnect_now()?)
        })
    }
}

/// Ends the connection and releases the session; the credentials stay. Effective at once in every state.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_stop(
    session: *const centralita_session,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(
            session,
            later,
            Target::Nothing,
            err,
            nothing,
            |session, ()| async move { session.stop().await },
        )
    }
}

/// Removes this device from the account and deletes the credentials; record, messages and chats stay.
/// `CENTRALITA_INVALID_STATE` if it does not run: then WhatsApp cannot be told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_log_out(
    session: *const centralita_session,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(session, later, Target::Nothing, err, nothing, |session, ()| async move {
            session.log_out().await
        })
    }
}

/// Stops the session and deletes all of it: record, credentials, keys, messages, chats. If it is connected it is logged
/// out first, so that the phone does not list it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_delete(
    session: *const centralita_session,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(
            session,
            later,
            Target::Nothing,
            err,
            nothing,
            |session, ()| async move { session.delete().await },
        )
    }
}
