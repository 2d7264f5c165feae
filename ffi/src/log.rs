//! Logs by callback. What is logged through `tracing` inside this library; the host's own logging is left alone.

use std::ffi::c_void;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, Once, PoisonError, RwLock};

use centralita::{Error, ErrorKind};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::boundary::{call, guard};
use crate::callback::{self, UserData};
use crate::error::{Outcome, centralita_error, invalid};
use crate::exit;
use crate::gate::Gate;
use crate::sized::{self, Sized_};
use crate::text::centralita_str;

/// Something is broken and somebody must look.
pub const CENTRALITA_LOG_ERROR: i32 = 1;
/// Something is wrong but was dealt with.
pub const CENTRALITA_LOG_WARN: i32 = 2;
/// What happens in the large.
pub const CENTRALITA_LOG_INFO: i32 = 3;
/// What happens in the small; it may name phone numbers.
pub const CENTRALITA_LOG_DEBUG: i32 = 4;
/// Everything.
pub const CENTRALITA_LOG_TRACE: i32 = 5;

/// Where logs go. Start from `CENTRALITA_LOG_SINK_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_log_sink {
    /// `sizeof(centralita_log_sink)`.
    pub struct_size: u32,
    /// `CENTRALITA_LOG_…`: the most detailed level that is wanted. 0: `CENTRALITA_LOG_INFO`.
    pub level: i32,
    /// Given to the two functions below.
    pub user_data: *mut c_void,
    /// Takes a line: its level, the part of the library that logged it, the text. Called on a thread of this sink's
    /// own, one call at a time; both strings are borrowed for the time of the call. If it is slower than the logs,
    /// lines are left out, and a line says how many.
    pub on_log: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            level: i32,
            target: centralita_str,
            message: centralita_str,
        ),
    >,
    /// Releases `user_data`: called exactly once, as for `centralita_sink`. May be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_log_sink {
    const NAME: &'static str = "centralita_log_sink";
    const FIRST_SIZE: usize = 32;
}

type OnLog =
    unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: centralita_str, message: centralita_str);

/// Lines that wait for the sink.
const CAPACITY: usize = 4_096;

struct Line {
    level: i32,
    target: &'static str,
    message: String,
}

struct Sink {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
    gate: Arc<Gate>,
}

static INSTALL: Once = Once::new();
static SINK: RwLock<Option<Sink>> = RwLock::new(None);
/// The level of the sink, 0 without one: read for each line, so it is apart from the lock.
static LEVEL: AtomicU8 = AtomicU8::new(0);
/// One thread at a time changes the sink.
static CHANGE: Mutex<()> = Mutex::new(());

/// Sends the logs of this library to a function; a later call replaces it, `sink` NULL ends it. When it returns, no
/// function of the sink before will run any more, and its `drop` was called (inside a callback: soon). There is one
/// sink for the process; without one, nothing is logged anywhere. No line holds a secret or a message text; phone
/// numbers only at `CENTRALITA_LOG_DEBUG` and beyond.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_log_set(
    sink: *const centralita_log_sink,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let sink = sized::read(sink)?;
            let user = sink.map(|sink| UserData::new(sink.user_data, sink.drop));
            let Some((sink, user)) = sink.zip(user) else {
                replace(None, 0);
                return Ok(());
            };
            let level = match sink.level {
                0 => 3,
                CENTRALITA_LOG_ERROR..=CENTRALITA_LOG_TRACE => u8::try_from(sink.level).unwrap_or(3),
                _ => return Err(invalid("level must be one of CENTRALITA_LOG_…")),
            };
            let on_log = sink.on_log.ok_or_else(|| invalid("on_log is NULL"))?;
            install()?;
            let (lines, receiver) = mpsc::sync_channel(CAPACITY);
            let gate = Arc::new(Gate::new());
            let dropped = Arc::new(AtomicU64::new(0));
            let server =
                Server { on_log, user: Some(user), gate: Arc::clone(&gate), dropped: Arc::clone(&dropped) };
            exit::close_at_exit(Arc::downgrade(&gate));
            std::thread::Builder::new()
                .name("centralita-log".to_owned())
                .spawn(move || guard((), || server.serve(&receiver)))
                .map_err(|error| {
                    Error::new(ErrorKind::Unavailable, "the operating system gave no thread for logs")
                        .caused_by(error)
                })?;
            replace(Some(Sink { lines, dropped, gate }), level);
            Ok(())
        })
    }
}

/// The subscriber is this library's own: `tracing` is linked into it, so the host's is another.
fn install() -> Outcome<()> {
    let mut outcome = Ok(());
    INSTALL.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Forward);
        outcome = tracing::subscriber::set_global_default(subscriber).map_err(|error| {
            Error::new(
                ErrorKind::InvalidState,
                "the program that centralita is linked into takes its logs already",
            )
            .caused_by(error)
            .into()
        });
    });
    outcome
}

fn replace(new: Option<Sink>, level: u8) {
    let changing = CHANGE.lock().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *SINK.write().unwrap_or_else(PoisonError::into_inner), new);
    LEVEL.store(level, Ordering::Release);
    drop(changing);
    if let Some(Sink { lines, gate, .. }) = old {
        gate.close();
        // Its thread ends with the channel.
        drop(lines);
        if !callback::is_inside() && !exit::is_exiting() {
            gate.wait_finished();
        }
    }
}

/// Calls the sink's function, on a thread of its own.
struct Server {
    on_log: OnLog,
    user: Option<UserData>,
    gate: Arc<Gate>,
    dropped: Arc<AtomicU64>,
}

impl Server {
    fn serve(self, lines: &Receiver<Line>) {
        for line in lines {
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let message = format!("{dropped} lines were left out: the log sink is too slow");
                let told = Line { level: CENTRALITA_LOG_WARN, target: "centralita_ffi::log", message };
                if !self.tell(&told) {
                    return;
                }
            }
            if !self.tell(&line) {
                return;
            }
        }
    }

    fn tell(&self, line: &Line) -> bool {
        let Some(user) = &self.user else { return false };
        if !self.gate.enter() {
            return false;
        }
        let target = centralita_str::of(Some(line.target));
        let message = centralita_str::of(Some(&line.message));
        // SAFETY: the caller's function with his data; the strings live during the call.
        callback::inside(|| unsafe { (self.on_log)(user.ptr(), line.level, target, message) });
        self.gate.leave();
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.user.take());
        self.gate.finish();
    }
}

/// Takes what `tracing` sees.
struct Forward;

fn code(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl<S: Subscriber> Layer<S> for Forward {
    /// Asked each time: the level may change.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Only what is centralita's own: other crates may name phone numbers at any level.
        code(metadata.level()) <= LEVEL.load(Ordering::Acquire) && metadata.target().starts_with("centralita")
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let message = if text.fields.is_empty() {
            text.message
        } else {
            format!("{} {{{}}}", text.message, text.fields)
        };
        let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = &*sink else { return };
        let line = Line { level: code(metadata.level()).into(), target: metadata.target(), message };
        if sink.lines.try_send(line).is_err() {
            sink.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _infallible = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            let comma = if self.fields.is_empty() { "" } else { ", " };
            write!(self.fields, "{comma}{}={value:?}", field.name())
        };
    }
}
