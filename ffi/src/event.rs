//! `centralita_event`: what happened, to which session.

use std::sync::{Arc, OnceLock};

use centralita::events::{Event, EventKind, LinkCode};
use centralita::store::MessageKind;

use crate::boundary::{call, get, guard, required, take};
use crate::error::centralita_error;
use crate::outgoing::centralita_message_key;
use crate::session::status_code;
use crate::status::{CENTRALITA_END, CENTRALITA_OK};
use crate::text::centralita_str;

/// One event of one session. Opaque, unchangeable, thread-safe. What its getters give is borrowed from it.
pub struct centralita_event {
    event: Arc<Event>,
    json: OnceLock<String>,
}

impl centralita_event {
    pub(crate) fn new(event: Arc<Event>) -> Self {
        Self { event, json: OnceLock::new() }
    }
}

/// The session's status or its detail changed: `centralita_event_status`, the detail in the JSON.
pub const CENTRALITA_EVENT_STATUS: i32 = 1;
/// A code waits to be scanned or typed: `centralita_event_code` has a QR code's text. A secret: do not log it.
pub const CENTRALITA_EVENT_CODE: i32 = 2;
/// A message came in, or was written on another device of the account. It is stored already.
pub const CENTRALITA_EVENT_MESSAGE: i32 = 3;
/// A stored message changed: its status rose, it was edited or taken back.
pub const CENTRALITA_EVENT_MESSAGE_CHANGED: i32 = 4;
/// A contact types in a chat, or stopped.
pub const CENTRALITA_EVENT_TYPING: i32 = 5;
/// A contact came online or left.
pub const CENTRALITA_EVENT_PRESENCE: i32 = 6;
/// A part of the phone's history was stored.
pub const CENTRALITA_EVENT_HISTORY: i32 = 7;
/// A message could not be decrypted; WhatsApp was asked to send it again.
pub const CENTRALITA_EVENT_UNDECRYPTABLE: i32 = 8;
/// A task of this session panicked. The session is restarted; others are not affected.
pub const CENTRALITA_EVENT_PANICKED: i32 = 9;
/// This subscription was too slow: `centralita_event_dropped` events were dropped just before this one.
pub const CENTRALITA_EVENT_LAGGED: i32 = 10;
/// A message that waited in the outbox has come to its end; its outcome is in the JSON.
pub const CENTRALITA_EVENT_OUTBOX_ENDED: i32 = 11;
/// The bounds of the log cut off `centralita_event_dropped` events that this durable consumer had not read.
pub const CENTRALITA_EVENT_MISSED: i32 = 12;
/// The session was connected but did not work, and is restarted; what was wrong is in the JSON.
pub const CENTRALITA_EVENT_RESTARTED: i32 = 13;

/// `CENTRALITA_EVENT_…`; 0 for NULL or for an event that is newer than this header (its JSON has it).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_type(event: *const centralita_event) -> i32 {
    guard(0, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { event.as_ref() }.map_or(0, |event| match event.event.kind {
            EventKind::Status { .. } => CENTRALITA_EVENT_STATUS,
            EventKind::Code(_) => CENTRALITA_EVENT_CODE,
            EventKind::Message(_) => CENTRALITA_EVENT_MESSAGE,
            EventKind::MessageChanged(_) => CENTRALITA_EVENT_MESSAGE_CHANGED,
            EventKind::Typing { .. } => CENTRALITA_EVENT_TYPING,
            EventKind::Presence { .. } => CENTRALITA_EVENT_PRESENCE,
            EventKind::History { .. } => CENTRALITA_EVENT_HISTORY,
            EventKind::Undecryptable => CENTRALITA_EVENT_UNDECRYPTABLE,
            EventKind::Panicked => CENTRALITA_EVENT_PANICKED,
            EventKind::Lagged { .. } => CENTRALITA_EVENT_LAGGED,
            EventKind::OutboxEnded { .. } => CENTRALITA_EVENT_OUTBOX_ENDED,
            EventKind::Missed { .. } => CENTRALITA_EVENT_MISSED,
            EventKind::Restarted { .. } => CENTRALITA_EVENT_RESTARTED,
            _ => 0,
        })
    })
}

/// Its number: rises by one with each event of the session in this process, from 1; with durable events, with each
/// logged event of the session for ever, and one that is not logged has the number of the one before it. 0 for
/// `CENTRALITA_EVENT_LAGGED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_seq(event: *const centralita_event) -> u64 {
    // SAFETY: see `centralita_config_new`.
    guard(0, || unsafe { event.as_ref() }.map_or(0, |event| event.event.seq))
}

