//! `centralita_session`: one session of a service.

use std::sync::Arc;
use std::time::Duration;

use centralita::service::Session;
use centralita::session::status::Status;
use centralita::store::{MessageKey, MessagePage};
use serde::Deserialize;
use serde_json::json;

use crate::boundary::{call, get, guard, required, take};
use crate::callback;
use crate::error::{Outcome, centralita_error, invalid};
use crate::link::centralita_link;
use crate::operation::{Later, Output, Target, centralita_async, flag, perform};
use crate::outgoing::{self, centralita_message_key, centralita_outgoing};
use crate::service::{Service, centralita_service};
use crate::text::{bytes, centralita_buf, centralita_str};

/// One session. Opaque, thread-safe; it holds nothing open but its service. Free it with `centralita_session_free`.
pub struct centralita_session {
    service: Arc<Service>,
    session: Session,
}

impl centralita_session {
    pub(crate) fn new(service: &Arc<Service>, session: Session) -> Self {
        Self { service: Arc::clone(service), session }
    }

    /// The service and a handle that an operation can take along.
    pub(crate) fn open(&self) -> Outcome<(&Arc<Service>, Session)> {
        self.service.check()?;
        Ok((&self.service, self.session.clone()))
    }
}

/// Created, or starting; no code yet.
pub const CENTRALITA_STATUS_PENDING: i32 = 1;
/// A QR code, a pair code or a passkey challenge waits for the user.
pub const CENTRALITA_STATUS_QR_READY: i32 = 2;
/// Logged in.
pub const CENTRALITA_STATUS_CONNECTED: i32 = 3;
/// Not connected: stopped, or waiting for the next attempt.
pub const CENTRALITA_STATUS_DISCONNECTED: i32 = 4;
/// It needs somebody: logged out, banned, outdated, or broken.
pub const CENTRALITA_STATUS_ERROR: i32 = 5;
/// Put away: not restored at start.
pub const CENTRALITA_STATUS_INACTIVE: i32 = 6;

/// 0 for one that this version does not know.
pub(crate) fn status_code(status: Status) -> i32 {
    match status {
        Status::Pending => CENTRALITA_STATUS_PENDING,
        Status::QrReady => CENTRALITA_STATUS_QR_READY,
        Status::Connected => CENTRALITA_STATUS_CONNECTED,
        Status::Disconnected => CENTRALITA_STATUS_DISCONNECTED,
        Status::Error => CENTRALITA_STATUS_ERROR,
        Status::Inactive => CENTRALITA_STATUS_INACTIVE,
        _ => 0,
    }
}

/// Registers a session and starts it. One that exists is started with its credentials; one that runs already is simply
/// given: there is never a second socket. `session_id`: 1 to 128 bytes of letters and digits of any script and
/// `-_.:@+`. `out` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_create(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let id = session_id.read("session_id")?.to_owned();
            let core = service.core().clone();
            perform(service, later, Target::Session(out), async move {
                core.create_session(&id).await.map(Output::Session)
            })
        })
    }
}

/// Starts a stored session. `CENTRALITA_NOT_FOUND` if it was never created; a running one is simply given. `out` may be
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_start(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let id = session_id.read("session_id")?.to_owned();
            let core = service.core().clone();
            perform(service, later, Target::Session(out), async move {
                core.start_session(&id).await.map(Output::Session)
            })
        })
    }
}

/// A handle on a stored session, running or not. `CENTRALITA_NOT_FOUND` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_get(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let id = session_id.read("session_id")?.to_owned();
            let core = service.core().clone();
            perform(service, later, Target::Session(out), async move {
                core.session(&id).await.map(Output::Session)
            })
        })
    }
}

