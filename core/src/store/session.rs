//! Session records: the seed's `Session` document, its filters, pages and statistics.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::session::status::Status;

/// One session as the seed's `sessions` collection keeps it. In JSON and MongoDB the fields have the seed's
/// camelCase names; dates are MongoDB dates there and RFC 3339 strings in JSON.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionRecord {
    /// The id that the user chose.
    pub session_id: String,
    /// A name for people: the account's push name once linked.
    pub name: String,
    /// The account's phone number, digits only, once linked.
    pub phone: Option<String>,
    /// Whether the session is logged in at this moment.
    pub is_connected: bool,
    /// The last message or change of connection.
    pub last_activity: Timestamp,
    /// The QR code to scan. At rest it is sealed by the vault; a `SessionManager` opens it.
    pub qr_code: Option<String>,
    /// Where the session stands.
    pub status: Status,
    /// What the status does not say.
    pub status_detail: Option<StatusDetail>,
    /// Failed attempts since the last success or reset.
    pub connection_attempts: u32,
    /// When the last attempt was made.
    pub last_connection_attempt: Option<Timestamp>,
    /// Why the last connection ended, in words for people.
    pub last_disconnect_reason: Option<String>,
    /// Messages sent, as many as are stored with direction `out` plus those that retention removed.
    pub messages_sent: u64,
    /// Messages received, counted likewise.
    pub messages_received: u64,
    /// Chats stored.
    pub total_chats: u64,
    /// Memory that the session takes in this process, in MB (2^20 bytes).
    pub memory_usage: f64,
    /// When the last health check was made.
    pub last_health_check: Timestamp,
    /// False once marked inactive: it is not restored at start, and cleanup may remove it.
    pub is_active: bool,
    /// The user agent that the device shows.
    pub user_agent: Option<String>,
    /// The phone's platform (`android`, `iphone`, …) as WhatsApp names it.
    pub platform: Option<String>,
    /// The WhatsApp Web version that was last used.
    pub version: Option<String>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for SessionRecord {
    /// Without the code, the number and the name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRecord")
            .field("session_id", &self.session_id)
            .field("status", &self.status)
            .field("status_detail", &self.status_detail)
            .field("is_connected", &self.is_connected)
            .field("is_active", &self.is_active)
            .field("connection_attempts", &self.connection_attempts)
            .field("messages_sent", &self.messages_sent)
            .field("messages_received", &self.messages_received)
            .field("total_chats", &self.total_chats)
            .field("last_activity", &self.last_activity)
            .field("updated_at", &self.updated_at)
            .finish_non_exhaustive()
    }
}

impl SessionRecord {
    /// A fresh record: `pending`, active, never connected.
    pub fn new(session_id: impl Into<String>, now: Timestamp) -> Self {
        let session_id = session_id.into();
        Self {
            name: session_id.clone(),
            session_id,
            phone: None,
            is_connected: false,
            last_activity: now,
            qr_code: None,
            status: Status::Pending,
            status_detail: None,
            connection_attempts: 0,
            last_connection_attempt: None,
            last_disconnect_reason: None,
            messages_sent: 0,
            messages_received: 0,
            total_chats: 0,
            memory_usage: 0.0,
            last_health_check: now,
            is_active: true,
            user_agent: None,
            platform: None,
            version: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// What the seed's `status` does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum StatusDetail {
    /// A pair code waits to be typed on the phone until `expires_at`. The code itself is in `qrCode`'s place.
    PairCode {
        /// When it stops being valid.
        expires_at: Timestamp,
    },
    /// WhatsApp demands a passkey; answer the challenge that the link stream carries.
    PasskeyRequired,
    /// The next attempt is made at `until`.
    BackOff {
        /// When.
        until: Timestamp,
        /// How many attempts have failed in a row.
        attempt: u32,
    },
    /// The phone removed this device. The credentials were archived.
    LoggedOut,
    /// WhatsApp banned the account, for a time if `until` is known.
    Banned {
        /// When the ban ends.
        until: Option<Timestamp>,
    },
    /// WhatsApp refuses this client version: a newer one is needed.
    ClientOutdated,
    /// Another client logged in with the same credentials.
    Replaced,
    /// Another instance owns the session.
    OwnedElsewhere,
    /// The database is away; the session waits for it.
    StoreUnavailable,
    /// Nobody scanned the code in time.
    LinkTimedOut,
    /// It waits for its turn: only so many sessions connect at the same time and per second.
    WaitingForTurn,
    /// WhatsApp refuses many sessions at once: all wait until one got through.
    FleetPaused {
        /// When the next attempt of any session is made.
        until: Timestamp,
    },
    /// Not connected on purpose, and woken on demand.
    Parked {
        /// When it connects by itself to fetch what waits; `None`: only on demand.
        until: Option<Timestamp>,
    },
    /// Something else, in words for people.
    Failed {
        /// What happened and what to do.
        message: String,
    },
}

/// A change of one record, applied atomically. Every field that is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionPatch {
    /// Set `name`.
    pub name: Option<String>,
    /// Set `phone`.
    pub phone: Option<Option<String>>,
    /// Set `isConnected`.
    pub is_connected: Option<bool>,
    /// Raise `lastActivity` to this; an older value is ignored.
    pub last_activity: Option<Timestamp>,
    /// Set `qrCode` (already sealed).
    pub qr_code: Option<Option<String>>,
    /// Set `status`. Only the status machine may do so.
    pub status: Option<Status>,
    /// Set `statusDetail`.
    pub status_detail: Option<Option<StatusDetail>>,
    /// Set `connectionAttempts`, or add to it.
    pub connection_attempts: Option<Counter>,
    /// Set `lastConnectionAttempt`.
    pub last_connection_attempt: Option<Timestamp>,
    /// Set `lastDisconnectReason`.
    pub last_disconnect_reason: Option<Option<String>>,
    /// Set `messagesSent`, or add to it.
    pub messages_sent: Option<Counter>,
    /// Set `messagesReceived`, or add to it.
    pub messages_received: Option<Counter>,
    /// Set `totalChats`.
    pub total_chats: Option<u64>,
    /// Set `memoryUsage`, in MB.
    pub memory_usage: Option<f64>,
    /// Set `lastHealthCheck`.
    pub last_health_check: Option<Timestamp>,
    /// Set `isActive`.
    pub is_active: Option<bool>,
    /// Set `userAgent`.
    pub user_agent: Option<Option<String>>,
    /// Set `platform`.
    pub platform: Option<Option<String>>,
    /// Set `version`.
    pub version: Option<Option<String>>,
}

/// What becomes of a record by the status that it has.
#[derive(Debug, Clone)]
pub struct StatusCase {
    /// The statuses in which this patch applies. No two cases of a change share one.
    pub from: Vec<Status>,
    /// What is set.
    pub patch: SessionPatch,
}

/// One session's change in [`SessionStore::patch_by_status`].
#[derive(Debug, Clone, Copy)]
pub struct StatusChange<'a> {
    /// Which record.
    pub session: &'a str,
    /// What applies in which status.
    pub cases: &'a [StatusCase],
    /// The caller's clock.
    pub now: Timestamp,
}

