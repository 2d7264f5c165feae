//! Where tasks run: on a tokio runtime of our own, or on the caller's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, ErrorKind, Result};

/// A tokio runtime, owned or borrowed. Cheap to clone.
#[derive(Clone)]
pub struct RuntimeHandle {
    handle: Handle,
    owned: Option<Arc<OwnedRuntime>>,
}

impl RuntimeHandle {
    /// A runtime of our own with named threads. For callers that are not inside tokio: C, Python, plain threads.
    ///
    /// `worker_threads` of 0 takes as many as the machine has cores.
    pub fn owned(worker_threads: usize) -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("centralita");
        if worker_threads > 0 {
            builder.worker_threads(worker_threads);
        }
        let runtime = builder.build().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gave no threads for a runtime")
                .caused_by(error)
        })?;
        Ok(Self { handle: runtime.handle().clone(), owned: Some(Arc::new(OwnedRuntime(Some(runtime)))) })
    }

    /// The caller's runtime. It must outlive the service and have timers and I/O enabled.
    pub fn from_tokio(handle: Handle) -> Self {
        Self { handle, owned: None }
    }

    /// The runtime that the caller is in; `InvalidState` outside of one.
    pub fn current() -> Result<Self> {
        Handle::try_current().map(Self::from_tokio).map_err(|_| {
            Error::new(
                ErrorKind::InvalidState,
                "not inside a tokio runtime; pass RuntimeHandle::owned(0) to the builder",
            )
        })
    }

    /// Runs a future to its end from a thread that is not part of a runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle.block_on(future)
    }

    pub(crate) fn tokio(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for RuntimeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeHandle").field("owned", &self.owned.is_some()).finish()
    }
}

struct OwnedRuntime(Option<Runtime>);

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        // The last handle may be dropped on one of the runtime's own threads, where waiting would panic.
        if let Some(runtime) = self.0.take() {
            if Handle::try_current().is_ok() {
                runtime.shutdown_background();
            } else {
                runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
            }
        }
    }
}

const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owned_runtime_works_off_tokio_and_may_be_dropped_on_itself() {
        let runtime = RuntimeHandle::owned(1).unwrap();
        assert_eq!(RuntimeHandle::current().unwrap_err().kind(), ErrorKind::InvalidState);
        let inner = runtime.clone();
        let task = runtime.tokio().spawn(async move { drop(inner) });
        runtime.block_on(task).unwrap();
        let last = runtime.clone();
        drop(runtime);
        let handle = last.tokio().clone();
        let (done, wait) = std::sync::mpsc::channel();
        handle.spawn(async move {
            drop(last);
            done.send(()).unwrap();
        });
        wait.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}
