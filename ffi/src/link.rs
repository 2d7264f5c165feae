//! `centralita_link`: the codes that link a phone, and pictures of them.

use std::sync::{Mutex, TryLockError};

use centralita::qr::QrCode;
use centralita::session::{LinkStep, LinkStream};
use centralita::{Error, ErrorKind};

use crate::boundary::{call, enter, get, guard, required, take};
use crate::callback;
use crate::error::{Failure, centralita_error, invalid};
use crate::fork::Birth;
use crate::status::{CENTRALITA_END, CENTRALITA_OK};
use crate::text::{centralita_buf, centralita_str};
use crate::wait::{self, Patience};

/// The steps of a link. Opaque; one thread at a time.
pub struct centralita_link {
    steps: Mutex<LinkStream>,
    birth: Birth,
}

impl centralita_link {
    pub(crate) fn new(steps: LinkStream, birth: Birth) -> Self {
        Self { steps: Mutex::new(steps), birth }
    }
}

/// One step of a link. Opaque.
pub struct centralita_link_step {
    step: LinkStep,
    error: Option<centralita_error>,
}

/// Show `centralita_link_step_text` as a QR code, see `centralita_qr_render`. It replaces any earlier one.
pub const CENTRALITA_LINK_QR: i32 = 1;
/// Show `centralita_link_step_text` to be typed on the phone.
pub const CENTRALITA_LINK_PAIR_CODE: i32 = 2;
/// Have an authenticator sign `centralita_link_step_text` (WebAuthn's `PublicKeyCredentialRequestOptions` as JSON),
/// then call `centralita_session_answer_passkey`.
pub const CENTRALITA_LINK_PASSKEY_CHALLENGE: i32 = 3;
/// Have the user compare `centralita_link_step_text` with the phone's code if `centralita_link_step_must_compare`, then
/// call `centralita_session_confirm_passkey`.
pub const CENTRALITA_LINK_PASSKEY_CONFIRMATION: i32 = 4;
/// The session is linked and connected. The last step.
pub const CENTRALITA_LINK_LINKED: i32 = 5;
/// Nobody used a code in time. The last step; start the session for new codes.
pub const CENTRALITA_LINK_TIMED_OUT: i32 = 6;
/// It did not work: see `centralita_link_step_error`. The last step.
pub const CENTRALITA_LINK_FAILED: i32 = 7;

/// Waits for the next step, `timeout_ms` at most (negative: for ever; 0: only looks). Free the step with
/// `centralita_link_step_free`. `CENTRALITA_END` after the last step, `CENTRALITA_TIMEOUT` if none came. Inside a
/// callback only 0 is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_next(
    link: *mut centralita_link,
    timeout_ms: i64,
    out: *mut *mut centralita_link_step,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(err, || {
            let out = required(out, "out")?.null();
            let link = get(link, "link")?;
            link.birth.check()?;
            if timeout_ms != 0 {
                callback::refuse_inside()?;
            }
            let mut steps = match link.steps.try_lock() {
                Ok(steps) => steps,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Err(busy()),
            };
            match wait::wait(steps.next(), Patience::from_ms(timeout_ms)) {
                None => Err(Error::new(ErrorKind::Timeout, "no step in that time").into()),
                Some(None) => Ok(CENTRALITA_END),
                Some(Some(step)) => {
                    let error = match &step {
                        LinkStep::Failed { kind, message } => {
                            Some(centralita_error::from(&Error::new(*kind, message.clone())))
                        }
                        _ => None,
                    };
                    out.put_handle(centralita_link_step { step, error });
                    Ok(CENTRALITA_OK)
                }
            }
        })
    }
}

pub(crate) fn busy() -> Failure {
    Error::new(ErrorKind::InvalidState, "another thread waits on this handle; give each thread its own")
        .into()
}

/// Frees the handle, not the session, and sets `*link` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_free(link: *mut *mut centralita_link) {
    guard((), || {
        // SAFETY: see `centralita_config_new`.
        if let Some(link) = unsafe { take(link) }
            && !link.birth.is_here()
        {
            std::mem::forget(link);
        }
    });
}

