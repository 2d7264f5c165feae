//! One kind of write: a queue, and the groups that are in flight.

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// What one session wants written.
pub(super) trait Work: Send + Sync + Sized + 'static {
    /// What the store says of it.
    type Answer: Send + 'static;

    fn session(&self) -> &str;

    /// What it takes in memory, about.
    fn bytes(&self) -> usize;

    /// Has a group written. The answers have its order.
    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<Self::Answer>>>;
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LaneOptions {
    /// Groups in flight at most.
    pub(super) in_flight: usize,
    /// Groups that are not full begin at least this far apart.
    pub(super) spacing: Duration,
    /// A lane that began a group less than this ago is busy.
    pub(super) busy: Duration,
    /// In a busy lane a group begins once nothing has joined it for so long, or its oldest entry has waited for
    /// `spacing`. What follows on a group of another lane comes in a burst, of which the first would go alone.
    pub(super) gap: Duration,
    /// So long a group gathers while another is in flight, unless it is full or that one ends before.
    pub(super) overlap: Duration,
    /// Entries of one group at most.
    pub(super) group: usize,
    /// Bytes of one group at most, but for its first entry.
    pub(super) group_bytes: usize,
    /// Entries that wait or are in flight at most; whoever comes then waits outside.
    pub(super) waiting: usize,
    /// Bytes that wait or are in flight at most; an entry that is larger goes alone.
    pub(super) waiting_bytes: usize,
    /// Whether a group may hold several entries of one session.
    pub(super) merges_sessions: bool,
}

/// A lane. All its clones are one.
pub(super) struct Lane<W: Work>(Arc<Shared<W>>);

struct Shared<W: Work> {
    store: Arc<dyn Store>,
    clock: SharedClock,
    runtime: Handle,
    options: LaneOptions,
    entries: Arc<Semaphore>,
    /// In KiB: a semaphore counts in 32 bits.
    kib: Arc<Semaphore>,
    state: Mutex<State<W>>,
    /// Told whenever entries have left.
    left: Notify,
}

struct State<W: Work> {
    queue: VecDeque<Entry<W>>,
    /// Sessions with entries in flight.
    busy: HashSet<String>,
    in_flight: usize,
    /// When the last group began (monotonic).
    last_began: Option<Duration>,
    /// When the next group may begin, if somebody waits for that (monotonic).
    wakes_at: Option<Duration>,
}

struct Entry<W: Work> {
    work: W,
    bytes: usize,
    /// Monotonic.
    arrived: Duration,
    ticket: Ticket<W::Answer>,
}

/// Whom to answer, and the room that the entry takes.
struct Ticket<A> {
    reply: oneshot::Sender<Result<A>>,
    _room: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl<W: Work> Lane<W> {
    pub(super) fn start(
        store: &Arc<dyn Store>,
        clock: &SharedClock,
        runtime: &Handle,
        options: LaneOptions,
    ) -> Self {
        let state = State {
            queue: VecDeque::new(),
            busy: HashSet::new(),
            in_flight: 0,
            last_began: None,
            wakes_at: None,
        };
        Self(Arc::new(Shared {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            runtime: runtime.clone(),
            entries: Arc::new(Semaphore::new(options.waiting)),
            kib: Arc::new(Semaphore::new(options.waiting_bytes / 1024)),
            options,
            state: Mutex::new(state),
            left: Notify::new(),
        }))
    }

    /// Waits for room, then for the group that takes the work along. Whoever stops waiting takes back what has
    /// not begun; what has begun goes on to its end.
    pub(super) async fn submit(&self, work: W) -> Result<W::Answer> {
        let shared = &self.0;
        let bytes = work.bytes();
        let kib = (bytes / 1024 + 1).min(shared.options.waiting_bytes / 1024);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let entry = Arc::clone(&shared.entries).acquire_owned().await.map_err(|_| ended())?;
        let kib = Arc::clone(&shared.kib).acquire_many_owned(kib).await.map_err(|_| ended())?;
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket { reply, _room: (entry, kib) };
        let arrived = shared.clock.monotonic();
        shared.state().queue.push_back(Entry { work, bytes, arrived, ticket });
        shared.pump();
        answer.await.map_err(|_| ended())?
    }

    /// Waits until nothing of a session is in flight, and nothing that somebody still waits for is queued.
    pub(super) async fn settle(&self, session: &str) {
        loop {
            let left = self.0.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if !self.0.state().has(session) {
                return;
            }
            left.await;
        }
    }
}

impl<W: Work> State<W> {
    fn has(&self, session: &str) -> bool {
        let waiting = |entry: &Entry<W>| entry.work.session() == session && !entry.ticket.reply.is_closed();
        self.busy.contains(session) || self.queue.iter().any(waiting)
    }

