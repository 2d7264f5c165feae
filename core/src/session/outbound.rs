//! What goes out: stored first, written under a fixed id, then acknowledged, refused or honestly unknown.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::live::LiveSession;
use crate::clock::Timestamp;
use crate::engine::connection::EngineConnection;
use crate::engine::content::Outbound;
use crate::engine::jid::chat_id;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventKind;
use crate::store::patience::until_available;
use crate::store::{Direction, MessageChange, MessageKey, MessageKind, MessageStatus, StoredMessage};

/// The longest text that WhatsApp takes.
pub const MAX_TEXT_BYTES: usize = 65_536;
/// The longest idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;

/// A message to send. Media will come as further constructors.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "pass it to Session::send"]
pub struct Outgoing {
    to: String,
    body: Body,
    idempotency_key: Option<String>,
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Text { text: String, quoted: Option<MessageKey> },
    Reaction { target: MessageKey, emoji: String },
    Edit { target: MessageKey, text: String },
    Revoke { target: MessageKey },
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
        Self { to, body, idempotency_key: None, timeout: None }
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
}

/// A message that WhatsApp's server has accepted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SentMessage {
    /// What names it: pass it to reply, react, edit or revoke.
    pub key: MessageKey,
    /// `Sent` or, if the recipient was quicker than this answer, more.
    pub status: MessageStatus,
    /// When it was stored.
    pub timestamp: Timestamp,
    /// Whether an earlier send with the same idempotency key had sent it already.
    pub repeated: bool,
}

/// Sends and waits for the server. It goes on even if the caller no longer waits.
pub(crate) async fn send(live: &Arc<LiveSession>, outgoing: Outgoing) -> Result<SentMessage> {
    check(&outgoing).map_err(|error| error.of_session(&live.id).during("send"))?;
    let chat_id = chat_id(&outgoing.to).map_err(|error| error.of_session(&live.id).during("send"))?;
    let patience = outgoing.timeout.unwrap_or(live.context.options.send_timeout);
    let engine = live.awake_engine(patience).await.map_err(|error| error.during("send"))?;
    let live = Arc::clone(live);
    let id = live.id.clone();
    let runtime = live.context.runtime.tokio().clone();
    let sending = runtime.spawn(async move { Send { live, engine, chat_id }.run(outgoing).await });
    sending
        .await
        .unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panic, "a send panicked; its outcome is unknown; report it"))
        })
        .map_err(|error| error.of_session(&id).during("send"))
}

fn check(outgoing: &Outgoing) -> Result<()> {
    let text = match &outgoing.body {
        Body::Text { text, .. } | Body::Edit { text, .. } => {
            if text.is_empty() {
                return Err(Error::new(ErrorKind::Invalid, "the text is empty"));
            }
            text
        }
        Body::Reaction { emoji, .. } => emoji,
        Body::Revoke { .. } => return Ok(()),
    };
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::new(ErrorKind::Invalid, "the text is longer than 65,536 bytes; send it in parts"));
    }
    if let Some(key) = &outgoing.idempotency_key
        && (key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES)
    {
        return Err(Error::new(ErrorKind::Invalid, "an idempotency key has 1 to 256 bytes"));
    }
    Ok(())
}

struct Send {
    live: Arc<LiveSession>,
    engine: Arc<EngineConnection>,
    chat_id: String,
}

