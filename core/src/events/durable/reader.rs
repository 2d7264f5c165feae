//! What a consumer has read, and the reading of more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::LoggedEvent;
use super::cursor::Cursor;
use super::log::{DurableLog, Inbox};
use super::positions::Positions;
use super::writer::decode;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::events::{Event, EventKind};
use crate::store::{DeadLetterRecord, EventRange, EventRecord, Position};

/// Replays that are taken from the store in one go.
const REPLAYS_AT_ONCE: u32 = 100;

pub(super) struct Reader {
    consumer: String,
    log: Arc<DurableLog>,
    inbox: Arc<Inbox>,
    pub(super) positions: Positions,
    poll_interval: Duration,
    polled_at: Option<Duration>,
    /// The store's revision at that time.
    revision: Option<u64>,
    /// Dead letters to be handled once more, and those that are being handled.
    replays: VecDeque<DeadLetterRecord>,
    replaying: HashSet<(String, u64)>,
    /// Sessions whose log is a new one, and whose old position is still to be forgotten.
    begun_anew: HashSet<String>,
}

impl Reader {
    pub(super) fn new(
        consumer: String,
        log: Arc<DurableLog>,
        inbox: Arc<Inbox>,
        stored: Vec<Position>,
        poll_interval: Duration,
    ) -> Self {
        Self {
            consumer,
            log,
            inbox,
            positions: Positions::new(stored),
            poll_interval,
            polled_at: None,
            revision: None,
            replays: VecDeque::new(),
            replaying: HashSet::new(),
            begun_anew: HashSet::new(),
        }
    }

    /// How long until other processes' events are looked for.
    pub(super) fn until_poll(&self) -> Duration {
        let now = self.log.clock.monotonic();
        self.polled_at.map_or(Duration::ZERO, |at| (at + self.poll_interval).saturating_sub(now))
    }

    /// Learns what is in the log: from this process at once, from others when it is time to ask.
    pub(super) async fn learn(&mut self) -> Result<()> {
        let news = self.inbox.take();
        if news.replays {
            self.polled_at = None;
        }
        for (session, last) in news.last {
            if !self.positions.learn(&session, last) {
                self.begun_anew.insert(session);
            }
        }
        // Taken before anything is read: what comes meanwhile makes it rise.
        let revision = self.log.store.event_revision();
        let is_same = self.polled_at.is_some() && revision.is_some() && revision == self.revision;
        if is_same && self.until_poll().is_zero() {
            self.polled_at = Some(self.log.clock.monotonic());
        }
        if self.until_poll().is_zero() {
            let marks = self.log.store.last_events(None).await?;
            for mark in &marks {
                if !self.positions.learn(&mark.session, mark.seq) {
                    self.begun_anew.insert(mark.session.clone());
                }
            }
            let there: HashSet<&str> = marks.iter().map(|mark| mark.session.as_str()).collect();
            self.begun_anew.extend(self.positions.retain(|session| there.contains(session)));
            self.learn_replays().await?;
            self.polled_at = Some(self.log.clock.monotonic());
            self.revision = revision;
        }
        if !self.begun_anew.is_empty() {
            // What was acknowledged in a log that is gone says nothing about the new one.
            let sessions: Vec<String> = self.begun_anew.iter().cloned().collect();
            self.log.store.forget_positions(&self.consumer, &sessions).await?;
            self.begun_anew.clear();
        }
        Ok(())
    }

    async fn learn_replays(&mut self) -> Result<()> {
        if !self.replays.is_empty() {
            return Ok(());
        }
        let page = self.log.store.list_dead_letters(&self.consumer, true, REPLAYS_AT_ONCE, None).await?;
        let new = page
            .items
            .into_iter()
            .filter(|letter| !self.replaying.contains(&(letter.event.session.clone(), letter.event.seq)));
        self.replays.extend(new);
        Ok(())
    }

    /// A dead letter to handle once more, of a session that is not busy.
    pub(super) fn next_replay(
        &mut self,
        busy: impl Fn(&str) -> bool,
    ) -> Option<(LoggedEvent, DeadLetterRecord)> {
        let index = self.replays.iter().position(|letter| !busy(&letter.event.session))?;
        let letter = self.replays.remove(index)?;
        self.replaying.insert((letter.event.session.clone(), letter.event.seq));
        Some((self.logged(letter.event.clone(), true), letter))
    }

    /// A replay is over: a later one of the same event is another.
    pub(super) fn replayed(&mut self, session: &str, seq: u64) {
        self.replaying.remove(&(session.to_owned(), seq));
    }

    /// Reads at most `most` events of sessions that are not busy; in order within a session.
    pub(super) async fn read(
        &mut self,
        most: u64,
        busy: impl Fn(&str) -> bool,
    ) -> Result<Vec<Vec<LoggedEvent>>> {
        let ranges = self.positions.plan(most, busy);
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let mut found: HashMap<String, Vec<EventRecord>> = HashMap::new();
        for record in self.log.store.read_events(&ranges).await? {
            found.entry(record.session.clone()).or_default().push(record);
        }
        // All is read before anything counts as handed out: an error in between skips nothing.
        let mut parts = Vec::with_capacity(ranges.len());
        for range in ranges {
            let records = found.remove(&range.session).unwrap_or_default();
            let events = self.of_range(&range, records).await?;
            parts.push((range, events));
        }
        let mut read = Vec::new();
        for (range, events) in parts {
            match events.last() {
                Some(last) => self.positions.took(&range.session, last.event.seq),
                None => self.positions.nothing_yet(&range.session),
            }
            if !events.is_empty() {
                read.push(events);
            }
        }
        Ok(read)
    }

    /// The events of one session, with a word about those in front of them that are gone.
    async fn of_range(&self, range: &EventRange, records: Vec<EventRecord>) -> Result<Vec<LoggedEvent>> {
        let first = match records.first() {
            Some(record) => Some(record.seq),
            // All of the range may have been cut off since it was learnt of.
            None => self.log.store.first_events(Some(&range.session)).await?.first().map(|mark| mark.seq),
        };
        let mut events = Vec::with_capacity(records.len() + 1);
        if let Some(first) = first
            && first > range.after + 1
        {
            events.push(self.missed(&range.session, range.after, first - 1));
        }
        events.extend(records.into_iter().map(|record| self.logged(record, false)));
        Ok(events)
    }

    fn missed(&self, session: &str, after: u64, upto: u64) -> LoggedEvent {
        let at = self.log.clock.now();
        let kind = EventKind::Missed { count: upto - after };
        tracing::warn!(consumer = %self.consumer, session, count = upto - after, "events were cut off unread");
        self.event(session.to_owned(), upto, at, kind, false)
    }

    fn logged(&self, record: EventRecord, replayed: bool) -> LoggedEvent {
        let EventRecord { session, seq, at, payload } = record;
        self.event(session, seq, at, decode(payload), replayed)
    }

    fn event(
        &self,
        session: String,
        seq: u64,
        at: Timestamp,
        kind: EventKind,
        replayed: bool,
    ) -> LoggedEvent {
        let cursor = Cursor { consumer: self.consumer.clone(), session: session.clone(), seq, replayed };
        let event = Arc::new(Event { seq, session_id: session, at, kind });
        LoggedEvent { event, cursor, attempt: 1, replayed }
    }
}
