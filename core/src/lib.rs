//! Hold hundreds to thousands of WhatsApp sessions in one process, their keys encrypted in MongoDB or SQLite.
//!
//! A [`WhatsAppService`](service::WhatsAppService) holds sessions. It stands on a [store](store), in which
//! everything is kept, and a [vault], which seals what opens an account. [Sessions](session) are linked by a QR code, a
//! pair code or a passkey; what they receive is stored before WhatsApp is told, and then seen as [events].
//! [`SessionManager`](session_manager::SessionManager) reads and writes the records,
//! [`CleanupService`](cleanup::CleanupService) keeps them tidy.
//!
//! ```no_run
#![doc = include_str!("../examples/ping.rs")]
//! ```
//!
//! Every error is an [`Error`] whose [kind](ErrorKind) says what the caller must do.

#![forbid(unsafe_code)]

pub mod cleanup;
pub mod clock;
mod engine;
pub mod error;
pub mod events;
mod lease;
pub mod metrics;
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
