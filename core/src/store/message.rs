//! Messages and chats: stored once each, however often WhatsApp delivers them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::session::Page;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// What makes a message one and the same: ids are only unique within a chat and sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageKey {
    /// JID of the chat (a user without device, or a group).
    pub chat_id: String,
    /// JID of the author, without device; the own account's for sent messages.
    pub sender: String,
    /// WhatsApp's message id.
    pub message_id: String,
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Direction {
    /// Received: counts in `messagesReceived`.
    In,
    /// Written by the account itself, here or on another of its devices: counts in `messagesSent`.
    Out,
}

impl Direction {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What a message is. New kinds will come (media); treat unknown ones as `Other`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum MessageKind {
    /// Text, perhaps a reply.
    Text {
        /// The text.
        text: String,
        /// The message that it answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quoted: Option<MessageKey>,
    },
    /// An emoji on another message; empty takes it back.
    Reaction {
        /// The message reacted to.
        target: MessageKey,
        /// The emoji.
        emoji: String,
    },
    /// A picture, a film, a voice note, a file, a sticker: not fetched, only described.
    Media {
        /// `image`, `video`, `audio`, `document`, `sticker`.
        media: String,
        /// The caption.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
        /// The MIME type as the sender states it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        /// Bytes, as the sender states it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
    },
    /// Anything else, by the name of its protobuf field.
    Other {
        /// Such as `poll_creation_message`.
        name: String,
    },
}

/// How far a message came. It only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MessageStatus {
    /// Stored, not yet written to the socket.
    Pending,
    /// In the session's outbox: it is sent once the session is up.
    Queued,
    /// Taken back from the outbox before it was sent.
    Cancelled,
    /// Its time in the outbox ran out before it was sent.
    Expired,
    /// Written to the socket and not acknowledged when the connection or the deadline ended: it may or may
    /// not arrive.
    Indeterminate,
    /// WhatsApp refused it.
    Failed,
    /// WhatsApp's server has it.
    Sent,
    /// A device of the recipient has it. Also every received message.
    Delivered,
    /// The recipient opened it.
    Read,
    /// The recipient played it.
    Played,
}

impl MessageStatus {
    /// Every status, by rising rank.
    pub const ALL: [MessageStatus; 10] = [
        Self::Pending,
        Self::Queued,
        Self::Cancelled,
        Self::Expired,
        Self::Indeterminate,
        Self::Failed,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Played,
    ];

    /// Its rank, which is what stores compare: a status never falls. The gaps are for statuses to come.
    pub const fn rank(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Queued => 10,
            Self::Cancelled => 20,
            Self::Expired => 30,
            Self::Indeterminate => 40,
            Self::Failed => 50,
            Self::Sent => 60,
            Self::Delivered => 70,
            Self::Read => 80,
            Self::Played => 90,
        }
    }

    /// The status of a rank.
    pub fn from_rank(rank: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.rank() == rank)
    }
}

/// One stored message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StoredMessage {
    /// What makes it unique within the session.
    #[serde(flatten)]
    pub key: MessageKey,
    /// Which way it went.
    pub direction: Direction,
    /// Whether the own account wrote it, from whichever device.
    pub from_me: bool,
    /// When it was sent, as WhatsApp says (whole seconds).
    pub timestamp: Timestamp,
    /// The author's push name, for received messages.
    pub sender_name: Option<String>,
    /// The content.
    pub content: MessageKind,
    /// How far it came.
    pub status: MessageStatus,
    /// When its author last edited it.
    pub edited_at: Option<Timestamp>,
    /// When its author took it back; the content is then gone.
    pub revoked_at: Option<Timestamp>,
    /// From the phone's history: it is stored but not counted and not published.
    pub from_history: bool,
}

impl StoredMessage {
    /// A message with the fields that every message has.
    pub fn new(key: MessageKey, direction: Direction, timestamp: Timestamp, content: MessageKind) -> Self {
        Self {
            key,
            direction,
            from_me: direction == Direction::Out,
            timestamp,
            sender_name: None,
            content,
            status: if direction == Direction::Out {
                MessageStatus::Pending
            } else {
                MessageStatus::Delivered
            },
            edited_at: None,
            revoked_at: None,
            from_history: false,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            MessageKind::Text { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// A later change to a stored message. Applying it twice changes nothing more.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MessageChange {
    /// Raise the status; never lowers it.
    Status(MessageStatus),
    /// Replace the text, if this edit is newer than the last.
    Edited {
        /// The new content.
        content: MessageKind,
        /// When the author edited it.
        at: Timestamp,
    },
    /// Remove the content and remember when.
    Revoked {
        /// When the author took it back.
        at: Timestamp,
    },
}

/// One chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Chat {
    /// Its JID.
    pub chat_id: String,
    /// The contact's or group's name.
    pub name: Option<String>,
    /// Whether it is a group.
    pub is_group: bool,
    /// The newest message's time.
    pub last_message_at: Option<Timestamp>,
    /// Received since it was last marked read.
    pub unread_count: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Chat {
    /// A chat with no messages.
    pub fn new(chat_id: impl Into<String>, now: Timestamp) -> Self {
        let chat_id = chat_id.into();
        Self {
            is_group: chat_id.ends_with("@g.us"),
            chat_id,
            name: None,
            last_message_at: None,
            unread_count: 0,
            created_at: now,
            updated_at: now,
        }
    }
}

/// A change of one chat; creates it if absent. `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatPatch {
    /// Which chat.
    pub chat_id: String,
    /// Set the name.
    pub name: Option<String>,
    /// Raise `lastMessageAt` to this.
    pub last_message_at: Option<Timestamp>,
    /// Set `unreadCount`.
    pub unread_count: Option<u32>,
}

/// Which messages: all of a session, or one chat's, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// Only this chat.
    pub chat_id: Option<String>,
    /// How many at most; 1 to 1,000.
    pub limit: u32,
    /// The `next` of the page before.
    pub after: Option<String>,
}

impl Default for MessagePage {
    fn default() -> Self {
        Self { chat_id: None, limit: 100, after: None }
    }
}

/// What one session records at once.
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    /// Whose messages.
    pub session: &'a str,
    /// The messages, in the order of their arrival.
    pub messages: &'a [StoredMessage],
    /// Names of chats, by chat, to set where the chat is known.
    pub names: &'a [(String, String)],
    /// The caller's clock.
    pub now: Timestamp,
}