impl Send {
    async fn run(self, outgoing: Outgoing) -> Result<SentMessage> {
        let timeout = outgoing.timeout.unwrap_or(self.live.context.options.send_timeout);
        let message_id = self.message_id(outgoing.idempotency_key.as_deref());
        let key = MessageKey { chat_id: self.chat_id.clone(), sender: self.live.own_jid(), message_id };
        let timestamp = self.live.context.clock.now();
        let timestamp = Timestamp::from_unix_s(timestamp.unix_s());
        // The deadline is the caller's: it covers a store that is away, too.
        let deadline = self.live.context.clock.sleep(timeout);
        tokio::pin!(deadline);
        let prepared = tokio::select! {
            biased;
            prepared = self.prepare(&key, outgoing.body, timestamp) => prepared?,
            () = &mut deadline => return Err(Error::new(ErrorKind::Timeout, "the store did not take the message in time; nothing was sent; try again")),
        };
        let (outbound, change) = match prepared {
            Prepared::Done(sent) => return Ok(sent),
            Prepared::Refused => return Err(refused_before()),
            Prepared::ToSend(to_send) => (to_send.outbound, to_send.change),
        };
        let acknowledged = self.live.expect_ack(&key);
        let written = tokio::select! {
            biased;
            written = self.engine.send(&self.chat_id, &key.message_id, &outbound) => written,
            () = &mut deadline => Err(unknown_outcome()),
        };
        if let Err(error) = written {
            self.live.forget_ack(&key.message_id);
            self.mark(&key, MessageStatus::Indeterminate).await?;
            return Err(error);
        }
        self.live.note_written(&key.message_id);
        let answer = tokio::select! {
            biased;
            answer = acknowledged => answer.ok(),
            () = &mut deadline => None,
        };
        match answer {
            Some(None) => {
                let status = self.accepted(&key, change).await?;
                Ok(SentMessage { key, status, timestamp, repeated: false })
            }
            Some(Some(code)) => {
                self.mark(&key, MessageStatus::Failed).await?;
                Err(refused(&code))
            }
            None => {
                self.live.forget_ack(&key.message_id);
                self.mark(&key, MessageStatus::Indeterminate).await?;
                Err(unknown_outcome())
            }
        }
    }

    /// WhatsApp Web's form: `3EB0` and 18 hex digits.
    fn message_id(&self, idempotency_key: Option<&str>) -> String {
        let mut digits = [0_u8; 9];
        match idempotency_key {
            Some(key) => {
                let mut hash = Sha256::new();
                hash.update((self.live.id.len() as u64).to_be_bytes());
                hash.update(self.live.id.as_bytes());
                hash.update(key.as_bytes());
                digits.copy_from_slice(&hash.finalize()[..9]);
            }
            None => self.live.context.clock.fill_random(&mut digits),
        }
        digits.iter().fold("3EB0".to_owned(), |mut id, byte| {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _infallible = write!(id, "{byte:02X}");
            id
        })
    }

    /// Stores what is a message of its own; an earlier send with the same key decides what is left to do.
    async fn prepare(&self, key: &MessageKey, body: Body, timestamp: Timestamp) -> Result<Prepared> {
        let own = &key.sender;
        let (outbound, content) = match body {
            Body::Text { text, quoted } => {
                let content = MessageKind::Text { text: text.clone(), quoted: quoted.clone() };
                let quoted = match quoted {
                    Some(quoted) => {
                        let quoted_text = self.stored_text(&quoted).await?;
                        Some((quoted, quoted_text))
                    }
                    None => None,
                };
                (Outbound::Text { text, quoted }, content)
            }
            Body::Reaction { target, emoji } => {
                let from_me = &target.sender == own;
                let content = MessageKind::Reaction { target: target.clone(), emoji: emoji.clone() };
                (Outbound::Reaction { target, from_me, emoji }, content)
            }
            Body::Edit { target, text } => {
                if &target.sender != own {
                    return Err(Error::new(ErrorKind::Invalid, "only a message of one's own can be edited"));
                }
                let content = MessageKind::Text { text: text.clone(), quoted: None };
                let change = MessageChange::Edited { content, at: self.live.context.clock.now() };
                return Ok(Prepared::to_send(
                    Outbound::Edit { target: target.clone(), text },
                    Some((target, change)),
                ));
            }
            Body::Revoke { target } => {
                let from_me = &target.sender == own;
                let change = MessageChange::Revoked { at: self.live.context.clock.now() };
                let outbound = Outbound::Revoke { target: target.clone(), from_me };
                return Ok(Prepared::to_send(outbound, Some((target, change))));
            }
        };
        let message = StoredMessage::new(key.clone(), Direction::Out, timestamp, content);
        let context = &self.live.context;
        let recorded = until_available(
            &context.clock,
            &self.live.stop,
            |_| {},
            || {
                context.store.record_messages(
                    &self.live.id,
                    std::slice::from_ref(&message),
                    &[],
                    context.clock.now(),
                )
            },
        )
        .await?;
        if recorded.inserted.first() == Some(&false)
            && let Some(earlier) = self.stored(key).await?
        {
            match earlier.status {
                MessageStatus::Pending | MessageStatus::Indeterminate => {}
                MessageStatus::Failed => return Ok(Prepared::Refused),
                status => {
                    return Ok(Prepared::Done(SentMessage {
                        key: earlier.key,
                        status,
                        timestamp: earlier.timestamp,
                        repeated: true,
                    }));
                }
            }
        }
        Ok(Prepared::to_send(outbound, None))
    }

