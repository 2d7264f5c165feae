//! The log of events and how far its consumers have read.
//!
//! Events of one session have the numbers 1, 2, 3, … without a gap. Old ones are cut off at the front, never the
//! newest: so the numbers go on rising, and whoever reads can tell from the first number what he missed.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::session::Page;
use crate::clock::Timestamp;
use crate::error::Result;

/// An event to be logged.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What makes it one and the same within its session: appending it again finds the first. Opaque text of up to
    /// 16 KiB.
    pub key: String,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, as JSON. A store keeps it and never looks into it.
    pub payload: serde_json::Value,
}

/// A logged event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRecord {
    /// The session.
    pub session: String,
    /// Its number in the session, from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub payload: serde_json::Value,
}

/// A place in one session's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventMark {
    /// The session.
    pub session: String,
    /// The number of the event there.
    pub seq: u64,
    /// When that happened.
    pub at: Timestamp,
}

/// Some events of one session: those after `after` up to and with `upto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRange {
    /// The session.
    pub session: String,
    /// The last number that is not wanted.
    pub after: u64,
    /// The last number that is wanted.
    pub upto: u64,
}

/// How far a consumer has come in one session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The session.
    pub session: String,
    /// The last event that is done with.
    pub seq: u64,
}

/// A consumer that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerRecord {
    /// Its name.
    pub name: String,
    /// When it was first seen.
    pub created_at: Timestamp,
}

/// An event that a consumer's handler failed on, kept for somebody to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRecord {
    /// The consumer.
    pub consumer: String,
    /// The event, as it was in the log.
    pub event: EventRecord,
    /// How often the handler failed on it, replays included.
    pub attempts: u32,
    /// What the handler said the last time.
    pub error: String,
    /// When that was.
    pub failed_at: Timestamp,
    /// Somebody asked for it to be handled once more.
    pub replay: bool,
}

/// Which dead letters of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterChoice<'a> {
    /// All.
    All,
    /// That of this event.
    One {
        /// The session.
        session: &'a str,
        /// The event's number.
        seq: u64,
    },
}

/// Events by session and number.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends events to a session's log, in order, under the numbers after its last. Durable on `Ok`. Returns the
    /// number of each: one whose `key` is logged already, by whoever it was, keeps the number that it has.
    ///
    /// `after` is the last number that the caller knows of. One session has one owner; should another have appended
    /// meanwhile all the same, numbers stay unique and nobody's events are lost. Only the number after `after` must not
    /// have been trimmed since. After an error, call it again with the same events.
    async fn append_events(&self, session: &str, after: u64, events: &[NewEvent]) -> Result<Vec<u64>>;

    /// Reads the events of these ranges that are there: in order within a session. No session is named twice.
    async fn read_events(&self, ranges: &[EventRange]) -> Result<Vec<EventRecord>>;

    /// The newest event of every session that has one, or of this session. In no order.
    async fn last_events(&self, session: Option<&str>) -> Result<Vec<EventMark>>;

    /// The oldest event that is left of every session that has one, or of this session. In no order.
    async fn first_events(&self, session: Option<&str>) -> Result<Vec<EventMark>>;

    /// Cuts off a session's oldest events: all but the newest `keep`, and those in front of the first that happened at
    /// `expired` or later. The newest event always stays. Returns how many went.
    async fn trim_events(&self, session: &str, keep: u64, expired: Timestamp) -> Result<u64>;

    /// Deletes a session's events, every consumer's position in it and their dead letters. Returns how many events.
    async fn delete_events(&self, session: &str) -> Result<u64>;

    /// A number that rises with every change of the log and of what is to be replayed, so that nobody asks for what is
    /// new while nothing is. `None` if the store cannot know, because other processes write, too.
    fn event_revision(&self) -> Option<u64> {
        None
    }
}

/// Consumers of the log: their positions and what they could not handle.
#[async_trait]
pub trait ConsumerStore: Send + Sync {
    /// Registers a consumer at these positions. If it is registered already, nothing is changed.
    async fn register_consumer(&self, consumer: &ConsumerRecord, start: &[Position]) -> Result<()>;

    /// Reads one consumer.
    async fn get_consumer(&self, name: &str) -> Result<Option<ConsumerRecord>>;

    /// All consumers, by name.
    async fn list_consumers(&self) -> Result<Vec<ConsumerRecord>>;

    /// Where a consumer stands, by session. A session without a position is at 0.
    async fn load_positions(&self, consumer: &str) -> Result<Vec<Position>>;

    /// Moves positions forward; one that would move back stays. As few commands as the database allows.
    async fn advance_positions(&self, consumer: &str, positions: &[Position], now: Timestamp) -> Result<()>;

    /// Forgets a consumer's positions in these sessions: their logs began anew.
    async fn forget_positions(&self, consumer: &str, sessions: &[String]) -> Result<()>;

    /// Deletes a consumer, its positions and its dead letters. `false` if there was none.
    async fn delete_consumer(&self, name: &str) -> Result<bool>;

    /// Puts an event aside, or replaces it if it was put aside before.
    async fn put_dead_letter(&self, letter: &DeadLetterRecord) -> Result<()>;

    /// Reads a page of dead letters, by session and number. With `replay`, only those to be replayed.
    /// `limit` is 1 to 1,000; `after` is the `next` of the page before.
    async fn list_dead_letters(
        &self,
        consumer: &str,
        replay: bool,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<DeadLetterRecord>>;

    /// Asks for dead letters to be replayed. Returns how many were found.
    async fn replay_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64>;

    /// Removes dead letters. Returns how many.
    async fn delete_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64>;
}
