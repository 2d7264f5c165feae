//! The reference server: the seed's HTTP API, JWT, Socket.IO, dashboard and alerts on centralita.
//!
//! | module | what |
//! | --- | --- |
//! | `config` | command line and environment, checked at start |
//! | `server` | the start order and the end |
//! | `app` | what all handlers share |
//! | `auth` | tokens: who may do what, with which sessions |
//! | `api` | the HTTP endpoints, their JSON, the OpenAPI document |
//! | `socket` | Socket.IO: live events, and those a client missed |
//! | `dashboard` | the page at `/`, embedded in the binary |
//! | `history`, `stats` | curves and figures that are cheap to ask for |
//! | `alerts` | rules over sessions and the store, each fired and resolved once |
//! | `webhook` | signed delivery of alerts with retries and dead letters |
//! | `documents` | the little that the server itself stores |
//! | `demo` | `--demo`: a simulated WhatsApp with phones and contacts in this process |
//! | `import` | moving in from the seed's Node system |

#![forbid(unsafe_code)]

mod alerts;
mod api;
mod app;
mod auth;
pub mod cli;
pub mod config;
mod dashboard;
#[cfg(feature = "stand-in")]
mod demo;
mod documents;
mod history;
mod import;
mod logging;
mod metrics;
mod server;
mod socket;
mod stats;
mod stores;
mod webhook;

pub use auth::token::{Mint, mint};
pub use server::Server;
