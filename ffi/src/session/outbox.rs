//! What waits to be sent.

use centralita::session::QueuedMessage;
use centralita::store::Page;
use serde_json::json;

use super::centralita_session;
use crate::error::centralita_error;
use crate::json::{self, PageQuery};
use crate::operation::call::operate;
use crate::operation::{Target, centralita_async};
use crate::text::{centralita_buf, centralita_str};

fn queued_json(queued: &QueuedMessage) -> serde_json::Value {
    json!({
        "chatId": queued.key.chat_id,
        "sender": queued.key.sender,
        "messageId": queued.key.message_id,
        "state": queued.state,
        "attempts": queued.attempts,
        "queuedAt": queued.queued_at,
        "expiresAt": queued.expires_at,
    })
}

/// A page of what waits in a session's outbox, in the order in which it is sent. `page_json`: `{"limit":100,"after":…}`;
/// `{NULL, 0}` for the first. Gives `{"items":[{"chatId","sender","messageId","state","attempts","queuedAt",
/// "expiresAt"}],"next","malformed"}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_outbox(
    session: *const centralita_session,
    page_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || json::read::<PageQuery>(page_json, "page_json");
        operate(session, later, Target::Text(out), err, input, |session, query| async move {
            let page = session.outbox(query.limit(), query.after.as_deref()).await?;
            let items = page.items.iter().map(queued_json).collect();
            Ok(json::page(Page { items, next: page.next, malformed: page.malformed }))
        })
    }
}

/// Takes a message out of the outbox, whether the session runs or not. `CENTRALITA_INVALID_STATE` if it is being sent or
/// may have been sent already, `CENTRALITA_NOT_FOUND` if it does not wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_cancel_queued(
    session: *const centralita_session,
    message_id: centralita_str,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || message_id.owned("message_id");
        operate(session, later, Target::Nothing, err, input, |session, id| async move {
            session.cancel_queued(&id).await
        })
    }
}
