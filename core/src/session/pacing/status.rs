//! How the pacing of a service looks from outside.

use serde::{Serialize, Serializer};

use crate::clock::Timestamp;

/// Whether the fleet connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// As it should be.
    Closed,
    /// WhatsApp refused many sessions at once: nobody connects before `until`, then one tries.
    Open {
        /// When the next attempt is made.
        until: Timestamp,
    },
    /// One tries, or the others follow slowly.
    HalfOpen,
}

impl BreakerState {
    /// `closed`, `open` or `half_open`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// When the next attempt is made, if the fleet pauses.
    pub const fn until(self) -> Option<Timestamp> {
        match self {
            Self::Open { until } => Some(until),
            Self::Closed | Self::HalfOpen => None,
        }
    }
}

impl Serialize for BreakerState {
    /// Its name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The pacing of connections at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PacingStatus {
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// Sessions that wait for their turn to connect.
    pub waiting: u64,
    /// Sessions that are connecting.
    pub connecting: u64,
    /// Connections begun since the service started.
    pub admitted: u64,
    /// How often the breaker has opened since the service started.
    pub times_opened: u64,
}
