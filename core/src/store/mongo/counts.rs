//! Chats and counters of messages that were stored: gathered, and written for many sessions at once a moment later.
//!
//! Additions must count once, whatever becomes of an answer. Each flush has a number, which rises with every flush
//! of this store, and each document remembers who counted in it last and up to which number (`countedBy`,
//! `countedSeq`): a statement that was applied already matches nothing. A flush that could not be brought to its
//! end is kept and goes on, under its number, before the next. What cannot be known is counted anew (`recount`).
//!
//! Who takes a session over from an owner that died counts it anew, and from then on the dead one must not add: it may
//! only have slept. So a count anew leaves the generation of its lease (`countedGeneration`), and an older one that
//! wants to add something asks for another count instead (`countAnew`), which the present owner's next flush makes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mongodb::bson::{Document, doc};

use super::calls::repeated;
use super::documents::{date, unsigned};
use super::errors::Failure;
use super::{CHATS, Inner, MongoStore, SESSIONS, chats, ownership, recount};
use crate::clock::{SharedClock, Timestamp};
use crate::error::{Error, Result};
use crate::store::message::{Direction, StoredMessage};

type Attempt<T> = std::result::Result<T, Failure>;

/// What is to be counted, and what is being counted.
pub(super) struct Counts {
    /// Names this store in the documents that it counts in.
    by: String,
    gathered: Mutex<Gathered>,
    /// The flush that runs or is to be gone on with. One at a time.
    unfinished: tokio::sync::Mutex<Option<Flush>>,
    /// Read by whoever records; written by whoever counts anew, so that no message is between store and tally.
    pub(super) recording: tokio::sync::RwLock<()>,
    scheduled: AtomicBool,
}

#[derive(Default)]
struct Gathered {
    tallies: HashMap<String, Tally>,
    /// Sessions whose counters may be wrong, because what became of a write is unknown.
    doubtful: HashSet<String>,
    /// The generation of the lease under which this store last held each session.
    generations: HashMap<String, u64>,
    last_seq: i64,
}

/// What a session's new messages add.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) new_chats: u64,
    /// Of the lease under which they were stored, if there was one.
    pub(super) generation: Option<u64>,
    /// When a new message was stored last; `None` if none was.
    pub(super) activity: Option<Timestamp>,
    /// By chat: the newest time, and how many more are unread.
    pub(super) chats: HashMap<String, (Timestamp, u32)>,
    /// Names to set where the chat is known.
    pub(super) names: HashMap<String, String>,
}

impl Tally {
    pub(super) fn has_numbers(&self) -> bool {
        self.sent + self.received + self.new_chats > 0
    }

    fn add(&mut self, messages: &[StoredMessage], inserted: &[bool], now: Timestamp) {
        for (message, _) in messages.iter().zip(inserted).filter(|(_, new)| **new) {
            let counts = u32::from(!message.from_history);
            let chat = self.chats.entry(message.key.chat_id.clone()).or_insert((message.timestamp, 0));
            chat.0 = chat.0.max(message.timestamp);
            match message.direction {
                Direction::In => {
                    self.received += u64::from(counts);
                    chat.1 += counts;
                }
                Direction::Out => self.sent += u64::from(counts),
            }
            self.activity = self.activity.max(Some(now));
        }
    }
}

/// One flush, until all of it is written.
pub(super) struct Flush {
    pub(super) by: String,
    pub(super) seq: i64,
    pub(super) now: Timestamp,
    pub(super) tallies: HashMap<String, Tally>,
    recount: HashSet<String>,
}

impl Flush {
    /// Narrows a filter to documents in which this flush has not counted yet.
    pub(super) fn once(&self, filter: &mut Document) {
        let counted = doc! { "countedBy": &self.by, "countedSeq": { "$gte": self.seq } };
        filter.insert("$nor", vec![counted]);
    }

