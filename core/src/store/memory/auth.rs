//! Credentials and Signal keys in memory, fenced by generation.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Data, MemoryStore};
use crate::error::{Error, ErrorKind, Result};
use crate::store::auth::{AuthEntry, AuthKey, AuthState, AuthStore, AuthWrite, Tenure, WriteBatch};

/// A stored value and who wrote it.
struct Row {
    value: Bytes,
    stamp_s: i64,
    generation: u64,
}

impl Row {
    fn new(value: Bytes, stamp_s: i64, tenure: Tenure) -> Self {
        Self { value, stamp_s, generation: tenure.generation }
    }

    /// Below the fence a robbed owner wrote it: it is not there.
    fn is_visible(&self, tenure: Tenure) -> bool {
        tenure.sees(self.generation)
    }
}

/// One session's credentials, and its values by kind and id.
#[derive(Default)]
pub(super) struct SessionAuth {
    creds: Option<Row>,
    kinds: BTreeMap<String, BTreeMap<String, Row>>,
}

impl SessionAuth {
    fn get(&self, key: &AuthKey) -> Option<&Row> {
        self.kinds.get(&key.kind)?.get(&key.id)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.creds.iter().chain(self.kinds.values().flat_map(BTreeMap::values))
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.creds.iter_mut().chain(self.kinds.values_mut().flat_map(BTreeMap::values_mut))
    }

    fn count_visible(&self, tenure: Tenure) -> usize {
        self.rows().filter(|row| row.is_visible(tenure)).count()
    }

    fn entries<'a>(&'a self, tenure: Tenure, kind: &'a str) -> impl Iterator<Item = AuthEntry> + 'a {
        let ids = self.kinds.get(kind).into_iter().flatten();
        ids.filter(move |(_, row)| row.is_visible(tenure)).map(move |(id, row)| AuthEntry {
            key: AuthKey::new(kind, id),
            value: row.value.clone(),
            stamp_s: row.stamp_s,
        })
    }
}

/// What is kept of a session that was logged out.
pub(super) struct Archive {
    pub(super) reason: String,
    auth: SessionAuth,
}

impl Archive {
    pub(super) fn documents(&self) -> usize {
        self.auth.rows().count()
    }
}

