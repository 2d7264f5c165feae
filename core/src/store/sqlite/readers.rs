//! A few threads that read, each with a connection of its own.

use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use rusqlite::Connection;

use super::options::SqliteOptions;
use super::writer::{Job, Task};
use super::{closed, connection};
use crate::error::{Error, ErrorKind, Result};

pub(super) struct Readers {
    jobs: Sender<Box<dyn Job>>,
    /// Yields an error once all threads have let go of their connections.
    gone: Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(path: &Path, options: &SqliteOptions) -> Result<Self> {
        let (jobs, queue) = async_channel::unbounded();
        let (alive, gone) = async_channel::bounded::<()>(1);
        let mut threads = Vec::new();
        for _ in 0..options.readers.max(1) {
            let conn = connection::open_for_reading(path, options)?;
            let (queue, alive) = (queue.clone(), alive.clone());
            let thread = std::thread::Builder::new()
                .name("centralita-sqlite-read".to_owned())
                .spawn(move || {
                    serve(&conn, &queue);
                    drop(conn);
                    drop(alive);
                })
                .map_err(|error| {
                    Error::new(ErrorKind::Store, "cannot start a thread that reads").caused_by(error)
                })?;
            threads.push(thread);
        }
        Ok(Self { jobs, gone, threads: Mutex::new(threads) })
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

    pub(super) async fn close(&self) {
        self.jobs.close();
        let _ = self.gone.recv().await;
    }

    pub(super) fn close_blocking(&self) {
        self.jobs.close();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn serve(conn: &Connection, queue: &Receiver<Box<dyn Job>>) {
    while let Ok(mut job) = queue.recv_blocking() {
        job.run(conn);
        job.answer(Ok(()));
    }
}
