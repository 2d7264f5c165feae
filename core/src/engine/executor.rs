//! Tasks and timers for the engine, on our runtime handle instead of "the current one".
//!
//! The engine's own runtime calls `tokio::spawn`, which panics on a thread of C or Python. Every task is
//! tracked, so that a closed session leaves none behind.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use whatsapp_rust::wacore::runtime::{AbortHandle, Runtime};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Spawns one connection's tasks; all end when `ended` is cancelled.
#[derive(Clone, Debug)]
pub(crate) struct EngineExecutor {
    handle: Handle,
    ended: CancellationToken,
    /// The session's, which the client was built in.
    span: tracing::Span,
}

impl EngineExecutor {
    pub(crate) fn new(handle: Handle, ended: CancellationToken) -> Self {
        Self { handle, ended, span: tracing::Span::current() }
    }

    fn until_ended(&self, task: Task) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.ended.clone();
        let running = async move {
            let _ended_first = ended.run_until_cancelled_owned(task).await;
        };
        running.instrument(self.span.clone())
    }
}

#[async_trait]
impl Runtime for EngineExecutor {
    fn spawn(&self, task: Task) -> AbortHandle {
        let running = self.handle.spawn(self.until_ended(task)).abort_handle();
        AbortHandle::new(move || running.abort())
    }

    fn spawn_detached(&self, task: Task) {
        drop(self.handle.spawn(self.until_ended(task)));
    }

    fn sleep(&self, duration: Duration) -> Task {
        // A timer must be made inside the runtime that drives it.
        let _inside = self.handle.enter();
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send + 'static>) -> Task {
        let running = self.handle.spawn_blocking(work);
        Box::pin(async move {
            if let Err(error) = running.await {
                tracing::error!(panicked = error.is_panic(), "a blocking task of the engine did not finish");
            }
        })
    }

    fn yield_now(&self) -> Option<Task> {
        None
    }
}
