//! One live session: its supervisor, its status, its link to a phone, what comes in and what goes out.

pub(crate) mod activity;
pub(crate) mod auth;
mod connection_run;
pub(crate) mod context;
mod delivery;
mod endings;
pub mod health;
pub(crate) mod inbound;
pub mod link;
pub(crate) mod live;
mod message_records;
pub(crate) mod orders;
pub mod outbound;
pub(crate) mod outbox;
mod outgoing;
pub mod pacing;
mod parking;
pub(crate) mod rate_limit;
pub(crate) mod reconnect;
pub mod status;
pub(crate) mod supervisor;
mod turn;
mod updates;

pub use link::{LinkStep, LinkStream};
pub use outbound::{Outgoing, SentMessage};
pub use outbox::{OutboxOptions, OutboxOutcome, QueuedMessage};
pub use rate_limit::{Rate, RateLimits};
