//! The JSON of the API: the seed's field names.

use centralita::clock::Timestamp;
use centralita::session::health::SessionHealth;
use centralita::session::status::Status;
use centralita::store::{
    Chat, Direction, MessageKey, MessageKind, MessageStatus, Page, SessionRecord, Statistics, StatusDetail,
    StoredMessage,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::{Caller, Scope};
use crate::history::Point;

/// A session, as the seed's collection has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    session_id: String,
    name: String,
    phone: Option<String>,
    is_connected: bool,
    #[schema(value_type = String, format = DateTime)]
    last_activity: Timestamp,
    /// The code to link with; only with the scope `admin`.
    qr_code: Option<String>,
    #[schema(value_type = String, example = "connected")]
    pub(super) status: Status,
    /// What the status does not say, by its `kind`.
    #[schema(value_type = Option<Object>)]
    status_detail: Option<StatusDetail>,
    connection_attempts: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_connection_attempt: Option<Timestamp>,
    last_disconnect_reason: Option<String>,
    messages_sent: u64,
    messages_received: u64,
    total_chats: u64,
    /// MB (2^20 bytes).
    memory_usage: f64,
    #[schema(value_type = String, format = DateTime)]
    last_health_check: Timestamp,
    is_active: bool,
    user_agent: Option<String>,
    platform: Option<String>,
    version: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl SessionView {
    /// What this caller may see of a record.
    pub(crate) fn of(record: SessionRecord, caller: &Caller) -> Self {
        Self {
            session_id: record.session_id,
            name: record.name,
            phone: record.phone,
            is_connected: record.is_connected,
            last_activity: record.last_activity,
            qr_code: record.qr_code.filter(|_| caller.may(Scope::Admin)),
            status: record.status,
            status_detail: record.status_detail,
            connection_attempts: record.connection_attempts,
            last_connection_attempt: record.last_connection_attempt,
            last_disconnect_reason: record.last_disconnect_reason,
            messages_sent: record.messages_sent,
            messages_received: record.messages_received,
            total_chats: record.total_chats,
            memory_usage: record.memory_usage,
            last_health_check: record.last_health_check,
            is_active: record.is_active,
            user_agent: record.user_agent,
            platform: record.platform,
            version: record.version,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionsPage {
    sessions: Vec<SessionView>,
    /// Pass it as `after` for the rest.
    next: Option<String>,
    /// Ids of records that cannot be understood.
    malformed: Vec<String>,
}

impl SessionsPage {
    pub(crate) fn of(page: Page<SessionRecord>, caller: &Caller) -> Self {
        Self {
            sessions: page.items.into_iter().map(|record| SessionView::of(record, caller)).collect(),
            next: page.next,
            malformed: page.malformed.into_iter().filter(|id| caller.sees(id)).collect(),
        }
    }
}

/// One session and what is known of it in this process.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionDetails {
    #[serde(flatten)]
    pub(super) session: SessionView,
    /// Whether it runs in this process.
    pub(super) running: bool,
    /// Whether it is logged in in this process at this moment. `isConnected` is what is stored: after a crash it lags
    /// until the session is restored.
    pub(super) connected_now: bool,
    /// MB (2^20 bytes) that it takes at this moment, if it runs here.
    pub(super) memory_now: Option<f64>,
    /// Its link, what comes in and what goes out, if it runs here.
    #[schema(value_type = Option<Object>)]
    pub(super) health: Option<SessionHealth>,
}

/// The figures of the whole system, or of the sessions that the token is for.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatisticsView {
    total_sessions: u64,
    active_sessions: u64,
    connected_sessions: u64,
    disconnected_sessions: u64,
    pending_sessions: u64,
    error_sessions: u64,
    inactive_sessions: u64,
    total_messages: u64,
    messages_sent: u64,
    messages_received: u64,
    total_chats: u64,
}

impl From<Statistics> for StatisticsView {
    fn from(statistics: Statistics) -> Self {
        Self {
            total_sessions: statistics.total_sessions,
            active_sessions: statistics.active_sessions,
            connected_sessions: statistics.connected_sessions,
            disconnected_sessions: statistics.disconnected_sessions,
            pending_sessions: statistics.pending_sessions,
            error_sessions: statistics.error_sessions,
            inactive_sessions: statistics.inactive_sessions,
            total_messages: statistics.total_messages,
            messages_sent: statistics.messages_sent,
            messages_received: statistics.messages_received,
            total_chats: statistics.total_chats,
        }
    }
}

impl StatisticsView {
    /// Counts one session in.
    pub(crate) fn add(&mut self, record: &SessionRecord) {
        self.total_sessions += 1;
        self.active_sessions += u64::from(record.is_active);
        self.connected_sessions += u64::from(record.is_connected);
        match record.status {
            Status::Disconnected => self.disconnected_sessions += 1,
            Status::Pending | Status::QrReady => self.pending_sessions += 1,
            Status::Error => self.error_sessions += 1,
            Status::Inactive => self.inactive_sessions += 1,
            _ => {}
        }
        self.messages_sent += record.messages_sent;
        self.messages_received += record.messages_received;
        self.total_messages += record.messages_sent + record.messages_received;
        self.total_chats += record.total_chats;
    }
}

/// What names a message.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyView {
    /// JID of the chat.
    #[schema(max_length = 256)]
    chat_id: String,
    /// JID of the author.
    #[schema(max_length = 256)]
    sender: String,
    /// WhatsApp's message id.
    #[schema(max_length = 256)]
    message_id: String,
}

impl From<MessageKey> for KeyView {
    fn from(key: MessageKey) -> Self {
        Self { chat_id: key.chat_id, sender: key.sender, message_id: key.message_id }
    }
}

impl From<KeyView> for MessageKey {
    fn from(key: KeyView) -> Self {
        Self { chat_id: key.chat_id, sender: key.sender, message_id: key.message_id }
    }
}

/// A stored message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageView {
    #[serde(flatten)]
    key: KeyView,
    #[schema(value_type = String, example = "in")]
    direction: Direction,
    from_me: bool,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    sender_name: Option<String>,
    /// By its `type`: `text`, `reaction`, `media`, `other`.
    #[schema(value_type = Object)]
    content: MessageKind,
    #[schema(value_type = String, example = "delivered")]
    status: MessageStatus,
    #[schema(value_type = Option<String>, format = DateTime)]
    edited_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    from_history: bool,
}