    async fn stored(&self, key: &MessageKey) -> Result<Option<StoredMessage>> {
        let context = &self.live.context;
        let found = until_available(
            &context.clock,
            &self.live.stop,
            |_| {},
            || context.store.get_messages(&self.live.id, std::slice::from_ref(key)),
        )
        .await?;
        Ok(found.into_iter().next().flatten())
    }

    async fn stored_text(&self, key: &MessageKey) -> Result<Option<String>> {
        Ok(self.stored(key).await?.and_then(|message| match message.content {
            MessageKind::Text { text, .. } => Some(text),
            _ => None,
        }))
    }

    async fn accepted(
        &self,
        key: &MessageKey,
        change: Option<(MessageKey, MessageChange)>,
    ) -> Result<MessageStatus> {
        match change {
            None => self.mark(key, MessageStatus::Sent).await,
            Some(change) => {
                self.change(change).await?;
                Ok(MessageStatus::Sent)
            }
        }
    }

    async fn mark(&self, key: &MessageKey, status: MessageStatus) -> Result<MessageStatus> {
        let changed = self.change((key.clone(), MessageChange::Status(status))).await?;
        Ok(changed.map_or(status, |message| message.status))
    }

    async fn change(&self, change: (MessageKey, MessageChange)) -> Result<Option<StoredMessage>> {
        let context = &self.live.context;
        let changes = [change];
        let changed = until_available(
            &context.clock,
            &self.live.stop,
            |_| {},
            || context.store.change_messages(&self.live.id, &changes, context.clock.now()),
        )
        .await?;
        let message = changed.into_iter().next().flatten();
        if let Some(message) = &message {
            self.live.publish(EventKind::MessageChanged(Box::new(message.clone())));
        }
        Ok(message)
    }
}

enum Prepared {
    Done(SentMessage),
    Refused,
    ToSend(Box<ToSend>),
}

struct ToSend {
    outbound: Outbound,
    /// What changes in the store once WhatsApp has accepted it.
    change: Option<(MessageKey, MessageChange)>,
}

impl Prepared {
    fn to_send(outbound: Outbound, change: Option<(MessageKey, MessageChange)>) -> Self {
        Self::ToSend(Box::new(ToSend { outbound, change }))
    }
}

fn refused(code: &str) -> Error {
    match code {
        "463" => Error::new(
            ErrorKind::RateLimited,
            "WhatsApp refused the message (463): the account may not write to new contacts at present; wait, and let contacts write first",
        ),
        "429" => {
            Error::new(ErrorKind::RateLimited, "WhatsApp refused the message (429): too many; slow down")
        }
        code => Error::new(
            ErrorKind::Protocol,
            format!("WhatsApp refused the message with code {code}; it was not sent"),
        ),
    }
}

fn refused_before() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "WhatsApp refused this message before; to try once more use another idempotency key",
    )
}

fn unknown_outcome() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "WhatsApp did not acknowledge the message in time: it may or may not arrive; send it again with the same idempotency key to be sure",
    )
}
