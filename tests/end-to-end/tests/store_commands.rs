//! What messages and connects cost the store, counted by the driver's command events.
//!
//! `-- --nocapture` prints the figures. With so few sessions and messages what is read once weighs much: the bounds are wider
//! than the figures to reach, which `inbound` and `capacity` of `benches` measure.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed; figures are printed"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use centralita::service::WhatsAppService;
use centralita::store::{MongoStore, Store};
use centralita_end_to_end::proxy::{Mode, Proxy};
use centralita_end_to_end::*;
use centralita_stand_in::{LinkedDevice, Phone, PhoneOptions};
use futures::future::join_all;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;

const SESSIONS: usize = 20;
const TEXTS: usize = 25;

/// The commands that a store's driver sends, by name and collection.
#[derive(Default)]
struct Commands(Mutex<BTreeMap<String, u64>>);

impl Commands {
    /// A store that is watched from outside.
    async fn watch(uri: &str) -> (Arc<Commands>, Arc<dyn Store>) {
        let commands = Arc::new(Commands::default());
        let seen = Arc::clone(&commands);
        let mut options = mongodb::options::ClientOptions::parse(uri).await.unwrap();
        let database = options.default_database.clone().unwrap();
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event {
                let (name, target) = started.command.iter().next().unwrap();
                let mut name = format!("{name} {}", target.as_str().unwrap_or_default());
                let kind = started
                    .command
                    .get_document("filter")
                    .ok()
                    .and_then(|filter| filter.get_str("type").ok());
                name.extend(kind.map(|kind| format!(" {kind}")));
                *seen.0.lock().unwrap().entry(name).or_default() += 1;
            }
        }));
        let client = mongodb::Client::with_options(options).unwrap();
        let store = MongoStore::from_client(client, &database).await.unwrap();
        (commands, Arc::new(store))
    }

    /// How many since the last time, with the figures printed; per one of `count`.
    fn each(&self, what: &str, count: u64) -> f64 {
        let mut taken = std::mem::take(&mut *self.0.lock().unwrap());
        // They come by the clock: the look at all outboxes, and each device once, 15 s after its login.
        taken.retain(|name, _| name != "aggregate outbox" && name != "update authstates");
        let each = taken.values().sum::<u64>() as f64 / count as f64;
        println!("{what} {each:.3} {taken:?}");
        each
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// Without the heartbeat, which is a command every ten seconds for all sessions together.
async fn start(world: &World, store: Arc<dyn Store>) -> WhatsAppService {
    WhatsAppService::builder()
        .shared_store(store)
        .keys(test_keys())
        .options(world.options())
        .configure(|options| options.lease_duration = Duration::from_secs(3_600))
        .start()
        .await
        .unwrap()
}

/// Links many sessions, each to a phone of its own.
async fn link_many(world: &World, service: &WhatsAppService) -> Vec<(Phone, LinkedDevice)> {
    let mut linked = Vec::new();
    for index in 0..SESSIONS {
        let options = PhoneOptions { push_name: format!("Sucursal {index}"), ..PhoneOptions::default() };
        let phone = world.stand_in.add_phone(options).unwrap();
        let session = service.create_session(&format!("s{index}")).await.unwrap();
        let device = scan_first_qr(&session, &phone).await;
        session.wait_connected(PATIENCE).await.unwrap();
        linked.push((phone, device));
    }
    linked
}

/// The first message of each makes the Signal session and the chat.
async fn greet(world: &World, linked: &[(Phone, LinkedDevice)]) {
    for (phone, _) in linked {
        world.contact.send_text(&phone.phone_number(), "hola").await.unwrap();
    }
    settle(linked).await;
}

async fn settle(linked: &[(Phone, LinkedDevice)]) {
    for (_, device) in linked {
        device.wait_settled(PATIENCE).await.unwrap();
    }
}

/// Waits until the database itself shows a session's counter: by then the last write of its messages has gone out.
async fn counted(world: &World, session: &str, received: i64) {
    let client = mongodb::Client::with_uri_str(world.place.mongo_uri()).await.unwrap();
    let sessions = client.default_database().unwrap().collection::<mongodb::bson::Document>("sessions");
    within("the counter in the database", async {
        loop {
            let row = sessions.find_one(mongodb::bson::doc! { "sessionId": session }).await.unwrap().unwrap();
            if row.get_i64("messagesReceived").unwrap() == received {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Keys, message, and its chat with the session's counters: two commands where the server has no `bulkWrite`.
async fn lone_bound(world: &World) -> f64 {
    let client = mongodb::Client::with_uri_str(world.place.mongo_uri()).await.unwrap();
    let hello = client.database("admin").run_command(mongodb::bson::doc! { "hello": 1 }).await.unwrap();
    let before_mongodb_8 = hello.get_i32("maxWireVersion").unwrap() < 25;
    if before_mongodb_8 { 4.0 } else { 3.0 }
}

async fn received(service: &WhatsAppService) -> u64 {
    service.manager().get_statistics().await.unwrap().messages_received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_cost_few_commands_and_a_lone_one_three() {
    let world = World::new(StoreKind::Mongo).await;
    let proxy = Proxy::before(&world.place.mongo_uri()).await;
    let (commands, store) = Commands::watch(&proxy.uri(&world.place.mongo_uri())).await;
    let service = start(&world, Arc::clone(&store)).await;
    let linked = link_many(&world, &service).await;
    greet(&world, &linked).await;
    store.flush_counts().await.unwrap();

    // Load is what comes faster than the database takes it, on whatever machine.
    proxy.set(Mode::Slow(Duration::from_millis(100)));
    commands.forget();
    let texts = linked.iter().map(|(phone, _)| async {
        for text in 0..TEXTS {
            world.contact.send_text(&phone.phone_number(), &format!("texto {text}")).await.unwrap();
        }
    });
    join_all(texts).await;
    settle(&linked).await;
    proxy.set(Mode::Open);
    let total = (SESSIONS * TEXTS) as u64;
    assert_eq!(received(&service).await, total + SESSIONS as u64);
    let many = commands.each("store_commands_per_message", total);

    counted(&world, "s0", TEXTS as i64 + 1).await;
    commands.forget();
    const LONE: u64 = 5;
    for text in 0..LONE {
        world.contact.send_text(&linked[0].0.phone_number(), &format!("solo {text}")).await.unwrap();
        settle(&linked[..1]).await;
        counted(&world, "s0", TEXTS as i64 + 2 + text as i64).await;
    }
    let lone = commands.each("store_commands_lone_message", LONE);
    assert!(many <= 0.4, "{many} commands a message");
    // Of five messages; whatever else comes by the clock may fall among them once or twice.
    assert!(lone <= lone_bound(&world).await + 0.4, "{lone} commands a lone message");
    for (_, device) in &linked {
        assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    }
    shut_down(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_sessions_connect_with_few_commands() {
    let world = World::new(StoreKind::Mongo).await;
    let service = world.service().await;
    let linked = link_many(&world, &service).await;
    greet(&world, &linked).await;
    shut_down(service).await;

    let (commands, store) = Commands::watch(&world.place.mongo_uri()).await;
    let service = start(&world, store).await;
    commands.forget();
    let report = service.restore_all(|_| {}).await.unwrap();
    assert_eq!(report.started.len(), SESSIONS);
    for id in report.started {
        service.session(&id).await.unwrap().wait_connected(PATIENCE).await.unwrap();
    }
    settle(&linked).await;
    let each = commands.each("store_commands_per_connect", SESSIONS as u64);
    assert!(each <= 8.0, "{each} commands a connect");
    shut_down(service).await;
}
