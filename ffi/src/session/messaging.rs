//! Messages of a session: out, and what is stored of both ways.

use centralita::store::{MessageKey, MessagePage};
use serde::Deserialize;

use super::centralita_session;
use crate::error::{Outcome, centralita_error, invalid};
use crate::json::{self, Json, PageQuery};
use crate::operation::call::{flag, operate};
use crate::operation::{Target, centralita_async};
use crate::outgoing::{self, centralita_message_key, centralita_outgoing};
use crate::text::{centralita_buf, centralita_str};

/// Sends a message and waits until WhatsApp's server has it. Gives JSON
/// `{"chatId":…,"sender":…,"messageId":…,"status":"sent","timestamp":…,"repeated":false}`; `out` may be NULL. Allowed in
/// callbacks.
///
/// `CENTRALITA_INVALID_STATE` if the session is not connected (nothing is stored then), `CENTRALITA_PROTOCOL` or
/// `CENTRALITA_RATE_LIMITED` if WhatsApp refused, `CENTRALITA_TIMEOUT` if it said nothing in time: then the message may
/// or may not arrive, and sending it again with the same idempotency key makes sure. `CENTRALITA_RATE_LIMITED` or
/// `CENTRALITA_BANNED` with a time to wait also come from the service's own limits; then nothing is stored or sent.
///
/// With `queue_ms` or `queue_until_ms` in the message, what cannot be sent now waits in the outbox instead, and the
/// status is `queued`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_send(
    session: *const centralita_session,
    message: *const centralita_outgoing,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || outgoing::read(message);
        operate(session, later, Target::Text(out), err, input, |session, message| async move {
            session.send(message).await.map(|sent| Json(outgoing::sent_json(&sent)))
        })
    }
}

/// Tells the author of received messages that they were read, and sets the chat's unread count to 0. All keys must be
/// of one chat and author; at most 10,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_mark_read(
    session: *const centralita_session,
    keys: *const centralita_message_key,
    count: usize,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || read_keys(keys, count);
        operate(session, later, Target::Nothing, err, input, |session, keys| async move {
            session.mark_read(&keys).await
        })
    }
}

const MOST_KEYS: usize = 10_000;

/// # Safety
/// NULL, or `count` keys of readable strings.
unsafe fn read_keys(keys: *const centralita_message_key, count: usize) -> Outcome<Vec<MessageKey>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if keys.is_null() || !keys.is_aligned() || count > MOST_KEYS {
        return Err(invalid("keys is NULL or not aligned, or there are more than 10000"));
    }
    // SAFETY: not NULL, aligned, bounded, and promised by the caller.
    unsafe { std::slice::from_raw_parts(keys, count).iter().map(|key| key.read("keys")).collect() }
}

/// Shows "typing…" in a chat (`composing` 1), or stops showing it (0). `to`: a phone number or a JID.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_set_typing(
    session: *const centralita_session,
    to: centralita_str,
    composing: i32,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok((to.owned("to")?, flag(composing, "composing")?));
        operate(session, later, Target::Nothing, err, input, |session, (to, composing)| async move {
            session.set_typing(&to, composing).await
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MessageQuery {
    chat_id: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

/// A page of its stored messages, the newest first. `query_json`: `{"chatId":…,"limit":100,"after":…}`, each optional;
/// `{NULL, 0}` for none. Gives `{"items":[…],"next":…,"malformed":[ids]}`; pass `next` as `after` for the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_messages(
    session: *const centralita_session,
    query_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || json::read::<MessageQuery>(query_json, "query_json");
        operate(session, later, Target::Text(out), err, input, |session, query| async move {
            let page =
                MessagePage { chat_id: query.chat_id, limit: query.limit.unwrap_or(100), after: query.after };
            session.service().store().list_messages(session.id(), &page).await.map(json::page)
        })
    }
}

/// A page of its stored chats, the one with the newest message first. `query_json` and what it gives: as in
/// `centralita_session_messages`, without `chatId`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_chats(
    session: *const centralita_session,
    query_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || json::read::<PageQuery>(query_json, "query_json");
        operate(session, later, Target::Text(out), err, input, |session, query| async move {
            let (id, after) = (session.id(), query.after.as_deref());
            session.service().store().list_chats(id, query.limit(), after).await.map(json::page)
        })
    }
}
