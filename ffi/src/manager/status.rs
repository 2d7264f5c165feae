//! Statuses and connection attempts.

use centralita::session::status::Status;
use centralita::session_manager::ConnectionMetadata;
use centralita::store::StatusDetail;
use serde::Deserialize;

use crate::error::centralita_error;
use crate::json::{self, Json};
use crate::operation::call::{flag, operate};
use crate::operation::{Target, centralita_async};
use crate::service::centralita_service;
use crate::text::{centralita_buf, centralita_str};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Metadata {
    phone: Option<String>,
    name: Option<String>,
    platform: Option<String>,
    version: Option<String>,
    user_agent: Option<String>,
    disconnect_reason: Option<String>,
    status_detail: Option<StatusDetail>,
}

impl From<Metadata> for ConnectionMetadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            phone: metadata.phone,
            name: metadata.name,
            platform: metadata.platform,
            version: metadata.version,
            user_agent: metadata.user_agent,
            disconnect_reason: metadata.disconnect_reason,
            status_detail: metadata.status_detail,
        }
    }
}

/// `updateConnectionStatus`: sets the status that `status` names (`pending`, `qr_ready`, `connected`, …) if the transition
/// table leads to it. `CENTRALITA_INVALID` unless `is_connected` is 1 exactly for `connected`. `metadata_json`:
/// `{"phone","name","platform","version","userAgent","disconnectReason",
/// "statusDetail"}`, each optional. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_connection_status(
    service: *const centralita_service,
    session_id: centralita_str,
    is_connected: i32,
    status: centralita_str,
    metadata_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let metadata = json::read::<Metadata>(metadata_json, "metadata_json")?;
            let status: Status = status.read("status")?.parse()?;
            let connected = flag(is_connected, "is_connected")?;
            Ok((session_id.owned("session_id")?, connected, status, metadata.into()))
        };
        operate(
            service,
            later,
            Target::Text(out),
            err,
            input,
            |service, (id, connected, status, metadata)| async move {
                service.manager().update_connection_status(&id, connected, status, metadata).await.map(Json)
            },
        )
    }
}

/// `recordConnectionAttempt`: a failure (`success` 0) counts, a success (1) sets the count to zero. `reason`: `{NULL, 0}` for
/// none. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_record_connection_attempt(
    service: *const centralita_service,
    session_id: centralita_str,
    success: i32,
    reason: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let reason = reason.optional("reason")?.map(str::to_owned);
            Ok((session_id.owned("session_id")?, flag(success, "success")?, reason))
        };
        operate(service, later, Target::Text(out), err, input, |service, (id, success, reason)| async move {
            service.manager().record_connection_attempt(&id, success, reason.as_deref()).await.map(Json)
        })
    }
}

/// `resetConnectionAttempts`: sets the count of failed attempts to zero. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_reset_connection_attempts(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || session_id.owned("session_id");
        operate(service, later, Target::Text(out), err, input, |service, id| async move {
            service.manager().reset_connection_attempts(&id).await.map(Json)
        })
    }
}

/// `updateQRCode`: stores a QR code, which makes the session `qr_ready`; `{NULL, 0}` removes it. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_qr_code(
    service: *const centralita_service,
    session_id: centralita_str,
    qr_code: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let code = qr_code.optional("qr_code")?.map(str::to_owned);
            Ok((session_id.owned("session_id")?, code))
        };
        operate(
            service,
            later,
            Target::Text(out),
            err,
            input,
            |service, (id, code): (String, Option<String>)| async move {
                service.manager().update_qr_code(&id, code.as_deref()).await.map(Json)
            },
        )
    }
}

/// `markAsInactive`: puts a session away: it is not restored at start, and cleanup removes it in time. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_mark_as_inactive(
    service: *const centralita_service,
    session_id: centralita_str,
    reason: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok((session_id.owned("session_id")?, reason.owned("reason")?));
        operate(
            service,
            later,
            Target::Text(out),
            err,
            input,
            |service, (id, reason): (String, String)| async move {
                service.manager().mark_as_inactive(&id, &reason).await.map(Json)
            },
        )
    }
}
