//! `centralita_subscription`: events pushed to a sink on a thread of its own, or pulled with `next`.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

use centralita::events::{Event, Filter, Overflow, Subscription, SubscriptionOptions};
use centralita::{Error, ErrorKind};
use futures::future::{Either, select};
use tokio::sync::Notify;

use crate::boundary::{call, enter, get, guard, required, take};
use crate::callback::{self, UserData};
use crate::error::{Outcome, centralita_error, invalid};
use crate::event::centralita_event;
use crate::exit;
use crate::fork::Birth;
use crate::gate::Gate;
use crate::link::busy;
use crate::operation::call::Handle as _;
use crate::service::centralita_service;
use crate::sized::{self, Sized_};
use crate::status::{CENTRALITA_END, CENTRALITA_OK};
use crate::text::centralita_str;
use crate::wait::{self, Patience};

/// The oldest event goes; a `CENTRALITA_EVENT_LAGGED` in its place says how many went. The default.
pub const CENTRALITA_OVERFLOW_DROP_OLDEST: i32 = 0;
/// The session waits, and after it WhatsApp: nothing is dropped, but a consumer that hangs holds up its sessions.
pub const CENTRALITA_OVERFLOW_WAIT: i32 = 1;
/// The subscription ends with `CENTRALITA_RATE_LIMITED`.
pub const CENTRALITA_OVERFLOW_CLOSE: i32 = 2;

/// What a subscription wants and where it goes. Start from `CENTRALITA_SINK_INIT`.
///
/// The functions are called on a thread of this sink's own, one call at a time, in the order of the events. They may
/// call every function of this header, `centralita_subscription_free` of their own subscription included, but must not
/// unwind, `longjmp` or end the thread. What waits without end is refused there with `CENTRALITA_WOULD_DEADLOCK`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_sink {
    /// `sizeof(centralita_sink)`.
    pub struct_size: u32,
    /// Events that wait at most; 0: 1,024. At most 1,000,000.
    pub capacity: u32,
    /// `CENTRALITA_OVERFLOW_…`: what happens beyond that.
    pub overflow: i32,
    /// Zero.
    pub reserved: u32,
    /// Given to the functions below.
    pub user_data: *mut c_void,
    /// Takes an event, which is valid during the call. NULL: take them with `centralita_subscription_next`.
    pub on_event: Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const centralita_event)>,
    /// Called once after the last event if the subscription ended by itself: `error` is NULL if the service was shut
    /// down, else why, borrowed. Not called after `centralita_subscription_free`. May be NULL.
    pub on_end: Option<unsafe extern "C" fn(user_data: *mut c_void, error: *const centralita_error)>,
    /// Releases `user_data`: called exactly once, after the last call of the others, also if subscribing fails (but
    /// not if `struct_size` is wrong: then nothing is known of it, nor when the process ends). May be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// Ids of the sessions whose events are wanted; NULL: all.
    pub session_ids: *const centralita_str,
    /// How many; 0: all.
    pub session_count: usize,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_sink {
    const NAME: &'static str = "centralita_sink";
    const FIRST_SIZE: usize = 64;
}

/// A subscription. Opaque, thread-safe.
pub struct centralita_subscription(Arc<Shared>);

struct Shared {
    /// Of a pulled subscription.
    pulled: Option<Mutex<Subscription>>,
    /// Of a pulled subscription, which has no function to give it to.
    _user: Option<UserData>,
    stop: Arc<Stop>,
    gate: Arc<Gate>,
    birth: Birth,
}

#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    wake: Notify,
}

enum Next {
    Event(Arc<Event>),
    Ended,
    Stopped,
    TooLate,
}

impl Stop {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The next event, on the caller's thread.
    fn next(&self, events: &mut Subscription, patience: Patience) -> centralita::Result<Next> {
        // Made before the flag is read: a stop in between wakes it.
        let woken = std::pin::pin!(self.wake.notified());
        if self.is_stopped() {
            return Ok(Next::Stopped);
        }
        let next = std::pin::pin!(events.next());
        match wait::wait(select(next, woken), patience) {
            Some(Either::Left((Ok(Some(event)), _))) => Ok(Next::Event(event)),
            Some(Either::Left((Ok(None), _))) => Ok(Next::Ended),
            Some(Either::Left((Err(error), _))) => Err(error),
            Some(Either::Right(_)) => Ok(Next::Stopped),
            None => Ok(Next::TooLate),
        }
    }
}

