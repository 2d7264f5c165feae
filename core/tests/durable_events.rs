//! Durable events as their users see them: consumers, handlers, dead letters, bounds. The log is filled as another
//! process would fill it, through the store.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use centralita::clock::Timestamp;
use centralita::events::EventKind;
use centralita::events::durable::{
    ConsumerOptions, DurableConsumer, DurableEventOptions, LoggedEvent, RetryOptions, StartFrom,
};
use centralita::service::WhatsAppService;
use centralita::service::options::ServiceOptions;
use centralita::store::{EventLog as _, MemoryStore, NewEvent, Store};
use centralita::{Error, ErrorKind};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

async fn service(store: &Arc<MemoryStore>) -> WhatsAppService {
    service_with(store, |_| {}).await
}

async fn service_with(store: &Arc<MemoryStore>, change: impl FnOnce(&mut ServiceOptions)) -> WhatsAppService {
    WhatsAppService::builder()
        .shared_store(Arc::clone(store) as Arc<dyn Store>)
        .dangerously_store_credentials_in_plaintext()
        .configure(|options| {
            options.durable_events = Some(DurableEventOptions::default());
            options.lease_duration = Duration::from_secs(1);
        })
        .configure(change)
        .start()
        .await
        .unwrap()
}

/// Appends events that carry their own number.
async fn log(store: &MemoryStore, session: &str, numbers: std::ops::RangeInclusive<u64>) {
    let new: Vec<NewEvent> = numbers
        .map(|n| NewEvent {
            key: format!("{session}-{n}"),
            at: Timestamp::from_unix_s(1_900_000_000),
            payload: json!({ "type": "history", "data": { "chats": 0, "messages": n } }),
        })
        .collect();
    store.append_events(session, 0, &new).await.unwrap();
}

fn options() -> ConsumerOptions {
    let mut options = ConsumerOptions::default();
    options.poll_interval = Duration::from_millis(10);
    options.retry = retry(10);
    options
}

fn retry(max_attempts: u32) -> RetryOptions {
    let mut retry = RetryOptions::default();
    retry.max_attempts = max_attempts;
    retry.min_pause = Duration::from_millis(1);
    retry.max_pause = Duration::from_millis(5);
    retry
}

fn place(event: &LoggedEvent) -> (String, u64) {
    if let EventKind::History { messages, .. } = event.event.kind {
        assert_eq!(messages, event.event.seq, "the content belongs to the number");
    }
    (event.event.session_id.clone(), event.event.seq)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits for something that cannot wake anybody.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What a handler has seen, by session.
#[derive(Default, Clone)]
struct Seen(Arc<Mutex<HashMap<String, Vec<u64>>>>);

impl Seen {
    fn note(&self, event: &LoggedEvent) {
        let (session, seq) = place(event);
        self.0.lock().unwrap().entry(session).or_default().push(seq);
    }

    fn of(&self, session: &str) -> Vec<u64> {
        self.0.lock().unwrap().get(session).cloned().unwrap_or_default()
    }

    async fn wait_for(&self, session: &str, numbers: impl IntoIterator<Item = u64>) {
        let wanted: Vec<u64> = numbers.into_iter().collect();
        until("events", async || self.of(session).len() >= wanted.len()).await;
        assert_eq!(self.of(session), wanted);
    }
}

/// Runs a handler in the background.
fn run<F>(
    consumer: &DurableConsumer,
    handler: impl Fn(LoggedEvent) -> F + Send + Sync + 'static,
) -> tokio::task::JoinHandle<centralita::Result<()>>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let consumer = consumer.clone();
    tokio::spawn(async move { consumer.run(handler).await })
}

async fn stop(consumer: &DurableConsumer, running: tokio::task::JoinHandle<centralita::Result<()>>) {
    consumer.stop();
    within("the end of the run", running).await.unwrap().unwrap();
}

