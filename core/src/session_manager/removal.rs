//! Deleting a session with all that is its, and the sessions that nobody uses any more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Inner, SessionManager, not_found};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Acquired, Lease, PageRequest, SessionFilter, Tenure};

/// How long the lease of a session is taken for to delete it: its messages may be many.
const LEASE: Duration = Duration::from_secs(5 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What went with a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Deleted {
    /// Documents of credentials and keys.
    pub auth: u64,
    /// Messages.
    pub messages: u64,
    /// Chats.
    pub chats: u64,
    /// Messages that still waited in the outbox.
    pub outbox: u64,
    /// Logged events; with them go every consumer's position and dead letters.
    pub events: u64,
}

/// What a cleanup removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CleanupReport {
    /// Whether nothing was removed, only looked for.
    pub dry_run: bool,
    /// Sessions removed, by id. In a dry run: that would be removed.
    pub removed: Vec<String>,
    /// Sessions that are old enough but run on some instance; stop or put them away first.
    pub held: Vec<String>,
    /// Sessions that could not be removed. What is left of them is removed by the next cleanup.
    pub failed: Vec<CleanupFailure>,
}

/// A session that a cleanup could not remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CleanupFailure {
    /// Which.
    pub session_id: String,
    /// The name of the error's kind.
    pub kind: String,
    /// What happened.
    pub message: String,
}

enum Removal {
    Removed,
    Held,
    /// Somebody used or removed it since it was listed.
    NoLongerDue,
}

impl SessionManager {
    /// Deletes a session: credentials, keys, their archive, messages, chats, and at last the record.
    ///
    /// Whoever owns the session passes its [`Tenure`] and has stopped it. With `None` the lease is taken for the
    /// time of the deletion: `Conflict` if an instance holds it. After an error, call it again: the record goes
    /// last, so that what is left can still be found. `NotFound` if there is no such session.
    pub async fn delete_session(&self, session_id: &str, tenure: Option<Tenure>) -> Result<Deleted> {
        let delete = async {
            self.check_exists(session_id).await?;
            match tenure {
                Some(tenure) => self.delete_owned(session_id, tenure).await,
                None => match self.take_lease(session_id).await? {
                    Some(lease) => {
                        let deleted = self.delete_owned(session_id, lease.tenure()).await;
                        self.give_back(&lease, deleted).await
                    }
                    None => Err(Error::new(
                        ErrorKind::Conflict,
                        "an instance runs the session; stop it there, or delete it through that instance",
                    )),
                },
            }
        };
        delete.await.map_err(|error| error.during("delete session").of_session(session_id))
    }

    /// Deletes every session that is not connected, that no instance holds, and that has seen no activity for
    /// `days`. With `dry_run` nothing is changed. `Invalid` if `days` is 0.
    ///
    /// A failure with one session is reported and does not stop the rest, unless the store cannot be reached.
    pub async fn cleanup_inactive_sessions(&self, days: u32, dry_run: bool) -> Result<CleanupReport> {
        if days == 0 {
            let message = "days must be 1 or more: 0 would remove every session that is not connected";
            return Err(Error::new(ErrorKind::Invalid, message).during("cleanup"));
        }
        let cutoff = self.0.clock.now().minus(DAY.saturating_mul(days));
        let due = SessionFilter {
            is_connected: Some(false),
            last_activity_before: Some(cutoff),
            ..Default::default()
        };
        let mut report = CleanupReport { dry_run, ..Default::default() };
        let mut page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
        loop {
            let found = self.0.store.list_sessions(&due, &page).await.map_err(|e| e.during("cleanup"))?;
            for record in found.items {
                let session_id = record.session_id;
                let outcome = match dry_run {
                    true => self.would_remove(&session_id).await,
                    false => self.remove_if_due(&session_id, cutoff).await,
                };
                match outcome {
                    Ok(Removal::Removed) => report.removed.push(session_id),
                    Ok(Removal::Held) => report.held.push(session_id),
                    Ok(Removal::NoLongerDue) => {}
                    Err(error) => {
                        let stop = error.is_retryable();
                        report.failed.push(CleanupFailure {
                            session_id,
                            kind: error.kind().name().to_owned(),
                            message: error.to_string(),
                        });
                        if stop {
                            return Ok(report);
                        }
                    }
                }
            }
            page.after = found.next;
            if page.after.is_none() {
                return Ok(report);
            }
        }
    }

