//! What goes out: `centralita_outgoing` and the key that names a message.

use std::time::Duration;

use centralita::clock::Timestamp;
use centralita::session::{Outgoing, SentMessage};
use centralita::store::MessageKey;
use serde_json::json;

use crate::error::{Outcome, invalid};
use crate::sized::{self, Sized_};
use crate::text::centralita_str;

/// Names a message within a session: `centralita_event_message_key` gives it, replies and the like take it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_message_key {
    /// JID of the chat.
    pub chat_id: centralita_str,
    /// JID of the author.
    pub sender: centralita_str,
    /// WhatsApp's message id.
    pub message_id: centralita_str,
}

impl centralita_message_key {
    pub(crate) fn of(key: &MessageKey) -> Self {
        Self {
            chat_id: centralita_str::of(Some(&key.chat_id)),
            sender: centralita_str::of(Some(&key.sender)),
            message_id: centralita_str::of(Some(&key.message_id)),
        }
    }

    /// # Safety
    /// Three strings that can be read.
    pub(crate) unsafe fn read(&self, what: &'static str) -> Outcome<MessageKey> {
        // SAFETY: passed on.
        let [chat_id, sender, message_id] =
            unsafe { [self.chat_id.read(what)?, self.sender.read(what)?, self.message_id.read(what)?] };
        if chat_id.is_empty() || sender.is_empty() || message_id.is_empty() {
            return Err(invalid(format!("{what} lacks its chat_id, sender or message_id")));
        }
        Ok(MessageKey {
            chat_id: chat_id.to_owned(),
            sender: sender.to_owned(),
            message_id: message_id.to_owned(),
        })
    }
}

/// `text` to `to`.
pub const CENTRALITA_OUTGOING_TEXT: i32 = 1;
/// `text` in answer to `target`, in its chat.
pub const CENTRALITA_OUTGOING_REPLY: i32 = 2;
/// The emoji in `text` on `target`; an empty one takes it back.
pub const CENTRALITA_OUTGOING_REACTION: i32 = 3;
/// `text` as the new text of `target`, a message of one's own.
pub const CENTRALITA_OUTGOING_EDIT: i32 = 4;
/// Takes `target` back for everybody.
pub const CENTRALITA_OUTGOING_REVOKE: i32 = 5;

/// A message to send. Start from `CENTRALITA_OUTGOING_INIT`, or from `centralita_text` and its siblings at the end of
/// this header.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_outgoing {
    /// `sizeof(centralita_outgoing)`.
    pub struct_size: u32,
    /// `CENTRALITA_OUTGOING_…`; it says which of the fields below are used.
    pub kind: i32,
    /// A phone number in international form, or the JID of a contact or group.
    pub to: centralita_str,
    /// Up to 65,536 bytes.
    pub text: centralita_str,
    /// The message that it is about.
    pub target: centralita_message_key,
    /// Fixes the message's id: a send with the same key in the same session is the same message, however often and from
    /// whichever process it is repeated. 1 to 256 bytes; `{NULL, 0}` for none.
    pub idempotency_key: centralita_str,
    /// How long to wait for WhatsApp's acknowledgement, in milliseconds; 0: the service's `send_timeout_ms`.
    pub timeout_ms: i64,
    /// If it cannot be sent now, it waits in the session's outbox for as long as this (milliseconds, at most 30 days), and
    /// the call answers at once with status `queued`; its end is a `CENTRALITA_EVENT_OUTBOX_ENDED`. 0: it does not wait.
    pub queue_ms: i64,
    /// The same until a moment, in milliseconds since the Unix epoch; 0: see `queue_ms`. Not both.
    pub queue_until_ms: i64,
}

// SAFETY: numbers and pointers; all zero is valid.
unsafe impl Sized_ for centralita_outgoing {
    const NAME: &'static str = "centralita_outgoing";
    const FIRST_SIZE: usize = 128;
}

/// # Safety
/// As the header says of `centralita_outgoing`.
pub(crate) unsafe fn read(message: *const centralita_outgoing) -> Outcome<Outgoing> {
    // SAFETY: passed on, here and below.
    let message = unsafe { sized::read_required(message) }?;
    // SAFETY: passed on.
    let (to, text) = unsafe { (message.to.read("to")?, message.text.read("text")?) };
    // SAFETY: passed on.
    let target = || unsafe { message.target.read("target") };
    let mut outgoing = match message.kind {
        CENTRALITA_OUTGOING_TEXT => Outgoing::text(to, text),
        CENTRALITA_OUTGOING_REPLY => Outgoing::reply(&target()?, text),
        CENTRALITA_OUTGOING_REACTION => Outgoing::reaction(&target()?, text),
        CENTRALITA_OUTGOING_EDIT => Outgoing::edit(&target()?, text),
        CENTRALITA_OUTGOING_REVOKE => Outgoing::revoke(&target()?),
        _ => return Err(invalid("kind must be one of CENTRALITA_OUTGOING_…")),
    };
    // SAFETY: passed on.
    if let Some(key) = unsafe { message.idempotency_key.optional("idempotency_key") }? {
        outgoing = outgoing.idempotency_key(key);
    }
    match u64::try_from(message.timeout_ms) {
        Ok(0) => {}
        Ok(ms) => outgoing = outgoing.timeout(Duration::from_millis(ms)),
        Err(_) => return Err(invalid("timeout_ms must not be negative")),
    }
    match (u64::try_from(message.queue_ms), message.queue_until_ms) {
        (Ok(0), 0) => Ok(outgoing),
        (Ok(0), ms) if ms > 0 => Ok(outgoing.queue_until(Timestamp::from_unix_ms(ms))),
        (Ok(ms), 0) => Ok(outgoing.queue_for(Duration::from_millis(ms))),
        (Ok(_), 1..) => Err(invalid("queue_ms and queue_until_ms are two ways to say one thing; set one")),
        _ => Err(invalid("queue_ms and queue_until_ms must not be negative")),
    }
}

pub(crate) fn sent_json(sent: &SentMessage) -> serde_json::Value {
    json!({
        "chatId": sent.key.chat_id,
        "sender": sent.key.sender,
        "messageId": sent.key.message_id,
        "status": sent.status,
        "timestamp": sent.timestamp,
        "repeated": sent.repeated,
    })
}