    /// Takes the next group out of the queue: the oldest entries whose sessions have nothing in flight.
    fn take_group(&mut self, options: &LaneOptions) -> Vec<Entry<W>> {
        let mut group: Vec<Entry<W>> = Vec::new();
        let mut kept = VecDeque::new();
        // Sessions of which nothing more may go along, so that none overtakes another of its session.
        let mut closed: HashSet<String> = HashSet::new();
        let mut bytes = 0;
        let mut full = false;
        for entry in std::mem::take(&mut self.queue) {
            if entry.ticket.reply.is_closed() {
                continue;
            }
            let session = entry.work.session();
            full |= group.len() == options.group
                || (!group.is_empty() && bytes + entry.bytes > options.group_bytes);
            if full || self.busy.contains(session) || closed.contains(session) {
                closed.insert(session.to_owned());
                kept.push_back(entry);
                continue;
            }
            if !options.merges_sessions {
                closed.insert(session.to_owned());
            }
            bytes += entry.bytes;
            group.push(entry);
        }
        self.queue = kept;
        group
    }
}

impl<W: Work> Shared<W> {
    /// Starts as many groups as may start now.
    fn pump(self: &Arc<Self>) {
        while let Some(group) = self.next_group() {
            let (works, tickets): (Vec<W>, Vec<_>) =
                group.into_iter().map(|entry| (entry.work, entry.ticket)).unzip();
            let shared = Arc::clone(self);
            let run: BoxFuture<'static, ()> = Box::pin(async move {
                let works: Arc<[W]> = works.into();
                let running = W::run(Arc::clone(&shared.store), Arc::clone(&works));
                let outcome = AssertUnwindSafe(running).catch_unwind().await;
                shared.end_group(&works, tickets, outcome.ok());
            });
            self.runtime.spawn(run);
        }
    }

    fn next_group(self: &Arc<Self>) -> Option<Vec<Entry<W>>> {
        let mut state = self.state();
        if state.queue.is_empty() || state.in_flight >= self.options.in_flight {
            return None;
        }
        let now = self.clock.monotonic();
        if let Some(began) = state.last_began
            && state.queue.len() < self.options.group
        {
            let at = self.begins_at(&state, began, now);
            if at > now {
                self.pump_at(&mut state, at, now);
                return None;
            }
        }
        let group = state.take_group(&self.options);
        if group.is_empty() {
            return None;
        }
        for entry in &group {
            state.busy.insert(entry.work.session().to_owned());
        }
        state.in_flight += 1;
        state.last_began = Some(now);
        Some(group)
    }

    /// When a group that is not full may begin, the last having begun at `began`.
    fn begins_at(&self, state: &State<W>, began: Duration, now: Duration) -> Duration {
        let LaneOptions { spacing, overlap, busy, gap, .. } = self.options;
        if state.in_flight > 0 {
            return began + overlap;
        }
        let (Some(oldest), Some(newest)) = (state.queue.front(), state.queue.back()) else { return now };
        if began + busy <= now {
            return now;
        }
        (newest.arrived + gap).min(oldest.arrived + spacing).max(began + spacing)
    }

    fn pump_at(self: &Arc<Self>, state: &mut State<W>, at: Duration, now: Duration) {
        if state.wakes_at.is_some_and(|wakes_at| wakes_at <= at) {
            return;
        }
        state.wakes_at = Some(at);
        let shared = Arc::clone(self);
        let wait: BoxFuture<'static, ()> = Box::pin(async move {
            shared.clock.sleep(at - now).await;
            // One that was to wake later has been put off by an earlier one.
            shared.state().wakes_at.take_if(|wakes_at| *wakes_at == at);
            shared.pump();
        });
        self.runtime.spawn(wait);
    }

    fn end_group(
        self: &Arc<Self>,
        works: &[W],
        tickets: Vec<Ticket<W::Answer>>,
        outcome: Option<Vec<Result<W::Answer>>>,
    ) {
        {
            let mut state = self.state();
            state.in_flight -= 1;
            for work in works {
                state.busy.remove(work.session());
            }
        }
        self.left.notify_waiters();
        // The next group is on its way before the callers of this one are back.
        self.pump();
        let panicked = outcome.is_none();
        let mut answers = outcome.unwrap_or_default().into_iter();
        for ticket in tickets {
            let answer = answers.next().unwrap_or_else(|| Err(unanswered(panicked)));
            // Whoever no longer waits does not want to know.
            drop(ticket.reply.send(answer));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unanswered(panicked: bool) -> Error {
    if panicked {
        Error::new(ErrorKind::Panic, "a store operation panicked; its outcome is unknown")
    } else {
        Error::new(ErrorKind::Internal, "the store gave no outcome for a batch; report it")
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the runtime of the service has ended; build a new service")
}
