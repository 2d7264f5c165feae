//! Orders and answers, one JSON line each.

use serde::{Deserialize, Serialize};

/// The id of the first answer, which no order asked for.
pub(super) const READY: u64 = 0;

/// How a worker's service is set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// A file, or `mongodb://…`.
    pub store: String,
    /// The key file; made if it is not there.
    pub key_file: std::path::PathBuf,
    /// The stand-in's WebSocket.
    pub web_socket_url: String,
    /// The stand-in's admin interface, for the phones that scan.
    pub admin_url: String,
    /// One-time pre-keys a session keeps ready.
    pub pre_keys: usize,
    /// How long a lease lasts without a heartbeat, ms.
    pub lease_ms: u64,
    /// First and longest pause between connections, ms.
    pub reconnect_ms: (u64, u64),
    /// How long sockets stay open while the store is away, ms.
    pub store_patience_ms: u64,
    /// How long a send waits, ms.
    pub send_timeout_ms: u64,
    /// Sessions that connect at the same time.
    pub connect_concurrency: usize,
    /// Connections that are opened in a second; `None`: as many as there are.
    pub connects_per_s: Option<u32>,
}

/// A session to link, and the phone that scans its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToLink {
    /// The session's id.
    pub session: String,
    /// The phone's number.
    pub phone: String,
}

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Create and link these, so many at a time, and wait until all are connected.
    Link {
        /// The sessions.
        sessions: Vec<ToLink>,
        /// How many at a time.
        at_once: usize,
    },
    /// Start all stored sessions; the answer does not wait for their connections.
    Restore,
    /// Wait until all these are connected.
    WaitConnected {
        /// The sessions.
        sessions: Vec<String>,
        /// For how long, ms.
        timeout_ms: u64,
    },
    /// Send a text.
    Send {
        /// From.
        session: String,
        /// To this number.
        to: String,
        /// The text, which is the idempotency key as well.
        text: String,
    },
    /// How many run and are connected.
    Status,
    /// Wait until a session has ended in this process.
    WaitEnded {
        /// The session.
        session: String,
        /// For how long, ms.
        timeout_ms: u64,
    },
    /// End in good order.
    Shutdown,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// As asked.
    Done,
    /// How the sessions of this process are.
    Status {
        /// Supervised at present.
        running: usize,
        /// Logged in at present.
        connected: usize,
    },
    /// A session has ended, and why: the kind of the error.
    Ended {
        /// The kind, in snake case.
        kind: String,
    },
    /// It did not work.
    Failed {
        /// The error's kind, in snake case.
        kind: String,
        /// What it says.
        message: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OrderLine {
    pub(super) id: u64,
    pub(super) order: Order,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AnswerLine {
    pub(super) id: u64,
    pub(super) answer: Answer,
}
