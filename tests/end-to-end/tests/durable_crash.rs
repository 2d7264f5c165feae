//! Durable events across kills with signal 9, and across hand-overs between processes.
//!
//! Without arguments it is the test: it links a session, starts itself anew as a process that runs the session and a
//! consumer, has messages sent, kills it in the middle, and counts what the handlers said they saw. As
//! `consumer <kind> <place> <server>` it is that process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that panics has failed")]

use std::collections::HashMap;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use centralita::events::EventKind;
use centralita::events::durable::{ConsumerOptions, DurableEventOptions, LoggedEvent};
use centralita::service::WhatsAppService;
use centralita::service::options::ServiceOptions;
use centralita::store::{EventRange, MongoStore, SqliteStore, Store};
use centralita_end_to_end::*;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SESSIONS: [&str; 2] = ["ventas", "soporte"];
const KILLS: usize = 4;
/// Handled events after which a process is killed.
const HANDLED: usize = 12;
/// Messages to each session for every life, more than are handled in it.
const MESSAGES: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.iter().position(|argument| argument == "consumer") {
        Some(at) => runtime.block_on(consume(&arguments[at + 1], &arguments[at + 2], &arguments[at + 3])),
        None => runtime.block_on(check()),
    }
}

async fn open(kind: &str, place: &str) -> Arc<dyn Store> {
    match kind {
        "sqlite" => Arc::new(SqliteStore::open(place).unwrap()),
        "mongo" => Arc::new(MongoStore::connect(place).await.unwrap()),
        other => panic!("no such store: {other}"),
    }
}

fn consumer_options() -> ConsumerOptions {
    let mut options = ConsumerOptions::default();
    options.stand_by = true;
    options.poll_interval = Duration::from_millis(100);
    options
}

/// Runs all sessions and a consumer until it is killed. Each handler says what it has seen.
async fn consume(kind: &str, place: &str, server: &str) {
    show_logs();
    let service = WhatsAppService::builder()
        .shared_store(open(kind, place).await)
        .keys(test_keys())
        .options(base_options(server))
        .configure(with_log)
        .start()
        .await
        .unwrap();
    service.restore_all(|_| {}).await.unwrap();
    let consumer = service.consumer("crm", consumer_options()).await.unwrap();
    consumer
        .run(|event: LoggedEvent| async move {
            // One write, so that lines of several sessions do not mix.
            std::io::stdout().write_all(format!("{}\n", line(&event)).as_bytes()).unwrap();
            // The kill comes here as well: seen, and not acknowledged.
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<(), std::convert::Infallible>(())
        })
        .await
        .unwrap();
}

fn with_log(options: &mut ServiceOptions) {
    options.durable_events = Some(DurableEventOptions::default());
}

fn base_options(server: &str) -> ServiceOptions {
    let mut options = ServiceOptions::default();
    options.stand_in_url = Some(server.to_owned());
    options.whatsapp_version = Some((2, 3000, 1_027_934_701));
    options.reconnect_min = Duration::from_millis(50);
    options.reconnect_max = Duration::from_millis(400);
    options.pre_key_count = 30;
    options.lease_duration = Duration::from_secs(2);
    options
}

fn line(event: &LoggedEvent) -> String {
    let text = match &event.event.kind {
        EventKind::Message(message) => text_of(message).unwrap_or_default(),
        _ => "",
    };
    format!("{}\t{}\t{text}", event.event.session_id, event.event.seq)
}

/// A running consumer, read line by line. Killed when dropped.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<Handled>,
}

impl Process {
    fn start(kind: &str, place: &str, server: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["consumer", kind, place, server])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        Self { child, lines: BufReader::new(stdout).lines(), said: Vec::new() }
    }

    /// `kill` is signal 9 on Unix: no destructor runs. Returns all that it had said.
    async fn kill(mut self) -> Vec<Handled> {
        self.child.kill().await.unwrap();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.said.extend(parse(&line));
        }
        self.said
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Handled {
    session: String,
    seq: u64,
    text: String,
}

/// A line that was cut by the kill is none.
fn parse(line: &str) -> Option<Handled> {
    let mut parts = line.split('\t');
    let (session, seq, text) =
        (parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.to_owned());
    Some(Handled { session, seq, text })
}

async fn check() {
    check_store("sqlite", StoreKind::Sqlite, 1).await;
    // Two processes at a time: the second stands by for the sessions and for the consumer of the first.
    check_store("mongo", StoreKind::Mongo, 2).await;
}

