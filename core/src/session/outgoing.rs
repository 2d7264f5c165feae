//! A message to send: what, to whom, and whether it may wait.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{MessageKey, MessageKind, MessageStatus};

/// The longest text that WhatsApp takes.
pub const MAX_TEXT_BYTES: usize = 65_536;
/// The longest idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;
/// The longest time that a message may wait in the outbox.
pub const MAX_QUEUE_TIME: Duration = Duration::from_secs(30 * 86_400);

/// A message to send. Media will come as further constructors.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "pass it to Session::send"]
pub struct Outgoing {
    pub(super) to: String,
    pub(super) body: Body,
    pub(super) idempotency_key: Option<String>,
    pub(super) timeout: Option<Duration>,
    queue: Option<QueueTime>,
}

/// What is sent; stored (sealed) in the outbox, so names stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(super) enum Body {
    Text { text: String, quoted: Option<MessageKey> },
    Reaction { target: MessageKey, emoji: String },
    Edit { target: MessageKey, text: String },
    Revoke { target: MessageKey },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum QueueTime {
    For(Duration),
    Until(Timestamp),
}

impl Body {
    /// The content of a message of its own; `None` for what changes another.
    pub(super) fn content(&self) -> Option<MessageKind> {
        match self {
            Self::Text { text, quoted } => {
                Some(MessageKind::Text { text: text.clone(), quoted: quoted.clone() })
            }
            Self::Reaction { target, emoji } => {
                Some(MessageKind::Reaction { target: target.clone(), emoji: emoji.clone() })
            }
            Self::Edit { .. } | Self::Revoke { .. } => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text { text, .. } | Self::Edit { text, .. } => Some(text),
            Self::Reaction { emoji, .. } => Some(emoji),
            Self::Revoke { .. } => None,
        }
    }

    /// Refuses what only the account's name shows to be wrong.
    pub(super) fn check_author(&self, own: &str) -> Result<()> {
        match self {
            Self::Edit { target, .. } if target.sender != own => {
                Err(Error::new(ErrorKind::Invalid, "only a message of one's own can be edited"))
            }
            _ => Ok(()),
        }
    }
}

impl Outgoing {
    /// Text to a phone number in international form (`+54 9 11 5555-0000`, `5491155550000`) or to the JID of a
    /// contact or group.
    pub fn text(to: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(to.into(), Body::Text { text: text.into(), quoted: None })
    }

    /// Text in answer to a message, in its chat.
    pub fn reply(to: &MessageKey, text: impl Into<String>) -> Self {
        Self::new(to.chat_id.clone(), Body::Text { text: text.into(), quoted: Some(to.clone()) })
    }

    /// An emoji on a message; an empty one takes it back.
    pub fn reaction(target: &MessageKey, emoji: impl Into<String>) -> Self {
        Self::new(target.chat_id.clone(), Body::Reaction { target: target.clone(), emoji: emoji.into() })
    }

    /// New text for a message of one's own.
    pub fn edit(target: &MessageKey, text: impl Into<String>) -> Self {
        Self::new(target.chat_id.clone(), Body::Edit { target: target.clone(), text: text.into() })
    }

    /// Takes a message back for everybody: one's own, or, as a group's admin, another's.
    pub fn revoke(target: &MessageKey) -> Self {
        Self::new(target.chat_id.clone(), Body::Revoke { target: target.clone() })
    }

    fn new(to: String, body: Body) -> Self {
        Self { to, body, idempotency_key: None, timeout: None, queue: None }
    }

    /// Fixes the message's id: a send with the same key in the same session is the same message, however often
    /// and from whichever process it is repeated.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// How long to wait for WhatsApp's acknowledgement, instead of the service's `send_timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// If it cannot be sent now, it waits in the session's outbox for as long as this (at most 30 days), and `send`
    /// returns at once with status `Queued`. See [`Session::send`](crate::service::Session::send).
    pub fn queue_for(mut self, time: Duration) -> Self {
        self.queue = Some(QueueTime::For(time));
        self
    }

    /// As [`queue_for`](Self::queue_for), until a moment of the service's clock.
    pub fn queue_until(mut self, expires_at: Timestamp) -> Self {
        self.queue = Some(QueueTime::Until(expires_at));
        self
    }

    /// Whether it may wait in the outbox.
    pub fn may_wait(&self) -> bool {
        self.queue.is_some()
    }

    /// When it stops waiting; `Invalid` for a moment that has passed or is too far away.
    pub(super) fn expires_at(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let expires_at = match self.queue {
            None => return Ok(None),
            Some(QueueTime::For(time)) if time > MAX_QUEUE_TIME => return Err(too_long()),
            Some(QueueTime::For(time)) => now.plus(time),
            Some(QueueTime::Until(moment)) => moment,
        };
        if expires_at <= now {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the message has expired already; queue it until a later moment, or drop it",
            ));
        }
        if expires_at > now.plus(MAX_QUEUE_TIME) {
            return Err(too_long());
        }
        Ok(Some(expires_at))
    }

    /// Refuses what WhatsApp would not take.
    pub(super) fn check(&self) -> Result<()> {
        let text = self.body.text().unwrap_or_default();
        if text.is_empty() && matches!(self.body, Body::Text { .. } | Body::Edit { .. }) {
            return Err(Error::new(ErrorKind::Invalid, "the text is empty"));
        }
        if text.len() > MAX_TEXT_BYTES {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the text is longer than 65,536 bytes; send it in parts",
            ));
        }
        if let Some(key) = &self.idempotency_key
            && (key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES)
        {
            return Err(Error::new(ErrorKind::Invalid, "an idempotency key has 1 to 256 bytes"));
        }
        Ok(())
    }

    pub(super) fn text_bytes(&self) -> usize {
        self.body.text().map_or(0, str::len)
    }
}

fn too_long() -> Error {
    Error::new(ErrorKind::Invalid, "a message waits for 30 days at most; queue it for less")
}

/// A message that WhatsApp's server has accepted, or that waits in the outbox.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SentMessage {
    /// What names it: pass it to reply, react, edit or revoke.
    pub key: MessageKey,
    /// `Sent` or, if the recipient was quicker than this answer, more. `Queued` if it waits in the outbox.
    pub status: MessageStatus,
    /// When it was stored.
    pub timestamp: Timestamp,
    /// Whether an earlier send with the same idempotency key had sent or queued it already.
    pub repeated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_lies_in_the_future_and_within_reason() {
        let now = Timestamp::from_unix_s(1_000_000);
        let text = || Outgoing::text("5491155550000", "hola");
        assert_eq!(text().expires_at(now).unwrap(), None);
        let in_a_minute = now.plus(Duration::from_secs(60));
        assert_eq!(text().queue_until(in_a_minute).expires_at(now).unwrap(), Some(in_a_minute));
        assert_eq!(text().queue_for(Duration::from_secs(60)).expires_at(now).unwrap(), Some(in_a_minute));
        for wrong in [
            text().queue_until(now),
            text().queue_until(Timestamp::from_unix_s(1)),
            text().queue_for(Duration::ZERO),
            text().queue_for(Duration::MAX),
            text().queue_until(now.plus(MAX_QUEUE_TIME + Duration::from_secs(1))),
        ] {
            assert_eq!(wrong.expires_at(now).unwrap_err().kind(), ErrorKind::Invalid, "{wrong:?}");
        }
    }
}
