//! Calls that wait here, or end later: by a completion, by waiting, or both.

use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use centralita::{Error, ErrorKind};
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::boundary::{Out, call, enter, get, guard, panicked, required, take};
use crate::callback::{self, UserData};
use crate::error::{Failure, Outcome, centralita_error, invalid};
use crate::fork::Birth;
use crate::service::{Job, Service};
use crate::session::centralita_session;
use crate::sized::{self, Sized_};
use crate::status::{CENTRALITA_OK, CENTRALITA_PENDING};
use crate::text::{centralita_buf, centralita_str};
use crate::wait::{self, Patience};

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

/// An operation that was started with a `centralita_async`. Opaque, thread-safe.
pub struct centralita_op(Arc<Operation>);

/// What a call gives.
pub(crate) enum Output {
    Nothing,
    Text(String),
    Session(centralita::service::Session),
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

impl centralita_op {
    fn done(&self) -> Option<&Done> {
        self.0.done.get()
    }
}

/// Waits until an operation has ended and answers as the call would have done that waits. `CENTRALITA_PENDING` if it
/// has not ended within `timeout_ms` (negative: for ever; 0: only looks). Any number of threads may wait. Inside a
/// callback only 0 is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_wait(
    op: *const centralita_op,
    timeout_ms: i64,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(err, || {
            let operation = Arc::clone(&get(op, "op")?.0);
            operation.birth.check()?;
            if timeout_ms != 0 {
                callback::refuse_inside()?;
            }
            let Some(done) = wait::wait(operation.wait(), Patience::from_ms(timeout_ms)) else {
                return Ok(CENTRALITA_PENDING);
            };
            if let Some(error) = &done.error
                && !err.is_null()
            {
                err.write(Box::into_raw(Box::new(error.clone())));
            }
            Ok(done.code)
        })
    }
}

/// How an operation ended; `CENTRALITA_PENDING` if it has not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_status(op: *const centralita_op) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(std::ptr::null_mut(), || Ok(get(op, "op")?.done().map_or(CENTRALITA_PENDING, |done| done.code)))
    }
}

/// Why an operation failed: borrowed from `op`. NULL if it has not failed or not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_error(op: *const centralita_op) -> *const centralita_error {
    guard(std::ptr::null(), || {
        // SAFETY: see `centralita_config_new`.
        let done = unsafe { op.as_ref() }.and_then(centralita_op::done);
        done.and_then(|done| done.error.as_ref()).map_or(std::ptr::null(), std::ptr::from_ref)
    })
}

/// The text or JSON that an operation gave: what the call that waits puts into its buffer. Borrowed from `op`.
/// `{NULL, 0}` if there is none or it has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_text(op: *const centralita_op) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        match unsafe { op.as_ref() }.and_then(centralita_op::done).map(|done| &done.output) {
            Some(Output::Text(text)) => centralita_str::of(Some(text)),
            _ => centralita_str::NONE,
        }
    })
}

/// A new handle on the session that an operation gave. `CENTRALITA_INVALID_STATE` if it gave none or has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_session(
    op: *const centralita_op,
    service: *const crate::service::centralita_service,
    out: *mut *mut centralita_session,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out: Out<_> = required(out, "out")?.null();
            let service = get(service, "service")?.open()?;
            let Some(Output::Session(session)) = get(op, "op")?.done().map(|done| &done.output) else {
                let message = "the operation has given no session; wait for its end and look at its status";
                return Err(Error::new(ErrorKind::InvalidState, message).into());
            };
            out.put_handle(centralita_session::new(service, session.clone()));
            Ok(())
        })
    }
}

/// Asks an operation to end at once. It ends with `CENTRALITA_CANCELLED`, or as it would have if it was quicker.
/// A message that is being sent goes on: WhatsApp may have it already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_cancel(
    op: *const centralita_op,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let operation = &get(op, "op")?.0;
            operation.birth.check()?;
            operation.cancelled.store(true, Ordering::Release);
            if let Some(task) = operation.task.get() {
                task.abort();
            }
            Ok(())
        })
    }
}

/// Frees the handle and sets `*op` to NULL; the operation goes on and its completion still comes. NULL is fine, twice
/// is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_op_free(op: *mut *mut centralita_op) {
    guard((), || {
        // SAFETY: see `centralita_config_new`.
        if let Some(op) = unsafe { take(op) }
            && !op.0.birth.is_here()
        {
            // The parent's: its threads are not here to let go of their share.
            std::mem::forget(op);
        }
    });
}

/// A flag of a caller: C has no `bool` that is safe to take from everybody.
pub(crate) fn flag(value: i32, what: &'static str) -> Outcome<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(invalid(format!("{what} must be 0 or 1"))),
    }
}
