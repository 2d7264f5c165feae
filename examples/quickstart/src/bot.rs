//! The bot: twenty lines that matter, and the printing around them.

use std::time::Duration;

use centralita::events::{EventKind, Filter, Subscription};
use centralita::service::{Session, WhatsAppService, WhatsAppServiceBuilder};
use centralita::session::{LinkStep, Outgoing};
use centralita::store::{MessageKind, StoredMessage};
use centralita::{Error, ErrorKind, Result};

use crate::args::Args;
use crate::store;

const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// A builder with the store and key that the command line names.
pub(crate) async fn builder(args: &Args) -> Result<WhatsAppServiceBuilder> {
    let builder = WhatsAppService::builder()
        .shared_store(store::open(&args.store).await?)
        .keys(store::keys(&args.key_file)?);
    #[cfg(feature = "stand-in")]
    let builder = builder.configure(|options| options.stand_in_url = args.server.clone());
    Ok(builder)
}

/// Runs until Ctrl-C.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let service = builder(args).await?.start().await?;
    let mut events = service.subscribe(Filter::session(&args.session))?;
    let session = service.create_session(&args.session).await?;
    tokio::select! {
        outcome = link_and_answer(args, &session, &mut events) => outcome?,
        _ = tokio::signal::ctrl_c() => eprintln!("stopping; start again to go on without a QR code"),
    }
    service.shutdown(SHUTDOWN_PATIENCE).await?;
    service.store().close().await
}

async fn link_and_answer(args: &Args, session: &Session, events: &mut Subscription) -> Result<()> {
    if let Some(number) = &args.pair_code
        && session.record().await?.phone.is_none()
    {
        let code = session.request_pair_code(number).await?;
        print(&format!("type this code on the phone (Linked devices > Link with phone number): {code}"));
    }
    show_link(args, session).await?;
    let record = session.record().await?;
    print(&format!("connected as {} ({})", record.name, record.phone.unwrap_or_default()));
    answer(session, events).await
}

async fn show_link(args: &Args, session: &Session) -> Result<()> {
    let mut link = session.link()?;
    while let Some(step) = link.next().await {
        match step {
            LinkStep::Qr { code, .. } if args.pair_code.is_none() => {
                print("scan this with WhatsApp (Linked devices > Link a device):");
                print(&code.to_terminal());
            }
            LinkStep::TimedOut => {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    "nobody used the code; run the program again for a new one",
                ));
            }
            LinkStep::Failed { kind, message } => return Err(Error::new(kind, message)),
            LinkStep::PasskeyChallenge { .. } => {
                print(
                    "WhatsApp demands a passkey for this account; this example has no authenticator to ask",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Prints what arrives and answers `/ping`.
pub(crate) async fn answer(session: &Session, events: &mut Subscription) -> Result<()> {
    while let Some(event) = events.next().await? {
        let EventKind::Message(message) = &event.kind else { continue };
        if message.from_me {
            continue;
        }
        let Some(text) = text_of(message) else { continue };
        print(&format!("{}: {text}", message.sender_name.as_deref().unwrap_or("somebody")));
        if text == "/ping" {
            match session.send(Outgoing::reply(&message.key, "pong")).await {
                Ok(_) => {}
                Err(error) if error.is_retryable() => eprintln!("not answered: {error}"),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

pub(crate) fn text_of(message: &StoredMessage) -> Option<&str> {
    match &message.content {
        MessageKind::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// For people. On standard error, so that standard output holds nothing but `--stand-in`'s JSON line.
fn print(line: &str) {
    eprintln!("{line}");
}