/// Events from now on. With `sink->on_event` they are pushed to the sink; with `sink` or `sink->on_event` NULL they are
/// taken with `centralita_subscription_next`. The subscription does not keep the service open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_subscribe(
    service: *const centralita_service,
    sink: *const centralita_sink,
    out: *mut *mut centralita_subscription,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            // First of all, so that every failure below releases it.
            let sink = sized::read(sink)?;
            let user = sink.map(|sink| UserData::new(sink.user_data, sink.drop));
            let out = required(out, "out")?.null();
            let (service, core) = get(service, "service")?.open()?;
            let options = options(sink.as_ref())?;
            let events = core.subscribe(options)?;
            let subscription = match (sink.and_then(|sink| sink.on_event), user) {
                (Some(on_event), Some(user)) => {
                    let on_end = sink.and_then(|sink| sink.on_end);
                    push(events, Target { on_event, on_end, user }, service.birth())?
                }
                (_, user) => pull(events, user, service.birth()),
            };
            out.put_handle(subscription);
            Ok(())
        })
    }
}

const MOST_EVENTS: u32 = 1_000_000;
const MOST_SESSIONS: usize = 100_000;

/// # Safety
/// `session_ids` is NULL or has `session_count` strings.
unsafe fn options(sink: Option<&centralita_sink>) -> Outcome<SubscriptionOptions> {
    let Some(sink) = sink else { return Ok(SubscriptionOptions::default()) };
    if sink.capacity > MOST_EVENTS {
        return Err(invalid("capacity must be at most 1000000"));
    }
    let overflow = match sink.overflow {
        CENTRALITA_OVERFLOW_DROP_OLDEST => Overflow::DropOldest,
        CENTRALITA_OVERFLOW_WAIT => Overflow::Wait,
        CENTRALITA_OVERFLOW_CLOSE => Overflow::Close,
        _ => return Err(invalid("overflow must be one of CENTRALITA_OVERFLOW_…")),
    };
    let filter = if sink.session_ids.is_null() || sink.session_count == 0 {
        Filter::all()
    } else {
        if sink.session_count > MOST_SESSIONS || !sink.session_ids.is_aligned() {
            return Err(invalid("session_ids is not aligned, or session_count is more than 100000"));
        }
        // SAFETY: not NULL, aligned, bounded, and promised by the caller.
        let ids = unsafe { std::slice::from_raw_parts(sink.session_ids, sink.session_count) };
        // SAFETY: promised by the caller.
        let ids = ids.iter().map(|id| unsafe { id.read("session_ids") });
        Filter::sessions(ids.collect::<Outcome<Vec<_>>>()?)
    };
    let mut options = SubscriptionOptions::from(filter).overflow(overflow);
    if sink.capacity > 0 {
        options = options.capacity(sink.capacity as usize);
    }
    Ok(options)
}

fn pull(events: Subscription, user: Option<UserData>, birth: Birth) -> centralita_subscription {
    let gate = Arc::new(Gate::new());
    // There is no thread to wait for.
    gate.finish();
    let stop = Arc::new(Stop::default());
    centralita_subscription(Arc::new(Shared {
        pulled: Some(Mutex::new(events)),
        _user: user,
        stop,
        gate,
        birth,
    }))
}

/// Starts the thread that serves a sink.
fn push(events: Subscription, target: Target, birth: Birth) -> Outcome<centralita_subscription> {
    let gate = Arc::new(Gate::new());
    let stop = Arc::new(Stop::default());
    let dispatcher = Dispatcher {
        target: Some(target),
        events: Some(events),
        stop: Arc::clone(&stop),
        gate: Arc::clone(&gate),
    };
    exit::close_at_exit(Arc::downgrade(&gate));
    std::thread::Builder::new()
        .name("centralita-sink".to_owned())
        .spawn(move || guard((), || dispatcher.serve()))
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the operating system gave no thread for the sink")
                .caused_by(error)
        })?;
    Ok(centralita_subscription(Arc::new(Shared { pulled: None, _user: None, stop, gate, birth })))
}

struct Target {
    on_event: unsafe extern "C" fn(user_data: *mut c_void, event: *const centralita_event),
    on_end: Option<unsafe extern "C" fn(user_data: *mut c_void, error: *const centralita_error)>,
    user: UserData,
}

