//! WhatsApp sessions by the thousand in one process.

pub mod clock;
pub mod error;
pub mod session;
pub mod store;

pub use error::{Error, ErrorKind, Result};
