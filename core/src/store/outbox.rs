//! Messages that wait for their session: kept at once, sent in order once it is up.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Where an entry stands. It is removed once its end is written into the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutboxState {
    /// It waits. It was never written to a socket, or certainly refused: it can be cancelled.
    Queued,
    /// It was written to a socket, or was about to be, and WhatsApp has not said what came of it.
    Sending,
    /// Somebody took it back; the message is yet to be marked.
    Cancelled,
    /// Its time ran out before it was sent; the message is yet to be marked.
    Expired,
}

impl OutboxState {
    /// Every state.
    pub const ALL: [OutboxState; 4] = [Self::Queued, Self::Sending, Self::Cancelled, Self::Expired];

    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The state of a stored name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One message that waits.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// WhatsApp's message id: what makes the entry unique within its session.
    pub message_id: String,
    /// Its place: entries are sent by rising position. The store gives it.
    pub position: u64,
    /// To whom and what, sealed: a store never sees it.
    pub content: String,
    /// Where it stands.
    pub state: OutboxState,
    /// How often it was written to a socket, or was about to be.
    pub attempts: u32,
    /// The lease generation of the last owner that took it in hand; 0 if none has.
    pub generation: u64,
    /// When it was accepted.
    pub queued_at: Timestamp,
    /// After this moment it is not sent any more.
    pub expires_at: Timestamp,
}

impl OutboxEntry {
    /// An entry that nobody has taken in hand yet.
    pub fn new(
        message_id: impl Into<String>,
        content: impl Into<String>,
        queued_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            message_id: message_id.into(),
            position: 0,
            content: content.into(),
            state: OutboxState::Queued,
            attempts: 0,
            generation: 0,
            queued_at,
            expires_at,
        }
    }

    /// An entry whose message was written to a socket once already, with an unknown outcome.
    #[must_use]
    pub fn in_doubt(mut self) -> Self {
        self.state = OutboxState::Sending;
        self.attempts = 1;
        self
    }
}

impl fmt::Debug for OutboxEntry {
    /// Without the content, which is in clear where encryption is off.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxEntry")
            .field("message_id", &self.message_id)
            .field("position", &self.position)
            .field("state", &self.state)
            .field("attempts", &self.attempts)
            .field("generation", &self.generation)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// What came of [`OutboxStore::push_outbox`].
#[derive(Debug, Clone, PartialEq)]
pub enum Pushed {
    /// It is stored, at this position.
    New {
        /// Its place.
        position: u64,
    },
    /// An entry with this message id is there already and stays as it is.
    Known(OutboxEntry),
    /// The session has as many entries as are allowed. Nothing was stored.
    Full,
}

/// A step in an entry's life. Taking the same step again changes nothing more, except that each claim counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxStep {
    /// `Queued` or `Sending` to `Sending`, with one attempt more: before each write to a socket.
    Claim {
        /// The lease generation of whoever sends.
        generation: u64,
    },
    /// `Sending` to `Queued`: WhatsApp refused it for now, so that it was certainly not sent.
    GiveBack {
        /// The lease generation of whoever sent.
        generation: u64,
    },
    /// `Queued` to `Cancelled`, by anybody.
    Cancel,
    /// `Queued` to `Expired`, by anybody.
    Expire,
}

impl OutboxStep {
    /// The states in which it is possible. The one that it leads to is always among them.
    pub const fn from(self) -> &'static [OutboxState] {
        use OutboxState::*;
        match self {
            Self::Claim { .. } | Self::GiveBack { .. } => &[Queued, Sending],
            Self::Cancel => &[Queued, Cancelled],
            Self::Expire => &[Queued, Expired],
        }
    }

    /// The state that it leads to.
    pub const fn to(self) -> OutboxState {
        match self {
            Self::Claim { .. } => OutboxState::Sending,
            Self::GiveBack { .. } => OutboxState::Queued,
            Self::Cancel => OutboxState::Cancelled,
            Self::Expire => OutboxState::Expired,
        }
    }

    /// The lease generation of whoever takes it; `None` if anybody may.
    pub const fn generation(self) -> Option<u64> {
        match self {
            Self::Claim { generation } | Self::GiveBack { generation } => Some(generation),
            Self::Cancel | Self::Expire => None,
        }
    }

    /// The entry after the step: the rule that every store follows. `None` if the step is not possible, `Conflict`
    /// if a newer owner has the entry in hand.
    pub fn apply(self, entry: &OutboxEntry) -> Result<Option<OutboxEntry>> {
        if self.generation().is_some_and(|mine| mine < entry.generation) {
            return Err(taken_over());
        }
        if !self.from().contains(&entry.state) {
            return Ok(None);
        }
        let mut after = entry.clone();
        after.state = self.to();
        after.generation = self.generation().unwrap_or(entry.generation);
        if matches!(self, Self::Claim { .. }) {
            after.attempts = after.attempts.saturating_add(1);
        }
        Ok(Some(after))
    }
}