    /// What a document remembers of this flush.
    pub(super) fn mark(&self, set: &mut Document) {
        set.extend(doc! { "countedBy": &self.by, "countedSeq": self.seq });
    }
}

impl Counts {
    pub(super) fn new(clock: &SharedClock) -> Self {
        let mut random = [0; 8];
        clock.fill_random(&mut random);
        Self {
            by: format!("{:016x}", u64::from_le_bytes(random)),
            gathered: Mutex::default(),
            unfinished: tokio::sync::Mutex::new(None),
            recording: tokio::sync::RwLock::new(()),
            scheduled: AtomicBool::new(false),
        }
    }

    /// Notes what was recorded.
    pub(super) fn note(
        &self,
        session: &str,
        messages: &[StoredMessage],
        inserted: &[bool],
        names: &[(String, String)],
        now: Timestamp,
    ) {
        if names.is_empty() && !inserted.contains(&true) {
            return;
        }
        let mut gathered = self.gathered();
        let generation = gathered.generations.get(session).copied();
        let tally = gathered.tallies.entry(session.to_owned()).or_default();
        let before = std::mem::replace(&mut tally.generation, generation);
        let of_two_leases = tally.has_numbers() && before != generation;
        tally.add(messages, inserted, now);
        tally.names.extend(names.iter().cloned());
        if of_two_leases {
            gathered.doubtful.insert(session.to_owned());
        }
    }

    /// This store holds the session's lease from now on.
    pub(super) fn note_lease(&self, session: &str, generation: u64) {
        self.gathered().generations.insert(session.to_owned(), generation);
    }

    /// Of the lease under which this store last held a session.
    pub(super) fn generation(&self, session: &str) -> Option<u64> {
        self.gathered().generations.get(session).copied()
    }

    pub(super) fn note_new_chats(&self, session: &str, count: u64) {
        let mut gathered = self.gathered();
        let generation = gathered.generations.get(session).copied();
        let tally = gathered.tallies.entry(session.to_owned()).or_default();
        tally.generation = tally.generation.or(generation);
        tally.new_chats += count;
    }

    /// Has a session counted anew with the next flush.
    pub(super) fn doubt(&self, session: &str) {
        self.gathered().doubtful.insert(session.to_owned());
    }

    fn next(&self, now: Timestamp) -> Option<Flush> {
        let mut gathered = self.gathered();
        if gathered.tallies.is_empty() && gathered.doubtful.is_empty() {
            return None;
        }
        gathered.last_seq += 1;
        Some(Flush {
            by: self.by.clone(),
            seq: gathered.last_seq,
            now,
            tallies: std::mem::take(&mut gathered.tallies),
            recount: std::mem::take(&mut gathered.doubtful),
        })
    }

    fn lags(&self, session: Option<&str>) -> bool {
        let gathered = self.gathered();
        let waiting = match session {
            Some(session) => gathered.tallies.contains_key(session) || gathered.doubtful.contains(session),
            None => !gathered.tallies.is_empty() || !gathered.doubtful.is_empty(),
        };
        drop(gathered);
        // Whoever holds it writes what the caller may want to read.
        waiting || self.unfinished.try_lock().map_or(true, |flush| flush.is_some())
    }

    fn has_gathered(&self) -> bool {
        let gathered = self.gathered();
        !gathered.tallies.is_empty() || !gathered.doubtful.is_empty()
    }

