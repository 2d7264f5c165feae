//! Linking a session to a phone.

use super::centralita_session;
use crate::boundary::{call, get, required};
use crate::error::centralita_error;
use crate::link::centralita_link;
use crate::operation::call::{Handle as _, nothing, operate, patience, refuse_inside_without};
use crate::operation::{Target, centralita_async};
use crate::text::{bytes, centralita_buf, centralita_str};

/// The codes to link it with, as they come, then one last step: take them with `centralita_link_next`. A session that
/// is linked already ends with `CENTRALITA_LINK_LINKED` once it is connected. `CENTRALITA_INVALID_STATE` if it does not
/// run here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_link(
    session: *const centralita_session,
    out: *mut *mut centralita_link,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?.null();
            let (service, session) = get(session, "session")?.open()?;
            out.put_handle(centralita_link::new(session.link()?, service.birth()));
            Ok(())
        })
    }
}

/// Asks WhatsApp for a code to type on the phone with this number, instead of the QR code. Gives the eight characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_request_pair_code(
    session: *const centralita_session,
    phone_number: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || phone_number.owned("phone_number");
        operate(session, later, Target::Text(out), err, input, |session, number| async move {
            session.request_pair_code(&number).await
        })
    }
}

/// Answers a passkey challenge with what the authenticator gave: WebAuthn's assertion as JSON, and the raw id of the
/// credential.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_answer_passkey(
    session: *const centralita_session,
    assertion_json: centralita_str,
    credential_id: *const u8,
    credential_id_len: usize,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let assertion = assertion_json.read("assertion_json")?.as_bytes().to_vec();
            Ok((assertion, bytes(credential_id, credential_id_len, "credential_id")?.to_vec()))
        };
        operate(session, later, Target::Nothing, err, input, |session, (assertion, id)| async move {
            session.answer_passkey(assertion, id).await
        })
    }
}

/// Says that the code of the phone and of this device are the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_confirm_passkey(
    session: *const centralita_session,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(session, later, Target::Nothing, err, nothing, |session, ()| async move {
            session.confirm_passkey().await
        })
    }
}

/// Waits until it is connected, `patience_ms` at most (`CENTRALITA_TIMEOUT` then); an end of the session is an error.
/// Inside a callback it must be given `later`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_wait_connected(
    session: *const centralita_session,
    patience_ms: i64,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let patience = patience(patience_ms)?;
            refuse_inside_without(later).map(|()| patience)
        };
        operate(session, later, Target::Nothing, err, input, |session, patience| async move {
            session.wait_connected(patience).await
        })
    }
}
