//! The only thread that enters Python with results: workers of the runtime never wait for the GIL, many results
//! share one entry, and at exit there is one thread to end.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use centralita::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;

use crate::bridge::callable;
use crate::errors;

/// Results that share one entry into Python at most: the loop handles them in one turn.
const BATCH: usize = 256;

/// Makes the Python value of an answer, once inside Python.
pub(crate) type MakeValue = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Py<PyAny>> + Send>;

pub(crate) enum Outcome {
    Value(MakeValue),
    Error(Error),
}

pub(crate) enum Delivery {
    /// Answers an `asyncio.Future` on its own loop.
    Answer {
        future: Py<PyAny>,
        outcome: Outcome,
    },
    /// Calls something with one argument on a loop.
    Call {
        event_loop: Arc<Py<PyAny>>,
        callable: Arc<Py<PyAny>>,
        argument: MakeValue,
    },
    Stop,
}

#[derive(Clone)]
pub(crate) struct Sender(mpsc::Sender<Delivery>);

impl Sender {
    /// Queues a delivery. After the end of the thread it goes nowhere: nobody is left to receive it.
    pub(crate) fn send(&self, delivery: Delivery) {
        // The error is the delivery itself, and the interpreter is exiting.
        drop(self.0.send(delivery));
    }
}

pub(crate) struct DeliveryThread {
    sender: Sender,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DeliveryThread {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = Builder::new().name("centralita-python".to_owned()).spawn(move || run(&receiver))?;
        Ok(Self { sender: Sender(sender), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Ends the thread after what is queued. Call it without the GIL, which the thread needs.
    pub(crate) fn stop(&self, patience: Duration) {
        self.sender.send(Delivery::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            join_within(thread, patience);
        }
    }
}

/// Waits for a thread that ends soon, unless Python code that it has called hangs.
pub(crate) fn join_within(thread: JoinHandle<()>, patience: Duration) {
    let deadline = Instant::now() + patience;
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    if thread.is_finished() && thread.join().is_err() {
        tracing::error!("a thread of the Python module panicked; report it");
    }
}

fn run(receiver: &mpsc::Receiver<Delivery>) {
    let mut stopped = false;
    while !stopped {
        let Ok(first) = receiver.recv() else { return };
        let mut batch = vec![first];
        batch.extend(receiver.try_iter().take(BATCH - 1));
        stopped = batch.iter().any(|delivery| matches!(delivery, Delivery::Stop));
        // An interpreter that is gone or going receives nothing.
        if Python::try_attach(|py| deliver(py, batch)).is_none() {
            return;
        }
    }
}

/// The answers for one loop, in order.
struct Share<'py> {
    event_loop: Bound<'py, PyAny>,
    answers: Bound<'py, PyList>,
}

fn deliver(py: Python<'_>, batch: Vec<Delivery>) {
    let mut shares: Vec<Share<'_>> = Vec::new();
    for delivery in batch {
        let handed = match delivery {
            Delivery::Answer { future, outcome } => add(py, &mut shares, future, outcome),
            Delivery::Call { event_loop, callable, argument } => argument(py).and_then(|argument| {
                event_loop
                    .call_method1(py, "call_soon_threadsafe", (callable.clone_ref(py), argument))
                    .map(drop)
            }),
            Delivery::Stop => Ok(()),
        };
        report(py, handed);
    }
    for share in shares {
        static SETTLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let handed = callable(&SETTLE, py, "centralita._bridge", "settle").and_then(|settle| {
            share.event_loop.call_method1("call_soon_threadsafe", (settle, share.answers))
        });
        report(py, handed.map(drop));
    }
}

fn add<'py>(
    py: Python<'py>,
    shares: &mut Vec<Share<'py>>,
    future: Py<PyAny>,
    outcome: Outcome,
) -> PyResult<()> {
    let future = future.into_bound(py);
    let event_loop = future.call_method0("get_loop")?;
    let answer = match outcome {
        Outcome::Value(make) => match make(py) {
            Ok(value) => (future, value, None),
            Err(error) => (future, py.None(), Some(error.into_value(py).into_any())),
        },
        Outcome::Error(error) => (future, py.None(), Some(errors::exception(py, &error)?)),
    };
    let share = match shares.iter().position(|share| share.event_loop.is(&event_loop)) {
        Some(found) => &shares[found],
        None => {
            shares.push(Share { event_loop, answers: PyList::empty(py) });
            shares.last().expect("just pushed")
        }
    };
    share.answers.append(answer)
}

/// A loop that was closed has nobody who waits; anything else is a bug that must be seen.
fn report(py: Python<'_>, handed: PyResult<()>) {
    if let Err(error) = handed
        && !error.is_instance_of::<PyRuntimeError>(py)
    {
        error.write_unraisable(py, None);
    }
}