async fn check_store(name: &str, kind: StoreKind, processes: usize) {
    let world = World::new(kind).await;
    let (server, place) = (
        world.stand_in.web_socket_url(),
        match kind {
            StoreKind::Mongo => world.place.mongo_uri(),
            _ => world.place.sqlite_file().to_str().unwrap().to_owned(),
        },
    );
    // Two accounts of one contact.
    let support = world.stand_in.add_phone(Default::default()).unwrap();
    let service = world.service_with(with_log).await;
    let consumer = service.consumer("crm", consumer_options()).await.unwrap();
    consumer.close().await;
    let (_, ventas) = world.link(&service, "ventas").await;
    let session = service.create_session("soporte").await.unwrap();
    let soporte = scan_first_qr(&session, &support).await;
    session.wait_connected(PATIENCE).await.unwrap();
    shut_down(service).await;

    let mut sent: HashMap<&str, Vec<String>> = HashMap::new();
    // What the handlers of each process said, in its order.
    let mut lives: Vec<Vec<Handled>> = Vec::new();
    let mut running: Vec<Process> = Vec::new();
    for kill in 0..KILLS {
        while running.len() < processes {
            running.push(Process::start(name, &place, &server));
        }
        for number in 0..MESSAGES {
            for (session, phone) in [("ventas", &world.phone), ("soporte", &support)] {
                let text = format!("{session} {kill}-{number}");
                world.contact.send_text(&phone.phone_number(), &text).await.unwrap();
                sent.entry(session).or_default().push(text);
            }
        }
        let index = within("handled events", handled(&mut running)).await;
        lives.push(running.remove(index).kill().await);
    }
    // Those that are left would go on; the rest is read here.
    for process in running {
        lives.push(process.kill().await);
    }
    let service = world.service_with(with_log).await;
    service.restore_all(|_| {}).await.unwrap();
    let consumer = service.consumer("crm", consumer_options()).await.unwrap();
    let mut last = Vec::new();
    for device in [&ventas, &soporte] {
        within("the backlog", device.wait_settled(PATIENCE)).await.unwrap();
        assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    }
    loop {
        let batch = consumer.next_batch(100, Duration::from_millis(500)).await.unwrap();
        if batch.is_empty() {
            break;
        }
        last.extend(batch.iter().filter_map(|event| parse(&line(event))));
    }
    lives.push(last);
    count(name, &service, &sent, &lives).await;
    shut_down(service).await;
}

/// Reads lines of all processes until one has handled enough, and says which.
async fn handled(running: &mut [Process]) -> usize {
    let reading = running.iter_mut().enumerate().map(|(index, process)| {
        Box::pin(async move {
            while process.said.len() < HANDLED {
                let line = process.lines.next_line().await.unwrap().expect("it still runs");
                process.said.extend(parse(&line));
            }
            index
        })
    });
    futures::future::select_all(reading).await.0
}

async fn count(
    name: &str,
    service: &WhatsAppService,
    sent: &HashMap<&str, Vec<String>>,
    lives: &[Vec<Handled>],
) {
    let mut again = 0;
    for session in SESSIONS {
        let mut seen: HashMap<u64, String> = HashMap::new();
        let mut newest = 0;
        for life in lives {
            let mine: Vec<&Handled> = life.iter().filter(|handled| handled.session == session).collect();
            // One after the other, none left out, and after a kill from where it was acknowledged or before.
            assert!(mine.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq), "{name}: {mine:?}");
            if let Some(first) = mine.first() {
                assert!(first.seq <= newest + 1, "{name}: left out between {newest} and {}", first.seq);
            }
            for handled in mine {
                match seen.insert(handled.seq, handled.text.clone()) {
                    Some(before) => {
                        assert_eq!(before, handled.text, "{name}: a number was given twice");
                        again += 1;
                    }
                    None => newest = newest.max(handled.seq),
                }
            }
        }
        let all = EventRange { session: session.into(), after: 0, upto: u64::from(u32::MAX) };
        let logged = service.store().read_events(&[all]).await.unwrap();
        assert_eq!(logged.len() as u64, newest, "{name}: every logged event was handled");
        let mut texts: Vec<&String> = seen.values().filter(|text| !text.is_empty()).collect();
        let mut wanted: Vec<&String> = sent[session].iter().collect();
        texts.sort();
        wanted.sort();
        assert_eq!(texts, wanted, "{name}: every message is one event");
    }
    println!("{name}: {KILLS} kills, every event handled and in order, {again} of them more than once");
}
