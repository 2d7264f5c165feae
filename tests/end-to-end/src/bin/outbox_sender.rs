//! A process to be killed: runs the sessions of a store and queues numbered texts to one contact.
//!
//! `outbox_sender STORE CONTACT FIRST COUNT`: the store is an SQLite file or a MongoDB URI, the server is at
//! `CENTRALITA_STAND_IN_URL`. Prints `queued N` once text N is stored or sent, and goes on until it is killed.
#![allow(clippy::unwrap_used, reason = "a test program that panics has failed")]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use centralita::service::WhatsAppService;
use centralita::session::Outgoing;
use centralita::store::{MongoStore, SqliteStore, Store};
use centralita_end_to_end::{show_logs, test_keys};

#[tokio::main]
async fn main() {
    show_logs();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, contact, first, count] = arguments.as_slice() else { panic!("STORE CONTACT FIRST COUNT") };
    let store: Arc<dyn Store> = if store.starts_with("mongodb://") {
        Arc::new(MongoStore::connect(store).await.unwrap())
    } else {
        Arc::new(SqliteStore::open(store).unwrap())
    };
    let service = WhatsAppService::builder()
        .shared_store(store)
        .keys(test_keys())
        .configure(|options| {
            options.whatsapp_version = Some((2, 3000, 1_027_934_701));
            options.reconnect_min = Duration::from_millis(50);
            options.reconnect_max = Duration::from_millis(400);
            options.pre_key_count = 30;
            options.lease_duration = Duration::from_secs(2);
        })
        .start()
        .await
        .unwrap();
    service.restore_all(|_| {}).await.unwrap();
    let first: u32 = first.parse().unwrap();
    let count: u32 = count.parse().unwrap();
    for number in first..first + count {
        let text = Outgoing::text(contact, number.to_string())
            .idempotency_key(number.to_string())
            .queue_for(Duration::from_secs(3_600));
        service.send("ventas", text).await.unwrap();
        let mut out = std::io::stdout();
        writeln!(out, "queued {number}").unwrap();
        out.flush().unwrap();
    }
    std::future::pending::<()>().await;
}
