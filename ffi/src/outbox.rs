//! What waits to be sent.

use serde::Deserialize;
use serde_json::json;

use crate::boundary::{call, get};
use crate::error::centralita_error;
use crate::manager::{as_json, parse};
use crate::operation::{Later, Output, Target, centralita_async, perform};
use crate::session::centralita_session;
use crate::text::{centralita_buf, centralita_str};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Page {
    limit: Option<u32>,
    after: Option<String>,
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let Page { limit, after } = parse("page_json", page_json.optional("page_json")?)?;
            perform(service, later, Target::Text(out), async move {
                let page = session.outbox(limit.unwrap_or(100), after.as_deref()).await?;
                let items: Vec<_> = page
                    .items
                    .iter()
                    .map(|queued| {
                        json!({
                            "chatId": queued.key.chat_id,
                            "sender": queued.key.sender,
                            "messageId": queued.key.message_id,
                            "state": queued.state,
                            "attempts": queued.attempts,
                            "queuedAt": queued.queued_at,
                            "expiresAt": queued.expires_at,
                        })
                    })
                    .collect();
                let page = centralita::store::Page { items, next: page.next, malformed: page.malformed };
                Ok(Output::Text(as_json(page)))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let message_id = message_id.read("message_id")?.to_owned();
            perform(service, later, Target::Nothing, async move {
                session.cancel_queued(&message_id).await.map(|()| Output::Nothing)
            })
        })
    }
}