    /// Forgets what was to be added to a session's counters; what its chats gain stays.
    fn forget_numbers(&self, session: &str) {
        let mut gathered = self.gathered();
        gathered.doubtful.remove(session);
        if let Some(tally) = gathered.tallies.get_mut(session) {
            (tally.sent, tally.received, tally.new_chats) = (0, 0, 0);
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Flushes a moment later, with whatever has come by then.
pub(super) fn schedule(inner: &Arc<Inner>) {
    if inner.counts.scheduled.swap(true, Ordering::AcqRel) {
        return;
    }
    let task = {
        let inner = Arc::clone(inner);
        async move {
            let pause = inner.options.clock.sleep(inner.options.count_interval);
            inner.closing.run_until_cancelled(pause).await;
            inner.counts.scheduled.store(false, Ordering::Release);
            if let Err(error) = flush(&inner).await {
                tracing::warn!(%error, "chats and counters lag behind their messages; trying again");
                if !inner.closing.is_cancelled() {
                    schedule(&inner);
                }
            }
        }
    };
    inner.runtime.spawn(inner.calls.track_future(task));
}

/// Writes all that has been gathered, for all sessions.
pub(super) async fn flush(inner: &Arc<Inner>) -> Result<()> {
    let mut unfinished = inner.counts.unfinished.lock().await;
    finish(inner, &mut unfinished).await
}

/// Brings the unfinished flush to its end, then writes what has been gathered by then, and then the new chats of
/// that. What comes meanwhile waits for its own time: under load there would be no end.
async fn finish(inner: &Arc<Inner>, unfinished: &mut Option<Flush>) -> Result<()> {
    let mut rounds = 2;
    loop {
        if unfinished.is_none() {
            if rounds == 0 {
                if inner.counts.has_gathered() {
                    schedule(inner);
                }
                return Ok(());
            }
            rounds -= 1;
            *unfinished = inner.counts.next(inner.options.clock.now());
        }
        let Some(flush) = unfinished.as_mut() else { return Ok(()) };
        let this = &*flush;
        let outcome = repeated(inner, |inner| async move { write(&inner, this).await }).await?;
        if rounds == 1 && outcome.new_chats.is_empty() {
            rounds = 0;
        }
        for (session, new) in outcome.new_chats {
            // Known only now: it goes with the next round.
            inner.counts.note_new_chats(&session, new);
        }
        flush.recount.extend(outcome.doubtful);
        flush.tallies.clear();
        while let Some(session) = flush.recount.iter().next().cloned() {
            match recount_one(inner, &session).await {
                Err(error) if is_unsure(&error) => return Err(error),
                // One session's damage holds up no other's counters.
                Err(error) => tracing::error!(session, %error, "the counters cannot be counted anew"),
                Ok(_) => {}
            }
            flush.recount.remove(&session);
        }
        *unfinished = None;
    }
}

/// What came of a flush.
#[derive(Default)]
struct Outcome {
    /// By session.
    new_chats: HashMap<String, u64>,
    /// Sessions that must be counted anew.
    doubtful: HashSet<String>,
}

async fn write(inner: &Inner, flush: &Flush) -> Attempt<Outcome> {
    let mut outcome = Outcome::default();
    let mut chats = chats::count_statements(flush);
    let (counting, mut sessions) = session_statements(flush);
    let mut adding = sessions.len();
    for _ in 0..chats::COLLISIONS {
        let statements = chats.iter().map(|(_, one)| one.clone()).collect();
        let written =
            inner.update_both((CHATS, statements), (SESSIONS, std::mem::take(&mut sessions))).await?;
        for (index, code) in written.1.refused {
            tracing::warn!(
                session = counting[index],
                code,
                "the counters refused an addition; counting anew"
            );
            outcome.doubtful.insert(counting[index].to_owned());
        }
        if written.1.count < adding as u64 {
            outcome.doubtful.extend(ownership::unmatched(inner, flush, &counting).await?);
        }
        // Only once: a statement that was applied matches nothing the next time.
        adding = 0;
        for index in written.0.inserted {
            *outcome.new_chats.entry(chats[index].0.to_owned()).or_default() += 1;
        }
        for (index, code) in written.0.refused {
            tracing::warn!(session = chats[index].0, code, "a chat refused what its messages add");
        }
        let taken = written.0.duplicates;
        if taken.is_empty() {
            return Ok(outcome);
        }
        let applied = chats::counted_already(inner, flush, &chats, &taken).await?;
        let (applied, left): (Vec<usize>, Vec<usize>) =
            taken.into_iter().partition(|index| applied.contains(index));
        // By an earlier attempt, whose answer was lost: whether the chat was new then is not known.
        outcome.doubtful.extend(applied.into_iter().map(|index| chats[index].0.to_owned()));
        // The others met another's insert.
        chats = left.into_iter().map(|index| chats[index].clone()).collect();
        if chats.is_empty() {
            return Ok(outcome);
        }
    }
    Err(chats::collided())
}

/// The sessions that are counted in, and the statement of each.
fn session_statements(flush: &Flush) -> (Vec<&str>, Vec<Document>) {
    let counting = flush.tallies.iter().filter(|(_, tally)| tally.activity.is_some() || tally.new_chats > 0);
    let statements = counting.map(|(session, tally)| {
        let mut filter = doc! { "sessionId": session };
        flush.once(&mut filter);
        ownership::may_add(tally, &mut filter);
        let mut set = doc! { "updatedAt": date(tally.activity.unwrap_or(flush.now)) };
        flush.mark(&mut set);
        let mut update = doc! { "$set": set };
        // What is counted anew is not added to.
        if !flush.recount.contains(session) {
            let add = doc! {
                "messagesSent": unsigned(tally.sent),
                "messagesReceived": unsigned(tally.received),
                "totalChats": unsigned(tally.new_chats),
            };
            update.insert("$inc", add);
        }
        if let Some(at) = tally.activity {
            update.insert("$max", doc! { "lastActivity": date(at) });
        }
        (session.as_str(), doc! { "q": filter, "u": update })
    });
    statements.unzip()
}

async fn recount_one(inner: &Arc<Inner>, session: &str) -> Result<(u64, u64, u64)> {
    // Nobody is between storing a message and noting it.
    let _still = inner.counts.recording.write().await;
    inner.counts.forget_numbers(session);
    let now = inner.options.clock.now();
    repeated(inner, |inner| async move { recount::recount(&inner, session, now).await }).await
}

impl MongoStore {
    /// Makes what this store has recorded visible to what it reads next: of one session, or of all.
    pub(super) async fn catch_up(&self, session: Option<&str>) -> Result<()> {
        let inner = &self.0;
        if !inner.counts.lags(session) {
            return Ok(());
        }
        let task = Arc::clone(inner);
        match self.to_its_end("flush_counts", async move { flush(&task).await }).await {
            // A reader is not to fail because something cannot be counted.
            Err(error) if !error.is_retryable() && error.kind() != crate::ErrorKind::Closed => {
                tracing::warn!(%error, "chats and counters lag behind their messages");
                Ok(())
            }
            outcome => outcome,
        }
    }

    pub(super) async fn count_anew(&self, session: &str) -> Result<(u64, u64, u64)> {
        let (inner, session) = (Arc::clone(&self.0), session.to_owned());
        self.to_its_end("recount", async move {
            let mut unfinished = inner.counts.unfinished.lock().await;
            finish(&inner, &mut unfinished).await?;
            recount_one(&inner, &session).await
        })
        .await
    }

    /// Runs `delete` with nothing of the session left to be counted.
    pub(super) async fn uncounted<T, F>(&self, op: &'static str, session: &str, delete: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (inner, session) = (Arc::clone(&self.0), session.to_owned());
        self.to_its_end(op, async move {
            let mut unfinished = inner.counts.unfinished.lock().await;
            if let Some(flush) = unfinished.as_mut() {
                flush.tallies.remove(&session);
                flush.recount.remove(&session);
            }
            {
                let mut gathered = inner.counts.gathered();
                gathered.tallies.remove(&session);
                gathered.doubtful.remove(&session);
            }
            delete.await
        })
        .await
    }
}

/// That an error leaves open whether something was written.
pub(super) fn is_unsure(error: &Error) -> bool {
    error.is_retryable()
}
