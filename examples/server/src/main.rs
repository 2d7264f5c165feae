//! The reference server. `--help` says what it takes; the library part says how it works.

use std::process::ExitCode;

/// Of what a thousand short connects leave behind, glibc's allocator keeps as much as the sessions need.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    centralita_server::cli::main().await
}
