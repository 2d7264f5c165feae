//! WhatsApp sessions by the thousand in one process.

pub mod cleanup;
pub mod clock;
pub mod error;
pub mod qr;
pub mod session;
pub mod session_id;
pub mod session_manager;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod vault;

pub use cleanup::CleanupService;
pub use error::{Error, ErrorKind, Result};
pub use qr::QrCode;
pub use session_id::SessionId;
pub use session_manager::SessionManager;
