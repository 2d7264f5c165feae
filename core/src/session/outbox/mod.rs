//! Messages that wait for their session: accepted while it is down or held up, sent in order once it is up.
//!
//! An entry is stored, sealed, before its send returns. One task per session with entries (none for the others)
//! takes them in order: of each recipient strictly, of different recipients as far as none of them must wait for a
//! limit of its own. Each is written under its fixed id until WhatsApp has said what came of it, so that a crash
//! between the write and the acknowledgement repeats the same message, which the recipient shows once.
//!
//! | file | what |
//! | --- | --- |
//! | `accept` | puts a message in |
//! | `content` | what an entry holds, sealed |
//! | `queue` | what comes next: a state machine without I/O |
//! | `sender` | the task that sends |
//! | `ending` | how an entry ends: message, entry, event |
//! | `turn` | what direct sends and the task know of each other |
//! | `entries` | list and cancel |
//! | `backlog` | which sessions have entries, also from other processes; entries that nobody's session will end |
//! | `options` | bounds |

mod accept;
mod backlog;
mod content;
mod ending;
mod entries;
mod options;
mod queue;
mod sender;
mod turn;

pub(super) use accept::accept;
pub(crate) use backlog::{Backlogs, LOOK_EVERY, expire_orphans};
pub use ending::OutboxOutcome;
pub use entries::QueuedMessage;
pub(crate) use entries::{cancel, list};
pub use options::OutboxOptions;
pub(crate) use turn::{SessionOutbox, wake};
pub(super) use turn::{connected, is_clear_for, wait_until_clear_for};