/// All events that come within a moment in which nothing comes.
async fn drain(consumer: &DurableConsumer, batch: usize) -> Vec<LoggedEvent> {
    let mut events = Vec::new();
    loop {
        let next = consumer.next_batch(batch, Duration::from_millis(100)).await.unwrap();
        assert!(next.len() <= batch);
        if next.is_empty() {
            return events;
        }
        events.extend(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_go_on_where_they_were_acknowledged() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "a", 1..=50).await;
    log(&store, "b", 1..=9).await;
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    let mut lives = 0;
    while acknowledged.values().sum::<u64>() < 59 {
        lives += 1;
        let service = service(&store).await;
        let consumer = service.consumer("crm", options()).await.unwrap();
        for round in 0..3 {
            let batch = consumer.next_batch(7, PATIENCE).await.unwrap();
            let mut handed_out: HashMap<String, u64> = HashMap::new();
            for event in &batch {
                let (session, seq) = place(event);
                // In order and without a hole: within the batch, and after what was acknowledged in an earlier life.
                let last = *handed_out.get(&session).or(acknowledged.get(&session)).unwrap_or(&0);
                assert_eq!(seq, last + 1);
                handed_out.insert(session, seq);
            }
            // The last batch of each life is lost to a crash, in one way or the other.
            if round == 2 {
                break;
            }
            for event in &batch {
                if round == 0 {
                    consumer.ack(event).await.unwrap();
                } else {
                    consumer.ack_cursor(&event.cursor.to_string()).await.unwrap();
                }
            }
            acknowledged.extend(handed_out);
            if acknowledged.values().sum::<u64>() == 59 {
                break;
            }
        }
        if lives % 2 == 0 {
            consumer.close().await;
        }
        drop(consumer);
        service.shutdown(PATIENCE).await.unwrap();
    }
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    assert!(drain(&consumer, 10).await.is_empty());
    // Another consumer has a place of its own.
    let other = service.consumer("bi", options()).await.unwrap();
    assert_eq!(drain(&other, 10).await.len(), 59);
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_sees_each_session_in_order_and_sessions_side_by_side() {
    let store = Arc::new(MemoryStore::new());
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let seen = Seen::default();
    let (at_work, most) = (Arc::new(Mutex::new(HashMap::<String, u32>::new())), Arc::new(AtomicU32::new(0)));
    let running = run(&consumer, {
        let (seen, most) = (seen.clone(), Arc::clone(&most));
        move |event| {
            let (seen, at_work, most) = (seen.clone(), Arc::clone(&at_work), Arc::clone(&most));
            async move {
                let session = event.event.session_id.clone();
                {
                    let mut at_work = at_work.lock().unwrap();
                    let mine = at_work.entry(session.clone()).or_default();
                    *mine += 1;
                    assert_eq!(*mine, 1, "two handlers at work on one session");
                    most.fetch_max(at_work.values().sum(), Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
                seen.note(&event);
                *at_work.lock().unwrap().get_mut(&session).unwrap() -= 1;
                Ok(())
            }
        }
    });
    let sessions: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    for part in [1..=30, 31..=31, 32..=60] {
        for session in &sessions {
            log(&store, session, part.clone()).await;
        }
    }
    for session in &sessions {
        seen.wait_for(session, 1..=60).await;
    }
    assert!(most.load(Ordering::SeqCst) > 1);
    stop(&consumer, running).await;
    // Everything was written down.
    assert_eq!(service.consumers().await.unwrap()[0].behind, 0);
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_event_is_tried_again_in_its_place_and_holds_up_no_other_session() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "bad", 1..=40).await;
    let service = service(&store).await;
    let mut options = options();
    options.retry = retry(u32::MAX);
    // Not even with room for a single handler.
    options.concurrency = 1;
    let consumer = service.consumer("crm", options).await.unwrap();
    let (seen, mended, attempts) =
        (Seen::default(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let running = run(&consumer, {
        let (seen, mended, attempts) = (seen.clone(), Arc::clone(&mended), Arc::clone(&attempts));
        move |event| {
            let (seen, mended, attempts) = (seen.clone(), Arc::clone(&mended), Arc::clone(&attempts));
            async move {
                if place(&event) == ("bad".to_owned(), 3) && !mended.load(Ordering::SeqCst) {
                    assert_eq!(event.attempt, attempts.fetch_add(1, Ordering::SeqCst) + 1);
                    if event.attempt % 2 == 0 {
                        panic!("on purpose");
                    }
                    return Err(Error::new(ErrorKind::Unavailable, "not now"));
                }
                seen.note(&event);
                Ok(())
            }
        }
    });
    until("attempts", async || attempts.load(Ordering::SeqCst) >= 3).await;
    log(&store, "good", 1..=200).await;
    seen.wait_for("good", 1..=200).await;
    assert_eq!(seen.of("bad"), [1, 2]);
    mended.store(true, Ordering::SeqCst);
    seen.wait_for("bad", 1..=40).await;
    stop(&consumer, running).await;
    assert!(service.dead_letters("crm").await.unwrap().list(10, None).await.unwrap().items.is_empty());
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_replayed_and_discarded() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=5).await;
    let service = service(&store).await;
    let mut options = options();
    options.retry = retry(3);
    let consumer = service.consumer("crm", options).await.unwrap();
    let (seen, replayed, mended) = (Seen::default(), Seen::default(), Arc::new(AtomicBool::new(false)));
    let running = run(&consumer, {
        let (seen, replayed, mended) = (seen.clone(), replayed.clone(), Arc::clone(&mended));
        move |event| {
            let (seen, replayed, mended) = (seen.clone(), replayed.clone(), Arc::clone(&mended));
            async move {
                let is_poison = [2, 4, 5].contains(&event.event.seq);
                if is_poison && !mended.load(Ordering::SeqCst) {
                    return Err(Error::new(ErrorKind::Invalid, format!("attempt {}", event.attempt)));
                }
                if event.replayed {
                    replayed.note(&event)
                } else {
                    seen.note(&event)
                }
                Ok(())
            }
        }
    });
    let letters = service.dead_letters("crm").await.unwrap();
    let listed = async || letters.list(100, None).await.unwrap().items;
    until("dead letters", async || listed().await.len() == 3).await;
    assert_eq!(seen.of("s"), [1, 3]);
    let first = &listed().await[0];
    assert_eq!((first.event.seq, first.attempts, first.replay), (2, 3, false));
    assert_eq!(first.error, "attempt 3");
    assert_eq!(first.event.kind, EventKind::History { chats: 0, messages: 2 });
    let page = letters.list(2, None).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(letters.list(2, page.next.as_deref()).await.unwrap().items[0].event.seq, 5);

    // It fails again, and is put aside again.
    letters.replay("s", 2).await.unwrap();
    until("the second failure", async || listed().await[0].attempts == 6).await;
    assert!(!listed().await[0].replay);
    mended.store(true, Ordering::SeqCst);
    letters.replay("s", 2).await.unwrap();
    replayed.wait_for("s", [2]).await;
    until("its end", async || listed().await.len() == 2).await;
    letters.discard("s", 4).await.unwrap();
    assert_eq!(letters.replay_all().await.unwrap(), 1);
    replayed.wait_for("s", [2, 5]).await;
    until("its end", async || listed().await.is_empty()).await;
    for outcome in [letters.replay("s", 4).await, letters.discard("s", 4).await] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(letters.discard_all().await.unwrap(), 0);
    stop(&consumer, running).await;
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_have_dead_letters_too() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=3).await;
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let events = consumer.next_batch(10, PATIENCE).await.unwrap();
    consumer.ack(&events[0]).await.unwrap();
    consumer.reject(&events[1], "no such customer").await.unwrap();
    let letters = service.dead_letters("crm").await.unwrap();
    assert_eq!(letters.list(10, None).await.unwrap().items[0].error, "no such customer");
    letters.replay("s", 2).await.unwrap();
    let again = consumer.next_batch(10, PATIENCE).await.unwrap();
    assert_eq!((again.len(), again[0].event.seq, again[0].replayed), (1, 2, true));
    consumer.ack(&again[0]).await.unwrap();
    assert!(letters.list(10, None).await.unwrap().items.is_empty());
    // Neither the rejection nor the replay has moved the place beyond the third.
    consumer.close().await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    assert_eq!(drain(&consumer, 10).await.iter().map(place).collect::<Vec<_>>(), [("s".to_owned(), 3)]);
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_bounds_cut_off_unread_is_told() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=4).await;
    log(&store, "t", 1..=2).await;
    let service = service_with(&store, |options| {
        let durable = options.durable_events.as_mut().unwrap();
        durable.max_events_per_session = 4;
        durable.trim_interval = Duration::from_secs(1);
    })
    .await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let two = consumer.next_batch(2, PATIENCE).await.unwrap();
    for event in &two {
        consumer.ack(event).await.unwrap();
    }
    let read = two.iter().filter(|event| event.event.session_id == "s").count() as u64;
    consumer.close().await;
    log(&store, "s", 5..=10).await;
    until("the trimming", async || store.first_events(Some("s")).await.unwrap()[0].seq == 7).await;

    let consumer = service.consumer("crm", options()).await.unwrap();
    let events = drain(&consumer, 100).await;
    let of_s: Vec<&LoggedEvent> = events.iter().filter(|event| event.event.session_id == "s").collect();
    assert_eq!(of_s[0].event.kind, EventKind::Missed { count: 6 - read });
    assert_eq!(of_s.iter().map(|event| event.event.seq).collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
    assert!(events.iter().all(|event| {
        event.event.session_id == "s" || matches!(event.event.kind, EventKind::History { .. })
    }));
    consumer.ack(of_s[0]).await.unwrap();
    consumer.close().await;
    // It is told once.
    let consumer = service.consumer("crm", options()).await.unwrap();
    let events = drain(&consumer, 100).await;
    assert_eq!(events.iter().filter(|event| event.event.session_id == "s").count(), 4);
    // Who comes later has missed nothing.
    let late = service.consumer("late", options()).await.unwrap();
    let events = drain(&late, 100).await;
    assert_eq!(events.iter().map(place).filter(|(session, _)| session == "s").count(), 4);
    assert!(!events.iter().any(|event| matches!(event.event.kind, EventKind::Missed { .. })));
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_at_a_time_has_a_consumer_open() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=4).await;
    let (one, other) = (service(&store).await, service(&store).await);
    let first = one.consumer("crm", options()).await.unwrap();
    for outcome in [one.consumer("crm", options()).await, other.consumer("crm", options()).await] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    assert_eq!(other.delete_consumer("crm").await.unwrap_err().kind(), ErrorKind::Conflict);
    let events = first.next_batch(2, PATIENCE).await.unwrap();
    first.ack(&events[1]).await.unwrap();

    let mut standing_by = options();
    standing_by.stand_by = true;
    let waiting = tokio::spawn({
        let other = other.clone();
        async move { other.consumer("crm", standing_by).await }
    });
    let running = run(&first, async |_| Ok(()));
    // Its service's shutdown gives it back at once.
    until("the rest", async || one.consumers().await.unwrap()[0].behind == 0).await;
    log(&store, "s", 5..=6).await;
    one.shutdown(PATIENCE).await.unwrap();
    within("the end of the run", running).await.unwrap().unwrap();
    let second = within("the consumer", waiting).await.unwrap().unwrap();
    let rest: Vec<u64> = drain(&second, 10).await.iter().map(|event| event.event.seq).collect();
    // The runner may have seen the last two before it was told to stop.
    assert!(rest.is_empty() || rest == [6] || rest == [5, 6], "{rest:?}");
    second.close().await;
    assert_eq!(second.next_batch(1, PATIENCE).await.unwrap_err().kind(), ErrorKind::Closed);
    other.delete_consumer("crm").await.unwrap();
    assert!(other.consumers().await.unwrap().is_empty());
    assert_eq!(other.dead_letters("crm").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(other.delete_consumer("crm").await.unwrap_err().kind(), ErrorKind::NotFound);
    other.shutdown(PATIENCE).await.unwrap();
    assert_eq!(first.next_batch(1, PATIENCE).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_run_ends_with_the_handlers_at_work_and_their_acknowledgements() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=9).await;
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let (entered, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let running = run(&consumer, {
        let (entered, go_on) = (Arc::clone(&entered), Arc::clone(&go_on));
        move |_| {
            let (entered, go_on) = (Arc::clone(&entered), Arc::clone(&go_on));
            async move {
                entered.notify_one();
                go_on.notified().await;
                Ok(())
            }
        }
    });
    within("the handler", entered.notified()).await;
    assert_eq!(consumer.next_batch(1, PATIENCE).await.unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(
        consumer.run(async |_| Ok::<(), Error>(())).await.unwrap_err().kind(),
        ErrorKind::InvalidState
    );
    consumer.stop();
    assert!(!running.is_finished());
    go_on.notify_one();
    within("the end", running).await.unwrap().unwrap();
    let rest = drain(&consumer, 10).await;
    assert_eq!(rest.iter().map(|event| event.event.seq).collect::<Vec<_>>(), (2..=9).collect::<Vec<_>>());
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_store_is_waited_for() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=3).await;
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let seen = Seen::default();
    let running = run(&consumer, {
        let (seen, store) = (seen.clone(), Arc::clone(&store));
        move |event| {
            if event.event.seq == 2 {
                store.set_unavailable(true);
            }
            seen.note(&event);
            async { Ok(()) }
        }
    });
    seen.wait_for("s", 1..=3).await;
    let before = store.commands();
    within("calls to a store that is away", store.wait_for_commands(before + 3)).await;
    store.set_unavailable(false);
    log(&store, "s", 4..=5).await;
    seen.wait_for("s", 1..=5).await;
    stop(&consumer, running).await;
    assert!(drain(&consumer, 10).await.is_empty());

    // There is something to read, and it cannot be read.
    log(&store, "s", 6..=6).await;
    store.set_unavailable(true);
    let error = consumer.next_batch(1, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    store.set_unavailable(false);
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_deleted_and_made_anew_is_read_from_its_beginning() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=9).await;
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let events = consumer.next_batch(10, PATIENCE).await.unwrap();
    store.delete_events("s").await.unwrap();
    // An acknowledgement that comes late must not skip events of the new one.
    consumer.ack(&events[8]).await.unwrap();
    log(&store, "s", 1..=2).await;
    let again = drain(&consumer, 10).await;
    assert_eq!(again.iter().map(place).collect::<Vec<_>>(), [("s".to_owned(), 1), ("s".to_owned(), 2)]);
    consumer.close().await;
    log(&store, "s", 3..=20).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    assert_eq!(drain(&consumer, 10).await.len(), 20);
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_may_start_with_what_is_new() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=5).await;
    let service = service(&store).await;
    let mut newest = options();
    newest.start = StartFrom::Newest;
    service.consumer("crm", newest).await.unwrap().close().await;
    // What happens while it is closed is not lost; a session that is new is read from its first event.
    log(&store, "s", 6..=7).await;
    log(&store, "t", 1..=1).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let mut seen: Vec<_> = drain(&consumer, 10).await.iter().map(place).collect();
    seen.sort();
    assert_eq!(seen, [("s".to_owned(), 6), ("s".to_owned(), 7), ("t".to_owned(), 1)]);
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_later_version_is_handed_out_as_it_is() {
    let store = Arc::new(MemoryStore::new());
    let raw = json!({ "type": "call", "data": { "from": "x" } });
    let new = NewEvent { key: "k".into(), at: Timestamp::from_unix_s(1_900_000_000), payload: raw.clone() };
    store.append_events("s", 0, &[new]).await.unwrap();
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    assert_eq!(drain(&consumer, 10).await[0].event.kind, EventKind::Unknown { raw });
    service.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_with_what_to_do() {
    let store = Arc::new(MemoryStore::new());
    log(&store, "s", 1..=2).await;
    let service = service(&store).await;
    let consumer = service.consumer("crm", options()).await.unwrap();
    let other = service.consumer("bi", options()).await.unwrap();
    let event = consumer.next_batch(1, PATIENCE).await.unwrap().remove(0);

    let refused = |outcome: Result<(), Error>, words: &str| {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(other.ack(&event).await, "belongs to consumer \"crm\"");
    refused(other.ack_cursor(&event.cursor.to_string()).await, "belongs to consumer \"crm\"");
    refused(other.reject(&event, "x").await, "belongs to consumer \"crm\"");
    for text in ["", "42", "not a cursor", &event.cursor.to_string()[1..]] {
        refused(consumer.ack_cursor(text).await, "not a cursor");
    }
    // From another database, where the session had more events.
    let elsewhere = Arc::new(MemoryStore::new());
    log(&elsewhere, "s", 1..=3).await;
    log(&elsewhere, "u", 1..=1).await;
    let foreign = service_with(&elsewhere, |_| {}).await;
    let far = foreign.consumer("crm", options()).await.unwrap();
    for event in
        drain(&far, 10).await.iter().filter(|event| event.event.seq == 3 || event.event.session_id == "u")
    {
        refused(consumer.ack(event).await, "beyond the end");
    }
    for max in [0, 10_001] {
        refused(consumer.next_batch(max, PATIENCE).await.map(drop), "1 to 10000");
    }
    for name in ["", "a/b", "a b"] {
        refused(service.consumer(name, options()).await.map(drop), "name of a consumer");
    }
    let mut zero = options();
    zero.retry.max_attempts = 0;
    refused(service.consumer("new", zero).await.map(drop), "max_attempts");
    // Nothing of it was acknowledged or registered.
    assert_eq!(service.consumers().await.unwrap().iter().map(|it| it.behind).collect::<Vec<_>>(), [2, 2]);
    // And an old cursor is no harm.
    let second = consumer.next_batch(1, PATIENCE).await.unwrap().remove(0);
    consumer.ack(&second).await.unwrap();
    consumer.ack(&event).await.unwrap();
    assert_eq!(service.consumers().await.unwrap()[1].behind, 0);

    let off = service_with(&store, |options| options.durable_events = None).await;
    for error in [
        off.consumer("crm", options()).await.map(drop).unwrap_err(),
        off.consumers().await.map(drop).unwrap_err(),
        off.dead_letters("crm").await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidState);
        assert!(error.message().contains("durable_events"));
    }
    let limits = service_with(&store, |_| {}).await;
    for service in [off, foreign, limits, service] {
        service.shutdown(PATIENCE).await.unwrap();
    }
    let refused = WhatsAppService::builder()
        .shared_store(Arc::clone(&store) as Arc<dyn Store>)
        .dangerously_store_credentials_in_plaintext()
        .configure(|options| {
            let mut durable = DurableEventOptions::default();
            durable.max_events_per_session = 0;
            options.durable_events = Some(durable);
        })
        .start()
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}
