//! Events that a consumer's handler failed on for good.

use std::sync::Arc;

use serde::Serialize;

use super::LoggedEvent;
use super::cursor::Cursor;
use super::log::DurableLog;
use super::writer::decode;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::store::{DeadLetterChoice, DeadLetterRecord, EventRange, EventRecord, Page};

/// How much of a handler's words is kept, in bytes.
const MAX_REASON: usize = 2_000;
/// Dead letters looked at in one go.
const LETTERS_AT_ONCE: u32 = 100;

/// An event that was put aside.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event.
    pub event: Arc<Event>,
    /// How often the handler failed on it, replays included.
    pub attempts: u32,
    /// What the handler said the last time. It may hold whatever the handler knew.
    pub error: String,
    /// When that was.
    pub failed_at: Timestamp,
    /// Whether it waits to be handled once more.
    pub replay: bool,
}

/// The dead letters of one consumer. They stay until they are replayed with success or removed, or their session or
/// consumer is deleted; the bounds of the log are not theirs.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    consumer: String,
    log: Arc<DurableLog>,
}

impl DeadLetters {
    pub(crate) fn new(log: Arc<DurableLog>, consumer: &str) -> Self {
        Self { consumer: consumer.to_owned(), log }
    }

    /// A page of them, by session and number. `limit` is 1 to 1,000; `after` is the `next` of the page before.
    pub async fn list(&self, limit: u32, after: Option<&str>) -> Result<Page<DeadLetter>> {
        let page = self.log.store.list_dead_letters(&self.consumer, false, limit, after).await?;
        Ok(Page {
            items: page.items.into_iter().map(dead_letter).collect(),
            next: page.next,
            malformed: page.malformed,
        })
    }

    /// Has one handled once more, by whichever process runs the consumer, now or later. It comes out of order; if it
    /// fails again, as often as any other, it is a dead letter again. `NotFound` if there is none.
    pub async fn replay(&self, session_id: &str, seq: u64) -> Result<()> {
        let choice = DeadLetterChoice::One { session: session_id, seq };
        let found = self.log.store.replay_dead_letters(&self.consumer, choice).await?;
        self.log.announce_replay(&self.consumer);
        found_one(found, session_id, "replay")
    }

    /// Has all handled once more. Returns how many.
    pub async fn replay_all(&self) -> Result<u64> {
        let found = self.log.store.replay_dead_letters(&self.consumer, DeadLetterChoice::All).await?;
        self.log.announce_replay(&self.consumer);
        Ok(found)
    }

    /// Removes one for good. `NotFound` if there is none.
    pub async fn discard(&self, session_id: &str, seq: u64) -> Result<()> {
        let choice = DeadLetterChoice::One { session: session_id, seq };
        let found = self.log.store.delete_dead_letters(&self.consumer, choice).await?;
        found_one(found, session_id, "discard")
    }

    /// Removes all for good. Returns how many.
    pub async fn discard_all(&self) -> Result<u64> {
        self.log.store.delete_dead_letters(&self.consumer, DeadLetterChoice::All).await
    }
}

fn found_one(found: u64, session_id: &str, op: &'static str) -> Result<()> {
    if found > 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotFound, "no such dead letter; list them to see which there are")
        .of_session(session_id)
        .during(op))
}

fn dead_letter(record: DeadLetterRecord) -> DeadLetter {
    let EventRecord { session, seq, at, payload } = record.event;
    DeadLetter {
        event: Arc::new(Event { seq, session_id: session, at, kind: decode(payload) }),
        attempts: record.attempts,
        error: record.error,
        failed_at: record.failed_at,
        replay: record.replay,
    }
}

/// Puts an event aside. To do it twice changes nothing.
pub(super) async fn put_aside(
    log: &DurableLog,
    consumer: &str,
    event: &LoggedEvent,
    attempts: u32,
    reason: &str,
) -> Result<()> {
    let Event { seq, session_id, at, kind } = &*event.event;
    let payload = serde_json::to_value(kind)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot encode an event").caused_by(error))?;
    let letter = DeadLetterRecord {
        consumer: consumer.to_owned(),
        event: EventRecord { session: session_id.clone(), seq: *seq, at: *at, payload },
        attempts,
        error: shortened(reason),
        failed_at: log.clock.now(),
        replay: false,
    };
    log.store.put_dead_letter(&letter).await
}

/// The event that a cursor stands for, from the log or from the dead letters.
pub(super) async fn find_event(log: &DurableLog, cursor: Cursor) -> Result<LoggedEvent> {
    let store = &log.store;
    let record = if cursor.replayed {
        let mut after = None;
        loop {
            let page =
                store.list_dead_letters(&cursor.consumer, true, LETTERS_AT_ONCE, after.as_deref()).await?;
            let found = page
                .items
                .into_iter()
                .map(|letter| letter.event)
                .find(|event| event.session == cursor.session && event.seq == cursor.seq);
            match (found, page.next) {
                (None, Some(next)) => after = Some(next),
                (found, _) => break found,
            }
        }
    } else {
        let session = cursor.session.clone();
        let range = EventRange { session, after: cursor.seq.saturating_sub(1), upto: cursor.seq };
        store.read_events(&[range]).await?.pop()
    };
    let EventRecord { session, seq, at, payload } = record.ok_or_else(|| {
        let message = "the event is not in the log any more; acknowledge it";
        Error::new(ErrorKind::NotFound, message).of_session(&cursor.session)
    })?;
    let event = Arc::new(Event { seq, session_id: session, at, kind: decode(payload) });
    Ok(LoggedEvent { event, attempt: 1, replayed: cursor.replayed, cursor })
}

fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

impl Cursor {
    /// The dead letter that it stands for.
    pub(super) fn choice(&self) -> DeadLetterChoice<'_> {
        DeadLetterChoice::One { session: &self.session, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(shortened("kurz"), "kurz");
        let cut = shortened(&"ñ€".repeat(1_000));
        assert!(cut.len() <= MAX_REASON && cut.len() > MAX_REASON - 4);
    }
}
