//! The example of the README: link a phone, answer `/ping`.
#![allow(clippy::print_stdout)]

use centralita::events::{EventKind, Filter};
use centralita::service::WhatsAppService;
use centralita::session::{LinkStep, Outgoing};
use centralita::store::SqliteStore;
use centralita::vault::KeyRing;

#[tokio::main]
async fn main() -> centralita::Result<()> {
    let service = WhatsAppService::builder()
        .store(SqliteStore::open("centralita.db")?) // or MongoStore::connect(uri).await?
        .keys(KeyRing::open_or_create("centralita.key")?) // back this file up
        .start()
        .await?;
    let mut events = service.subscribe(Filter::session("ventas"))?;
    let session = service.create_session("ventas").await?; // the second time: no QR code
    let mut link = session.link()?;
    while let Some(step) = link.next().await {
        if let LinkStep::Qr { code, .. } = step {
            println!("{}", code.to_terminal()); // scan it with the phone
        }
    }
    while let Some(event) = events.next().await? {
        if let EventKind::Message(message) = &event.kind
            && message.text() == Some("/ping")
        {
            session.send(Outgoing::reply(&message.key, "pong")).await?;
        }
    }
    Ok(())
}
