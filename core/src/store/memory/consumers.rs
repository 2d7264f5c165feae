//! Consumers of the event log in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use async_trait::async_trait;

use super::{MemoryStore, check_limit, read_cursor, write_cursor};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::event_log::{ConsumerRecord, ConsumerStore, DeadLetterChoice, DeadLetterRecord, Position};
use crate::store::session::Page;

/// The most that a page of dead letters holds.
const MAX_LIMIT: u32 = 1_000;

/// One consumer with all that is its.
pub(super) struct Consumer {
    created_at: Timestamp,
    pub(super) positions: BTreeMap<String, u64>,
    pub(super) dead_letters: BTreeMap<(String, u64), DeadLetterRecord>,
}

impl Consumer {
    fn new(created_at: Timestamp) -> Self {
        Self { created_at, positions: BTreeMap::new(), dead_letters: BTreeMap::new() }
    }

    fn chosen(&mut self, choice: DeadLetterChoice<'_>) -> Vec<(String, u64)> {
        let chosen = |place: &&(String, u64)| match choice {
            DeadLetterChoice::All => true,
            DeadLetterChoice::One { session, seq } => place.0 == session && place.1 == seq,
        };
        self.dead_letters.keys().filter(chosen).cloned().collect()
    }
}

#[async_trait]
impl ConsumerStore for MemoryStore {
    async fn register_consumer(&self, consumer: &ConsumerRecord, start: &[Position]) -> Result<()> {
        let mut data = self.enter("register_consumer").await?;
        if let Entry::Vacant(free) = data.consumers.entry(consumer.name.clone()) {
            let new = free.insert(Consumer::new(consumer.created_at));
            new.positions = start.iter().map(|place| (place.session.clone(), place.seq)).collect();
        }
        Ok(())
    }

    async fn get_consumer(&self, name: &str) -> Result<Option<ConsumerRecord>> {
        let data = self.enter("get_consumer").await?;
        Ok(data
            .consumers
            .get(name)
            .map(|found| ConsumerRecord { name: name.to_owned(), created_at: found.created_at }))
    }

    async fn list_consumers(&self) -> Result<Vec<ConsumerRecord>> {
        let data = self.enter("list_consumers").await?;
        let record = |(name, found): (&String, &Consumer)| ConsumerRecord {
            name: name.clone(),
            created_at: found.created_at,
        };
        Ok(data.consumers.iter().map(record).collect())
    }

    async fn load_positions(&self, consumer: &str) -> Result<Vec<Position>> {
        let data = self.enter("load_positions").await?;
        let positions = data.consumers.get(consumer).into_iter().flat_map(|found| &found.positions);
        Ok(positions.map(|(session, seq)| Position { session: session.clone(), seq: *seq }).collect())
    }

    async fn advance_positions(&self, consumer: &str, positions: &[Position], now: Timestamp) -> Result<()> {
        let mut data = self.enter("advance_positions").await?;
        let found = data.consumers.entry(consumer.to_owned()).or_insert_with(|| Consumer::new(now));
        for Position { session, seq } in positions {
            let stored = found.positions.entry(session.clone()).or_default();
            *stored = (*stored).max(*seq);
        }
        Ok(())
    }

    async fn forget_positions(&self, consumer: &str, sessions: &[String]) -> Result<()> {
        let mut data = self.enter("forget_positions").await?;
        if let Some(found) = data.consumers.get_mut(consumer) {
            found.positions.retain(|session, _| !sessions.contains(session));
        }
        Ok(())
    }

    async fn delete_consumer(&self, name: &str) -> Result<bool> {
        Ok(self.enter("delete_consumer").await?.consumers.remove(name).is_some())
    }

    async fn put_dead_letter(&self, letter: &DeadLetterRecord) -> Result<()> {
        let mut data = self.enter("put_dead_letter").await?;
        let found =
            data.consumers.entry(letter.consumer.clone()).or_insert_with(|| Consumer::new(letter.failed_at));
        found.dead_letters.insert((letter.event.session.clone(), letter.event.seq), letter.clone());
        Ok(())
    }

    async fn list_dead_letters(
        &self,
        consumer: &str,
        replay: bool,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<DeadLetterRecord>> {
        let limit = check_limit(limit, MAX_LIMIT)?;
        let after: Option<(String, u64)> = read_cursor(after)?;
        let data = self.enter("list_dead_letters").await?;
        let letters = data.consumers.get(consumer).into_iter().flat_map(|found| &found.dead_letters);
        let mut found: Vec<_> = letters
            .filter(|(place, letter)| {
                (letter.replay || !replay) && after.as_ref().is_none_or(|after| *place > after)
            })
            .take(limit + 1)
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(place, _)| write_cursor(place));
        let items = found.into_iter().map(|(_, letter)| letter.clone()).collect();
        Ok(Page { items, next, malformed: Vec::new() })
    }

    async fn replay_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64> {
        let mut data = self.enter("replay_dead_letters").await?;
        let Some(found) = data.consumers.get_mut(consumer) else { return Ok(0) };
        let chosen = found.chosen(choice);
        for place in &chosen {
            if let Some(letter) = found.dead_letters.get_mut(place) {
                letter.replay = true;
            }
        }
        self.events_changed();
        Ok(chosen.len() as u64)
    }

    async fn delete_dead_letters(&self, consumer: &str, choice: DeadLetterChoice<'_>) -> Result<u64> {
        let mut data = self.enter("delete_dead_letters").await?;
        let Some(found) = data.consumers.get_mut(consumer) else { return Ok(0) };
        let chosen = found.chosen(choice);
        for place in &chosen {
            found.dead_letters.remove(place);
        }
        Ok(chosen.len() as u64)
    }
}
