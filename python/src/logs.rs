//! `tracing` to Python's `logging`: queued by whoever logs, handled in batches by a thread of its own, since a handler
//! may be slow and results must not wait for it.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::bridge::callable;
use crate::delivery::join_within;

/// Records that wait at most; beyond that they are counted and dropped.
const QUEUE: usize = 2_048;
const BATCH: usize = 256;

/// The level of the logger `centralita`, as `logging` numbers it.
static THRESHOLD: AtomicU8 = AtomicU8::new(30);
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Item {
    Record(Record),
    Stop,
}

struct Record {
    level: u8,
    target: &'static str,
    message: String,
}

pub(crate) struct LogThread {
    sender: mpsc::SyncSender<Item>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogThread {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let thread = Builder::new().name("centralita-log".to_owned()).spawn(move || run(&receiver))?;
        let subscriber = tracing_subscriber::registry().with(ToPython { sender: sender.clone() });
        // The module has a `tracing` of its own: nobody else can have set this one.
        tracing::subscriber::set_global_default(subscriber).map_err(std::io::Error::other)?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread after what is queued. Call it without the GIL, which the thread needs.
    pub(crate) fn stop(&self, patience: Duration) {
        // A full queue means a handler that hangs: the thread is left behind.
        drop(self.sender.try_send(Item::Stop));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            join_within(thread, patience);
        }
    }
}

/// Tells the module the level of the logger `centralita`; it is asked again with each batch.
#[pyfunction]
pub(crate) fn set_log_level(level: u8) {
    THRESHOLD.store(level, Ordering::Relaxed);
}

fn run(receiver: &mpsc::Receiver<Item>) {
    let mut stopped = false;
    while !stopped {
        let Ok(first) = receiver.recv() else { return };
        let mut records = Vec::new();
        for item in std::iter::once(first).chain(receiver.try_iter().take(BATCH - 1)) {
            match item {
                Item::Record(record) => records.push((record.level, record.target, record.message)),
                Item::Stop => stopped = true,
            }
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            records.push((
                30,
                "centralita",
                format!("{dropped} log records were dropped: a handler is slow"),
            ));
        }
        if records.is_empty() {
            continue;
        }
        let handled = Python::try_attach(|py| {
            static HANDLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
            match callable(&HANDLE, py, "centralita._logging", "handle")
                .and_then(|handle| handle.call1((records,)))
                .and_then(|level| level.extract::<u8>())
            {
                Ok(level) => set_log_level(level),
                Err(error) => error.write_unraisable(py, None),
            }
        });
        if handled.is_none() {
            return;
        }
    }
}

struct ToPython {
    sender: mpsc::SyncSender<Item>,
}

impl<S: Subscriber> Layer<S> for ToPython {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The engine names phone numbers in its logs: they stay inside.
        if is_ours(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_ours(metadata) && number(*metadata.level()) >= THRESHOLD.load(Ordering::Relaxed)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line::default();
        event.record(&mut line);
        let record = Record {
            level: number(*metadata.level()),
            target: metadata.target(),
            message: format!("{}{}", line.message, line.fields),
        };
        if self.sender.try_send(Item::Record(record)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target().starts_with("centralita")
}

/// As `logging` numbers levels.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _infallible = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