/// What one session changes at once.
#[derive(Debug, Clone, Copy)]
pub struct ChangeBatch<'a> {
    /// Whose messages.
    pub session: &'a str,
    /// The changes, by message.
    pub changes: &'a [(MessageKey, MessageChange)],
    /// The caller's clock.
    pub now: Timestamp,
}

/// What came of a [`RecordBatch`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// For each message, in order: whether it was new. False for a redelivery.
    pub inserted: Vec<bool>,
}

/// Messages and chats of all sessions.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Stores messages of several sessions, durable on `Ok`; their chats and the sessions' counters follow. Each
    /// batch has its own result, in order: one session's refusal never holds up another's. Several batches of one
    /// session are taken in order. As few commands as the database allows, whatever their number.
    ///
    /// A message that is there already is left as it is and counts nowhere. Only new ones raise
    /// `messagesReceived` or `messagesSent` (by direction; not those `from_history`), `lastActivity`, the chat's
    /// `lastMessageAt` and, if received and not from history, its `unreadCount`; new chats raise `totalChats`.
    /// Chats and counters may be written a moment later, for many sessions at once, and may lag behind after a
    /// crash (see [`recount`](MessageStore::recount)); messages never do. Whoever asks the same store sees them
    /// as they should be.
    async fn record_many(&self, batches: &[RecordBatch<'_>]) -> Vec<Result<Recorded>>;

    /// Applies changes of several sessions, as [`record_many`](MessageStore::record_many) records. Returns for
    /// each batch the messages as they then stand, in order, `None` where there is none.
    async fn change_many(&self, batches: &[ChangeBatch<'_>]) -> Vec<Result<Vec<Option<StoredMessage>>>>;

    /// [`record_many`](MessageStore::record_many) for one session.
    async fn record_messages(
        &self,
        session: &str,
        messages: &[StoredMessage],
        names: &[(String, String)],
        now: Timestamp,
    ) -> Result<Recorded> {
        only(self.record_many(&[RecordBatch { session, messages, names, now }]).await)
    }

    /// [`change_many`](MessageStore::change_many) for one session.
    async fn change_messages(
        &self,
        session: &str,
        changes: &[(MessageKey, MessageChange)],
        now: Timestamp,
    ) -> Result<Vec<Option<StoredMessage>>> {
        only(self.change_many(&[ChangeBatch { session, changes, now }]).await)
    }

    /// Writes down the chats and counters that lag behind their messages. A store that has none has nothing to do.
    async fn flush_counts(&self) -> Result<()> {
        Ok(())
    }

    /// Reads messages by key, in order.
    async fn get_messages(&self, session: &str, keys: &[MessageKey]) -> Result<Vec<Option<StoredMessage>>>;

    /// Reads a page, newest first. Of one second, which is as exact as WhatsApp's times are, the one that arrived last
    /// comes first, by the clock of whoever recorded it; those from history come after those that arrived, by
    /// key, descending.
    async fn list_messages(&self, session: &str, page: &MessagePage) -> Result<Page<StoredMessage>>;

    /// Creates or changes chats. Returns how many were new; the session's `totalChats` rises by as many.
    async fn patch_chats(&self, session: &str, patches: &[ChatPatch], now: Timestamp) -> Result<u64>;

    /// Reads one chat.
    async fn get_chat(&self, session: &str, chat_id: &str) -> Result<Option<Chat>>;

    /// Reads a page of chats, the one with the newest message first (ties by id, ascending).
    async fn list_chats(&self, session: &str, limit: u32, after: Option<&str>) -> Result<Page<Chat>>;

    /// Counts stored messages that are not from history, and chats, and sets the session's three counters to
    /// that. Returns `(messages_sent, messages_received, total_chats)`.
    async fn recount(&self, session: &str, now: Timestamp) -> Result<(u64, u64, u64)>;

    /// Deletes all messages and chats of a session. Returns `(messages, chats)`.
    async fn delete_messages(&self, session: &str) -> Result<(u64, u64)>;
}

/// The one answer to one batch.
pub(crate) fn only<T>(mut answers: Vec<Result<T>>) -> Result<T> {
    answers.pop().unwrap_or_else(|| {
        Err(Error::new(ErrorKind::Internal, "the store gave no outcome for a batch; report it"))
    })
}
