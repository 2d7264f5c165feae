//! Removing sessions.

use crate::error::centralita_error;
use crate::json::Json;
use crate::operation::call::{flag, operate};
use crate::operation::{Target, centralita_async};
use crate::service::centralita_service;
use crate::text::{centralita_buf, centralita_str};

/// `deleteSession`: deletes a session that runs nowhere, with all that is its. Gives `{"auth","messages","chats"}`: how many
/// documents went with it. `CENTRALITA_CONFLICT` if an instance holds it: see `centralita_session_delete`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_delete_session(
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
            service.manager().delete_session(&id, None).await.map(Json)
        })
    }
}

/// `cleanupInactiveSessions`: deletes the sessions without activity for `days_inactive` days, or with `dry_run` 1 says which
/// it would. Gives `{"dryRun","removed":[ids],"held":[ids],"failed":[{"sessionId","kind","message"}]}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_cleanup_inactive_sessions(
    service: *const centralita_service,
    days_inactive: u32,
    dry_run: i32,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || flag(dry_run, "dry_run");
        operate(service, later, Target::Text(out), err, input, |service, dry_run| async move {
            service.manager().cleanup_inactive_sessions(days_inactive, dry_run).await.map(Json)
        })
    }
}
