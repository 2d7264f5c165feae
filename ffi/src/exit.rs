//! The end of the process: from the first exit handler on no callback begins, because what it uses may be gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::boundary::guard;
use crate::callback;
use crate::gate::Gate;

static EXITING: AtomicBool = AtomicBool::new(false);
static GATES: Mutex<Vec<Weak<Gate>>> = Mutex::new(Vec::new());
static WATCH: Once = Once::new();

/// How long the end of the process waits for a callback that runs: it may itself be waiting for what has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the process is ending.
pub(crate) fn is_exiting() -> bool {
    EXITING.load(Ordering::Acquire)
}

/// Closes this gate when the process ends.
pub(crate) fn close_at_exit(gate: Weak<Gate>) {
    WATCH.call_once(|| {
        // SAFETY: the handler is part of this library, which is never unloaded (`-z nodelete`).
        unsafe { libc::atexit(at_exit) };
    });
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    if gates.len() == gates.capacity() {
        gates.retain(|gate| gate.strong_count() > 0);
    }
    gates.push(gate);
}

extern "C" fn at_exit() {
    guard((), || {
        EXITING.store(true, Ordering::Release);
        let gates = std::mem::take(&mut *GATES.lock().unwrap_or_else(PoisonError::into_inner));
        let gates: Vec<_> = gates.iter().filter_map(Weak::upgrade).collect();
        gates.iter().for_each(|gate| gate.close());
        // A callback that called `exit` itself must not wait for its own end.
        if !callback::is_inside() {
            let deadline = Instant::now() + PATIENCE;
            while gates.iter().any(|gate| gate.is_inside()) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
}
