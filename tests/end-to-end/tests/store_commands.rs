//! What messages and connects cost the store, counted by the driver's command events.
//!
//! `-- --nocapture` prints the figures.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that panics has failed; figures are printed"
)]

use std::sync::Arc;

use centralita::service::WhatsAppService;
use centralita::store::Store;
use centralita_end_to_end::*;
use centralita_stand_in::{LinkedDevice, Phone, PhoneOptions};
use futures::future::join_all;

const SESSIONS: usize = 20;
const TEXTS: usize = 25;

fn commands(store: &Arc<dyn Store>) -> u64 {
    store.commands_sent().expect("this store counts")
}

/// With the heartbeat of real life: the tests' own would be a command a second.
async fn start(world: &World) -> WhatsAppService {
    world.service_with(|options| options.lease_duration = std::time::Duration::from_secs(30)).await
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
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn received(service: &WhatsAppService) -> u64 {
    service.manager().get_statistics().await.unwrap().messages_received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_cost_few_commands_and_a_lone_one_three() {
    let world = World::new(StoreKind::Mongo).await;
    let service = start(&world).await;
    let store = Arc::clone(service.store());
    let linked = link_many(&world, &service).await;
    greet(&world, &linked).await;
    store.flush_counts().await.unwrap();

    let before = commands(&store);
    let texts = linked.iter().map(|(phone, _)| async {
        for text in 0..TEXTS {
            world.contact.send_text(&phone.phone_number(), &format!("texto {text}")).await.unwrap();
        }
    });
    join_all(texts).await;
    settle(&linked).await;
    let total = (SESSIONS * TEXTS) as u64;
    assert_eq!(received(&service).await, total + SESSIONS as u64);
    let each = (commands(&store) - before) as f64 / total as f64;
    println!("store_commands_per_message {each:.3}");
    assert!(each <= 0.3, "{each} commands a message");

    counted(&world, "s0", TEXTS as i64 + 1).await;
    let before = commands(&store);
    const LONE: u64 = 5;
    for text in 0..LONE {
        world.contact.send_text(&linked[0].0.phone_number(), &format!("solo {text}")).await.unwrap();
        settle(&linked[..1]).await;
        counted(&world, "s0", TEXTS as i64 + 2 + text as i64).await;
    }
    let lone = (commands(&store) - before) as f64 / LONE as f64;
    println!("store_commands_lone_message {lone:.2}");
    assert!(lone <= 3.0, "{lone} commands a lone message");
    for (_, device) in &linked {
        assert_eq!(world.stand_in.accounting().lost_to(&device.jid), 0);
    }
    shut_down(service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_sessions_connect_with_few_commands() {
    let world = World::new(StoreKind::Mongo).await;
    let service = start(&world).await;
    let linked = link_many(&world, &service).await;
    greet(&world, &linked).await;
    shut_down(service).await;

    let service = start(&world).await;
    let store = Arc::clone(service.store());
    let before = commands(&store);
    let report = service.restore_all(|_| {}).await.unwrap();
    assert_eq!(report.started.len(), SESSIONS);
    for id in report.started {
        service.session(&id).await.unwrap().wait_connected(PATIENCE).await.unwrap();
    }
    settle(&linked).await;
    let each = (commands(&store) - before) as f64 / SESSIONS as f64;
    println!("store_commands_per_connect {each:.2}");
    assert!(each <= 4.0, "{each} commands a connect");
    shut_down(service).await;
}
