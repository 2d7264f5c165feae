//! Reading: from what was read ahead, from what is held, from the store.

use bytes::Bytes;
use std::sync::Arc;
use zeroize::Zeroizing;

use super::{NOT_READ_AHEAD, SessionAuth};
use crate::engine::held_rows::{self, Known};
use crate::engine::keyspace;
use crate::error::Result;
use crate::store::AuthKey;

impl SessionAuth {
    /// Reads one value.
    pub(crate) async fn get(&self, key: &AuthKey) -> Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(self.get_many(std::slice::from_ref(key)).await?.pop().flatten())
    }

    /// Reads values, in order.
    pub(crate) async fn get_many(&self, keys: &[AuthKey]) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>> {
        if keys.iter().any(|key| held_rows::may_be_held(&key.kind)) {
            return self.get_held(keys).await;
        }
        self.get_stored(keys).await
    }

    async fn get_held(&self, keys: &[AuthKey]) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            let known = self.held().known(key);
            found.push(match known {
                Known::Held(value) => Some(value),
                Known::Deleted => None,
                Known::Nothing => {
                    let stored = self.get_stored(std::slice::from_ref(key)).await?.pop().flatten();
                    if stored.is_some() {
                        self.held().found(key);
                    }
                    stored
                }
            });
        }
        Ok(found)
    }

    async fn get_stored(&self, keys: &[AuthKey]) -> Result<Vec<Option<Zeroizing<Vec<u8>>>>> {
        let sealed = match self.look_ahead(keys) {
            Some(found) => found,
            None if keys.iter().all(|key| self.empty().has_none(&key.kind)) => vec![None; keys.len()],
            None => {
                let keys: Arc<[AuthKey]> = keys.into();
                self.patiently(|| self.group.get_auth(&self.session, self.tenure, Arc::clone(&keys))).await?
            }
        };
        keys.iter()
            .zip(sealed)
            .map(|(key, value)| value.map(|value| self.unseal(key, &value)).transpose())
            .collect()
    }

    /// Reads all values of one kind.
    pub(crate) async fn list(&self, kind: &str) -> Result<Vec<(AuthKey, Zeroizing<Vec<u8>>)>> {
        let ahead = self.ahead().as_ref().filter(|_| !NOT_READ_AHEAD.contains(&kind)).map(|entries| {
            let mut found: Vec<_> = entries
                .iter()
                .filter(|(key, _)| key.kind == kind)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            found.sort();
            found
        });
        let entries = match ahead {
            Some(entries) => entries,
            None if self.empty().has_none(kind) => Vec::new(),
            None => self
                .patiently(|| self.store().list_auth(&self.session, self.tenure, kind))
                .await?
                .into_iter()
                .map(|entry| (entry.key, entry.value))
                .collect(),
        };
        entries
            .into_iter()
            .map(|(key, value)| {
                let opened = self.unseal(&key, &value)?;
                Ok((key, opened))
            })
            .collect()
    }

    /// Whether any value of a kind has an id that starts with `prefix`.
    pub(crate) async fn has_prefix(&self, kind: &str, prefix: &str) -> Result<bool> {
        let ahead = self
            .ahead()
            .as_ref()
            .map(|entries| entries.keys().any(|key| key.kind == kind && key.id.starts_with(prefix)));
        match ahead {
            Some(found) => Ok(found),
            None => {
                self.patiently(|| self.store().has_auth_prefix(&self.session, self.tenure, kind, prefix))
                    .await
            }
        }
    }

    /// The credentials, opened.
    pub(crate) async fn creds(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let key = keyspace::plain(keyspace::CREDS, "");
        let ahead = self.ahead().as_ref().map(|entries| entries.get(&key).cloned());
        let sealed = match ahead {
            Some(found) => found,
            None => self.patiently(|| self.store().load_creds(&self.session, self.tenure)).await?,
        };
        sealed.map(|value| self.unseal(&key, &value)).transpose()
    }

    fn look_ahead(&self, keys: &[AuthKey]) -> Option<Vec<Option<Bytes>>> {
        let ahead = self.ahead();
        let entries = ahead.as_ref()?;
        if keys.iter().any(|key| NOT_READ_AHEAD.contains(&key.kind.as_str())) {
            return None;
        }
        Some(keys.iter().map(|key| entries.get(key).cloned()).collect())
    }
}