impl From<StoredMessage> for MessageView {
    fn from(message: StoredMessage) -> Self {
        Self {
            key: message.key.into(),
            direction: message.direction,
            from_me: message.from_me,
            timestamp: message.timestamp,
            sender_name: message.sender_name,
            content: message.content,
            status: message.status,
            edited_at: message.edited_at,
            revoked_at: message.revoked_at,
            from_history: message.from_history,
        }
    }
}

/// A page of messages, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessagesPage {
    messages: Vec<MessageView>,
    /// Pass it as `after` for older ones.
    next: Option<String>,
}

impl From<Page<StoredMessage>> for MessagesPage {
    fn from(page: Page<StoredMessage>) -> Self {
        Self { messages: page.items.into_iter().map(Into::into).collect(), next: page.next }
    }
}

/// A chat.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatView {
    chat_id: String,
    name: Option<String>,
    is_group: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_message_at: Option<Timestamp>,
    unread_count: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A page of chats, the one with the newest message first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChatsPage {
    chats: Vec<ChatView>,
    /// Pass it as `after` for the rest.
    next: Option<String>,
}

impl From<Page<Chat>> for ChatsPage {
    fn from(page: Page<Chat>) -> Self {
        let view = |chat: Chat| ChatView {
            chat_id: chat.chat_id,
            name: chat.name,
            is_group: chat.is_group,
            last_message_at: chat.last_message_at,
            unread_count: chat.unread_count,
            created_at: chat.created_at,
            updated_at: chat.updated_at,
        };
        Self { chats: page.items.into_iter().map(view).collect(), next: page.next }
    }
}

/// The last hour of a session, oldest first; the last point is now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryView {
    points: Vec<PointView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PointView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    messages_sent: u64,
    messages_received: u64,
    /// MB (2^20 bytes).
    memory_usage: f32,
}

impl HistoryView {
    pub(crate) fn of(points: Vec<Point>) -> Self {
        let view = |point: Point| PointView {
            at: point.at,
            messages_sent: point.messages_sent,
            messages_received: point.messages_received,
            memory_usage: point.memory_mb,
        };
        Self { points: points.into_iter().map(view).collect() }
    }
}
