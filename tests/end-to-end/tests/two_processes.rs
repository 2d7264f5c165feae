//! Two processes on one MongoDB: one owner at a time, taken over when it dies, robbed for good while it sleeps, and
//! handed over at a shutdown.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use centralita::store::{LeaseStore, MongoStore, SessionStore, Store};
use centralita_end_to_end::*;
use centralita_stand_in::LinkedDevice;
use mongodb::bson::{Document, doc};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const LEASE: Duration = Duration::from_secs(3);

/// One process of the fleet.
struct Member {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Member {
    fn start(world: &World, lease: Duration, create: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-member"));
        command
            .env("FLEET_STORE", world.place.mongo_uri())
            .env("FLEET_SERVER", world.stand_in.web_socket_url())
            .env("FLEET_LEASE_MS", lease.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(id) = create {
            command.env("FLEET_CREATE", id);
        }
        let mut child = command.spawn().expect("the program starts");
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, input, lines }
    }

    /// Reads until a line begins like this, and returns the rest of it.
    async fn line(&mut self, begins: &str) -> String {
        within(begins, async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("it still runs");
                if let Some(rest) = line.strip_prefix(begins) {
                    return rest.to_owned();
                }
            }
        })
        .await
    }

    async fn connected(&mut self) {
        self.line("status ventas connected").await;
    }

    /// Sends a signal by name.
    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    async fn shut_down(mut self) {
        drop(self.input.take());
        self.line("shut down").await;
        assert!(self.child.wait().await.unwrap().success());
    }
}

/// A world with one member that has linked `ventas`.
async fn linked(lease: Duration) -> (World, Member, LinkedDevice) {
    let world = World::new(StoreKind::Mongo).await;
    let mut owner = Member::start(&world, lease, Some("ventas"));
    let code = owner.line("qr ").await;
    let device = world.phone.scan_qr(&code).unwrap();
    owner.connected().await;
    (world, owner, device)
}

async fn standby(world: &World, lease: Duration) -> Member {
    let mut member = Member::start(world, lease, None);
    member.line("restored 1").await;
    member
}

async fn send(world: &World, text: &str) {
    world.contact.send_text(&world.phone.phone_number(), text).await.unwrap();
}

/// Nothing lost, nothing doubled, not linked anew: by the stand-in's books and the database.
async fn settled(world: &World, device: &LinkedDevice, expected: &[&str]) {
    device.wait_settled(PATIENCE).await.unwrap();
    let store = MongoStore::connect(&world.place.mongo_uri()).await.unwrap();
    let mut texts = stored_texts(&store, "ventas").await;
    texts.sort();
    assert_eq!(texts, expected);
    assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    assert_eq!(world.phone.devices().len(), 1, "it was linked anew");
    let record = store.get_session("ventas").await.unwrap().unwrap();
    assert!(record.is_connected, "{record:?}");
    // No row of an owner that was robbed is left below the fence.
    let lease = store.get_lease("ventas").await.unwrap().unwrap();
    let client = mongodb::Client::with_uri_str(world.place.mongo_uri()).await.unwrap();
    let database = client.default_database().unwrap();
    for collection in ["authstates", "authkeys"] {
        let rows = database.collection::<Document>(collection);
        let below =
            doc! { "sessionId": "ventas", "generation": { "$lt": i64::try_from(lease.fence).unwrap() } };
        assert_eq!(rows.count_documents(below).await.unwrap(), 0, "stale rows in {collection}");
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_owner_is_replaced_within_its_lease_and_nothing_is_lost() {
    let (world, owner, device) = linked(LEASE).await;
    send(&world, "1 antes").await;
    let mut other = standby(&world, LEASE).await;
    device.wait_settled(PATIENCE).await.unwrap();
    owner.signal("KILL").await;
    device.wait_disconnected(PATIENCE).await.unwrap();
    send(&world, "2 entre").await;
    other.connected().await;
    send(&world, "3 después").await;
    other.line("message ventas 3").await;
    settled(&world, &device, &["1 antes", "2 entre", "3 después"]).await;
    other.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_sleeps_longer_than_its_lease_writes_nothing_when_it_wakes() {
    let (world, mut owner, device) = linked(LEASE).await;
    send(&world, "1 antes").await;
    owner.line("message ventas 1").await;
    device.wait_settled(PATIENCE).await.unwrap();
    let mut other = standby(&world, LEASE).await;
    owner.signal("STOP").await;
    // It lies in the sleeper's socket, and must not be taken by him.
    send(&world, "2 durante").await;
    other.connected().await;
    send(&world, "3 con la nueva").await;
    other.line("message ventas 3").await;
    let store = MongoStore::connect(&world.place.mongo_uri()).await.unwrap();
    let before = store.get_session("ventas").await.unwrap().unwrap();
    let logins = device.logins();

    owner.signal("CONT").await;
    let detail = owner.line("status ventas disconnected").await;
    assert!(detail.contains("OwnedElsewhere"), "{detail}");
    send(&world, "4 al final").await;
    other.line("message ventas 4").await;
    let after = store.get_session("ventas").await.unwrap().unwrap();
    assert_eq!((after.status, after.status_detail), (before.status, before.status_detail));
    assert_eq!(after.last_disconnect_reason, before.last_disconnect_reason);
    assert_eq!(device.logins(), logins, "the sleeper logged in again");
    settled(&world, &device, &["1 antes", "2 durante", "3 con la nueva", "4 al final"]).await;
    store.close().await.unwrap();
    owner.shut_down().await;
    other.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_hands_over_at_once_and_without_a_code() {
    // Far longer than the test may take: only a lease that was given back is taken in time.
    let lease = Duration::from_secs(60);
    let (world, owner, device) = linked(lease).await;
    let mut other = standby(&world, lease).await;
    let asked = Instant::now();
    owner.shut_down().await;
    let ended = asked.elapsed();
    other.connected().await;
    assert!(asked.elapsed() - ended < Duration::from_secs(3), "{:?}", asked.elapsed() - ended);
    send(&world, "1 hola").await;
    other.line("message ventas 1").await;
    settled(&world, &device, &["1 hola"]).await;
    // And back again.
    let mut third = standby(&world, lease).await;
    other.shut_down().await;
    third.connected().await;
    settled(&world, &device, &["1 hola"]).await;
    third.shut_down().await;
}
