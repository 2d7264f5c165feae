//! What the measuring programs share.
//!
//! Each program of `src/bin` starts two kinds of processes, both the program's own file with a hidden first
//! argument: the [stand-in](stand_in), which is WhatsApp, and [workers](worker), which are the library. What is
//! measured is looked at from outside: memory and CPU in /proc, messages in the stand-in's accounting and in the
//! [database](place), commands in the [proxy] before it.

pub mod audit;
pub mod flow;
pub mod limits;
pub mod percentiles;
pub mod place;
pub mod process;
pub mod program;
pub mod proxy;
pub mod report;
pub mod stand_in;
mod standard_input;
pub mod worker;
pub mod world;

/// As the reference server has it: of what a thousand short connects leave behind, glibc's allocator keeps as much as the
/// sessions need.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Any error ends a program.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What may end a program.
pub type Result<T> = std::result::Result<T, Error>;

/// Tells a person how far it is, on standard error.
pub fn progress(line: impl std::fmt::Display) {
    use std::io::Write as _;
    // Nobody may be reading it.
    let _unread = writeln!(std::io::stderr(), "{line}");
}
