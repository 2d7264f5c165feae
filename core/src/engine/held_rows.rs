//! Rows that need not be written at once: they go out with the next batch that makes them necessary.
//!
//! A received message waits in a row of its own (`pending-inbound`) between the step of its ratchet and its commit.
//! What must never be is a stored ratchet that has passed a message which is stored nowhere. So the row is kept
//! here, and written in front of, and in one batch with, the next ratchet; if the message is committed before, it
//! is never written. What the engine keeps for retries of sent messages rides along in the same way.
//!
//! Deletions of rows that were written ride with a later batch. A row that outlives a crash is harmless: it is read
//! only if WhatsApp delivers that message again, whose commit changes nothing, and is swept after a week.

use std::collections::{HashMap, HashSet};

use zeroize::Zeroizing;

use super::keyspace::{PENDING_INBOUND, SENDER_KEY, SENT_MESSAGE, SESSION};
use crate::store::{AuthKey, WriteBatch};

/// Deletions that are worth the commands they cost.
pub(super) const DELETIONS_TOGETHER: usize = 32;

/// Whether rows of this kind may be held.
pub(super) fn may_be_held(kind: &str) -> bool {
    matches!(kind, PENDING_INBOUND | SENT_MESSAGE)
}

/// Whether a batch moves a ratchet.
pub(super) fn moves_ratchet(batch: &WriteBatch) -> bool {
    batch.writes().iter().any(|write| matches!(write.key().kind.as_str(), SESSION | SENDER_KEY))
}

/// A row that is not, or not certainly, in the store.
pub(super) struct Held {
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    pub(super) stamp_s: i64,
    /// Whether it is in a batch that is on its way.
    writing: bool,
}

/// What is known of a row without asking the store.
pub(super) enum Known {
    Held(Zeroizing<Vec<u8>>),
    Deleted,
    Nothing,
}

#[derive(Default)]
pub(super) struct HeldRows {
    held: HashMap<AuthKey, Held>,
    /// Rows known to be in the store.
    stored: HashSet<AuthKey>,
    /// Rows in the store that are gone for the engine.
    deletions: HashSet<AuthKey>,
}

impl HeldRows {
    pub(super) fn hold(&mut self, key: AuthKey, plaintext: Zeroizing<Vec<u8>>, stamp_s: i64) {
        if self.deletions.remove(&key) {
            self.stored.insert(key.clone());
        }
        self.held.insert(key, Held { plaintext, stamp_s, writing: false });
    }

    pub(super) fn known(&self, key: &AuthKey) -> Known {
        match self.held.get(key) {
            Some(held) => Known::Held(held.plaintext.clone()),
            None if self.deletions.contains(key) => Known::Deleted,
            None => Known::Nothing,
        }
    }

    /// Notes that the store has a row.
    pub(super) fn found(&mut self, key: &AuthKey) {
        self.stored.insert(key.clone());
    }

    /// Takes out a row if it is here; [`forget`](Self::forget) with its value.
    pub(super) fn take(&mut self, key: &AuthKey) -> Option<Zeroizing<Vec<u8>>> {
        let plaintext = self.held.get(key).map(|held| held.plaintext.clone())?;
        self.forget(key.clone());
        Some(plaintext)
    }

    /// The engine needs the row no more. If it may be in the store it is deleted there with a later batch.
    pub(super) fn forget(&mut self, key: AuthKey) {
        let never_written = self.held.remove(&key).is_some_and(|held| !held.writing);
        let in_store = self.stored.remove(&key);
        if in_store || !never_written {
            self.deletions.insert(key);
        }
    }

    /// The rows that wait, which are on their way from now on.
    pub(super) fn begin_writing(&mut self) -> impl Iterator<Item = (&AuthKey, &Held)> {
        let waiting = self.held.iter_mut().filter(|(_, held)| !held.writing);
        waiting.map(|(key, held)| {
            held.writing = true;
            (key, &*held)
        })
    }

    /// The deletions, if there are at least so many.
    pub(super) fn take_deletions(&mut self, at_least: usize) -> Vec<AuthKey> {
        if self.deletions.len() < at_least { Vec::new() } else { self.deletions.drain().collect() }
    }

    /// The rows that were on their way have arrived.
    pub(super) fn written(&mut self) {
        let arrived: Vec<AuthKey> =
            self.held.iter().filter(|(_, held)| held.writing).map(|(key, _)| key.clone()).collect();
        for key in arrived {
            self.held.remove(&key);
            self.stored.insert(key);
        }
    }

    /// Forgets what is known of rows of one kind that the store has deleted by itself.
    pub(super) fn swept(&mut self, kind: &str) {
        self.stored.retain(|key| key.kind != kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> AuthKey {
        AuthKey::new(PENDING_INBOUND, id)
    }

    fn hold(rows: &mut HeldRows, id: &str) {
        rows.hold(key(id), Zeroizing::new(id.as_bytes().to_vec()), 1);
    }

    #[test]
    fn a_row_that_is_forgotten_in_time_is_never_written() {
        let mut rows = HeldRows::default();
        hold(&mut rows, "a");
        assert!(matches!(rows.known(&key("a")), Known::Held(value) if *value == b"a"));
        rows.forget(key("a"));
        assert_eq!(rows.begin_writing().count(), 0);
        assert!(rows.take_deletions(1).is_empty());
    }

    #[test]
    fn a_row_that_was_written_or_is_being_written_is_deleted() {
        let mut rows = HeldRows::default();
        hold(&mut rows, "arrived");
        assert_eq!(rows.begin_writing().count(), 1);
        rows.written();
        hold(&mut rows, "on its way");
        assert_eq!(rows.begin_writing().count(), 1);
        rows.forget(key("arrived"));
        rows.forget(key("on its way"));
        rows.written();
        assert!(rows.take_deletions(3).is_empty());
        assert!(matches!(rows.known(&key("arrived")), Known::Deleted));
        let mut deletions = rows.take_deletions(2);
        deletions.sort();
        assert_eq!(deletions, [key("arrived"), key("on its way")]);
    }

    #[test]
    fn a_row_found_in_the_store_is_deleted_after_its_replay() {
        let mut rows = HeldRows::default();
        rows.found(&key("a"));
        hold(&mut rows, "a");
        assert_eq!(*rows.take(&key("a")).unwrap(), b"a");
        // And held once more before the deletion went out.
        hold(&mut rows, "a");
        assert!(rows.take_deletions(1).is_empty());
        rows.forget(key("a"));
        assert_eq!(rows.take_deletions(1), [key("a")]);
    }
}
