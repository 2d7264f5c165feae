//! Encryption at rest: what leaves for the database is sealed here, and nothing else holds a key.
//!
//! Two layers. A **master key** from a [`KeyRing`] (or a KMS behind a [`KeyProvider`]) wraps one random
//! **data key** per session; the data key seals the session's values, each bound to its session, type and id.
//! The wrapped data key lies among the values, under [`DATA_KEY_KIND`] and [`DATA_KEY_ID`]. So a rotation of
//! the master key ([`rewrap()`]) touches one small row a session.
//!
//! | file | what |
//! | --- | --- |
//! | `sealed` | the format of sealed bytes |
//! | `key_ring`, `key_file` | master keys, from the environment or a file |
//! | `provider` | the trait that wraps data keys |
//! | `session_vault` | seals and opens the values of one session, blinds their ids |
//! | `text` | seals single strings of session records |
//! | `rewrap` | rotation |

mod key_file;
mod key_ring;
mod provider;
mod rewrap;
mod sealed;
mod session_vault;
mod text;

use std::fmt;
use std::sync::Arc;

pub use zeroize::Zeroizing;

pub use key_ring::KeyRing;
pub use provider::KeyProvider;
pub use rewrap::{RewrapFailure, RewrapReport, rewrap};
pub use session_vault::SessionVault;

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::AuthKey;
use text::RecordKeys;

/// The `type` under which a session's wrapped data key is stored in the `AuthStore`.
pub const DATA_KEY_KIND: &str = "data-key";

/// The `id` under which a session's wrapped data key is stored in the `AuthStore`.
pub const DATA_KEY_ID: &str = "current";

/// Where a session's wrapped data key is stored in the `AuthStore`. Its value is not sealed again.
pub fn data_key_row() -> AuthKey {
    AuthKey::new(DATA_KEY_KIND, DATA_KEY_ID)
}

/// Seals and opens for one service; cheap to clone.
#[derive(Clone)]
pub struct Vault {
    encryption: Option<Arc<Encryption>>,
}

struct Encryption {
    provider: Arc<dyn KeyProvider>,
    clock: SharedClock,
    record_keys: RecordKeys,
}

/// What [`Vault::open_session`] answers.
#[derive(Debug)]
pub struct OpenedSession {
    /// Seals and opens the session's values.
    pub vault: SessionVault,
    /// To be stored at [`data_key_row`] before anything is sealed with `vault`: a new data key, or the same one
    /// wrapped anew because the primary key has changed. `None` if what is stored stays.
    pub new_wrapped_key: Option<Vec<u8>>,
}

impl Vault {
    /// A vault whose master keys `provider` holds.
    pub fn encrypted(provider: Arc<dyn KeyProvider>, clock: SharedClock) -> Self {
        let record_keys = RecordKeys::default();
        Self { encryption: Some(Arc::new(Encryption { provider, clock, record_keys })) }
    }

    /// No encryption: whoever reads the database can impersonate every account in it. For tests, and for
    /// databases that are encrypted by other means.
    pub fn plaintext_dangerously() -> Self {
        Self { encryption: None }
    }

    /// Whether values are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.is_some()
    }

    /// Opens a session's vault with its stored data key, or with a new one if there is none.
    ///
    /// Pass `None` only for a session without values: one that has some must be opened with
    /// [`reopen_session`](Vault::reopen_session), or a lost data key would be replaced by a new one.
    /// `Crypto` if the key is wrong or missing; nothing is to be written then.
    pub async fn open_session(
        &self,
        session: &str,
        wrapped_data_key: Option<&[u8]>,
    ) -> Result<OpenedSession> {
        let opened = self.open(session, wrapped_data_key).await;
        opened.map_err(|error| error.during("open vault").of_session(session))
    }

    /// [`open_session`](Vault::open_session) for a session that has stored values: a missing data key is
    /// `Crypto`, never a new key.
    pub async fn reopen_session(
        &self,
        session: &str,
        wrapped_data_key: Option<&[u8]>,
    ) -> Result<OpenedSession> {
        if self.is_encrypted() && wrapped_data_key.is_none() {
            return Err(Error::new(
                ErrorKind::Crypto,
                "the session has stored values but its data key is missing, or they were stored without \
                 encryption; restore the backup, or delete the session and link it again",
            )
            .during("open vault")
            .of_session(session));
        }
        self.open_session(session, wrapped_data_key).await
    }

    async fn open(&self, session: &str, wrapped: Option<&[u8]>) -> Result<OpenedSession> {
        let Some(encryption) = &self.encryption else {
            return match wrapped {
                None => Ok(OpenedSession { vault: SessionVault::plaintext(session), new_wrapped_key: None }),
                Some(_) => Err(Error::new(
                    ErrorKind::Crypto,
                    "the session is encrypted but encryption is off; start with the keys that it was made with",
                )),
            };
        };
        let Encryption { provider, clock, .. } = &**encryption;
        let context = session.as_bytes();
        let (data_key, new_wrapped_key) = match wrapped {
            Some(wrapped) => {
                let data_key = provider.unwrap(context, wrapped).await?;
                (data_key.clone(), encryption.renew(session, wrapped, &data_key).await)
            }
            None => {
                let data_key = encryption.random_key();
                let wrapped = provider.wrap(context, &data_key).await?;
                (data_key, Some(wrapped))
            }
        };
        Ok(OpenedSession {
            vault: SessionVault::encrypted(session, &data_key, clock.clone()),
            new_wrapped_key,
        })
    }
}

