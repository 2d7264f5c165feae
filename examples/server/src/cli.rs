//! The program: reads the command line, serves until it is told to end.

use std::process::ExitCode;

use centralita::{Error, ErrorKind, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::token::mint;
use crate::config::{Cli, Command, Options};
use crate::server::Server;
use crate::{import, logging};

/// Runs the program; the exit code is 0, or 1 after an error that was printed on stderr.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<()> {
    cli.options.check()?;
    match cli.command {
        Some(Command::Token(request)) => {
            print_line(&mint(&cli.options, &request)?);
            Ok(())
        }
        Some(Command::Import { dry_run }) => {
            let (report, is_complete) = import::run(&cli.options, dry_run).await?;
            print_line(&report);
            if is_complete {
                Ok(())
            } else {
                Err(Error::new(
                    ErrorKind::Corrupt,
                    "some sessions cannot be taken over; the report says which, and what to do",
                ))
            }
        }
        None => {
            logging::start(&cli.options)?;
            serve(cli.options).await
        }
    }
}

async fn serve(options: Options) -> Result<()> {
    let mut interrupted = listen_for(SignalKind::interrupt())?;
    let mut terminated = listen_for(SignalKind::terminate())?;
    if options.demo {
        return serve_demo(options, async move {
            tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
        })
        .await;
    }
    let server = Server::start(options).await?;
    tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
    tracing::info!("ending; a second signal ends at once");
    tokio::select! {
        ended = server.shutdown() => ended,
        _ = interrupted.recv() => Err(cut_off()),
        _ = terminated.recv() => Err(cut_off()),
    }
}

#[cfg(feature = "stand-in")]
async fn serve_demo(options: Options, until: impl Future<Output = ()>) -> Result<()> {
    crate::demo::serve(options, until, print_line).await
}

#[cfg(not(feature = "stand-in"))]
async fn serve_demo(_options: Options, _until: impl Future<Output = ()>) -> Result<()> {
    Err(Error::new(
        ErrorKind::Invalid,
        "--demo needs the simulated WhatsApp, which is not in this build: cargo run --release -p centralita-server --features stand-in -- --demo",
    ))
}

fn listen_for(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot listen for the signals that end the program").caused_by(error)
    })
}

fn cut_off() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "ended by a second signal; what was not stored WhatsApp delivers again, and leases run out",
    )
}

#[expect(clippy::print_stdout, reason = "what a command answers")]
fn print_line(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "logging may not have started")]
fn print_error(error: &Error) {
    eprintln!("error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
}
