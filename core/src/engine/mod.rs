//! The only place that knows the engine: the crate `whatsapp-rust` and its sub-crates.
//!
//! Outwards it speaks this library's own types. What stands where:
//!
//! | file | what |
//! | --- | --- |
//! | `connection` | one engine client: build, run, link, send, close |
//! | `inbound` | the durability hook: a message before it is acknowledged |
//! | `events` | the engine's events, mapped to [`EngineEvent`](events::EngineEvent) |
//! | `content` | message protobufs to and from [`MessageKind`](crate::store::MessageKind) |
//! | `history` | the phone's history blobs |
//! | `jid` | chats as people name them |
//! | `backend/` | the engine's storage traits on our [`AuthStore`](crate::store::AuthStore) |
//! | `baileys/` | what Baileys stored of a session, taken over |
//! | `session_auth` | sealed, fenced, patient access to one session's auth state |
//! | `empty_kinds` | what a session has none of, so that the store is not asked |
//! | `held_rows` | rows that ride with the next write instead of being written at once |
//! | `transport`, `http`, `executor`, `version` | socket, HTTPS, tasks and the version to claim |

pub(crate) mod backend;
pub(crate) mod baileys;
pub(crate) mod connection;
pub(crate) mod content;
mod empty_kinds;
pub(crate) mod events;
pub(crate) mod executor;
mod held_rows;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod inbound;
pub(crate) mod jid;
pub(crate) mod keyspace;
pub(crate) mod session_auth;
pub(crate) mod transport;
pub(crate) mod version;
