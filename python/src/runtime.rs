//! The one tokio runtime of the process: started with the first service, ended by `atexit`, useless after a fork.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use centralita::{Error, ErrorKind};
use futures::future::join_all;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle};

use crate::delivery::DeliveryThread;
use crate::logs::LogThread;
use crate::service::Open;
use crate::{errors, metrics};

/// How long services may take to end when the interpreter exits.
const DRAIN: Duration = Duration::from_secs(2);
/// How long the threads that enter Python may take to end, and then the runtime's own.
const JOIN: Duration = Duration::from_secs(1);

static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();

pub(crate) struct Runtime {
    pid: u32,
    pub(crate) handle: Handle,
    tokio: Mutex<Option<tokio::runtime::Runtime>>,
    pub(crate) delivery: DeliveryThread,
    logs: LogThread,
    services: Mutex<Vec<Weak<Open>>>,
    closing: AtomicBool,
}

impl Runtime {
    /// The runtime of this process, started if need be.
    ///
    /// Starting it calls nothing in Python: a second thread may wait for it with the GIL held.
    pub(crate) fn current(py: Python<'_>) -> PyResult<&'static Self> {
        let runtime = match RUNTIME.get_or_init(Self::start) {
            Ok(runtime) => runtime,
            Err(message) => {
                return Err(errors::raise(py, &Error::new(ErrorKind::Unavailable, message.clone())));
            }
        };
        runtime.check(py)?;
        Ok(runtime)
    }

    fn start() -> Result<Self, String> {
        let no_threads = |error: std::io::Error| format!("the operating system gave no threads: {error}");
        let tokio =
            Builder::new_multi_thread().enable_all().thread_name("centralita").build().map_err(no_threads)?;
        let handle = tokio.handle().clone();
        let logs = LogThread::start().map_err(no_threads)?;
        let delivery = DeliveryThread::start().map_err(no_threads)?;
        metrics::install(&handle)?;
        Ok(Self {
            pid: std::process::id(),
            handle,
            tokio: Mutex::new(Some(tokio)),
            delivery,
            logs,
            services: Mutex::default(),
            closing: AtomicBool::new(false),
        })
    }

    fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.pid != std::process::id() {
            return Err(errors::raise_fork(py));
        }
        if self.closing.load(Ordering::Acquire) {
            let message = "the interpreter is exiting; nothing can be started any more";
            return Err(errors::raise(py, &Error::new(ErrorKind::Closed, message)));
        }
        Ok(())
    }

    /// Remembers a service, to end it at exit should nobody else.
    pub(crate) fn watch(&self, service: Weak<Open>) {
        let mut services = self.services();
        services.retain(|service| service.strong_count() > 0);
        services.push(service);
    }

    fn services(&self) -> MutexGuard<'_, Vec<Weak<Open>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends everything within a bound. Nothing of ours enters Python after it.
    fn end(&self) {
        let open: Vec<_> = self.services().drain(..).filter_map(|service| service.upgrade()).collect();
        self.handle.block_on(async {
            let ended = join_all(open.iter().map(|service| service.shut_down(DRAIN)));
            if tokio::time::timeout(DRAIN + JOIN, ended).await.is_err() {
                tracing::warn!("some services did not end before the interpreter; their leases run out");
            }
        });
        drop(open);
        self.delivery.stop(JOIN);
        self.logs.stop(JOIN);
        if let Some(tokio) = self.tokio.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tokio.shutdown_timeout(JOIN);
        }
    }
}

/// Ends all services and all threads of the module; the package registers it with `atexit`. In a child of a fork,
/// which has none of them, it does nothing.
#[pyfunction]
pub(crate) fn close(py: Python<'_>) {
    let Some(Ok(runtime)) = RUNTIME.get() else { return };
    if runtime.pid == std::process::id() && !runtime.closing.swap(true, Ordering::AcqRel) {
        py.detach(|| runtime.end());
    }
}

/// A value that belongs to the process that made it.
///
/// A child of a fork has its memory but not its threads, which may have held its locks: there the value is never
/// touched, not even to drop it. Elsewhere it is dropped on the runtime, since a last reference may close a store.
pub(crate) struct ProcessBound<T: Send + Sync + 'static> {
    pid: u32,
    handle: Handle,
    value: ManuallyDrop<T>,
}

impl<T: Send + Sync + 'static> ProcessBound<T> {
    pub(crate) fn new(handle: &Handle, value: T) -> Self {
        Self { pid: std::process::id(), handle: handle.clone(), value: ManuallyDrop::new(value) }
    }

    /// The value; `ForkError` in another process.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&T> {
        if self.pid == std::process::id() { Ok(&self.value) } else { Err(errors::raise_fork(py)) }
    }
}

impl<T: Send + Sync + 'static> Deref for ProcessBound<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Send + Sync + 'static> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            // SAFETY: this is the only place that takes the value, and it runs once.
            let value = unsafe { ManuallyDrop::take(&mut self.value) };
            self.handle.spawn(async move { drop(value) });
        }
    }
}
