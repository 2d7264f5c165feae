//! `--demo`: a simulated WhatsApp in this process, with phones to link and contacts that talk.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use centralita::service::WhatsAppService;
use centralita::session::LinkStep;
use centralita::{Error, ErrorKind, Result};
use centralita_stand_in::{Phone, PhoneOptions, StandIn, StandInError};
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use crate::auth::token::{Mint, mint};
use crate::config::Options;
use crate::server::Server;

/// Sessions that are there from the start; the last is left for the user to link.
const SESSIONS: [&str; 4] = ["sales", "support", "bookings", "new-shop"];
const CONTACTS: [&str; 5] = ["Ana", "Bruno", "Carla", "Diego", "Elena"];
const OPENERS: [&str; 6] = [
    "Hello! Are you open today?",
    "How much is the blue one?",
    "Could I book a table for four at nine?",
    "My order has not arrived yet, number 4711.",
    "Do you ship to Córdoba?",
    "Thanks for yesterday, everything was great.",
];
const ANSWERS: [&str; 5] = [
    "Great, thank you!",
    "Perfect. See you then.",
    "And the price?",
    "Let me think about it and I will tell you.",
    "Sounds good!",
];
/// The simulated server takes any version; asking WhatsApp for its present one would leave this machine.
const SIMULATED_VERSION: (u32, u32, u32) = (2, 3000, 1_027_934_701);
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever tries it does not wait five minutes for a figure.
const DEMO_HEALTH_CHECK_S: u64 = 5;
const TOKEN_HOURS: u64 = 12;

/// The simulated server as the API uses it.
#[derive(Debug)]
pub(crate) struct Phones {
    stand_in: StandIn,
}

impl Phones {
    /// A phone scans the code that the session shows.
    pub(crate) async fn scan(&self, service: &WhatsAppService, session_id: &str) -> Result<()> {
        let mut link = service.session(session_id).await?.link()?;
        let step = tokio::time::timeout(PATIENCE, link.next()).await.ok().flatten();
        let Some(LinkStep::Qr { code, .. }) = step else {
            return Err(Error::new(
                ErrorKind::InvalidState,
                "no QR code waits to be scanned; start the session",
            ));
        };
        // A session that was logged out is linked to the same account again.
        let known = self.stand_in.phones().into_iter().find(|phone| phone.push_name() == session_id);
        let phone = match known {
            Some(phone) => phone,
            None => self.stand_in.add_phone(named(session_id)).map_err(simulated)?,
        };
        phone.scan_qr(code.text()).map_err(simulated)?;
        Ok(())
    }

    /// The phones of accounts that have a device linked.
    fn linked(&self) -> Vec<Phone> {
        let phones = self.stand_in.phones();
        phones.into_iter().filter(|phone| !phone.devices().is_empty()).collect()
    }
}

/// Serves until `until`; `print` gets the link.
pub(crate) async fn serve(
    mut options: Options,
    until: impl Future<Output = ()>,
    print: fn(&str),
) -> Result<()> {
    let folder = tempfile::tempdir()
        .map_err(|error| Error::new(ErrorKind::Unavailable, "no temporary folder").caused_by(error))?;
    let stand_in = StandIn::start().await.map_err(simulated)?;
    options.bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
    options.sqlite_file = folder.path().join("demo.db");
    options.key_file = None;
    options.restore_after_s = 0;
    options.cleanup_after_s = 0;
    options.health_check_s = DEMO_HEALTH_CHECK_S;
    options.jwt_secret.get_or_insert_with(random_text);
    let admin = Mint {
        scope: vec!["admin".to_owned()],
        sessions: Vec::new(),
        subject: Some("demo".to_owned()),
        hours: TOKEN_HOURS,
    };
    let token = mint(&options, &admin)?;
    let mut service_options = options.service_options();
    service_options.stand_in_url = Some(stand_in.web_socket_url());
    service_options.whatsapp_version = Some(SIMULATED_VERSION);
    let server = Server::start_with(options, service_options).await?;
    let contacts = CONTACTS
        .iter()
        .map(|name| stand_in.add_phone(named(name)))
        .collect::<std::result::Result<Vec<Phone>, _>>()
        .map_err(simulated)?;
    let app = server.app().clone();
    app.set_demo(Phones { stand_in });
    let code = random_text();
    app.one_time().put(&code, token);
    print(&format!("dashboard, good for one browser: http://{}/#code={code}", server.address()));

    let stop = CancellationToken::new();
    let talking = {
        let (app, stop) = (app.clone(), stop.clone());
        tokio::spawn(async move {
            if let Err(error) = link_sessions(&app).await {
                tracing::error!(%error, "the demo's sessions could not be linked");
            }
            stop.run_until_cancelled(talk(&app, &contacts)).await;
        })
    };
    until.await;
    stop.cancel();
    if talking.await.is_err() {
        tracing::error!("the demo's contacts panicked; report it");
    }
    let ended = server.shutdown().await;
    if let Some(phones) = app.demo() {
        phones.stand_in.shutdown().await;
    }
    ended
}

async fn link_sessions(app: &crate::app::App) -> Result<()> {
    let Some(phones) = app.demo() else { return Ok(()) };
    for (n, id) in SESSIONS.iter().enumerate() {
        let session = app.service().create_session(id).await?;
        if n + 1 < SESSIONS.len() {
            phones.scan(app.service(), id).await?;
            session.wait_connected(PATIENCE).await?;
        }
    }
    Ok(())
}

/// Contacts write now and then, and answer what they get.
async fn talk(app: &crate::app::App, contacts: &[Phone]) {
    let Some(phones) = app.demo() else { return };
    let mut seen: Vec<usize> = vec![0; contacts.len()];
    let mut turn = 0;
    loop {
        let pause = Duration::from_millis(rand::rng().random_range(600..2_000));
        tokio::time::sleep(pause).await;
        for (contact, seen) in contacts.iter().zip(&mut seen) {
            let received = contact.received();
            for message in received.iter().skip(*seen) {
                say(contact, &message.chat, phrase(&ANSWERS)).await;
            }
            *seen = received.len();
        }
        let linked = phones.linked();
        if !linked.is_empty() {
            // In turn, so that no session is left waiting.
            turn += 1;
            say(pick(contacts), &linked[turn % linked.len()].phone_number(), phrase(&OPENERS)).await;
        }
    }
}

async fn say(from: &Phone, to: &str, text: &str) {
    if let Err(error) = from.send_text(to, text).await {
        tracing::debug!(%error, "a contact of the demo could not write");
    }
}

fn phrase(of: &[&'static str]) -> &'static str {
    of[rand::rng().random_range(0..of.len())]
}

fn pick<T>(of: &[T]) -> &T {
    &of[rand::rng().random_range(0..of.len())]
}

fn named(push_name: &str) -> PhoneOptions {
    PhoneOptions { push_name: push_name.to_owned(), ..PhoneOptions::default() }
}

fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>())
}

fn simulated(error: StandInError) -> Error {
    Error::new(ErrorKind::Internal, "the simulated WhatsApp did not do as expected").caused_by(error)
}
