//! Calls that wait here, or end later: by a completion, by waiting, or both.
//!
//! | file | what |
//! | --- | --- |
//! | `call` | the one shape of a function that takes a `centralita_async` |
//! | `handle` | `centralita_op` |

pub(crate) mod call;
pub mod handle;

use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use centralita::events::durable::DurableConsumer;
use centralita::{Error, ErrorKind};
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::boundary::panicked;
use crate::callback::{self, UserData};
use crate::durable::consumer::centralita_consumer;
use crate::error::{Failure, Outcome, centralita_error};
use crate::fork::Birth;
use crate::service::{Job, Service};
use crate::session::centralita_session;
use crate::sized::{self, Sized_};
use crate::status::CENTRALITA_OK;
use crate::text::centralita_buf;
use crate::wait;

use handle::centralita_op;

/// How a call ends later instead of waiting here. Start from `CENTRALITA_ASYNC_INIT`.
///
/// With it a function checks its arguments, starts, and answers `CENTRALITA_OK` at once; its other out-parameters are
/// left alone (pass NULL), and the result is in the operation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_async {
    /// `sizeof(centralita_async)`.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Given to the two functions below. They may be called on another thread than this one.
    pub user_data: *mut c_void,
    /// Called once when the operation has ended, whatever its end, on the service's completion thread, one at a time.
    /// `op` is borrowed for the time of the call. May be NULL.
    pub on_done: Option<unsafe extern "C" fn(user_data: *mut c_void, op: *const centralita_op)>,
    /// Releases `user_data`: called exactly once, after `on_done`, or at once if the call fails. May be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Where to put a handle to wait with or to cancel; free it with `centralita_op_free`. May be NULL.
    pub op: *mut *mut centralita_op,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_async {
    const NAME: &'static str = "centralita_async";
    const FIRST_SIZE: usize = 40;
}

/// What a call gives.
pub(crate) enum Output {
    Nothing,
    Text(String),
    Session(centralita::service::Session),
    Consumer(DurableConsumer),
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Self::Nothing
    }
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<centralita::service::Session> for Output {
    fn from(session: centralita::service::Session) -> Self {
        Self::Session(session)
    }
}

impl From<DurableConsumer> for Output {
    fn from(consumer: DurableConsumer) -> Self {
        Self::Consumer(consumer)
    }
}

struct Done {
    code: i32,
    error: Option<centralita_error>,
    output: Output,
}

struct Operation {
    /// Held until the end, so that a service which is freed meanwhile lives as long as it must.
    service: Mutex<Option<Arc<Service>>>,
    done: OnceLock<Done>,
    waiters: Notify,
    cancelled: AtomicBool,
    task: OnceLock<AbortHandle>,
    birth: Birth,
}

/// A caller's wish, read before anything else is checked, so that its `drop` runs on every path.
pub(crate) struct Later {
    completion: Option<Completion>,
    op: *mut *mut centralita_op,
}

struct Completion {
    on_done: Option<unsafe extern "C" fn(user_data: *mut c_void, op: *const centralita_op)>,
    user: UserData,
}

impl Later {
    /// # Safety
    /// As the header says of `centralita_async`.
    pub(crate) unsafe fn read(later: *const centralita_async) -> Outcome<Option<Self>> {
        // SAFETY: passed on.
        let Some(later) = (unsafe { sized::read(later) })? else { return Ok(None) };
        let completion =
            Completion { on_done: later.on_done, user: UserData::new(later.user_data, later.drop) };
        if !later.op.is_null() {
            // SAFETY: the address of a pointer, says the header.
            unsafe { later.op.write(std::ptr::null_mut()) };
        }
        Ok(Some(Self { completion: Some(completion), op: later.op }))
    }
}

/// Where a call that waits puts what it gives.
pub(crate) enum Target {
    Nothing,
    /// May be left out by the caller.
    Text(*mut centralita_buf),
    Session(*mut *mut centralita_session),
    Consumer(*mut *mut centralita_consumer),
}

impl Target {
    /// Empties the out-parameter at once, so that it never dangles after a failure.
    ///
    /// # Safety
    /// NULL or good for a write.
    unsafe fn clear(&self) {
        match *self {
            // SAFETY: not NULL, and promised.
            Self::Text(out) if !out.is_null() => unsafe { out.write(centralita_buf::EMPTY) },
            // SAFETY: as above.
            Self::Session(out) if !out.is_null() => unsafe { out.write(std::ptr::null_mut()) },
            // SAFETY: as above.
            Self::Consumer(out) if !out.is_null() => unsafe { out.write(std::ptr::null_mut()) },
            _ => {}
        }
    }
}

