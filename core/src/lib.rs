//! WhatsApp sessions by the thousand in one process.

pub mod cleanup;
pub mod clock;
mod engine;
pub mod error;
pub mod events;
mod lease;
pub mod qr;
pub mod runtime;
pub mod service;
pub mod session;
pub mod session_id;
pub mod session_manager;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vault;

pub use error::{Error, ErrorKind, Result};
