//! Rotation of the master keys.

use centralita::vault::RewrapReport;
use serde_json::{Value, json};

use super::centralita_service;
use crate::error::centralita_error;
use crate::operation::call::{nothing, operate};
use crate::operation::{Target, centralita_async};
use crate::text::centralita_buf;

/// Wraps the data key of every stored session with the primary master key. To rotate: open the services with the new key
/// first in the option `keys` and the old one behind it, call this until nothing is `heldElsewhere` or `failed`, then
/// leave the old key out. It may be repeated at any time; sessions that another instance runs are not touched, that
/// instance renews them itself when it next opens them with the new key.
///
/// Gives JSON `{"rewrapped","alreadyCurrent","heldElsewhere":[ids],"failed":[{"sessionId","kind","message"}]}`. `later`
/// and `out` may be NULL. `CENTRALITA_INVALID` if encryption is off.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_rewrap_keys(
    service: *const centralita_service,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(service, later, Target::Text(out), err, nothing, |core, ()| async move {
            core.rewrap_keys(|_| {}).await.map(|report| report_json(&report))
        })
    }
}

fn report_json(report: &RewrapReport) -> String {
    let failed = report.failed.iter().map(|failure| {
        json!({
            "sessionId": failure.session_id,
            "kind": failure.error.kind().name(),
            "message": failure.error.to_string(),
        })
    });
    json!({
        "rewrapped": report.rewrapped,
        "alreadyCurrent": report.already_current,
        "heldElsewhere": report.held_elsewhere,
        "failed": failed.collect::<Vec<Value>>(),
    })
    .to_string()
}
