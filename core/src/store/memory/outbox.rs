//! Outboxes in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::Result;
use crate::store::outbox::{
    OutboxBacklog, OutboxEntry, OutboxStep, OutboxStore, Pushed, Stepped, position_after, taken_over,
};
use crate::store::rules::check_limit;

#[async_trait]
impl OutboxStore for MemoryStore {
    async fn push_outbox(&self, session: &str, entry: &OutboxEntry, most: u64) -> Result<Pushed> {
        let mut data = self.enter("push_outbox").await?;
        let entries = data.outbox.entry(session.to_owned()).or_default();
        if let Some(known) = entries.iter().find(|known| known.message_id == entry.message_id) {
            return Ok(Pushed::Known(known.clone()));
        }
        if entries.len() as u64 >= most {
            return Ok(Pushed::Full);
        }
        let position = position_after(entries.last().map(|last| last.position), entry.queued_at);
        entries.push(OutboxEntry { position, ..entry.clone() });
        Ok(Pushed::New { position })
    }

    async fn list_outbox(&self, session: &str, limit: u32, after: u64) -> Result<Vec<OutboxEntry>> {
        check_limit(limit)?;
        let data = self.enter("list_outbox").await?;
        let entries = data.outbox.get(session).into_iter().flatten();
        Ok(entries.filter(|entry| entry.position > after).take(limit as usize).cloned().collect())
    }

    async fn get_outbox(&self, session: &str, message_id: &str) -> Result<Option<OutboxEntry>> {
        let data = self.enter("get_outbox").await?;
        let mut entries = data.outbox.get(session).into_iter().flatten();
        Ok(entries.find(|entry| entry.message_id == message_id).cloned())
    }

    async fn step_outbox(&self, session: &str, message_id: &str, step: OutboxStep) -> Result<Stepped> {
        let mut data = self.enter("step_outbox").await?;
        let mut entries = data.outbox.get_mut(session).into_iter().flatten();
        let Some(entry) = entries.find(|entry| entry.message_id == message_id) else {
            return Ok(Stepped::Absent);
        };
        Ok(match step.apply(entry)? {
            Some(after) => {
                let was = std::mem::replace(entry, after.clone()).state;
                Stepped::Done { was, entry: after }
            }
            None => Stepped::NotPossible(entry.clone()),
        })
    }

    async fn remove_outbox(&self, session: &str, message_id: &str, generation: Option<u64>) -> Result<bool> {
        let mut data = self.enter("remove_outbox").await?;
        let Some(entries) = data.outbox.get_mut(session) else { return Ok(false) };
        let Some(place) = entries.iter().position(|entry| entry.message_id == message_id) else {
            return Ok(false);
        };
        if generation.is_some_and(|mine| mine < entries[place].generation) {
            return Err(taken_over());
        }
        entries.remove(place);
        if entries.is_empty() {
            data.outbox.remove(session);
        }
        Ok(true)
    }

    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>> {
        let data = self.enter("outbox_backlog").await?;
        let backlog = data.outbox.iter().filter_map(|(session, entries)| {
            let first_expiry = entries.iter().map(|entry| entry.expires_at).min()?;
            Some(OutboxBacklog { session: session.clone(), entries: entries.len() as u64, first_expiry })
        });
        Ok(backlog.collect())
    }

    async fn delete_outbox(&self, session: &str) -> Result<u64> {
        let mut data = self.enter("delete_outbox").await?;
        Ok(data.outbox.remove(session).map_or(0, |entries| entries.len() as u64))
    }
}
