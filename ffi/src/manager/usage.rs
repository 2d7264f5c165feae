//! What a session uses: messages, chats, memory.

use centralita::store::Direction;

use crate::error::{centralita_error, invalid};
use crate::json::Json;
use crate::operation::call::operate;
use crate::operation::{Target, centralita_async};
use crate::service::centralita_service;
use crate::text::{centralita_buf, centralita_str};

/// `incrementMessageCount`: counts one message of `direction` `received` or `sent`. Messages that are stored are counted
/// already: this is for those that are not. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_increment_message_count(
    service: *const centralita_service,
    session_id: centralita_str,
    direction: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let direction = match direction.read("direction")? {
                "received" => Direction::In,
                "sent" => Direction::Out,
                _ => return Err(invalid("direction must be received or sent")),
            };
            Ok((session_id.owned("session_id")?, direction))
        };
        operate(service, later, Target::Text(out), err, input, |service, (id, direction)| async move {
            service.manager().increment_message_count(&id, direction).await.map(Json)
        })
    }
}

/// `updateChatCount`: counts the stored chats anew and sets `totalChats`. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_chat_count(
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
            service.manager().update_chat_count(&id).await.map(Json)
        })
    }
}

/// `updateHealthCheck`: notes a health check and the memory that the session takes, in MB (2^20 bytes). Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_health_check(
    service: *const centralita_service,
    session_id: centralita_str,
    memory_mb: f64,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || session_id.owned("session_id");
        operate(service, later, Target::Text(out), err, input, |service, id| async move {
            service.manager().update_health_check(&id, memory_mb).await.map(Json)
        })
    }
}
