//! Durable events: logged in the store, read by named consumers, at least once and in order per session.
//!
//! Off unless the option [`durable_events`](crate::service::options::ServiceOptions::durable_events) is set; then every
//! event but codes (they are secrets) and, unless asked for, typing and presence is logged. The event of a received
//! message is in the log before WhatsApp is told that the message arrived; other events are logged right after what
//! they tell of was stored.
//!
//! ```no_run
//! # use centralita::{Error, Result, events::durable::{ConsumerOptions, LoggedEvent}, service::WhatsAppService};
//! # async fn save(event: &LoggedEvent) -> Result<()> { Ok(()) }
//! # async fn example(service: WhatsAppService) -> Result<()> {
//! let consumer = service.consumer("crm", ConsumerOptions::default()).await?;
//! consumer
//!     .run(|event| async move {
//!         // An `Err` brings the event again; a crash before `Ok` too. Its number makes it idempotent.
//!         save(&event).await
//!     })
//!     .await
//! # }
//! ```
//!
//! | file | what |
//! | --- | --- |
//! | `writer` | puts one session's events into the log, in order |
//! | `entry` | which events are logged, and under which key, so that a redelivery is logged once |
//! | `log` | what the sessions and consumers of one process share |
//! | `trim` | cuts off what the bounds say |
//! | `consumer` | a named reader: next batch, acknowledge, put aside |
//! | `runner` | hands events to a handler, with retries |
//! | `reader`, `positions` | what a consumer reads next |
//! | `cursor` | a place in the log as opaque text |
//! | `dead_letters` | what handlers failed on |

mod consumer;
mod cursor;
mod dead_letters;
mod entry;
mod log;
mod opening;
mod options;
mod persist;
mod positions;
mod reader;
mod runner;
mod trim;
mod writer;

use std::sync::Arc;

use super::Event;
use crate::clock::Timestamp;

pub use consumer::DurableConsumer;
pub use cursor::Cursor;
pub use dead_letters::{DeadLetter, DeadLetters};
pub use options::{ConsumerOptions, DurableEventOptions, RetryOptions, StartFrom};

pub(crate) use entry::{change_key, message_key};
pub(crate) use log::DurableLog;
pub(crate) use opening::open;
pub(crate) use writer::{Entry, LogWriter};

/// An event from the log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Where it stands: acknowledge it with [`DurableConsumer::ack`].
    pub cursor: Cursor,
    /// Which attempt of the runner this is, from 1; always 1 outside of [`DurableConsumer::run`].
    pub attempt: u32,
    /// Whether it was put aside before and is handled once more because somebody asked for it. It comes out of order.
    pub replayed: bool,
}

/// A consumer that was registered, whether or not it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// When it was first opened.
    pub created_at: Timestamp,
    /// Events of all sessions that it has not acknowledged, cut off ones included.
    pub behind: u64,
}
