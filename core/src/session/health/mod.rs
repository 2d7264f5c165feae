//! Whether a session that is "connected" does what it should: link, receiving and sending apart.
//!
//! The engine pings an idle socket and gives it up after a minute or so. What it misses is seen here: pings that it
//! holds back because some other request waits, a server that answers pings and acknowledges no message, and the wish
//! to know.
//!
//! | file | what |
//! | --- | --- |
//! | `vitals` | what follows from what is seen |
//! | `monitor` | looks at all sessions of a service, pings, has them restarted or parked |

mod monitor;
mod vitals;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

pub(crate) use monitor::{health, watch};
pub(crate) use vitals::Vitals;

/// The health of one session that runs in this process.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionHealth {
    /// The connection to WhatsApp.
    pub link: Vital,
    /// Whether anything comes in: messages, receipts, answers to pings.
    pub receive: Vital,
    /// Whether what is written is acknowledged.
    pub send: Vital,
    /// Whether the session is parked: not connected on purpose, and woken on demand.
    pub parked: bool,
    /// How often it was restarted because it was not well, since it was started.
    pub restarts: u64,
    /// Memory that the engine and its socket take for it, by the engine's own report; `None` while there is no engine.
    pub memory_bytes: Option<u64>,
}

/// One part of a session's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Vital {
    /// How it is.
    pub state: VitalState,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words for people, unless it is good.
    pub reason: Option<String>,
}

/// How a part of a session's health is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VitalState {
    /// As it should be.
    Good,
    /// Nothing can be said while there is no connection.
    Unknown,
    /// It may be about to fail; being looked into.
    Suspect,
    /// It does not work.
    Bad,
}

/// Why a session was restarted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestartReason {
    /// Connected, but nothing came in and a ping was not answered.
    Zombie,
    /// Messages were written and none was acknowledged, though other things came in.
    SendStall,
}

impl RestartReason {
    /// For people.
    pub(crate) const fn explain(self) -> &'static str {
        match self {
            Self::Zombie => "nothing came in and a ping was not answered",
            Self::SendStall => "messages were written and none was acknowledged",
        }
    }
}
