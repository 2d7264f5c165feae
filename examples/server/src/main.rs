//! The reference server. `--help` says what it takes; the library part says how it works.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    centralita_server::cli::main().await
}
