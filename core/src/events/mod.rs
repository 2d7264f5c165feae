//! What happens, as it happens: numbered per session, in order, to any number of bounded subscriptions.
//!
//! Messages are stored whether or not anybody subscribes: an event that is dropped here is not lost there. For whoever
//! must miss none there are [`durable`] events.

pub mod durable;
mod hub;
mod pump;
mod subscription;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::session::OutboxOutcome;
use crate::session::health::RestartReason;
use crate::session::status::Status;
use crate::store::{MessageKey, StatusDetail, StoredMessage};

pub(crate) use hub::EventHub;
pub(crate) use pump::{EventPump, Received};
pub use subscription::{Filter, Overflow, Subscription, SubscriptionOptions};

/// One event of one session.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Event {
    /// Rises by one with each event of the session in this process, from 1. With [durable] events, rises by one with
    /// each logged event of the session for ever; an event that is not logged has the number of the one before it.
    pub seq: u64,
    /// The session.
    pub session_id: String,
    /// When it was published.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum EventKind {
    /// The session's status or its detail changed. On `error` look at the detail: somebody must act.
    Status {
        /// The status now.
        status: Status,
        /// What the status does not say.
        detail: Option<StatusDetail>,
    },
    /// A code waits to be scanned or typed; it replaces any earlier one. A secret: do not log it.
    Code(LinkCode),
    /// A message came in, or was written on another device of the account. It is stored already.
    Message(Box<StoredMessage>),
    /// A stored message changed: its status rose, it was edited or taken back.
    MessageChanged(Box<StoredMessage>),
    /// A message that waited in the outbox has come to its end. It is out of the outbox; the stored message shows
    /// the same as its status.
    OutboxEnded {
        /// WhatsApp's message id.
        message_id: String,
        /// What names the message; `None` if the entry could not be decrypted any more.
        key: Option<MessageKey>,
        /// How it ended.
        outcome: OutboxOutcome,
        /// Why, if it was not sent for a reason beyond its outcome.
        reason: Option<String>,
    },
    /// A contact types in a chat, or stopped.
    Typing {
        /// JID of the chat.
        chat_id: String,
        /// JID of who types.
        sender: String,
        /// Whether he types or stopped.
        composing: bool,
    },
    /// A contact came online or left. Only for contacts whose presence was subscribed to.
    Presence {
        /// JID of the contact.
        contact: String,
        /// Whether he is online.
        available: bool,
        /// When he was last, if he lets us know.
        last_seen: Option<Timestamp>,
    },
    /// A part of the phone's history was stored.
    History {
        /// Chats stored from it.
        chats: u64,
        /// Messages stored from it.
        messages: u64,
    },
    /// A message could not be decrypted; WhatsApp was asked to send it again.
    Undecryptable,
    /// A task of this session panicked. The session is restarted; others are not affected.
    Panicked,
    /// The bounds of the log cut off events that this [durable] consumer had not read yet. Its number is that of the
    /// last of them.
    Missed {
        /// How many.
        count: u64,
    },
    /// An event that a later version of this library has logged.
    Unknown {
        /// As it was logged.
        raw: serde_json::Value,
    },
    /// The session was connected but did not work, and is restarted.
    Restarted {
        /// What was wrong.
        reason: RestartReason,
    },
    /// This subscription was too slow: as many events of it were dropped just before this one.
    Lagged {
        /// How many.
        dropped: u64,
    },
}

/// A code or challenge of a link in progress.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum LinkCode {
    /// Show it as a QR code.
    Qr {
        /// The text of the QR code.
        text: String,
        /// When the next one replaces it.
        expires_at: Timestamp,
    },
    /// Show it to be typed on the phone.
    PairCode {
        /// Eight characters.
        code: String,
        /// When it stops being valid.
        expires_at: Timestamp,
    },
    /// Have an authenticator sign this and answer with `answer_passkey`.
    PasskeyChallenge {
        /// WebAuthn's `PublicKeyCredentialRequestOptions` as JSON.
        request_options_json: String,
    },
    /// Have the user compare this code with the phone's, then call `confirm_passkey`.
    PasskeyConfirmation {
        /// Eight characters with a dash.
        code: String,
        /// False if the phone trusts this device already and shows none.
        must_compare: bool,
    },
}

impl std::fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Qr { .. } => "Qr(secret)",
            Self::PairCode { .. } => "PairCode(secret)",
            Self::PasskeyChallenge { .. } => "PasskeyChallenge(secret)",
            Self::PasskeyConfirmation { .. } => "PasskeyConfirmation(secret)",
        })
    }
}

impl EventKind {
    /// The key of the message that the event is about, if it is about one.
    pub fn message_key(&self) -> Option<&MessageKey> {
        match self {
            Self::Message(message) | Self::MessageChanged(message) => Some(&message.key),
            Self::OutboxEnded { key, .. } => key.as_ref(),
            _ => None,
        }
    }
}
