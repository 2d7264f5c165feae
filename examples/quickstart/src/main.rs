#![expect(clippy::print_stderr, reason = "a program for people")]
//! Links one phone, prints what arrives, answers `/ping`, and comes back without a QR code.

mod args;
mod bot;
#[cfg(feature = "stand-in")]
mod stand_in;
mod store;

use std::process::ExitCode;

use clap::Parser;

use args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .finish();
    // Not `init`: it may bridge the `log` crate, through which the engine logs phone numbers.
    tracing::subscriber::set_global_default(subscriber).expect("nothing was installed before");
    let outcome = match args.stand_in {
        #[cfg(feature = "stand-in")]
        true => stand_in::run(&args).await,
        #[cfg(not(feature = "stand-in"))]
        true => {
            eprintln!(
                "--stand-in needs the feature of the same name:\n\n    cargo run --release -p quickstart --features stand-in -- --stand-in\n"
            );
            return ExitCode::from(2);
        }
        false => bot::run(&args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
