//! The whole life of a session with a simulated phone and contact, counted from outside.

use std::time::Duration;

use centralita::events::Filter;
use centralita::service::{Session, WhatsAppService};
use centralita::session::LinkStep;
use centralita::store::{Direction, MessagePage, StoredMessage};
use centralita::{Error, ErrorKind, Result};
use centralita_stand_in::{LinkedDevice, Phone, PhoneOptions, StandIn, StandInError};

use crate::args::Args;
use crate::bot;

const PATIENCE: Duration = Duration::from_secs(60);
const EACH_WAY: usize = 3;
const WHILE_AWAY: usize = 3;

pub(crate) async fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir()
        .map_err(|error| Error::new(ErrorKind::Unavailable, "no temporary folder").caused_by(error))?;
    let stand_in = StandIn::start().await.map_err(simulated)?;
    let phone = stand_in.add_phone(named("Ventas")).map_err(simulated)?;
    let contact = stand_in.add_phone(named("Clienta")).map_err(simulated)?;
    let session_args = Args {
        session: args.session.clone(),
        store: if args.store.contains("://") {
            args.store.clone()
        } else {
            in_folder(&folder, "centralita.db")
        },
        key_file: folder.path().join("centralita.key"),
        pair_code: None,
        stand_in: true,
        server: Some(stand_in.web_socket_url()),
    };

    // The first life: link, three messages each way.
    let service = start(&session_args).await?;
    let session = service.create_session(&args.session).await?;
    let device = link(&session, &phone).await?;
    session.wait_connected(PATIENCE).await?;
    let answering = answer_in_background(&service, &session)?;
    for _ in 0..EACH_WAY {
        contact.send_text(&phone.phone_number(), "/ping").await.map_err(simulated)?;
    }
    contact.wait_for_count(PATIENCE, EACH_WAY).await.map_err(simulated)?;
    device.wait_settled(PATIENCE).await.map_err(simulated)?;
    answering.abort();
    stop(service).await?;

    // Away.
    device.wait_disconnected(PATIENCE).await.map_err(simulated)?;
    for n in 0..WHILE_AWAY {
        contact
            .send_text(&phone.phone_number(), &format!("while you were away {n}"))
            .await
            .map_err(simulated)?;
    }

    // The second life: from the store alone.
    let service = start(&session_args).await?;
    let report = service.restore_all(|progress| eprintln!("restoring {}", progress.session_id)).await?;
    let session = service.session(&args.session).await?;
    session.wait_connected(PATIENCE).await?;
    device.wait_connected(PATIENCE).await.map_err(simulated)?;
    device.wait_settled(PATIENCE).await.map_err(simulated)?;
    let resumed = report.started.contains(&args.session) && phone.devices().len() == 1;

    let stored = stored_messages(&service, &args.session).await?;
    let received = stored.iter().filter(|message| message.direction == Direction::In).count();
    let accounting = stand_in.accounting();
    let answered = contact.received().len();
    let lost = accounting.lost_to(&device.jid)
        + (EACH_WAY + WHILE_AWAY).saturating_sub(received)
        + EACH_WAY.saturating_sub(answered);
    let duplicated = accounting.duplicated_from(&device.jid)
        + received.saturating_sub(EACH_WAY + WHILE_AWAY)
        + answered.saturating_sub(EACH_WAY);
    // Leave a shared database as it was found.
    service.delete_session(&args.session).await?;
    stop(service).await?;
    stand_in.shutdown().await;
    print_line(&format!(
        r#"{{"linked":true,"resumed_without_qr":{resumed},"received":{received},"sent":{answered},"lost":{lost},"duplicated":{duplicated}}}"#
    ));
    if resumed && lost == 0 && duplicated == 0 {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Internal,
            "messages were lost or doubled, or the session was linked anew; report it",
        ))
    }
}

async fn start(args: &Args) -> Result<WhatsAppService> {
    let builder = bot::builder(args).await?;
    builder.configure(|options| options.whatsapp_version = Some(SIMULATED_VERSION)).start().await
}

async fn stop(service: WhatsAppService) -> Result<()> {
    service.shutdown(PATIENCE).await?;
    service.store().close().await
}

async fn link(session: &Session, phone: &Phone) -> Result<LinkedDevice> {
    let mut link = session.link()?;
    loop {
        match link.next().await {
            Some(LinkStep::Qr { code, .. }) => return phone.scan_qr(code.text()).map_err(simulated),
            Some(LinkStep::Failed { kind, message }) => return Err(Error::new(kind, message)),
            Some(LinkStep::Linked) => {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    "the store already holds a linked session of this name; use another --session or store",
                ));
            }
            Some(_) => {}
            None => return Err(Error::new(ErrorKind::Timeout, "no QR code came")),
        }
    }
}

fn answer_in_background(service: &WhatsAppService, session: &Session) -> Result<tokio::task::JoinHandle<()>> {
    let mut events = service.subscribe(Filter::session(session.id()))?;
    let session = session.clone();
    Ok(tokio::spawn(async move {
        if let Err(error) = bot::answer(&session, &mut events).await {
            eprintln!("error: {error}");
        }
    }))
}

async fn stored_messages(service: &WhatsAppService, session: &str) -> Result<Vec<StoredMessage>> {
    let mut page = MessagePage::default();
    let mut all = Vec::new();
    loop {
        let part = service.store().list_messages(session, &page).await?;
        all.extend(part.items);
        match part.next {
            Some(next) => page.after = Some(next),
            None => return Ok(all),
        }
    }
}

fn named(push_name: &str) -> PhoneOptions {
    PhoneOptions { push_name: push_name.to_owned(), ..PhoneOptions::default() }
}

fn in_folder(folder: &tempfile::TempDir, file: &str) -> String {
    folder.path().join(file).to_string_lossy().into_owned()
}

fn simulated(error: StandInError) -> Error {
    Error::new(ErrorKind::Internal, "the simulated WhatsApp did not do as expected").caused_by(error)
}

/// The stand-in takes any version; asking WhatsApp for its present one would leave this machine.
const SIMULATED_VERSION: (u32, u32, u32) = (2, 3000, 1_027_934_701);

#[expect(clippy::print_stdout, reason = "the one line that a program may read")]
fn print_line(line: &str) {
    println!("{line}");
}
