//! Where sessions live: traits over our own types, and the stores that implement them.
//!
//! A [`Store`] bundles [`AuthStore`] (credentials and Signal keys), [`SessionStore`] (the seed's
//! session records), [`MessageStore`] (messages and chats), [`LeaseStore`] (who owns a session), [`EventLog`] and
//! [`ConsumerStore`] (durable events).
//! Values of the [`AuthStore`] arrive sealed by the vault: a store never sees a key.
//!
//! | store | for |
//! | --- | --- |
//! | `MongoStore` | a fleet: one database, many processes |
//! | `SqliteStore` | one process, one file, no server: the default |
//! | `MemoryStore` | tests |
//!
//! All pass the same [`conformance`] suite (feature `testing`); yours should too.
//!
//! What every implementation must keep:
//! - **`Ok` means durable**: a crash right after it loses nothing (majority and journal in MongoDB,
//!   a synced commit in SQLite).
//! - **An error is never read as "absent"**: a failed read is an `Err`, never `None`.
//! - [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and `Timeout` mean "not now": the
//!   caller waits and repeats the same idempotent call. Anything else is final.
//! - Ids are opaque UTF-8 of up to 4 KiB with any character in it, NUL included.

pub mod auth;
#[cfg(feature = "testing")]
pub mod conformance;
pub mod event_log;
pub mod lease;
pub mod memory;
pub mod message;
#[cfg(feature = "mongo")]
pub mod mongo;
pub(crate) mod patience;
pub(crate) mod rules;
pub mod session;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use auth::{AuthEntry, AuthKey, AuthState, AuthStore, AuthWrite, Tenure, WriteBatch};
pub use event_log::{
    ConsumerRecord, ConsumerStore, DeadLetterChoice, DeadLetterRecord, EventLog, EventMark, EventRange,
    EventRecord, NewEvent, Position,
};
pub use lease::{Acquired, Lease, LeaseStore};
pub use memory::MemoryStore;
pub use message::{
    Chat, ChatPatch, Direction, MessageChange, MessageKey, MessageKind, MessagePage, MessageStatus,
    MessageStore, Recorded, StoredMessage,
};
#[cfg(feature = "mongo")]
pub use mongo::MongoStore;
pub use session::{
    Counter, Page, PageRequest, SessionFilter, SessionPatch, SessionRecord, SessionStore, Statistics,
    StatusDetail,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use async_trait::async_trait;

use crate::error::Result;

/// Everything that a session needs to be kept: the stores of one database.
#[async_trait]
pub trait Store:
    AuthStore + SessionStore + MessageStore + LeaseStore + EventLog + ConsumerStore + 'static
{
    /// A short name for logs and reports, such as `"mongodb"`.
    fn name(&self) -> &'static str;

    /// Asks the database whether it is there and can be written to.
    async fn ping(&self) -> Result<()>;

    /// Flushes and lets go of connections and files. Idempotent; later calls answer `Closed`.
    async fn close(&self) -> Result<()>;
}
