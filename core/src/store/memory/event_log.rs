//! The event log in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::MemoryStore;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::event_log::{EventLog, EventMark, EventRange, EventRecord, NewEvent};

/// One session's events by number, and their keys.
#[derive(Default)]
pub(super) struct SessionLog {
    events: BTreeMap<u64, NewEvent>,
    numbers: HashMap<String, u64>,
}

impl SessionLog {
    fn append(&mut self, event: &NewEvent) -> u64 {
        if let Some(seq) = self.numbers.get(&event.key) {
            return *seq;
        }
        let seq = self.events.last_key_value().map_or(1, |(last, _)| last + 1);
        self.numbers.insert(event.key.clone(), seq);
        self.events.insert(seq, event.clone());
        seq
    }

    fn cut(&mut self, before: u64) -> u64 {
        let kept = self.events.split_off(&before);
        let gone = std::mem::replace(&mut self.events, kept);
        for event in gone.values() {
            self.numbers.remove(&event.key);
        }
        gone.len() as u64
    }
}

fn mark(session: &str, place: Option<(&u64, &NewEvent)>) -> Option<EventMark> {
    place.map(|(seq, event)| EventMark { session: session.to_owned(), seq: *seq, at: event.at })
}

#[async_trait]
impl EventLog for MemoryStore {
    async fn append_events(&self, session: &str, _after: u64, events: &[NewEvent]) -> Result<Vec<u64>> {
        let mut data = self.enter("append_events").await?;
        if events.is_empty() {
            return Ok(Vec::new());
        }
        self.events_changed();
        let log = data.events.entry(session.to_owned()).or_default();
        Ok(events.iter().map(|event| log.append(event)).collect())
    }

    async fn read_events(&self, ranges: &[EventRange]) -> Result<Vec<EventRecord>> {
        let data = self.enter("read_events").await?;
        let mut found = Vec::new();
        for EventRange { session, after, upto } in ranges.iter().filter(|range| range.after < range.upto) {
            let Some(log) = data.events.get(session) else { continue };
            found.extend(log.events.range(after + 1..=*upto).map(|(seq, event)| EventRecord {
                session: session.clone(),
                seq: *seq,
                at: event.at,
                payload: event.payload.clone(),
            }));
        }
        Ok(found)
    }

    async fn last_events(&self, session: Option<&str>) -> Result<Vec<EventMark>> {
        let data = self.enter("last_events").await?;
        let wanted = data.events.iter().filter(|(id, _)| session.is_none_or(|session| session == *id));
        Ok(wanted.filter_map(|(id, log)| mark(id, log.events.last_key_value())).collect())
    }

    async fn first_events(&self, session: Option<&str>) -> Result<Vec<EventMark>> {
        let data = self.enter("first_events").await?;
        let wanted = data.events.iter().filter(|(id, _)| session.is_none_or(|session| session == *id));
        Ok(wanted.filter_map(|(id, log)| mark(id, log.events.first_key_value())).collect())
    }

    async fn trim_events(&self, session: &str, keep: u64, expired: Timestamp) -> Result<u64> {
        let mut data = self.enter("trim_events").await?;
        let Some(log) = data.events.get_mut(session) else { return Ok(0) };
        let Some((last, _)) = log.events.last_key_value() else { return Ok(0) };
        let young = log.events.iter().find(|(_, event)| event.at >= expired).map_or(*last, |(seq, _)| *seq);
        let counted = (last + 1).saturating_sub(keep);
        let before = young.max(counted).min(*last);
        self.events_changed();
        Ok(log.cut(before))
    }

    async fn delete_events(&self, session: &str) -> Result<u64> {
        let mut data = self.enter("delete_events").await?;
        let gone = data.events.remove(session).map_or(0, |log| log.events.len() as u64);
        for consumer in data.consumers.values_mut() {
            consumer.positions.remove(session);
            consumer.dead_letters.retain(|(of, _), _| of != session);
        }
        self.events_changed();
        Ok(gone)
    }

    fn event_revision(&self) -> Option<u64> {
        Some(self.event_revision.load(Ordering::Acquire))
    }
}

impl MemoryStore {
    /// Under the lock: who sees the new revision finds what was written.
    pub(super) fn events_changed(&self) {
        self.event_revision.fetch_add(1, Ordering::Release);
    }
}
