//! The stand-in as a program: prints its addresses, serves until it is told to stop.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use centralita_stand_in::{PhoneOptions, StandIn, StandInError};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// A small WhatsApp server on loopback, for tests of client libraries.
///
/// When it is ready it prints one line of JSON with `web_socket_url`, `admin_url`,
/// `root_public_key` (hexadecimal) and `contacts`. Let a phone scan a client's QR code with
/// `curl --data "$QR" $ADMIN_URL/admin/mock-phone/scan-qr`. Ctrl-C ends it.
#[derive(Parser)]
#[command(name = "centralita-stand-in", version)]
struct Arguments {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Serve wss:// and https:// with a certificate made at the start.
    #[arg(long)]
    tls: bool,
    /// Keep the state in this file: phones, linked devices, queues. Made if it does not exist.
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
    /// Make this many phones to write to.
    #[arg(long, value_name = "N", default_value_t = 0)]
    demo_contacts: u32,
    /// Phones answer each text with the same text.
    #[arg(long)]
    echo: bool,
    /// What to log on stderr, as in RUST_LOG.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&arguments.log))
        .with_writer(std::io::stderr)
        .finish();
    // Not `init`: it may bridge the `log` crate, through which the engine logs phone numbers.
    tracing::subscriber::set_global_default(subscriber).expect("nothing was installed before");
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = StandIn::builder().port(arguments.port).tls(arguments.tls).echo(arguments.echo);
    if let Some(path) = arguments.state_file {
        builder = builder.state_file(path);
    }
    let stand_in = builder.start().await?;
    let contacts = demo_contacts(&stand_in, arguments.demo_contacts)?;
    let root: String = stand_in.root_public_key().iter().map(|byte| format!("{byte:02x}")).collect();
    let ready = serde_json::json!({
        "web_socket_url": stand_in.web_socket_url(),
        "admin_url": stand_in.admin_url(),
        "root_public_key": root,
        "contacts": contacts,
    });
    writeln!(std::io::stdout(), "{ready}")?;
    told_to_stop().await?;
    tracing::info!("stopping");
    stand_in.shutdown().await;
    Ok(())
}

fn demo_contacts(stand_in: &StandIn, wanted: u32) -> Result<Vec<String>, StandInError> {
    (1..=wanted)
        .map(|number| {
            let push_name = format!("Contact {number}");
            let known = stand_in.phones().into_iter().find(|phone| phone.push_name() == push_name);
            // With a state file they are there from the last time.
            let phone = match known {
                Some(phone) => phone,
                None => stand_in.add_phone(PhoneOptions { push_name, ..Default::default() })?,
            };
            Ok(phone.phone_number())
        })
        .collect()
}

#[cfg(unix)]
async fn told_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn told_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
