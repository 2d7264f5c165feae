//! What comes next: the sender's view of an outbox, without I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::ending::OutboxOutcome;
use crate::clock::Timestamp;
use crate::session::rate_limit::Denied;
use crate::store::OutboxState;

/// The longest sleep: a clock that jumps is noticed after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// A message whose outcome stays unknown is written so often, then it ends so.
const DOUBTFUL_WRITES: u32 = 5;
/// The pause before such a message is written again; doubles.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// One entry as far as its turn is concerned. Its text stays in the store until then.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Waiting {
    pub(super) message_id: String,
    /// `None`: it does not open, and waits for its expiry.
    pub(super) chat: Option<String>,
    pub(super) expires_at: Timestamp,
    pub(super) state: OutboxState,
    /// Writes whose outcome is unknown.
    pub(super) doubtful: u32,
    /// Not before this moment of the monotonic clock.
    pub(super) not_before: Duration,
}

/// The present, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) monotonic: Duration,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// There is nothing (as far as this view goes).
    Empty,
    /// This one has ended by itself.
    End { message_id: String, outcome: OutboxOutcome },
    /// This one's turn has come.
    Send { message_id: String },
    /// Nothing before this time, unless something happens.
    Wait(Duration),
}

/// Entries by rising position.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Waiting>,
    places: HashMap<String, u64>,
}

impl Queue {
    /// False if it is known already.
    pub(super) fn add(&mut self, position: u64, waiting: Waiting) -> bool {
        if self.places.contains_key(&waiting.message_id) {
            return false;
        }
        self.places.insert(waiting.message_id.clone(), position);
        self.entries.insert(position, waiting);
        true
    }

    pub(super) fn remove(&mut self, message_id: &str) -> Option<Waiting> {
        self.entries.remove(&self.places.remove(message_id)?)
    }

    pub(super) fn last_position(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(position, _)| *position)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The chats with entries, each once.
    pub(super) fn chats(&self) -> HashSet<&str> {
        self.entries.values().filter_map(|waiting| waiting.chat.as_deref()).collect()
    }

    fn get_mut(&mut self, message_id: &str) -> Option<&mut Waiting> {
        self.entries.get_mut(self.places.get(message_id)?)
    }

    /// It was found in another state than was known.
    pub(super) fn set_state(&mut self, message_id: &str, state: OutboxState) {
        if let Some(waiting) = self.get_mut(message_id) {
            waiting.state = state;
        }
    }

    /// WhatsApp refused it for now: it was certainly not sent by this write.
    pub(super) fn refused_for_now(&mut self, message_id: &str) {
        if let Some(waiting) = self.get_mut(message_id)
            && waiting.doubtful == 0
        {
            waiting.state = OutboxState::Queued;
        }
    }

    /// It was written and nothing more is known. True if it has been written often enough.
    pub(super) fn in_doubt(&mut self, message_id: &str, monotonic: Duration) -> bool {
        let Some(waiting) = self.get_mut(message_id) else { return false };
        waiting.state = OutboxState::Sending;
        waiting.doubtful += 1;
        waiting.not_before = monotonic + FIRST_RETRY * 2_u32.pow((waiting.doubtful - 1).min(4));
        waiting.doubtful >= DOUBTFUL_WRITES
    }

    /// It does not open. Returns the chat that it counted for.
    pub(super) fn unreadable(&mut self, message_id: &str) -> Option<String> {
        self.get_mut(message_id)?.chat.take()
    }

    /// The chat of every entry, as often as it has one.
    pub(super) fn into_chats(self) -> Vec<String> {
        self.entries.into_values().filter_map(|waiting| waiting.chat).collect()
    }

    /// What comes next. `owns`: this process has the session's lease, so that what is in doubt is its own business;
    /// `leave` is asked for each that could go, until one may.
    pub(super) fn next(
        &self,
        moment: Moment,
        owns: bool,
        is_up: bool,
        mut leave: impl FnMut(&str) -> Result<(), Denied>,
    ) -> Next {
        if self.entries.is_empty() {
            return Next::Empty;
        }
        let mut wait = LONGEST_WAIT;
        for waiting in self.entries.values() {
            if let Some(outcome) = waiting.ended(moment.now, owns) {
                return Next::End { message_id: waiting.message_id.clone(), outcome };
            }
            if waiting.expires_at > moment.now {
                wait = wait.min(waiting.expires_at.since(moment.now));
            }
        }
        if !is_up {
            return Next::Wait(wait.max(SHORTEST_WAIT));
        }
        let mut blocked = HashSet::new();
        for waiting in self.entries.values() {
            let Some(chat) = waiting.chat.as_deref() else { continue };
            if blocked.contains(chat) {
                continue;
            }
            if waiting.not_before > moment.monotonic {
                wait = wait.min(waiting.not_before - moment.monotonic);
                blocked.insert(chat);
                continue;
            }
            match leave(chat) {
                Ok(()) => return Next::Send { message_id: waiting.message_id.clone() },
                Err(denied) => {
                    wait = wait.min(denied.wait);
                    if denied.is_for_all() {
                        break;
                    }
                    blocked.insert(chat);
                }
            }
        }
        Next::Wait(wait.max(SHORTEST_WAIT))
    }
}

impl Waiting {
    fn ended(&self, now: Timestamp, owns: bool) -> Option<OutboxOutcome> {
        match self.state {
            OutboxState::Cancelled => Some(OutboxOutcome::Cancelled),
            OutboxState::Expired => Some(OutboxOutcome::Expired),
            OutboxState::Queued if self.expires_at <= now => Some(OutboxOutcome::Expired),
            OutboxState::Sending if self.expires_at <= now && owns => Some(OutboxOutcome::Indeterminate),
            OutboxState::Queued | OutboxState::Sending => None,
        }
    }
}

#[cfg(test)]
mod tests;
