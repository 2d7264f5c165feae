//! Waiting for futures on threads that are not the runtime's.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use centralita::{Error, ErrorKind};
use tokio::runtime::Handle;

use crate::boundary::panicked;
use crate::error::Outcome;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

fn waker() -> Waker {
    WAKER.with_borrow_mut(|waker| {
        waker.get_or_insert_with(|| Arc::new(Unpark(std::thread::current())).into()).clone()
    })
}

/// How long a caller wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Forever,
    Until(Instant),
}

impl Patience {
    /// Negative is for ever, as the header says.
    pub(crate) fn from_ms(ms: i64) -> Self {
        match u64::try_from(ms) {
            Ok(ms) => {
                Instant::now().checked_add(Duration::from_millis(ms)).map_or(Self::Forever, Self::Until)
            }
            Err(_) => Self::Forever,
        }
    }
}

/// Polls on this thread, which sleeps in between. `None` if the patience ended first; a future that is ready at once
/// is never too late.
pub(crate) fn wait<F: Future>(future: F, patience: Patience) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        match patience {
            Patience::Forever => std::thread::park(),
            Patience::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                std::thread::park_timeout(left);
            }
        }
    }
}

/// Runs a future on the runtime and waits for it here. It goes on even if this thread dies.
pub(crate) fn run<T: Send + 'static>(
    runtime: &Handle,
    future: impl Future<Output = centralita::Result<T>> + Send + 'static,
) -> Outcome<T> {
    match wait(runtime.spawn(future), Patience::Forever) {
        Some(Ok(result)) => Ok(result?),
        Some(Err(error)) if error.is_panic() => Err(panicked(error.into_panic())),
        _ => Err(cut_off().into()),
    }
}

/// The runtime ended under an operation.
pub(crate) fn cut_off() -> Error {
    Error::new(ErrorKind::Closed, "the service was shut down meanwhile; whether it was done is unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_until_done_or_too_late() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || send.send(7).unwrap());
        assert_eq!(wait(receive, Patience::Forever), Some(Ok(7)));
        thread.join().unwrap();
        assert_eq!(wait(std::future::pending::<()>(), Patience::from_ms(1)), None);
        assert_eq!(wait(std::future::ready(1), Patience::from_ms(0)), Some(1));
        assert_eq!(Patience::from_ms(i64::MIN), Patience::Forever);
    }
}
