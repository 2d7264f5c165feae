//! What the callback gate locks with: the model in `tests/callback_gate_model.rs` puts loom's in its place.

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