    async fn would_remove(&self, session: &str) -> Result<Removal> {
        let Inner { store, .. } = &*self.0;
        let Some(lease) = store.get_lease(session).await? else { return Ok(Removal::Removed) };
        let held = !lease.owner.is_empty() && lease.expires_at > store.database_now().await?;
        Ok(if held { Removal::Held } else { Removal::Removed })
    }

    async fn remove_if_due(&self, session: &str, cutoff: Timestamp) -> Result<Removal> {
        let Some(lease) = self.take_lease(session).await? else { return Ok(Removal::Held) };
        // Only the look under the lease counts: an instance may have started it since the list was read.
        let remove = async {
            let record = self.0.store.get_session(session).await?;
            if record.is_none_or(|record| record.is_connected || record.last_activity >= cutoff) {
                return Ok(Removal::NoLongerDue);
            }
            self.delete_owned(session, lease.tenure()).await.map(|_| Removal::Removed)
        };
        let removed = remove.await;
        self.give_back(&lease, removed).await
    }

    /// `None` if an instance holds it.
    async fn take_lease(&self, session: &str) -> Result<Option<Lease>> {
        let Inner { store, owner, .. } = &*self.0;
        match store.acquire_lease(session, owner, LEASE).await? {
            Acquired::Granted(lease) => Ok(Some(lease)),
            Acquired::Stolen(lease) => {
                store.fence_auth(session, lease.tenure()).await?;
                Ok(Some(lease))
            }
            Acquired::Held(_) => Ok(None),
        }
    }

    /// Releases the lease whatever came of the work; the work's own error is the one to know.
    async fn give_back<T>(&self, lease: &Lease, outcome: Result<T>) -> Result<T> {
        let released = self.0.store.release_lease(lease).await;
        let outcome = outcome?;
        released?;
        Ok(outcome)
    }

