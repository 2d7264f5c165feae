//! A code for the dashboard that is good for one token, once.

use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Holds at most one code, as a hash, and the token that it is good for.
#[derive(Debug, Default)]
pub(crate) struct OneTimeCode(Mutex<Option<([u8; 32], String)>>);

impl OneTimeCode {
    /// Makes `code` good for `token`.
    #[cfg(any(test, feature = "stand-in"))]
    pub(crate) fn put(&self, code: &str, token: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((hash(code), token));
    }

    /// The token, the first time the right code is shown. Hashes are compared: how long that takes tells nothing.
    pub(crate) fn take(&self, code: &str) -> Option<String> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            Some((expected, token)) if expected == hash(code) => Some(token),
            other => {
                *held = other;
                None
            }
        }
    }
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}
