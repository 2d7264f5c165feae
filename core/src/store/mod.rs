//! Where sessions live: traits over our own types, and the stores that implement them.
//!
//! A [`Store`] bundles [`AuthStore`] (credentials and Signal keys), [`SessionStore`] (the seed's
//! session records), [`MessageStore`] (messages and chats), [`OutboxStore`] (messages that wait for their session),
//! [`LeaseStore`] (who owns a session), [`EventLog`] and [`ConsumerStore`] (durable events).
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
pub(crate) mod group;
pub mod lease;
pub mod memory;
pub mod message;
#[cfg(feature = "mongo")]
pub mod mongo;
pub mod outbox;
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
    ChangeBatch, Chat, ChatPatch, Direction, MessageChange, MessageKey, MessageKind, MessagePage,
    MessageStatus, MessageStore, RecordBatch, Recorded, StoredMessage,
};
#[cfg(feature = "mongo")]
pub use mongo::MongoStore;
pub use outbox::{OutboxBacklog, OutboxEntry, OutboxState, OutboxStep, OutboxStore, Pushed, Stepped};
pub use session::{
    Counter, Page, PageRequest, SessionFilter, SessionPatch, SessionRecord, SessionStore, Statistics,
    StatusCase, StatusChange, StatusDetail,
};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use async_trait::async_trait;

use crate::error::Result;

/// Everything that a session needs to be kept: the stores of one database.
#[async_trait]
pub trait Store:
    AuthStore + SessionStore + MessageStore + OutboxStore + LeaseStore + EventLog + ConsumerStore + 'static
{
    /// A short name for logs and reports, such as `"mongodb"`.
    fn name(&self) -> &'static str;

    /// How many commands were sent to the database so far, repeats included; for an embedded store, how many
    /// transactions were written. `None` if the store cannot know.
    fn commands_sent(&self) -> Option<u64> {
        None
    }

    /// Whether the store itself writes together what comes at the same time, so that nobody need gather it first.
    fn groups_writes(&self) -> bool {
        false
    }

    /// Asks the database whether it is there and can be written to.
    async fn ping(&self) -> Result<()>;

    /// Flushes and lets go of connections and files. Idempotent; later calls answer `Closed`.
    async fn close(&self) -> Result<()>;
}
