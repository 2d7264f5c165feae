//! What the health report says, as the seed's API shows it.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::session::status::Status;
use crate::store::{SessionRecord, Statistics};

/// The state of the system at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthReport {
    /// When it was made.
    pub generated_at: Timestamp,
    /// Whether the rounds run by themselves.
    pub running: bool,
    /// The figures of the whole system.
    pub statistics: Statistics,
    /// Sessions in status `error` or with many failed attempts.
    pub problematic: SessionList,
    /// Active sessions that have been `disconnected` for too long.
    pub disconnected: SessionList,
    /// Memory of the sessions that run in this process, as the last health check measured it.
    pub memory: MemoryReport,
    /// How the cleanup of inactive sessions does.
    pub cleanup: RoundReport,
    /// How many sessions the last cleanup removed.
    pub last_removed: u64,
    /// How the health checks do.
    pub health_check: RoundReport,
}

/// Some sessions, and how many there are in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionList {
    /// How many there are.
    pub total: u64,
    /// The first of them, by id.
    pub sessions: Vec<SessionHealth>,
}

/// What matters of a session that is not well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionHealth {
    /// Its id.
    pub session_id: String,
    /// Where it stands.
    pub status: Status,
    /// Failed attempts since the last success or reset.
    pub connection_attempts: u32,
    /// Why the last connection ended.
    pub last_disconnect_reason: Option<String>,
    /// The last message or change of connection.
    pub last_activity: Timestamp,
}

impl From<SessionRecord> for SessionHealth {
    fn from(record: SessionRecord) -> Self {
        Self {
            session_id: record.session_id,
            status: record.status,
            connection_attempts: record.connection_attempts,
            last_disconnect_reason: record.last_disconnect_reason,
            last_activity: record.last_activity,
        }
    }
}

/// Memory in MB (2^20 bytes).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MemoryReport {
    /// How many sessions were measured.
    pub sessions: u64,
    /// All of them together.
    pub total_mb: f64,
    /// The largest, and how much it takes.
    pub largest: Option<SessionMemory>,
}

/// What one session takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionMemory {
    /// Its id.
    pub session_id: String,
    /// Its memory.
    pub memory_mb: f64,
}

impl MemoryReport {
    pub(super) fn add(&mut self, session_id: &str, memory_mb: f64) {
        self.sessions += 1;
        self.total_mb += memory_mb;
        if self.largest.as_ref().is_none_or(|largest| largest.memory_mb < memory_mb) {
            self.largest = Some(SessionMemory { session_id: session_id.to_owned(), memory_mb });
        }
    }
}

/// How one kind of round does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RoundReport {
    /// When the last round that succeeded ended.
    pub last: Option<Timestamp>,
    /// When the next one begins; `None` while stopped.
    pub next: Option<Timestamp>,
    /// Rounds that succeeded.
    pub succeeded: u64,
    /// Rounds that failed; each is tried again at the next time.
    pub failed: u64,
    /// What the last failure said; `None` after a success.
    pub last_error: Option<String>,
}