/// `CENTRALITA_LINK_…`; 0 for NULL or for a step that is newer than this header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_step_type(step: *const centralita_link_step) -> i32 {
    guard(0, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { step.as_ref() }.map_or(0, |step| match step.step {
            LinkStep::Qr { .. } => CENTRALITA_LINK_QR,
            LinkStep::PairCode { .. } => CENTRALITA_LINK_PAIR_CODE,
            LinkStep::PasskeyChallenge { .. } => CENTRALITA_LINK_PASSKEY_CHALLENGE,
            LinkStep::PasskeyConfirmation { .. } => CENTRALITA_LINK_PASSKEY_CONFIRMATION,
            LinkStep::Linked => CENTRALITA_LINK_LINKED,
            LinkStep::TimedOut => CENTRALITA_LINK_TIMED_OUT,
            LinkStep::Failed { .. } => CENTRALITA_LINK_FAILED,
            _ => 0,
        })
    })
}

/// The code or challenge; for `CENTRALITA_LINK_FAILED` what happened. A secret while it is valid. Borrowed from `step`;
/// `{NULL, 0}` if the step has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_step_text(step: *const centralita_link_step) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { step.as_ref() }.and_then(|step| match &step.step {
            LinkStep::Qr { code, .. } => Some(code.text()),
            LinkStep::PairCode { code, .. } | LinkStep::PasskeyConfirmation { code, .. } => {
                Some(code.expose())
            }
            LinkStep::PasskeyChallenge { request_options_json } => Some(request_options_json.expose()),
            LinkStep::Failed { message, .. } => Some(message),
            _ => None,
        }))
    })
}

/// When the code stops being valid, in milliseconds since the Unix epoch; -1 if it has no end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_step_expires_at_ms(step: *const centralita_link_step) -> i64 {
    guard(-1, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { step.as_ref() }.map_or(-1, |step| match step.step {
            LinkStep::Qr { expires_at, .. } | LinkStep::PairCode { expires_at, .. } => expires_at.unix_ms(),
            _ => -1,
        })
    })
}

/// Whether the phone shows a code to compare with (`CENTRALITA_LINK_PASSKEY_CONFIRMATION`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_step_must_compare(step: *const centralita_link_step) -> bool {
    guard(false, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { step.as_ref() }
            .is_some_and(|step| matches!(step.step, LinkStep::PasskeyConfirmation { must_compare: true, .. }))
    })
}

/// Why it did not work (`CENTRALITA_LINK_FAILED`): borrowed from `step`. NULL for every other step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_step_error(
    step: *const centralita_link_step,
) -> *const centralita_error {
    guard(std::ptr::null(), || {
        // SAFETY: see `centralita_config_new`.
        let error = unsafe { step.as_ref() }.and_then(|step| step.error.as_ref());
        error.map_or(std::ptr::null(), std::ptr::from_ref)
    })
}

/// Frees a step and sets `*step` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_link_step_free(step: *mut *mut centralita_link_step) {
    // SAFETY: see `centralita_config_new`.
    guard((), || drop(unsafe { take(step) }));
}

/// Lines of half blocks for a terminal. `scale` is not used.
pub const CENTRALITA_QR_TERMINAL: i32 = 1;
/// An SVG picture. `scale` is not used.
pub const CENTRALITA_QR_SVG: i32 = 2;
/// A PNG picture, `scale` pixels a module (1 to 64).
pub const CENTRALITA_QR_PNG: i32 = 3;

/// Draws a text of up to 2,953 bytes as a QR code in the format `CENTRALITA_QR_…`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_qr_render(
    text: centralita_str,
    format: i32,
    scale: u32,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?;
            let code = QrCode::new(text.read("text")?)?;
            out.put(match format {
                CENTRALITA_QR_TERMINAL => centralita_buf::new(code.to_terminal()),
                CENTRALITA_QR_SVG => centralita_buf::new(code.to_svg()),
                CENTRALITA_QR_PNG => centralita_buf::new(code.to_png(scale)?),
                _ => return Err(invalid("format must be one of CENTRALITA_QR_…")),
            });
            Ok(())
        })
    }
}