/// Its id. Borrowed from `session`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_id(session: *const centralita_session) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { session.as_ref() }.map(|session| session.session.id()))
    })
}

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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            perform(service, later, Target::Text(out), async move {
                Ok(Output::Text(json!(session.record().await?).to_string()))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let number = phone_number.read("phone_number")?.to_owned();
            perform(service, later, Target::Text(out), async move {
                session.request_pair_code(&number).await.map(Output::Text)
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let assertion = assertion_json.read("assertion_json")?.as_bytes().to_vec();
            let id = bytes(credential_id, credential_id_len, "credential_id")?.to_vec();
            perform(service, later, Target::Nothing, async move {
                session.answer_passkey(assertion, id).await.map(|()| Output::Nothing)
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            perform(service, later, Target::Nothing, async move {
                session.confirm_passkey().await.map(|()| Output::Nothing)
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let patience = u64::try_from(patience_ms)
                .map(Duration::from_millis)
                .map_err(|_| invalid("patience_ms must not be negative"))?;
            if later.is_none() {
                callback::refuse_inside()?;
            }
            perform(service, later, Target::Nothing, async move {
                session.wait_connected(patience).await.map(|()| Output::Nothing)
            })
        })
    }
}

/// Ends a pause between two connections: the next attempt is made now.
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

/// Sends a message and waits until WhatsApp's server has it. Gives JSON
/// `{"chatId":…,"sender":…,"messageId":…,"status":"sent","timestamp":…,"repeated":false}`; `out` may be NULL.
///
/// `CENTRALITA_INVALID_STATE` if the session is not connected (nothing is stored then), `CENTRALITA_PROTOCOL` or
/// `CENTRALITA_RATE_LIMITED` if WhatsApp refused, `CENTRALITA_TIMEOUT` if it said nothing in time: then the message may
/// or may not arrive, and sending it again with the same idempotency key makes sure. Allowed in callbacks.
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let message = outgoing::read(message)?;
            perform(service, later, Target::Text(out), async move {
                let sent = session.send(message).await?;
                Ok(Output::Text(outgoing::sent_json(&sent)))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let keys = read_keys(keys, count)?;
            perform(service, later, Target::Nothing, async move {
                session.mark_read(&keys).await.map(|()| Output::Nothing)
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let to = to.read("to")?.to_owned();
            let composing = flag(composing, "composing")?;
            perform(service, later, Target::Nothing, async move {
                session.set_typing(&to, composing).await.map(|()| Output::Nothing)
            })
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Query {
    chat_id: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

fn query(text: centralita_str) -> Outcome<Query> {
    // SAFETY: passed on from the two functions below.
    let text = unsafe { text.optional("query_json") }?;
    crate::manager::parse("query_json", text)
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let Query { chat_id, limit, after } = query(query_json)?;
            let page = MessagePage { chat_id, limit: limit.unwrap_or(100), after };
            let store = Arc::clone(service.core().store());
            perform(service, later, Target::Text(out), async move {
                let page = store.list_messages(session.id(), &page).await?;
                Ok(Output::Text(crate::manager::as_json(page)))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            let Query { chat_id: None, limit, after } = query(query_json)? else {
                return Err(invalid("query_json: chatId is for messages"));
            };
            let store = Arc::clone(service.core().store());
            perform(service, later, Target::Text(out), async move {
                let page = store.list_chats(session.id(), limit.unwrap_or(100), after.as_deref()).await?;
                Ok(Output::Text(crate::manager::as_json(page)))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            perform(
                service,
                later,
                Target::Nothing,
                async move { session.stop().await.map(|()| Output::Nothing) },
            )
        })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            perform(service, later, Target::Nothing, async move {
                session.log_out().await.map(|()| Output::Nothing)
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, session) = get(session, "session")?.open()?;
            perform(service, later, Target::Nothing, async move {
                session.delete().await.map(|()| Output::Nothing)
            })
        })
    }
}

/// Frees the handle, not the session, and sets `*session` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_session_free(session: *mut *mut centralita_session) {
    // SAFETY: see `centralita_config_new`.
    guard((), || drop(unsafe { take(session) }));
}