impl Encryption {
    fn random_key(&self) -> sealed::Key {
        let mut key = Zeroizing::new([0; 32]);
        self.clock.fill_random(&mut *key);
        key
    }

    /// The data key wrapped by the present primary, if it is not already.
    async fn renew(&self, session: &str, wrapped: &[u8], data_key: &[u8; 32]) -> Option<Vec<u8>> {
        if self.provider.is_current(wrapped) {
            return None;
        }
        match self.provider.wrap(session.as_bytes(), data_key).await {
            Ok(renewed) => Some(renewed),
            Err(error) => {
                // The old wrapping still opens; the next start or a rewrap tries again.
                tracing::warn!(session, %error, "cannot wrap the data key with the primary key");
                None
            }
        }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("encrypted", &self.is_encrypted()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    fn ring(ids: &[&str]) -> KeyRing {
        let keys = ids.iter().map(|id| {
            // The same key for the same id, in every ring.
            let byte = id.as_bytes()[0];
            let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [byte; 32]);
            format!("{id}:{key}")
        });
        KeyRing::parse(&keys.collect::<Vec<_>>().join(",")).unwrap()
    }

    fn vault(ids: &[&str]) -> Vault {
        Vault::encrypted(Arc::new(ring(ids)), ManualClock::new().shared())
    }

    async fn fails(opened: impl Future<Output = Result<OpenedSession>>) -> Error {
        let error = opened.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Crypto);
        assert_eq!(error.session(), Some("ventas"));
        error
    }

    #[tokio::test]
    async fn a_new_session_gets_a_key_and_opens_with_it_again() {
        let vault = vault(&["a"]);
        let first = vault.open_session("ventas", None).await.unwrap();
        let wrapped = first.new_wrapped_key.unwrap();
        let sealed = first.vault.seal("session", "1", b"secret");

        let again = vault.reopen_session("ventas", Some(&wrapped)).await.unwrap();
        assert_eq!(again.new_wrapped_key, None);
        assert_eq!(again.vault.open("session", "1", &sealed).unwrap().as_slice(), b"secret");

        let other = vault.open_session("ventas", None).await.unwrap();
        assert!(other.vault.open("session", "1", &sealed).is_err());
    }

    #[tokio::test]
    async fn wrong_missing_and_retired_keys_are_told_apart_and_replace_nothing() {
        let wrapped = vault(&["a"]).open_session("ventas", None).await.unwrap().new_wrapped_key.unwrap();
        let retired = fails(vault(&["b"]).reopen_session("ventas", Some(&wrapped))).await;
        assert!(retired.message().contains("\"a\"") && retired.message().contains("CENTRALITA_KEYS"));
        let missing = fails(vault(&["a"]).reopen_session("ventas", None)).await;
        assert!(missing.message().contains("restore the backup"));
        let mut changed = wrapped.clone();
        *changed.last_mut().unwrap() ^= 1;
        fails(vault(&["a"]).open_session("ventas", Some(&changed))).await;
        let off = fails(Vault::plaintext_dangerously().open_session("ventas", Some(&wrapped))).await;
        assert!(off.message().contains("encryption is off"));
    }

    #[tokio::test]
    async fn opening_under_a_new_primary_asks_to_store_the_key_wrapped_anew() {
        let first = vault(&["a"]).open_session("ventas", None).await.unwrap();
        let sealed = first.vault.seal("session", "1", b"secret");
        let both = vault(&["b", "a"]);
        let opened = both.reopen_session("ventas", first.new_wrapped_key.as_deref()).await.unwrap();
        let renewed = opened.new_wrapped_key.unwrap();

        let opened = vault(&["b"]).reopen_session("ventas", Some(&renewed)).await.unwrap();
        assert_eq!(opened.vault.open("session", "1", &sealed).unwrap().as_slice(), b"secret");
    }

    #[tokio::test]
    async fn debug_leaks_nothing() {
        let vault = vault(&["a"]);
        let opened = vault.open_session("ventas", None).await.unwrap();
        assert_eq!(format!("{vault:?}"), "Vault { encrypted: true, .. }");
        assert_eq!(
            format!("{:?}", opened.vault),
            r#"SessionVault { session: "ventas", encrypted: true, .. }"#
        );
    }
}