/// Runs an operation: waits for it here, or starts it if the caller wants it later.
///
/// # Safety
/// `target` is as its function's documentation says.
pub(crate) unsafe fn perform(
    service: &Arc<Service>,
    later: Option<Later>,
    target: Target,
    future: impl Future<Output = centralita::Result<Output>> + Send + 'static,
) -> Outcome<()> {
    if let Some(later) = later {
        // SAFETY: promised by the caller.
        return unsafe { start(service, later, future) };
    }
    // SAFETY: promised by the caller.
    unsafe { target.clear() };
    let output = wait::run(service.runtime(), future)?;
    match (target, output) {
        (Target::Text(out), Output::Text(text)) if !out.is_null() => {
            // SAFETY: not NULL, and promised by the caller.
            unsafe { out.write(centralita_buf::new(text)) };
        }
        (Target::Session(out), Output::Session(session)) if !out.is_null() => {
            let session = centralita_session::new(service, session);
            // SAFETY: not NULL, and promised by the caller.
            unsafe { out.write(Box::into_raw(Box::new(session))) };
        }
        (Target::Consumer(out), Output::Consumer(consumer)) if !out.is_null() => {
            let consumer = centralita_consumer::new(service, consumer);
            // SAFETY: not NULL, and promised by the caller.
            unsafe { out.write(Box::into_raw(Box::new(consumer))) };
        }
        _ => {}
    }
    Ok(())
}

/// # Safety
/// `later.op` is NULL or good for a write.
unsafe fn start(
    service: &Arc<Service>,
    mut later: Later,
    future: impl Future<Output = centralita::Result<Output>> + Send + 'static,
) -> Outcome<()> {
    let jobs = service.jobs()?;
    let operation = Arc::new(Operation {
        service: Mutex::new(Some(Arc::clone(service))),
        done: OnceLock::new(),
        waiters: Notify::new(),
        cancelled: AtomicBool::new(false),
        task: OnceLock::new(),
        birth: service.birth(),
    });
    if !later.op.is_null() {
        // Before it starts: its completion may come before this function returns.
        // SAFETY: promised by the caller.
        unsafe { later.op.write(Box::into_raw(Box::new(centralita_op(Arc::clone(&operation))))) };
    }
    let completer =
        Completer { operation: Arc::clone(&operation), completion: later.completion.take(), jobs };
    let task = service.runtime().spawn(async move {
        let outcome = match AssertUnwindSafe(future).catch_unwind().await {
            Ok(outcome) => outcome.map_err(Failure::from),
            Err(panic) => Err(panicked(panic)),
        };
        completer.complete(outcome);
    });
    // Set once, here.
    drop(operation.task.set(task.abort_handle()));
    if operation.cancelled.load(Ordering::Acquire) {
        task.abort();
    }
    Ok(())
}

/// Ends an operation exactly once, also if its task is cut off.
struct Completer {
    operation: Arc<Operation>,
    completion: Option<Completion>,
    jobs: Sender<Job>,
}

impl Completer {
    fn complete(mut self, outcome: Outcome<Output>) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome<Output>) {
        let Some(completion) = self.completion.take() else { return };
        let operation = Arc::clone(&self.operation);
        let done = match outcome {
            Ok(output) => Done { code: CENTRALITA_OK, error: None, output },
            Err(failure) => {
                let error = centralita_error::from(failure);
                Done { code: error.code(), error: Some(error), output: Output::Nothing }
            }
        };
        // The completion was there, so this is the first end.
        drop(operation.done.set(done));
        operation.waiters.notify_waiters();
        let job: Job = Box::new(move || {
            let Completion { on_done, user } = completion;
            if let Some(on_done) = on_done
                && !crate::exit::is_exiting()
            {
                let op = centralita_op(Arc::clone(&operation));
                // SAFETY: a function of the caller's with his data; `op` lives during the call.
                callback::inside(|| unsafe { on_done(user.ptr(), &raw const op) });
            }
            drop(user);
            drop(operation.service.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        // The thread ends when the last sender is gone, so it is there. Were it not, the job is dropped, and the
        // caller's `drop` with it.
        drop(self.jobs.send(job));
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        if self.completion.is_some() {
            let cancelled = self.operation.cancelled.load(Ordering::Acquire);
            self.finish(Err(Failure::Core(if cancelled {
                Error::new(ErrorKind::Cancelled, "cancelled; whether it was done is unknown")
            } else {
                wait::cut_off()
            })));
        }
    }
}

impl Operation {
    async fn wait(&self) -> &Done {
        loop {
            let ended = self.waiters.notified();
            if let Some(done) = self.done.get() {
                return done;
            }
            ended.await;
        }
    }
}
