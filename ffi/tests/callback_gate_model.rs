//! The callback gate under every interleaving of its threads.
#![allow(dead_code, unreachable_pub, reason = "the gate's source, with loom's locks in the place of std's")]

mod sync {
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
}

#[path = "../src/gate.rs"]
mod gate;

use std::sync::atomic::{AtomicUsize, Ordering};

use gate::Gate;
use loom::sync::Arc;

/// What the caller sees: counted outside of loom, because only the gate is under test.
#[derive(Default)]
struct Seen {
    freed: AtomicUsize,
    calls: AtomicUsize,
    drops: AtomicUsize,
}

/// The dispatcher of `subscription.rs`, with `events` of them.
fn serve(gate: &Gate, seen: &Seen, events: usize) {
    for _ in 0..events {
        if !gate.enter() {
            break;
        }
        assert_eq!(seen.freed.load(Ordering::SeqCst), 0, "a callback ran after free had returned");
        seen.calls.fetch_add(1, Ordering::SeqCst);
        loom::thread::yield_now();
        assert_eq!(seen.freed.load(Ordering::SeqCst), 0, "free returned while a callback was running");
        gate.leave();
    }
    assert_eq!(seen.freed.load(Ordering::SeqCst), 0, "free returned before drop");
    seen.drops.fetch_add(1, Ordering::SeqCst);
    gate.finish();
}

#[test]
fn after_free_no_callback_runs_and_drop_ran_once() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let seen = Arc::new(Seen::default());
        let dispatcher = loom::thread::spawn({
            let (gate, seen) = (gate.clone(), seen.clone());
            move || serve(&gate, &seen, 2)
        });
        gate.close();
        gate.wait_finished();
        seen.freed.store(1, Ordering::SeqCst);
        assert_eq!(seen.drops.load(Ordering::SeqCst), 1);
        dispatcher.join().unwrap();
    });
}

#[test]
fn two_threads_that_free_both_return() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let seen = Arc::new(Seen::default());
        let dispatcher = loom::thread::spawn({
            let (gate, seen) = (gate.clone(), seen.clone());
            move || serve(&gate, &seen, 1)
        });
        let other = loom::thread::spawn({
            let gate = gate.clone();
            move || {
                gate.close();
                gate.wait_finished();
            }
        });
        gate.close();
        gate.wait_finished();
        other.join().unwrap();
        dispatcher.join().unwrap();
        assert_eq!(seen.drops.load(Ordering::SeqCst), 1);
    });
}

/// Freed by its own callback: that call goes on, no other begins, then drop.
#[test]
fn a_callback_may_free_its_own_subscription() {
    loom::model(|| {
        let gate = Arc::new(Gate::new());
        let seen = Arc::new(Seen::default());
        let dispatcher = loom::thread::spawn({
            let (gate, seen) = (gate.clone(), seen.clone());
            move || {
                if gate.enter() {
                    gate.close();
                    gate.leave();
                }
                serve(&gate, &seen, 1);
            }
        });
        // The end of the process meanwhile.
        gate.close();
        dispatcher.join().unwrap();
        assert_eq!((seen.calls.load(Ordering::SeqCst), seen.drops.load(Ordering::SeqCst)), (0, 1));
    });
}

/// The model can fail: a flag that is read before the call, as others have it, is found out.
#[test]
#[should_panic(expected = "after free")]
fn a_mere_flag_would_be_found_out() {
    use loom::sync::atomic::{AtomicBool, Ordering as Loom};
    loom::model(|| {
        let open = Arc::new(AtomicBool::new(true));
        let freed = Arc::new(AtomicBool::new(false));
        let dispatcher = loom::thread::spawn({
            let (open, freed) = (open.clone(), freed.clone());
            move || {
                if open.load(Loom::SeqCst) {
                    assert!(!freed.load(Loom::SeqCst), "a callback ran after free had returned");
                }
            }
        });
        open.store(false, Loom::SeqCst);
        freed.store(true, Loom::SeqCst);
        dispatcher.join().unwrap();
    });
}
