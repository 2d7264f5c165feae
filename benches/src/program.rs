//! What every program does first: it may be a child of itself.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::report::Report;
use crate::{Result, progress, stand_in, worker};

/// Runs a program, or the hidden part of it that its first argument names.
pub fn main<A, F>(run: impl FnOnce(A) -> F) -> ExitCode
where
    A: Parser,
    F: Future<Output = Result<Report>>,
{
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .with_writer(std::io::stderr)
        .finish();
    // Not `init`: it may bridge the `log` crate, through which the engine logs phone numbers.
    tracing::subscriber::set_global_default(subscriber).expect("nothing was installed before");
    // reqwest is built without a TLS provider of its own, and wants one even for loopback.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            progress(format_args!("error: no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match role.as_deref() {
            Some(stand_in::ROLE) => stand_in::serve().await.map(|()| ExitCode::SUCCESS),
            Some(worker::ROLE) => {
                worker::serve(&arguments.next().unwrap_or_default()).await.map(|()| ExitCode::SUCCESS)
            }
            _ => run(A::parse()).await.map(|report| report.finish()),
        }
    });
    outcome.unwrap_or_else(|error| {
        progress(format_args!("error: {error}"));
        ExitCode::FAILURE
    })
}
