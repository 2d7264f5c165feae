//! Who holds the master keys: a key ring in this process, or a key management service.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::key_ring::KeyRing;
use super::sealed;
use crate::error::{Error, ErrorKind, Result};

/// Wraps and unwraps the data keys of sessions. Implement it to keep the master key in a KMS or an HSM.
///
/// Answer `Unavailable` or `Timeout` if the service cannot be reached, which is retried, and `Crypto` if it
/// refuses, which is not.
#[async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// Wraps `data_key` with the current master key, bound to `context`: a session's id, or, for the key of what all
    /// sessions share, bytes that begin with a zero.
    async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>>;

    /// Unwraps what [`wrap`](KeyProvider::wrap) made with the same `context`, now or under an older key.
    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>>;

    /// Whether `wrapped` was made with the current master key. If not, [`rewrap`](super::rewrap()) renews it.
    fn is_current(&self, wrapped: &[u8]) -> bool;
}

const PURPOSE: &[u8] = b"centralita data key";

fn crypto(why: sealed::Why) -> Error {
    Error::new(ErrorKind::Crypto, format!("the wrapped data key {why}; restore it from a backup"))
}

#[async_trait]
impl KeyProvider for KeyRing {
    async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>> {
        let (id, key) = self.primary();
        Ok(sealed::seal(self.clock(), key, id, &[PURPOSE, context], data_key))
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let id = sealed::key_id(wrapped).map_err(crypto)?;
        let Some(key) = self.key(id) else {
            return Err(Error::new(
                ErrorKind::Crypto,
                format!("the master key {id:?} is missing; add it to CENTRALITA_KEYS or to the key file"),
            ));
        };
        let opened = sealed::open(key, &[PURPOSE, context], wrapped).map_err(|why| {
            let message = format!("the data key {why} (master key {id:?}); check CENTRALITA_KEYS");
            Error::new(ErrorKind::Crypto, message)
        })?;
        let mut data_key = Zeroizing::new([0; 32]);
        if opened.len() != data_key.len() {
            return Err(crypto("has the wrong length"));
        }
        data_key.copy_from_slice(&opened);
        Ok(data_key)
    }

    fn is_current(&self, wrapped: &[u8]) -> bool {
        sealed::key_id(wrapped).is_ok_and(|id| id == self.primary().0)
    }
}