/// What came of [`OutboxStore::step_outbox`].
#[derive(Debug, Clone, PartialEq)]
pub enum Stepped {
    /// The step was taken.
    Done {
        /// The state before it.
        was: OutboxState,
        /// The entry after it.
        entry: OutboxEntry,
    },
    /// The entry is in a state in which the step is not possible; nothing changed.
    NotPossible(OutboxEntry),
    /// There is no such entry (any more).
    Absent,
}

/// What waits in one session's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxBacklog {
    /// The session.
    pub session: String,
    /// How many entries.
    pub entries: u64,
    /// When the first of them expires.
    pub first_expiry: Timestamp,
}

/// The outboxes of all sessions.
///
/// A session's owner takes entries in hand with its lease's generation; a late owner is refused with `Conflict`.
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Stores an entry behind all others of its session unless the session has `most` already. The position of
    /// `entry` is not looked at: the new one is above every other's and not below `queued_at` in milliseconds, so
    /// that it is practically never used twice.
    async fn push_outbox(&self, session: &str, entry: &OutboxEntry, most: u64) -> Result<Pushed>;

    /// Up to `limit` (1 to 1,000) entries with a position above `after`, by rising position.
    async fn list_outbox(&self, session: &str, limit: u32, after: u64) -> Result<Vec<OutboxEntry>>;

    /// Reads one entry.
    async fn get_outbox(&self, session: &str, message_id: &str) -> Result<Option<OutboxEntry>>;

    /// Takes a step, atomically, by the rule of [`OutboxStep::apply`].
    async fn step_outbox(&self, session: &str, message_id: &str, step: OutboxStep) -> Result<Stepped>;

    /// Removes an entry, in whatever state. False if there was none. With a generation: `Conflict` if a newer
    /// owner has it in hand.
    async fn remove_outbox(&self, session: &str, message_id: &str, generation: Option<u64>) -> Result<bool>;

    /// Which sessions have entries, by id.
    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>>;

    /// Removes all entries of a session. Returns how many.
    async fn delete_outbox(&self, session: &str) -> Result<u64>;
}

/// The refusal of a late owner.
pub(crate) fn taken_over() -> Error {
    Error::new(ErrorKind::Conflict, "another instance has this outbox entry in hand; leave the session to it")
}

/// The position of an entry behind `last`.
pub(crate) fn position_after(last: Option<u64>, queued_at: Timestamp) -> u64 {
    let by_time = u64::try_from(queued_at.unix_ms()).unwrap_or(0);
    last.map_or(by_time, |last| by_time.max(last.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_come_back() {
        for state in OutboxState::ALL {
            assert_eq!(OutboxState::from_name(state.as_str()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    fn step() -> impl Strategy<Value = OutboxStep> {
        prop_oneof![
            (0..4_u64).prop_map(|generation| OutboxStep::Claim { generation }),
            (0..4_u64).prop_map(|generation| OutboxStep::GiveBack { generation }),
            Just(OutboxStep::Cancel),
            Just(OutboxStep::Expire),
        ]
    }

    proptest! {
        /// Whatever order cancels, claims and owners come in.
        #[test]
        fn an_entry_is_never_both_sent_and_taken_back(steps in proptest::collection::vec(step(), 0..40)) {
            let mut entry = OutboxEntry::new("id", "", Timestamp::from_unix_ms(0), Timestamp::from_unix_ms(1));
            let mut ended = false;
            for step in steps {
                match step.apply(&entry) {
                    Ok(Some(after)) => {
                        prop_assert!(after.generation >= entry.generation);
                        prop_assert!(after.attempts >= entry.attempts);
                        // Once cancelled or expired it is never written again.
                        prop_assert!(!ended || after.attempts == entry.attempts);
                        // What may have reached WhatsApp is not taken back.
                        if entry.state == OutboxState::Sending {
                            prop_assert!(matches!(after.state, OutboxState::Sending | OutboxState::Queued));
                        }
                        ended |= matches!(after.state, OutboxState::Cancelled | OutboxState::Expired);
                        let again = step.apply(&after).unwrap().expect("a step can be repeated");
                        prop_assert_eq!(again.state, after.state);
                        entry = after;
                    }
                    Ok(None) => prop_assert!(!step.from().contains(&entry.state)),
                    Err(error) => {
                        prop_assert_eq!(error.kind(), ErrorKind::Conflict);
                        prop_assert!(step.generation().unwrap() < entry.generation);
                    }
                }
            }
        }
    }
}
