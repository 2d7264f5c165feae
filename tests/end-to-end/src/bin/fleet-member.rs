//! One instance of a fleet, as a process that tests kill, pause and let go on.
//!
//! Its environment: `FLEET_STORE` (a MongoDB URI), `FLEET_SERVER` (the stand-in's WebSocket), `FLEET_LEASE_MS`. It
//! creates the session `FLEET_CREATE` if that is set, restores all others, and stands by for those that another
//! instance runs. Each change is a line on its standard output: `qr TEXT`, `status SESSION STATUS`, `message SESSION
//! TEXT`. It shuts down when its standard input ends.
#![allow(clippy::print_stdout, reason = "its output is what the tests read")]

use std::io::Read as _;
use std::time::Duration;

use centralita::events::{EventKind, Filter, LinkCode, SubscriptionOptions};
use centralita::service::WhatsAppService;
use centralita::service::options::ServiceOptions;
use centralita::store::MongoStore;
use centralita_end_to_end::{show_logs, test_keys, text_of};

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

#[tokio::main]
async fn main() -> centralita::Result<()> {
    show_logs();
    let mut options = ServiceOptions::default();
    options.stand_in_url = Some(setting("FLEET_SERVER"));
    options.whatsapp_version = Some((2, 3000, 1_027_934_701));
    options.pre_key_count = 30;
    options.lease_duration = Duration::from_millis(setting("FLEET_LEASE_MS").parse().expect("milliseconds"));
    options.reconnect_min = Duration::from_millis(50);
    options.reconnect_max = Duration::from_millis(400);
    options.penalty_min = Duration::from_millis(300);
    let service = WhatsAppService::builder()
        .store(MongoStore::connect(&setting("FLEET_STORE")).await?)
        .keys(test_keys())
        .options(options)
        .start()
        .await?;
    let mut events = service.subscribe(SubscriptionOptions::from(Filter::all()).capacity(10_000))?;
    if let Ok(id) = std::env::var("FLEET_CREATE") {
        service.create_session(&id).await?;
    }
    let report = service.restore_all(|_| {}).await?;
    println!("restored {}", report.started.len());
    let (tell, mut told_to_end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whoever started this process closes the pipe, or is gone.
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        drop((ended, tell.send(())));
    });
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            _ = &mut told_to_end => break,
        };
        let Some(event) = event else { break };
        match &event.kind {
            EventKind::Code(LinkCode::Qr { text, .. }) => println!("qr {text}"),
            EventKind::Status { status, detail } => {
                println!("status {} {status} {detail:?}", event.session_id);
            }
            EventKind::Message(message) => {
                println!("message {} {}", event.session_id, text_of(message).unwrap_or_default());
            }
            _ => {}
        }
    }
    service.shutdown(Duration::from_secs(10)).await?;
    println!("shut down");
    Ok(())
}
