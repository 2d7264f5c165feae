//! The gate that every call of a caller's function goes through: once it is closed no call begins, and whoever closes
//! it can wait until the running one and the `drop` after it are over.
//!
//! A flag alone would not do: a thread that has just read it as open is still in the callback when `free` returns.
//! Checked with loom in `tests/callback_gate_model.rs`.

use super::sync::{Condvar, Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    inside: bool,
    finished: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::default()), changed: Condvar::new() }
    }

    /// Begins a call, unless the gate is closed. One thread only calls it.
    pub(crate) fn enter(&self) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        state.inside = true;
        true
    }

    /// Ends a call. Nobody is woken: whoever waits does so for the finish, and a wake-up each event is dear.
    pub(crate) fn leave(&self) {
        self.lock().inside = false;
    }

    /// Says that nothing will be called any more, `drop` included.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.finished = true;
        drop(state);
        self.changed.notify_all();
    }

    /// From now on no call begins; one may be running.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Waits until nothing is called any more, `drop` included. Never from inside a callback: two that wait for each
    /// other would wait for ever.
    pub(crate) fn wait_finished(&self) {
        let mut state = self.lock();
        while !state.finished {
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Whether a call runs.
    pub(crate) fn is_inside(&self) -> bool {
        self.lock().inside
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