    async fn check_exists(&self, session: &str) -> Result<()> {
        match self.0.store.get_session(session).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(not_found(session)),
            // To delete it is what to do with it.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_owned(&self, session: &str, tenure: Tenure) -> Result<Deleted> {
        let Inner { store, .. } = &*self.0;
        // First: it is refused if somebody else has become the owner.
        let auth = store.delete_auth(session, tenure).await?;
        let outbox = store.delete_outbox(session).await?;
        let (messages, chats) = store.delete_messages(session).await?;
        let events = store.delete_events(session).await?;
        store.delete_session_record(session).await?;
        Ok(Deleted { auth, messages, chats, outbox, events })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::test_world::{World, kind};
    use super::*;
    use crate::session::status::StatusEvent;
    use crate::session_manager::{SessionData, StatusUpdate};
    use crate::store::{
        AuthStore, LeaseStore, MessageKey, MessageKind, MessageStore, OutboxEntry, OutboxStore,
        StoredMessage, WriteBatch,
    };

    async fn fill(world: &World, session: &str, tenure: Tenure) {
        let mut batch = WriteBatch::new();
        batch.set_creds(Bytes::from_static(b"creds"));
        batch.put(crate::vault::data_key_row(), Bytes::from_static(b"key"), 0);
        world.store.apply_auth(&[(session, tenure, &batch)]).await.pop().unwrap().unwrap();
        let key = MessageKey { chat_id: "c".into(), sender: "p".into(), message_id: "1".into() };
        let content = MessageKind::Text { text: "hola".into(), quoted: None };
        let now = world.manager.clock().now();
        let message = StoredMessage::new(key, crate::store::Direction::In, now, content);
        world.store.record_messages(session, &[message], &[], now).await.unwrap();
        let waiting = OutboxEntry::new("2", "", now, now.plus(DAY));
        world.store.push_outbox(session, &waiting, 10).await.unwrap();
    }

    async fn has_auth(world: &World, session: &str) -> bool {
        world.store.load_creds(session, Tenure::FIRST).await.unwrap().is_some()
    }

    async fn held_by_other(world: &World, session: &str) -> Lease {
        match world.store.acquire_lease(session, "other", Duration::from_secs(30)).await.unwrap() {
            Acquired::Granted(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn everything_goes_and_nothing_of_another_session() {
        let world = World::with_sessions(&["a", "ab"]).await;
        for session in ["a", "ab"] {
            fill(&world, session, Tenure::FIRST).await;
        }
        let deleted = world.manager.delete_session("a", None).await.unwrap();
        assert_eq!(deleted, Deleted { auth: 2, messages: 1, chats: 1, outbox: 1, events: 0 });
        assert_eq!(kind(world.manager.get_session("a").await), ErrorKind::NotFound);
        assert!(!has_auth(&world, "a").await && has_auth(&world, "ab").await);
        assert!(world.store.get_chat("ab", "c").await.unwrap().is_some());
        assert!(world.store.held_sessions().await.unwrap().is_empty());
        assert_eq!(kind(world.manager.delete_session("a", None).await), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_owned_session_is_deleted_by_its_owner_alone() {
        let world = World::with_sessions(&["a"]).await;
        let lease = held_by_other(&world, "a").await;
        fill(&world, "a", lease.tenure()).await;
        assert_eq!(kind(world.manager.delete_session("a", None).await), ErrorKind::Conflict);
        assert!(has_auth(&world, "a").await);
        world.manager.delete_session("a", Some(lease.tenure())).await.unwrap();
        assert_eq!(kind(world.manager.get_session("a").await), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn an_owner_that_was_robbed_deletes_nothing() {
        let world = World::with_sessions(&["a"]).await;
        let old = held_by_other(&world, "a").await;
        world.clock.advance(Duration::from_secs(60));
        world.store.acquire_lease("a", "thief", Duration::from_secs(30)).await.unwrap();
        assert_eq!(kind(world.manager.delete_session("a", Some(old.tenure())).await), ErrorKind::Conflict);
        world.get("a").await;
    }

    async fn old_world() -> World {
        let world = World::with_sessions(&["connected", "held", "old"]).await;
        let login = StatusUpdate::default();
        world.manager.apply_status("connected", StatusEvent::LoggedIn, login).await.unwrap();
        world.clock.advance(DAY * 31);
        world.manager.create_or_update_session("young", &SessionData::default()).await.unwrap();
        held_by_other(&world, "held").await;
        world
    }

    #[tokio::test]
    async fn only_what_is_old_and_idle_goes() {
        let world = old_world().await;
        let would = world.manager.cleanup_inactive_sessions(30, true).await.unwrap();
        assert_eq!(world.manager.get_statistics().await.unwrap().total_sessions, 4);
        let did = world.manager.cleanup_inactive_sessions(30, false).await.unwrap();
        assert_eq!((&did.removed[..], &did.held[..]), (&["old".to_owned()][..], &["held".to_owned()][..]));
        assert_eq!((did.removed, did.held, did.failed), (would.removed, would.held, would.failed));
        assert_eq!(world.manager.get_statistics().await.unwrap().total_sessions, 3);
        let again = world.manager.cleanup_inactive_sessions(30, false).await.unwrap();
        assert!(again.removed.is_empty());
    }

    #[tokio::test]
    async fn zero_days_are_refused() {
        let world = old_world().await;
        assert_eq!(kind(world.manager.cleanup_inactive_sessions(0, false).await), ErrorKind::Invalid);
        assert!(world.manager.cleanup_inactive_sessions(u32::MAX, false).await.unwrap().removed.is_empty());
        assert_eq!(world.manager.get_statistics().await.unwrap().total_sessions, 4);
    }

    #[tokio::test]
    async fn a_session_used_since_it_was_listed_stays() {
        let world = old_world().await;
        let cutoff = world.manager.clock().now().minus(DAY);
        let login = StatusUpdate::default();
        world.manager.apply_status("old", StatusEvent::LoggedIn, login).await.unwrap();
        assert!(matches!(world.manager.remove_if_due("old", cutoff).await.unwrap(), Removal::NoLongerDue));
        world.get("old").await;
    }
}
