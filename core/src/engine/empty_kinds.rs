//! Kinds of which a session has no row at all: the engine asks for them again and again, and the store need not be.
//!
//! Known from the state that was read at start and from what was written since; one owner writes, so it stays true.

use std::collections::HashSet;

use super::keyspace::{
    DEVICE_LIST, GROUP_METADATA, PENDING_INBOUND, SENDER_KEY, SENDER_KEY_MEMORY, TC_TOKEN,
};
use crate::store::{AuthKey, AuthWrite, WriteBatch};

/// Kinds that many sessions never have: none of contacts' tokens, none of groups.
const CANDIDATES: &[&str] =
    &[DEVICE_LIST, GROUP_METADATA, PENDING_INBOUND, SENDER_KEY, SENDER_KEY_MEMORY, TC_TOKEN];

#[derive(Default)]
pub(super) struct EmptyKinds {
    empty: HashSet<&'static str>,
    /// Written since the start, also if the write is still on its way.
    written: HashSet<&'static str>,
}

impl EmptyKinds {
    /// Takes stock of all rows that were read at start.
    pub(super) fn take_stock<'a>(&mut self, keys: impl Iterator<Item = &'a AuthKey> + Clone) {
        for kind in CANDIDATES {
            if !self.written.contains(kind) && !keys.clone().any(|key| key.kind == *kind) {
                self.empty.insert(kind);
            }
        }
    }

    pub(super) fn has_none(&self, kind: &str) -> bool {
        self.empty.contains(kind)
    }

    /// Before a batch goes out: what it puts is no longer empty; what it deletes of an empty kind is not there.
    pub(super) fn note(&mut self, batch: WriteBatch) -> WriteBatch {
        for write in batch.writes() {
            if let AuthWrite::Put(entry) = write
                && let Some(kind) = CANDIDATES.iter().find(|kind| **kind == entry.key.kind)
            {
                self.empty.remove(kind);
                self.written.insert(kind);
            }
        }
        let is_vain = |write: &AuthWrite| matches!(write, AuthWrite::Delete(key) if self.has_none(&key.kind));
        if !batch.writes().iter().any(is_vain) {
            return batch;
        }
        let creds = batch.creds().cloned();
        let mut needed: WriteBatch =
            batch.into_writes().into_iter().filter(|write| !is_vain(write)).collect();
        if let Some(creds) = creds {
            needed.set_creds(creds);
        }
        needed
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_kind_is_empty_until_it_is_written() {
        let mut kinds = EmptyKinds::default();
        assert!(!kinds.has_none(TC_TOKEN), "nothing is known before the stock was taken");
        let mut on_its_way = WriteBatch::new();
        on_its_way.put(AuthKey::new(SENDER_KEY, "1"), Bytes::new(), 0);
        assert_eq!(kinds.note(on_its_way.clone()), on_its_way);
        let keys = [AuthKey::new(DEVICE_LIST, "1"), AuthKey::new("session", "1")];
        kinds.take_stock(keys.iter());
        let none = [TC_TOKEN, DEVICE_LIST, SENDER_KEY, "session"].map(|kind| kinds.has_none(kind));
        assert_eq!(none, [true, false, false, false]);

        let mut batch = WriteBatch::new();
        batch.delete(AuthKey::new(TC_TOKEN, "1")).delete(AuthKey::new(DEVICE_LIST, "1"));
        assert_eq!(kinds.note(batch).writes(), [AuthWrite::Delete(AuthKey::new(DEVICE_LIST, "1"))]);
        let mut put = WriteBatch::new();
        put.put(AuthKey::new(TC_TOKEN, "1"), Bytes::new(), 0);
        kinds.note(put);
        assert!(!kinds.has_none(TC_TOKEN));
    }
}
