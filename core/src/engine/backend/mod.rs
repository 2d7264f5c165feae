//! The engine's storage traits on one session's [`SessionAuth`].
//!
//! Batch methods are all overridden: a flush of the engine is one write of ours. What the traits want to be
//! atomic is one batch, or runs under the session's write gate; every `Ok` is durable, for `SessionAuth`
//! waits until the database said so.

mod app_sync;
mod device;
mod message_secret;
mod protocol;
mod protocol_messages;
mod signal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use whatsapp_rust::wacore::store::error::StoreError;

use super::session_auth::SessionAuth;
use crate::error::Error;

/// One session's backend, as the engine sees it.
#[derive(Debug)]
pub(crate) struct SessionBackend {
    auth: Arc<SessionAuth>,
    /// The highest pre-key id ever stored; `u32::MAX` until it was read.
    highest_pre_key: AtomicU32,
}

const UNREAD: u32 = u32::MAX;

impl SessionBackend {
    pub(crate) fn new(auth: Arc<SessionAuth>) -> Self {
        Self { auth, highest_pre_key: AtomicU32::new(UNREAD) }
    }
}

type EngineResult<T> = std::result::Result<T, StoreError>;

fn refused(error: Error) -> StoreError {
    StoreError::Database(Box::new(error))
}
