//! Group commit: one thread, one transaction for all that is queued, one sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::closed;
use super::errors::DbResult as _;
use super::lock::FileLock;
use crate::error::{Error, ErrorKind, Result};

/// The most jobs that one transaction takes, so that the first does not wait for ever.
const GROUP: usize = 1_024;

/// Work of some type, with the way to answer it.
pub(super) trait Job: Send {
    /// Runs the work. `true` if its writes are to stay.
    fn run(&mut self, conn: &Connection) -> bool;
    /// Answers: with what the work gave if it was committed, else with why not.
    fn answer(self: Box<Self>, committed: Result<()>);
}

/// A [`Job`] made of a closure that can be repeated, because a full disk undoes the whole transaction.
pub(super) struct Task<T, W> {
    work: W,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Task<T, W> {
    pub(super) fn new(work: W) -> (Box<Self>, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { work, outcome: None, reply }), answer)
    }
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: Fn(&Connection) -> Result<T> + Send,
{
    fn run(&mut self, conn: &Connection) -> bool {
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(conn))).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Panic, "a store operation panicked; nothing of it was written"))
        });
        self.outcome.insert(outcome).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let outcome = match (self.outcome, committed) {
            // Its own refusal says more than what became of the group.
            (Some(Err(refusal)), _) => Err(refusal),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(error)) => Err(error),
            (None, Ok(())) => Err(Error::new(ErrorKind::Internal, "a store operation was not run")),
        };
        // Nobody waits for it any more if this fails; it is done all the same.
        let _ = self.reply.send(outcome);
    }
}

/// The thread that owns the writing connection.
pub(super) struct Writer {
    jobs: Sender<Box<dyn Job>>,
    /// Yields an error once the thread has let go of the connection and the lock.
    gone: Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
    groups: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(conn: Connection, lock: Option<FileLock>) -> Result<Self> {
        let (jobs, queue) = async_channel::unbounded();
        let (alive, gone) = async_channel::bounded::<()>(1);
        let groups = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&groups);
        let thread = std::thread::Builder::new()
            .name("centralita-sqlite".to_owned())
            .spawn(move || {
                serve(&conn, &queue, &counter);
                drop(conn);
                drop(lock);
                drop(alive);
            })
            .map_err(|error| {
                Error::new(ErrorKind::Store, "cannot start the thread that writes").caused_by(error)
            })?;
        Ok(Self { jobs, gone, thread: Mutex::new(Some(thread)), groups })
    }

    pub(super) async fn run<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let (task, answer) = Task::new(work);
        self.jobs.send(task).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// How many groups were written so far.
    pub(super) fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    /// How many jobs wait for the next transaction.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.jobs.len()
    }

    pub(super) async fn close(&self) {
        self.jobs.close();
        // The thread sends nothing: the only answer is that its end is gone.
        let _ = self.gone.recv().await;
    }

    pub(super) fn close_blocking(&self) {
        self.jobs.close();
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Jobs catch their panics, so there is none to pass on.
            let _ = thread.join();
        }
    }
}

fn serve(conn: &Connection, queue: &Receiver<Box<dyn Job>>, groups: &AtomicU64) {
    while let Ok(first) = queue.recv_blocking() {
        let mut group = vec![first];
        while group.len() < GROUP {
            match queue.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        groups.fetch_add(1, Ordering::Relaxed);
        match commit(conn, &mut group) {
            Ok(()) => group.into_iter().for_each(|job| job.answer(Ok(()))),
            // Nothing of the group is written. One by one, only those that cannot be are refused.
            Err(_) if group.len() > 1 => {
                for job in group {
                    let mut alone = [job];
                    let outcome = commit(conn, &mut alone);
                    let [job] = alone;
                    job.answer(outcome);
                }
            }
            Err(error) => group.into_iter().for_each(|job| job.answer(Err(again(&error)))),
        }
    }
}

/// Runs the jobs in one transaction, each in a savepoint, and commits. On an error nothing was written.
fn commit(conn: &Connection, group: &mut [Box<dyn Job>]) -> Result<()> {
    execute(conn, "BEGIN IMMEDIATE")?;
    let outcome = group.iter_mut().try_for_each(|job| in_savepoint(conn, |conn| job.run(conn)));
    let outcome = outcome.and_then(|()| execute(conn, "COMMIT"));
    if outcome.is_err() && !conn.is_autocommit() {
        execute(conn, "ROLLBACK")?;
    }
    outcome
}

/// Runs `work` and undoes it alone if it answers `false`. An error means that the whole transaction is lost.
pub(super) fn in_savepoint(conn: &Connection, work: impl FnOnce(&Connection) -> bool) -> Result<()> {
    execute(conn, "SAVEPOINT job")?;
    let keep = work(conn);
    if conn.is_autocommit() {
        return Err(Error::new(
            ErrorKind::Store,
            "the database undid the whole transaction; nothing was written",
        ));
    }
    if !keep {
        execute(conn, "ROLLBACK TO job")?;
    }
    execute(conn, "RELEASE job")
}

fn execute(conn: &Connection, sql: &str) -> Result<()> {
    conn.prepare_cached(sql).db()?.execute([]).db()?;
    Ok(())
}

fn again(error: &Error) -> Error {
    crate::store::rules::same_error(error)
}
