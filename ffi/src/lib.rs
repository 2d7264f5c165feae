//! The C ABI of centralita: `include/centralita.h` is made from the documentation of this crate.
//!
//! | file or folder | what |
//! | --- | --- |
//! | `boundary` | the one way in: panics, `err`, what a fork leaves behind |
//! | `status`, `error` | status codes, `centralita_error` |
//! | `text`, `sized`, `json` | strings, buffers, structs and JSON that cross the boundary |
//! | `config/` | options by name |
//! | `service/` | opening and closing a service, restoring, its health |
//! | `session/`, `link`, `outgoing` | one session |
//! | `event`, `subscription` | events, pulled or pushed |
//! | `durable/` | events that survive a restart |
//! | `manager/`, `cleanup` | the seed's SessionManager and CleanupService |
//! | `operation/` | calls that end later; `call` is what every function with a `later` is |
//! | `log`, `metrics` | what operators see |
//! | `callback`, `gate`, `wait`, `fork`, `exit` | threads: who calls whom, and until when |
//!
//! No logic lives here: each function checks its arguments and calls the core.

// The names are C's; handles are opaque there; what every caller must keep is said once, in the header's first lines.
#![allow(non_camel_case_types, missing_debug_implementations, clippy::missing_safety_doc)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks, clippy::cast_possible_truncation)]

pub mod boundary;
mod callback;
pub mod cleanup;
pub mod config;
pub mod durable;
pub mod error;
pub mod event;
mod exit;
mod fork;
mod gate;
mod json;
pub mod link;
pub mod log;
pub mod manager;
pub mod metrics;
pub mod operation;
pub mod outgoing;
pub mod service;
pub mod session;
mod sized;
pub mod status;
pub mod subscription;
mod sync;
pub mod text;
pub mod version;
mod wait;