/// Serves one sink on one thread. However it ends, its drop releases the caller's data and then says so.
struct Dispatcher {
    target: Option<Target>,
    events: Option<Subscription>,
    stop: Arc<Stop>,
    gate: Arc<Gate>,
}

impl Dispatcher {
    fn serve(mut self) {
        let (Some(events), Some(target)) = (&mut self.events, &self.target) else { return };
        let user = target.user.ptr();
        let error = loop {
            match self.stop.next(events, Patience::Forever) {
                Ok(Next::Event(event)) => {
                    if !self.gate.enter() {
                        return;
                    }
                    let event = centralita_event::new(event);
                    // SAFETY: the caller's function with his data; `event` lives during the call.
                    callback::inside(|| unsafe { (target.on_event)(user, &raw const event) });
                    self.gate.leave();
                }
                Ok(Next::Ended) => break None,
                Ok(Next::Stopped | Next::TooLate) => return,
                Err(error) => break Some(centralita_error::from(&error)),
            }
        };
        if let Some(on_end) = target.on_end
            && self.gate.enter()
        {
            let error = error.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: as above; `error` lives during the call.
            callback::inside(|| unsafe { on_end(user, error) });
            self.gate.leave();
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        // Publishers first: they may be waiting for room.
        drop(self.events.take());
        drop(self.target.take());
        self.gate.finish();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Takes the next event; free it with `centralita_event_free`. Waits `timeout_ms` at most (negative: for ever; 0: only
/// looks); `CENTRALITA_TIMEOUT` if nothing came. `CENTRALITA_END` once the service was shut down and all events were
/// taken, or the subscription was closed. `CENTRALITA_RATE_LIMITED` if it fell behind and `CENTRALITA_OVERFLOW_CLOSE`
/// was chosen. One thread at a time (`CENTRALITA_INVALID_STATE`), and not with a sink. Inside a callback only 0 is
/// allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_subscription_next(
    subscription: *mut centralita_subscription,
    timeout_ms: i64,
    out: *mut *mut centralita_event,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(err, || {
            let out = required(out, "out")?.null();
            // Its own share: whoever frees the handle meanwhile does not take it from under us.
            let shared = Arc::clone(&get(subscription, "subscription")?.0);
            shared.birth.check()?;
            if timeout_ms != 0 {
                callback::refuse_inside()?;
            }
            let Some(pulled) = &shared.pulled else {
                let message =
                    "this subscription pushes its events to a sink; subscribe without on_event to pull";
                return Err(Error::new(ErrorKind::InvalidState, message).into());
            };
            let mut events = match pulled.try_lock() {
                Ok(events) => events,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Err(busy()),
            };
            match shared.stop.next(&mut events, Patience::from_ms(timeout_ms))? {
                Next::Event(event) => {
                    out.put_handle(centralita_event::new(event));
                    Ok(CENTRALITA_OK)
                }
                Next::Ended | Next::Stopped => Ok(CENTRALITA_END),
                Next::TooLate => Err(Error::new(ErrorKind::Timeout, "no event in that time").into()),
            }
        })
    }
}

/// Ends a subscription from any thread and wakes whoever waits in `centralita_subscription_next`, which answers
/// `CENTRALITA_END` from then on. Free it once he is back. Never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_subscription_close(
    subscription: *const centralita_subscription,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let shared = &get(subscription, "subscription")?.0;
            shared.birth.check()?;
            shared.gate.close();
            shared.stop.stop();
            Ok(())
        })
    }
}

/// Ends a subscription, frees the handle and sets `*subscription` to NULL. It waits for a call of the sink that is
/// running: when it returns, no function of the sink will run any more, and `drop` was called. Hold no lock that the
/// sink's functions want.
///
/// Inside a callback (of any sink) it does not wait: the running call ends, then `drop` is called, and nothing else.
/// NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_subscription_free(subscription: *mut *mut centralita_subscription) {
    guard((), || {
        // SAFETY: see `centralita_config_new`.
        let Some(subscription) = (unsafe { take(subscription) }) else { return };
        if !subscription.0.birth.is_here() {
            // The parent's: its thread, which would drop what the caller gave, is not here.
            std::mem::forget(subscription);
            return;
        }
        subscription.0.gate.close();
        subscription.0.stop.stop();
        if !callback::is_inside() && !exit::is_exiting() {
            subscription.0.gate.wait_finished();
        }
    });
}
