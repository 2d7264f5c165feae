//! A caller's function that is given every event of a consumer, with retries.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use centralita::events::durable::{DurableConsumer, LoggedEvent};
use centralita::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::consumer::centralita_consumer;
use crate::boundary::{call, get, guard};
use crate::callback::{self, UserData};
use crate::error::{Outcome, centralita_error, invalid};
use crate::event::centralita_event;
use crate::exit;
use crate::gate::Gate;
use crate::operation::call::{Handle as _, refuse_inside_without};
use crate::operation::{Later, Output, Target, centralita_async, perform};
use crate::sized::{self, Sized_};

/// Who handles the events of a consumer. Start from `CENTRALITA_HANDLER_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_handler {
    /// `sizeof(centralita_handler)`.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Given to the two functions below.
    pub user_data: *mut c_void,
    /// Handles an event, which is valid during the call; `attempt` counts from 1. 0: it is done with, and does not come
    /// again once that is stored. Anything else is a failure: it is called again after a pause, the later events of
    /// that session wait, and after the last attempt the event becomes a dead letter that says `handler answered N`.
    /// Called on a thread of this handler's own, one call at a time.
    pub on_event: Option<
        unsafe extern "C" fn(user_data: *mut c_void, event: *const centralita_event, attempt: u32) -> i32,
    >,
    /// Releases `user_data`: called exactly once, after the last call of `on_event`, or at once if the call fails. May
    /// be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_handler {
    const NAME: &'static str = "centralita_handler";
    const FIRST_SIZE: usize = 32;
}

type OnEvent =
    unsafe extern "C" fn(user_data: *mut c_void, event: *const centralita_event, attempt: u32) -> i32;

/// An event for the handler's thread, and who waits for its answer.
struct Task {
    event: LoggedEvent,
    answer: oneshot::Sender<i32>,
}

/// Calls the caller's function, on a thread of its own.
struct Server {
    on_event: OnEvent,
    user: Option<UserData>,
    gate: Arc<Gate>,
    /// Goes last, and so says that the caller's data was released.
    _ended: oneshot::Sender<()>,
}

impl Server {
    fn serve(self, tasks: &Receiver<Task>) {
        let Some(user) = &self.user else { return };
        for Task { event, answer } in tasks {
            // Whoever asked has gone: it was cancelled meanwhile, and the event comes again.
            if answer.is_closed() {
                continue;
            }
            if !self.gate.enter() {
                return;
            }
            let attempt = event.attempt;
            let event = centralita_event::new(event.event);
            // SAFETY: the caller's function with his data; `event` lives during the call.
            let code = callback::inside(|| unsafe { (self.on_event)(user.ptr(), &raw const event, attempt) });
            self.gate.leave();
            // Nobody may be waiting for it any more.
            let _gone = answer.send(code);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.user.take());
        self.gate.finish();
    }
}

/// Has a function handle every event of a consumer, until `centralita_consumer_stop` or the consumer's close: the operation
/// then ends with `CENTRALITA_OK`, after the running call and `drop`. The service's shutdown ends it too, with
/// `CENTRALITA_OK` or `CENTRALITA_CLOSED`. With `later` it goes on by itself, and cancelling it stops it at once: what was
/// being handled comes again. Inside a callback it must be given `later`.
///
/// `CENTRALITA_INVALID_STATE` if one runs already, `CENTRALITA_CONFLICT` if another process took the consumer over. A
/// store that is away is waited for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_run(
    consumer: *const centralita_consumer,
    handler: *const centralita_handler,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            // Both are read before either can fail the call, so that both are released.
            let handler =
                sized::read_required(handler).map(|it| (it.on_event, UserData::new(it.user_data, it.drop)));
            let pending = Later::read(later)?;
            let (on_event, user) = handler?;
            let on_event = on_event.ok_or_else(|| invalid("on_event is NULL"))?;
            let (service, consumer) = get(consumer, "consumer")?.open()?;
            refuse_inside_without(later)?;
            let (tasks, ended) = start(on_event, user)?;
            perform(service, pending, Target::Nothing, run(consumer, tasks, ended))
        })
    }
}

fn start(on_event: OnEvent, user: UserData) -> Outcome<(Sender<Task>, oneshot::Receiver<()>)> {
    let (tasks, receiver) = mpsc::channel();
    let (ended_sender, ended) = oneshot::channel();
    let gate = Arc::new(Gate::new());
    let server = Server { on_event, user: Some(user), gate: Arc::clone(&gate), _ended: ended_sender };
    exit::close_at_exit(Arc::downgrade(&gate));
    std::thread::Builder::new()
        .name("centralita-handler".to_owned())
        .spawn(move || guard((), || server.serve(&receiver)))
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gave no thread for the handler")
                .caused_by(error)
        })?;
    Ok((tasks, ended))
}

async fn run(
    consumer: DurableConsumer,
    tasks: Sender<Task>,
    ended: oneshot::Receiver<()>,
) -> centralita::Result<Output> {
    let outcome = consumer
        .run(move |event| {
            let (answer, answered) = oneshot::channel();
            let sent = tasks.send(Task { event, answer });
            async move {
                match (sent, answered.await) {
                    (Ok(()), Ok(0)) => Ok(()),
                    (Ok(()), Ok(code)) => Err(format!("handler answered {code}")),
                    // The process is ending.
                    _ => Err("the handler has ended".to_owned()),
                }
            }
        })
        .await;
    // The thread ends with its last sender, which the handler held; nothing is ever sent back.
    let _released = ended.await;
    outcome.map(|()| Output::Nothing)
}

/// Ends a `centralita_consumer_run` once the running call has ended. Without one it does nothing. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_stop(
    consumer: *const centralita_consumer,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            get(consumer, "consumer")?.open()?.1.stop();
            Ok(())
        })
    }
}
