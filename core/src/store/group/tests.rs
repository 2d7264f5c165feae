//! Random interleavings: what was answered is in the store, in the order of its session.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use proptest::prelude::*;
use tokio::runtime::Handle;

use super::lane::{Lane, LaneOptions, Work};
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{MemoryStore, Store};

/// A store of its own: what each session had written, in order, and how it behaves.
#[derive(Default)]
struct Book {
    written: Mutex<HashMap<String, Vec<u32>>>,
    groups: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    most_entries: AtomicUsize,
}

struct Note {
    book: Arc<Book>,
    session: String,
    number: u32,
    size: usize,
    /// Milliseconds that its group takes, and whether it is refused.
    slow: u64,
    refused: bool,
}

impl Work for Note {
    type Answer = u32;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        self.size
    }

    fn run(_store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<u32>>> {
        Box::pin(async move {
            let book = Arc::clone(&group[0].book);
            book.groups.fetch_add(1, Ordering::SeqCst);
            book.most_entries.fetch_max(group.len(), Ordering::SeqCst);
            let now = book.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            book.most_in_flight.fetch_max(now, Ordering::SeqCst);
            let slow = group.iter().map(|note| note.slow).max().unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(slow)).await;
            let mut written = book.written.lock().unwrap();
            let outcome = group.iter().map(|note| {
                if note.refused {
                    return Err(Error::new(ErrorKind::Conflict, "refused"));
                }
                written.entry(note.session.clone()).or_default().push(note.number);
                Ok(note.number)
            });
            let outcome = outcome.collect();
            drop(written);
            book.in_flight.fetch_sub(1, Ordering::SeqCst);
            outcome
        })
    }
}

fn small_note(book: &Arc<Book>, session: usize, slow: u64) -> Note {
    let (book, session) = (Arc::clone(book), format!("s{session}"));
    Note { book, session, number: 0, size: 10, slow, refused: false }
}

fn options(merges_sessions: bool) -> LaneOptions {
    LaneOptions {
        in_flight: 2,
        spacing: Duration::from_millis(2),
        busy: Duration::from_secs(3_600),
        gap: Duration::from_millis(1),
        overlap: Duration::from_millis(3),
        group: 4,
        group_bytes: 8 << 10,
        waiting: 6,
        waiting_bytes: 16 << 10,
        merges_sessions,
    }
}

fn lane(options: LaneOptions) -> Lane<Note> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    Lane::start(&store, &SystemClock::shared(), &Handle::current(), options)
}

/// What one session does: for each write its size, slowness, refusal, and whether the caller gives up at once.
type Script = Vec<(usize, u64, bool, bool)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_answer_is_true_and_every_order_kept(
        scripts in prop::collection::vec(
            prop::collection::vec((0_usize..20_000, 0_u64..4, prop::bool::weighted(0.1), prop::bool::weighted(0.1)), 1..8),
            1..7,
        ),
        merges in any::<bool>(),
        at_once in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(scripts, merges, at_once));
    }
}

async fn check(scripts: Vec<Script>, merges: bool, at_once: bool) {
    let book = Arc::new(Book::default());
    let lane = Arc::new(lane(options(merges)));
    let sessions = scripts.into_iter().enumerate().map(|(index, script)| {
        let (book, lane) = (Arc::clone(&book), Arc::clone(&lane));
        tokio::spawn(async move {
            let session = format!("s{index}");
            let note = |(number, (size, slow, refused, _)): (usize, (usize, u64, bool, bool))| Note {
                book: Arc::clone(&book),
                session: session.clone(),
                number: number as u32,
                size,
                slow,
                refused,
            };
            let mut answered = Vec::new();
            if at_once {
                let calls = script.iter().copied().enumerate().map(|one| lane.submit(note(one)));
                let answers = join_all(calls).await;
                for (answer, (number, (_, _, refused, _))) in
                    answers.into_iter().zip(script.iter().enumerate())
                {
                    assert_eq!(answer.is_err(), *refused);
                    answered.extend(answer.ok().inspect(|answer| assert_eq!(*answer, number as u32)));
                }
            } else {
                for (number, step) in script.iter().copied().enumerate() {
                    let call = lane.submit(note((number, step)));
                    let (_, _, refused, gives_up) = step;
                    if gives_up {
                        drop(futures::poll!(Box::pin(call)));
                        continue;
                    }
                    let answer = call.await;
                    assert_eq!(answer.is_err(), refused);
                    answered.extend(answer.ok());
                }
            }
            lane.settle(&session).await;
            (session, answered)
        })
    });
    for outcome in join_all(sessions).await {
        let (session, answered) = outcome.unwrap();
        let written = book.written.lock().unwrap().get(&session).cloned().unwrap_or_default();
        assert!(written.is_sorted_by(|one, next| one < next), "{session}: {written:?}");
        assert!(
            answered.iter().all(|number| written.contains(number)),
            "{session}: {answered:?} {written:?}"
        );
    }
    assert!(book.most_in_flight.load(Ordering::SeqCst) <= 2);
    assert!(book.most_entries.load(Ordering::SeqCst) <= 4);
    assert_eq!(book.in_flight.load(Ordering::SeqCst), 0, "settled is settled");
}