/// The session's id; empty for `CENTRALITA_EVENT_LAGGED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_session_id(event: *const centralita_event) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { event.as_ref() }.map(|event| event.event.session_id.as_str()))
    })
}

/// When it was published, in milliseconds since the Unix epoch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_at_ms(event: *const centralita_event) -> i64 {
    // SAFETY: see `centralita_config_new`.
    guard(0, || unsafe { event.as_ref() }.map_or(0, |event| event.event.at.unix_ms()))
}

/// The whole event: `{"seq":…,"sessionId":…,"at":…,"type":"message","data":{…}}`. Made when first asked for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_json(event: *const centralita_event) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        let Some(event) = (unsafe { event.as_ref() }) else { return centralita_str::NONE };
        let json = event.json.get_or_init(|| {
            serde_json::to_string(&*event.event).expect("an event has no maps whose keys are not strings")
        });
        centralita_str::of(Some(json))
    })
}

/// The status now, `CENTRALITA_STATUS_…`; 0 unless it is a `CENTRALITA_EVENT_STATUS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_status(event: *const centralita_event) -> i32 {
    guard(0, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { event.as_ref() }.map_or(0, |event| match event.event.kind {
            EventKind::Status { status, .. } => status_code(status),
            _ => 0,
        })
    })
}

/// The text of a QR code or the pair code of a `CENTRALITA_EVENT_CODE`: a secret. `{NULL, 0}` for everything else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_code(event: *const centralita_event) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { event.as_ref() }.and_then(|event| match &event.event.kind {
            EventKind::Code(LinkCode::Qr { text, .. }) => Some(text.as_str()),
            EventKind::Code(LinkCode::PairCode { code, .. }) => Some(code.as_str()),
            _ => None,
        }))
    })
}

/// The text of a message, or the caption of a media message; `{NULL, 0}` if it is no message or has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_text(event: *const centralita_event) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        let message = unsafe { event.as_ref() }.and_then(message);
        centralita_str::of(message.and_then(|message| match &message.content {
            MessageKind::Text { text, .. } => Some(text.as_str()),
            MessageKind::Media { caption, .. } => caption.as_deref(),
            _ => None,
        }))
    })
}

/// The author's name as he gave it; `{NULL, 0}` if it is no message or not known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_sender_name(event: *const centralita_event) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        let message = unsafe { event.as_ref() }.and_then(message);
        centralita_str::of(message.and_then(|message| message.sender_name.as_deref()))
    })
}

/// Whether the own account wrote the message, from whichever device. False if it is no message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_from_me(event: *const centralita_event) -> bool {
    // SAFETY: see `centralita_config_new`.
    guard(false, || unsafe { event.as_ref() }.and_then(message).is_some_and(|message| message.from_me))
}

/// What names the message, to reply, react, edit, revoke or mark it read. Answers `CENTRALITA_END` and an empty key if
/// the event is about no message. The strings are borrowed from `event`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_message_key(
    event: *const centralita_event,
    out: *mut centralita_message_key,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        crate::boundary::enter(std::ptr::null_mut(), || {
            let out = required(out, "out")?;
            let (code, key) = match get(event, "event")?.event.kind.message_key() {
                Some(key) => (CENTRALITA_OK, centralita_message_key::of(key)),
                None => {
                    let none = centralita_str::NONE;
                    let empty = centralita_message_key { chat_id: none, sender: none, message_id: none };
                    (CENTRALITA_END, empty)
                }
            };
            out.put(key);
            Ok(code)
        })
    }
}

fn message(event: &centralita_event) -> Option<&centralita::store::StoredMessage> {
    match &event.event.kind {
        EventKind::Message(message) | EventKind::MessageChanged(message) => Some(message),
        _ => None,
    }
}

/// How many events were dropped just before this one; 0 unless it is a `CENTRALITA_EVENT_LAGGED` or
/// `CENTRALITA_EVENT_MISSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_dropped(event: *const centralita_event) -> u64 {
    guard(0, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { event.as_ref() }.map_or(0, |event| match event.event.kind {
            EventKind::Lagged { dropped } => dropped,
            EventKind::Missed { count } => count,
            _ => 0,
        })
    })
}

/// Keeps an event beyond the callback that it was given to: a new handle on the same event, to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_clone(
    event: *const centralita_event,
    out: *mut *mut centralita_event,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?.null();
            let event = get(event, "event")?;
            out.put_handle(centralita_event::new(Arc::clone(&event.event)));
            Ok(())
        })
    }
}

/// Frees an event that was taken or cloned, never one that a callback was given, and sets `*event` to NULL. NULL is
/// fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_event_free(event: *mut *mut centralita_event) {
    // SAFETY: see `centralita_config_new`.
    guard((), || drop(unsafe { take(event) }));
}
