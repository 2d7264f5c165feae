//! The handle that a user holds: create, start, stop, log out, delete, restore, send, subscribe, shut down.

mod builder;
mod consumers;
mod handle;
mod health;
pub mod import;
pub mod options;
mod outbox_watch;
mod restore;
mod rotation;
mod session_handle;

pub use builder::WhatsAppServiceBuilder;
pub use handle::WhatsAppService;
pub use health::ServiceHealth;
pub use restore::{RestoreProgress, RestoreReport};
pub use session_handle::Session;
