//! Session records in memory.

use std::cmp::Reverse;

use async_trait::async_trait;

use super::{MemoryStore, check_limit, read_cursor, write_cursor};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::session::status::Status;
use crate::store::rules::apply_patch;
use crate::store::session::{
    Page, PageRequest, SessionFilter, SessionPatch, SessionRecord, SessionStore, Statistics,
};

fn matches(filter: &SessionFilter, record: &SessionRecord) -> bool {
    let is_problematic = |attempts| record.status == Status::Error || record.connection_attempts >= attempts;
    filter.is_active.is_none_or(|active| record.is_active == active)
        && filter.is_connected.is_none_or(|connected| record.is_connected == connected)
        && (filter.statuses.is_empty() || filter.statuses.contains(&record.status))
        && filter.min_connection_attempts.is_none_or(|least| record.connection_attempts >= least)
        && filter.last_activity_before.is_none_or(|before| record.last_activity < before)
        && (filter.session_ids.is_empty() || filter.session_ids.contains(&record.session_id))
        && filter.problematic_from_attempts.is_none_or(is_problematic)
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn upsert_session(&self, fresh: &SessionRecord, patch: &SessionPatch) -> Result<SessionRecord> {
        let mut data = self.enter("upsert_session").await?;
        let record = data.sessions.entry(fresh.session_id.clone()).or_insert_with(|| fresh.clone());
        apply_patch(record, patch, fresh.updated_at);
        Ok(record.clone())
    }

    async fn patch_session(
        &self,
        session: &str,
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        self.patch_session_if(session, &Status::ALL, patch, now).await
    }

    async fn patch_session_if(
        &self,
        session: &str,
        from: &[Status],
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        let mut data = self.enter("patch_session").await?;
        let record = data.sessions.get_mut(session).filter(|record| from.contains(&record.status));
        Ok(record.map(|record| {
            apply_patch(record, patch, now);
            record.clone()
        }))
    }

    async fn get_session(&self, session: &str) -> Result<Option<SessionRecord>> {
        Ok(self.enter("get_session").await?.sessions.get(session).cloned())
    }

    async fn list_sessions(&self, filter: &SessionFilter, page: &PageRequest) -> Result<Page<SessionRecord>> {
        let limit = check_limit(page.limit, PageRequest::MAX_LIMIT)?;
        let after: Option<(i64, String)> = read_cursor(page.after.as_deref())?;
        let data = self.enter("list_sessions").await?;
        // By id alone, every record has the same first half of its place.
        let activity = |record: &SessionRecord| {
            if page.most_recently_active_first { record.last_activity.unix_ms() } else { 0 }
        };
        let place = |record: &SessionRecord| (Reverse(activity(record)), record.session_id.clone());
        let after = after.map(|(activity, id)| (Reverse(activity), id));
        let mut found: Vec<_> = data.sessions.values().filter(|record| matches(filter, record)).collect();
        found.retain(|record| after.as_ref().is_none_or(|after| place(record) > *after));
        found.sort_by_key(|record| place(record));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more);
        let next = next.map(|record| write_cursor(&(activity(record), &record.session_id)));
        Ok(Page { next, items: found.into_iter().cloned().collect(), malformed: Vec::new() })
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64> {
        let data = self.enter("count_sessions").await?;
        Ok(data.sessions.values().filter(|record| matches(filter, record)).count() as u64)
    }

    async fn delete_session_record(&self, session: &str) -> Result<bool> {
        Ok(self.enter("delete_session_record").await?.sessions.remove(session).is_some())
    }

    async fn statistics(&self) -> Result<Statistics> {
        let data = self.enter("statistics").await?;
        let mut sum = Statistics::default();
        for record in data.sessions.values() {
            sum.total_sessions += 1;
            sum.active_sessions += u64::from(record.is_active);
            sum.connected_sessions += u64::from(record.is_connected);
            match record.status {
                Status::Pending | Status::QrReady => sum.pending_sessions += 1,
                Status::Disconnected => sum.disconnected_sessions += 1,
                Status::Error => sum.error_sessions += 1,
                Status::Inactive => sum.inactive_sessions += 1,
                Status::Connected => {}
            }
            sum.messages_sent += record.messages_sent;
            sum.messages_received += record.messages_received;
            sum.total_chats += record.total_chats;
        }
        sum.total_messages = sum.messages_sent + sum.messages_received;
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_complete_in_both_orders() {
        let store = MemoryStore::new();
        for (id, activity) in [("a", 3), ("b", 1), ("c", 3), ("d", 2)] {
            let mut record = SessionRecord::new(id, Timestamp::from_unix_ms(activity));
            record.is_active = id != "d";
            store.upsert_session(&record, &SessionPatch::default()).await.unwrap();
        }
        for (recent, expected) in [(false, ["a", "b", "c", "d"]), (true, ["a", "c", "d", "b"])] {
            let mut page = PageRequest { limit: 1, after: None, most_recently_active_first: recent };
            let mut seen = Vec::new();
            loop {
                let answer = store.list_sessions(&SessionFilter::default(), &page).await.unwrap();
                seen.extend(answer.items.into_iter().map(|record| record.session_id));
                page.after = answer.next;
                if page.after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected);
        }
        let active = SessionFilter { is_active: Some(true), ..Default::default() };
        assert_eq!(store.count_sessions(&active).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn activity_only_rises() {
        let store = MemoryStore::new();
        let record = SessionRecord::new("a", Timestamp::from_unix_ms(10));
        store.upsert_session(&record, &SessionPatch::default()).await.unwrap();
        for (set, stands) in [(5, 10), (20, 20)] {
            let patch =
                SessionPatch { last_activity: Some(Timestamp::from_unix_ms(set)), ..Default::default() };
            let record =
                store.patch_session("a", &patch, Timestamp::from_unix_ms(99)).await.unwrap().unwrap();
            assert_eq!(record.last_activity.unix_ms(), stands);
        }
    }
}
