//! The native module under the Python package `centralita`: thin, private, typed by the package above it.
//!
//! | file | what |
//! | --- | --- |
//! | `runtime` | the one tokio runtime of the process: started on demand, ended at exit, refused after a fork |
//! | `bridge` | an asyncio future on one side, a task of the runtime on the other; cancelled from either |
//! | `delivery` | the only thread that enters Python for results, many at a time |
//! | `logs` | `tracing` to Python's `logging`, in batches, from a thread of its own |
//! | `metrics` | what `metrics_text()` renders |
//! | `callback` | questions that Rust asks Python |
//! | `config`, `options` | the service's settings as the package writes them |
//! | `keys` | a key provider written in Python |
//! | `errors` | `centralita::Error` to the exception tree |
//! | `service`, `session`, `outgoing`, `link`, `events`, `durable`, `manager`, `cleanup`, `qr` | what is bound |
//! | `stand_in` | the local WhatsApp of `centralita-testing`; not in the shipped wheel |
//!
//! Records cross as JSON with the fields of the seed; the package makes dataclasses of them.

mod bridge;
mod callback;
mod cleanup;
mod config;
mod delivery;
mod durable;
mod errors;
mod events;
mod keys;
mod link;
mod logs;
mod manager;
mod metrics;
mod options;
mod outgoing;
mod qr;
mod runtime;
mod service;
mod session;
#[cfg(feature = "stand-in")]
mod stand_in;

use pyo3::prelude::*;

/// The native half of the package.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::bridge::Operation;
    #[pymodule_export]
    use crate::callback::Reply;
    #[pymodule_export]
    use crate::cleanup::Cleanup;
    #[pymodule_export]
    use crate::durable::{Consumer, Letters, Logged};
    #[pymodule_export]
    use crate::events::Subscription;
    #[pymodule_export]
    use crate::link::Link;
    #[pymodule_export]
    use crate::logs::set_log_level;
    #[pymodule_export]
    use crate::manager::Manager;
    #[pymodule_export]
    use crate::metrics::{count_handler_error, metrics_text};
    #[pymodule_export]
    use crate::qr::QrCode;
    #[pymodule_export]
    use crate::runtime::close;
    #[pymodule_export]
    use crate::service::Service;
    #[pymodule_export]
    use crate::session::Session;
    #[cfg(feature = "stand-in")]
    #[pymodule_export]
    use crate::stand_in::{StandIn, StandInPhone, count_events};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ERROR_KINDS", crate::errors::kinds())?;
        module.add("STAND_IN", cfg!(feature = "stand-in"))?;
        module.add("DEBUG", cfg!(debug_assertions))
    }
}
