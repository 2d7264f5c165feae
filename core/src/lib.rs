//! WhatsApp sessions by the thousand in one process.

pub mod clock;
pub mod error;
pub mod session;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vault;

pub use error::{Error, ErrorKind, Result};