#[tokio::test]
async fn what_comes_together_goes_together_and_a_lone_write_at_once() {
    let book = Arc::new(Book::default());
    let mut wide = options(false);
    (wide.group, wide.waiting, wide.waiting_bytes) = (100, 100, 1 << 20);
    wide.spacing = Duration::from_secs(3_600);
    let lane = lane(wide);
    let note = |session| small_note(&book, session, 1);
    // Nothing has gone before: it does not wait for the spacing.
    lane.submit(note(0)).await.unwrap();
    assert_eq!(book.groups.load(Ordering::SeqCst), 1);
    // A full group does not wait either.
    let answers = join_all((0..100).map(|session| lane.submit(note(session)))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(book.groups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn in_a_busy_lane_the_first_of_a_burst_waits_for_the_others() {
    let book = Arc::new(Book::default());
    let note = |session| small_note(&book, session, 0);
    let wide = LaneOptions { group: 100, waiting: 100, waiting_bytes: 1 << 20, ..options(false) };
    let lane = lane(LaneOptions {
        spacing: Duration::from_millis(200),
        gap: Duration::from_millis(100),
        overlap: Duration::from_secs(3_600),
        ..wide
    });
    lane.submit(note(0)).await.unwrap();
    // Past the spacing: a group could begin with whoever comes first.
    tokio::time::sleep(Duration::from_millis(250)).await;
    let answers = join_all((0..50).map(|session| lane.submit(note(session)))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(book.groups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn while_a_group_is_in_flight_the_next_gathers_but_a_stuck_one_holds_nobody_up() {
    let note = small_note;
    let wide = LaneOptions {
        spacing: Duration::ZERO,
        overlap: Duration::from_secs(3_600),
        group: 100,
        waiting: 100,
        waiting_bytes: 1 << 20,
        ..options(false)
    };
    let book = Arc::new(Book::default());
    let gathering = lane(wide);
    let answers = join_all((0..50).map(|session| gathering.submit(note(&book, session, 20)))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(book.groups.load(Ordering::SeqCst), 2, "the first went alone, the others together");
    assert_eq!(book.most_in_flight.load(Ordering::SeqCst), 1);

    let book = Arc::new(Book::default());
    let overlapping = lane(LaneOptions { overlap: Duration::from_millis(5), ..wide });
    let hour_ms = 3_600_000;
    let stuck = overlapping.submit(note(&book, 0, hour_ms));
    tokio::pin!(stuck);
    assert!(futures::poll!(stuck.as_mut()).is_pending());
    overlapping.submit(note(&book, 1, 1)).await.unwrap();
    assert!(futures::poll!(stuck).is_pending());
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_callers_up_outside_the_bound() {
    let store = Arc::new(MemoryStore::new());
    let shared: Arc<dyn Store> = store.clone();
    let group = Arc::new(super::GroupCommit::new(shared, &SystemClock::shared(), &Handle::current()));
    store.block(true);
    let text = "x".repeat(1 << 20);
    let calls: Vec<_> = (0..200)
        .map(|index| {
            let (group, text) = (Arc::clone(&group), text.clone());
            tokio::spawn(async move {
                let mut batch = crate::store::WriteBatch::new();
                batch.put(crate::store::AuthKey::new("session", "a"), text.into(), 0);
                group.apply_auth(&format!("s{index}"), crate::store::Tenure::FIRST, Arc::new(batch)).await
            })
        })
        .collect();
    // 64 MiB fit, about; the others wait outside.
    store.wait_for_commands(60).await;
    assert!(store.commands() <= 64, "{}", store.commands());
    store.block(false);
    for outcome in join_all(calls).await {
        outcome.unwrap().unwrap();
    }
}