/// How a counter changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// To this value.
    Set(u64),
    /// By this much.
    Add(u64),
}

/// Which records. Every field that is `None` matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// `isActive`.
    pub is_active: Option<bool>,
    /// `isConnected`.
    pub is_connected: Option<bool>,
    /// Any of these; empty matches all.
    pub statuses: Vec<Status>,
    /// `connectionAttempts` at least this.
    pub min_connection_attempts: Option<u32>,
    /// `lastActivity` before this.
    pub last_activity_before: Option<Timestamp>,
    /// Any of these ids; empty matches all.
    pub session_ids: Vec<String>,
    /// The seed's "problematic": `status` is `error`, **or** `connectionAttempts` is at least this.
    pub problematic_from_attempts: Option<u32>,
}

/// Which part of a list, and in what order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// How many at most; 1 to [`PageRequest::MAX_LIMIT`].
    pub limit: u32,
    /// The `next` of the page before; `None` for the first.
    pub after: Option<String>,
    /// Most recently active first instead of by session id.
    pub most_recently_active_first: bool,
}

impl PageRequest {
    /// The largest `limit`.
    pub const MAX_LIMIT: u32 = 1_000;
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: 100, after: None, most_recently_active_first: false }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The items, in the order asked for.
    pub items: Vec<T>,
    /// Pass it as `after` to get the rest; `None` at the end.
    pub next: Option<String>,
    /// Documents that could not be understood, by id: their sessions are to be shown as `error`.
    pub malformed: Vec<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None, malformed: Vec::new() }
    }
}

/// The seed's system figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Statistics {
    /// All records.
    pub total_sessions: u64,
    /// With `isActive`.
    pub active_sessions: u64,
    /// With `isConnected`.
    pub connected_sessions: u64,
    /// With status `disconnected`.
    pub disconnected_sessions: u64,
    /// With status `pending` or `qr_ready`.
    pub pending_sessions: u64,
    /// With status `error`.
    pub error_sessions: u64,
    /// With status `inactive`.
    pub inactive_sessions: u64,
    /// Sum of `messagesSent` and `messagesReceived`.
    pub total_messages: u64,
    /// Sum of `messagesSent`.
    pub messages_sent: u64,
    /// Sum of `messagesReceived`.
    pub messages_received: u64,
    /// Sum of `totalChats`.
    pub total_chats: u64,
}

/// The seed's `sessions` collection.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Inserts `fresh` if there is no record of its id, then applies `patch` in the same step. Returns the
    /// record as it then stands.
    async fn upsert_session(&self, fresh: &SessionRecord, patch: &SessionPatch) -> Result<SessionRecord>;

    /// Applies a patch to an existing record and sets `updatedAt` to `now`. `None` if there is no such record.
    async fn patch_session(
        &self,
        session: &str,
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>>;

    /// Applies a patch only while `status` is one of `from`. `None` if there is no such record in such a status.
    async fn patch_session_if(
        &self,
        session: &str,
        from: &[Status],
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>>;

    /// Applies to each session the first of its cases that fits its `status`, in one step a session. `None` where
    /// there is no such record or no case fits. Each has its own result, in order; no session is named twice. A
    /// store with a round trip to save overrides it.
    async fn patch_by_status(&self, changes: &[StatusChange<'_>]) -> Vec<Result<Option<SessionRecord>>> {
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            let mut result = Ok(None);
            for case in change.cases {
                result = self.patch_session_if(change.session, &case.from, &case.patch, change.now).await;
                if !matches!(result, Ok(None)) {
                    break;
                }
            }
            results.push(result);
        }
        results
    }

    /// Reads one record. A document that cannot be understood is `Corrupt`.
    async fn get_session(&self, session: &str) -> Result<Option<SessionRecord>>;

    /// Reads a page of records.
    async fn list_sessions(&self, filter: &SessionFilter, page: &PageRequest) -> Result<Page<SessionRecord>>;

    /// Counts records, over an index.
    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64>;

    /// Removes one record. `false` if there was none.
    async fn delete_session_record(&self, session: &str) -> Result<bool>;

    /// The system figures, in one command.
    async fn statistics(&self) -> Result<Statistics>;
}
