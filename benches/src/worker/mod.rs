//! The library in a process of its own, told what to do line by line.

mod protocol;
mod serve;

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

pub use protocol::{Answer, Order, Settings, ToLink};
use protocol::{AnswerLine, OrderLine, READY};
pub(crate) use serve::serve;

use crate::Result;
use crate::process::Process;

/// The first argument of the program when it is to be a worker.
pub const ROLE: &str = "__worker";

type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

/// A running worker. It is killed when this is dropped.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Process,
    child: tokio::sync::Mutex<Child>,
    stdin: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    /// `None` once the process has ended: nothing more will be answered.
    waiting: Waiting,
}

impl Worker {
    /// Starts this program once more, as a worker, and waits until its service runs.
    ///
    /// # Errors
    /// The worker's own words if it could not start.
    pub async fn start(settings: &Settings) -> Result<Arc<Self>> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(serde_json::to_string(settings)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("the worker has no standard input")?;
        let stdout = child.stdout.take().ok_or("the worker has no standard output")?;
        let process = Process { pid: child.id().ok_or("the worker has ended")? };
        let mut lines = BufReader::new(stdout).lines();
        let first = lines.next_line().await?.ok_or("the worker ended before it was ready")?;
        let first: AnswerLine = serde_json::from_str(&first)?;
        match first.answer {
            Answer::Done if first.id == READY => {}
            other => return Err(format!("the worker could not start: {other:?}").into()),
        }
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(take_answers(lines, Arc::clone(&waiting)));
        Ok(Arc::new(Self {
            process,
            child: tokio::sync::Mutex::new(child),
            stdin: tokio::sync::Mutex::new(stdin),
            next: AtomicU64::new(READY + 1),
            waiting,
        }))
    }

    /// Gives an order and waits for its answer. `None` if the process ended before it gave one.
    pub async fn ask(&self, order: Order) -> Option<Answer> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).as_mut()?.insert(id, sender);
        // An order is always of text and numbers.
        let mut line = serde_json::to_vec(&OrderLine { id, order }).ok()?;
        line.push(b'\n');
        let written = self.stdin.lock().await.write_all(&line).await;
        if written.is_err() {
            lock(&self.waiting).as_mut()?.remove(&id);
            return None;
        }
        answer.await.ok()
    }

    /// As [`ask`](Self::ask), for orders that must succeed.
    pub async fn must(&self, order: Order) -> Result<Answer> {
        let what = format!("{order:?}");
        match self.ask(order).await {
            None => Err(format!("the worker ended during {what:.60}").into()),
            Some(Answer::Failed { message, .. }) => Err(format!("{what:.60}: {message}").into()),
            Some(answer) => Ok(answer),
        }
    }

    /// Whether the process still answers.
    pub fn is_running(&self) -> bool {
        lock(&self.waiting).is_some()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&self) -> Result<()> {
        let mut child = self.child.lock().await;
        child.kill().await?;
        Ok(())
    }

    /// Shuts the service down in good order and waits for the process to end.
    pub async fn shut_down(&self) -> Result<()> {
        self.must(Order::Shutdown).await?;
        let mut child = self.child.lock().await;
        let status = tokio::time::timeout(END_PATIENCE, child.wait()).await??;
        if status.success() { Ok(()) } else { Err(format!("the worker ended with {status}").into()) }
    }
}

const END_PATIENCE: Duration = Duration::from_secs(30);

async fn take_answers(mut lines: Lines<BufReader<ChildStdout>>, waiting: Waiting) {
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str::<AnswerLine>(&line) {
            Ok(line) => {
                let sender = lock(&waiting).as_mut().and_then(|waiting| waiting.remove(&line.id));
                if let Some(sender) = sender {
                    // Whoever asked may have given up.
                    let _unheard = sender.send(line.answer);
                }
            }
            Err(error) => tracing::error!(%error, "a worker printed what is no answer"),
        }
    }
    lock(&waiting).take();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
