//! A forked child has none of the parent's threads: its handles must answer, not hang.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Failure, Outcome};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The process that something was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth(u32);

impl Birth {
    pub(crate) fn now() -> Self {
        WATCH.call_once(|| {
            // SAFETY: the handler only adds to an atomic, which is allowed after a fork. Without it (out of memory)
            // forks are not noticed, which is where we would be anyway.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        Self(GENERATION.load(Ordering::Relaxed))
    }

    pub(crate) fn is_here(self) -> bool {
        self.0 == GENERATION.load(Ordering::Relaxed)
    }

    pub(crate) fn check(self) -> Outcome<()> {
        if self.is_here() { Ok(()) } else { Err(Failure::Forked) }
    }
}