impl Data {
    /// `Conflict` if the lease or any of `rows` belongs to a newer owner.
    fn check_owner<'a>(
        &self,
        session: &str,
        tenure: Tenure,
        mut rows: impl Iterator<Item = &'a Row>,
    ) -> Result<()> {
        let leased = self.leases.get(session).is_some_and(|lease| lease.generation > tenure.generation);
        if leased || rows.any(|row| !tenure.may_write(row.generation)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "a newer owner has taken over; stop the session here, nothing was written",
            )
            .of_session(session));
        }
        Ok(())
    }

    fn apply(&mut self, session: &str, tenure: Tenure, batch: &WriteBatch) -> Result<()> {
        let stored = self.auth.get(session);
        let touched = batch.writes().iter().filter_map(|write| stored?.get(write.key()));
        let creds = stored.and_then(|auth| auth.creds.as_ref()).filter(|_| batch.creds().is_some());
        self.check_owner(session, tenure, touched.chain(creds))?;

        let auth = self.auth.entry(session.to_owned()).or_default();
        if let Some(creds) = batch.creds() {
            auth.creds = Some(Row::new(creds.clone(), 0, tenure));
        }
        for write in batch.writes() {
            match write {
                AuthWrite::Put(entry) => {
                    let row = Row::new(entry.value.clone(), entry.stamp_s, tenure);
                    auth.kinds.entry(entry.key.kind.clone()).or_default().insert(entry.key.id.clone(), row);
                }
                AuthWrite::Delete(key) => {
                    if let Some(ids) = auth.kinds.get_mut(&key.kind) {
                        ids.remove(&key.id);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes all of a session's auth state out, if `tenure` may.
    fn take_auth(&mut self, session: &str, tenure: Tenure) -> Result<SessionAuth> {
        let rows = self.auth.get(session).into_iter().flat_map(SessionAuth::rows);
        self.check_owner(session, tenure, rows)?;
        Ok(self.auth.remove(session).unwrap_or_default())
    }
}

#[async_trait]
impl AuthStore for MemoryStore {
    async fn load_auth(&self, session: &str, tenure: Tenure, except_kinds: &[&str]) -> Result<AuthState> {
        let data = self.enter("load_auth").await?;
        let Some(auth) = data.auth.get(session) else { return Ok(AuthState::default()) };
        let creds = auth.creds.as_ref().filter(|row| row.is_visible(tenure));
        let wanted = auth.kinds.keys().filter(|kind| !except_kinds.contains(&kind.as_str()));
        Ok(AuthState {
            creds: creds.map(|row| row.value.clone()),
            entries: wanted.flat_map(|kind| auth.entries(tenure, kind)).collect(),
        })
    }

    async fn load_creds(&self, session: &str, tenure: Tenure) -> Result<Option<Bytes>> {
        let data = self.enter("load_creds").await?;
        let creds = data.auth.get(session).and_then(|auth| auth.creds.as_ref());
        Ok(creds.filter(|row| row.is_visible(tenure)).map(|row| row.value.clone()))
    }

    async fn get_auth(&self, session: &str, tenure: Tenure, keys: &[AuthKey]) -> Result<Vec<Option<Bytes>>> {
        let data = self.enter("get_auth").await?;
        let auth = data.auth.get(session);
        let value = |key| {
            let row = auth?.get(key).filter(|row| row.is_visible(tenure))?;
            Some(row.value.clone())
        };
        Ok(keys.iter().map(value).collect())
    }

    async fn list_auth(&self, session: &str, tenure: Tenure, kind: &str) -> Result<Vec<AuthEntry>> {
        let data = self.enter("list_auth").await?;
        let auth = data.auth.get(session);
        Ok(auth.map(|auth| auth.entries(tenure, kind).collect()).unwrap_or_default())
    }

    async fn has_auth_prefix(&self, session: &str, tenure: Tenure, kind: &str, prefix: &str) -> Result<bool> {
        let data = self.enter("has_auth_prefix").await?;
        let ids = data.auth.get(session).and_then(|auth| auth.kinds.get(kind));
        Ok(ids.is_some_and(|ids| {
            let from_prefix = ids.range(prefix.to_owned()..).take_while(|(id, _)| id.starts_with(prefix));
            from_prefix.into_iter().any(|(_, row)| row.is_visible(tenure))
        }))
    }

    async fn apply_auth(&self, batches: &[(&str, Tenure, &WriteBatch)]) -> Vec<Result<()>> {
        if let Err(error) = self.gate.pass().await {
            // An error is not `Clone`; each caller gets one of the same kind.
            let again = || Error::new(error.kind(), error.message().to_owned()).during("apply_auth");
            return batches.iter().map(|(session, ..)| Err(again().of_session(session))).collect();
        }
        let mut data = self.data();
        let apply = |(session, tenure, batch): &(&str, Tenure, &WriteBatch)| {
            data.apply(session, *tenure, batch).map_err(|error| error.during("apply_auth"))
        };
        batches.iter().map(apply).collect()
    }

    async fn delete_stamped_before(
        &self,
        session: &str,
        tenure: Tenure,
        kind: &str,
        cutoff_s: i64,
    ) -> Result<u64> {
        let mut data = self.enter("delete_stamped_before").await?;
        let is_old = |row: &Row| row.stamp_s != 0 && row.stamp_s < cutoff_s;
        let ids = data.auth.get(session).and_then(|auth| auth.kinds.get(kind));
        let old = ids.into_iter().flat_map(BTreeMap::values).filter(|row| is_old(row));
        data.check_owner(session, tenure, old).map_err(|error| error.during("delete_stamped_before"))?;
        let Some(ids) = data.auth.get_mut(session).and_then(|auth| auth.kinds.get_mut(kind)) else {
            return Ok(0);
        };
        let mut deleted = 0;
        ids.retain(|_, row| {
            let old = is_old(row);
            deleted += u64::from(old && row.is_visible(tenure));
            !old
        });
        Ok(deleted)
    }

    async fn delete_auth(&self, session: &str, tenure: Tenure) -> Result<u64> {
        let mut data = self.enter("delete_auth").await?;
        let gone = data.take_auth(session, tenure).map_err(|error| error.during("delete_auth"))?;
        data.archives.remove(session);
        Ok(gone.count_visible(tenure) as u64)
    }

    async fn fence_auth(&self, session: &str, tenure: Tenure) -> Result<()> {
        let mut data = self.enter("fence_auth").await?;
        let rows = data.auth.get(session).into_iter().flat_map(SessionAuth::rows);
        data.check_owner(session, tenure, rows).map_err(|error| error.during("fence_auth"))?;
        for row in data.auth.get_mut(session).into_iter().flat_map(SessionAuth::rows_mut) {
            row.generation = tenure.generation;
        }
        Ok(())
    }

    async fn archive_auth(&self, session: &str, tenure: Tenure, reason: &str) -> Result<()> {
        let mut data = self.enter("archive_auth").await?;
        let mut auth = data.take_auth(session, tenure).map_err(|error| error.during("archive_auth"))?;
        auth.creds = auth.creds.filter(|row| row.is_visible(tenure));
        for ids in auth.kinds.values_mut() {
            ids.retain(|_, row| row.is_visible(tenure));
        }
        // A repeat of the same call finds nothing left, and must not replace the archive by nothing.
        if auth.rows().next().is_some() {
            data.archives.insert(session.to_owned(), Archive { reason: reason.to_owned(), auth });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(id: &str, value: &'static [u8]) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put(AuthKey::new("session", id), Bytes::from_static(value), 0);
        batch
    }

    async fn apply(store: &MemoryStore, generation: u64, batch: &WriteBatch) -> Result<()> {
        store.apply_auth(&[("s", Tenure { generation, fence: 0 }, batch)]).await.remove(0)
    }

    #[tokio::test]
    async fn a_stale_write_is_refused_and_a_stale_insert_is_not_read() {
        let store = MemoryStore::new();
        apply(&store, 2, &batch("a", b"new")).await.unwrap();
        assert_eq!(apply(&store, 1, &batch("a", b"old")).await.unwrap_err().kind(), ErrorKind::Conflict);
        apply(&store, 1, &batch("b", b"ghost")).await.unwrap();

        let thief = Tenure { generation: 2, fence: 2 };
        let keys = [AuthKey::new("session", "a"), AuthKey::new("session", "b")];
        let read = store.get_auth("s", thief, &keys).await.unwrap();
        assert_eq!(read, [Some(Bytes::from_static(b"new")), None]);
        assert_eq!(store.list_auth("s", thief, "session").await.unwrap().len(), 1);
        assert!(!store.has_auth_prefix("s", thief, "session", "b").await.unwrap());
    }

    #[tokio::test]
    async fn fencing_takes_over_what_was_there() {
        let store = MemoryStore::new();
        apply(&store, 1, &batch("a", b"1")).await.unwrap();
        let thief = Tenure { generation: 2, fence: 2 };
        store.fence_auth("s", thief).await.unwrap();
        store.fence_auth("s", thief).await.unwrap();
        assert_eq!(store.list_auth("s", thief, "session").await.unwrap().len(), 1);
        assert_eq!(apply(&store, 1, &batch("a", b"2")).await.unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[tokio::test]
    async fn an_archive_survives_the_repeat_of_its_call_and_ends_with_the_session() {
        let store = MemoryStore::new();
        apply(&store, 1, &batch("a", b"1")).await.unwrap();
        for _ in 0..2 {
            store.archive_auth("s", Tenure::FIRST, "logged out").await.unwrap();
        }
        assert_eq!(store.archived("s"), Some(("logged out".into(), 1)));
        assert_eq!(store.load_auth("s", Tenure::FIRST, &[]).await.unwrap(), AuthState::default());
        store.delete_auth("s", Tenure::FIRST).await.unwrap();
        assert_eq!(store.archived("s"), None);
    }
}
