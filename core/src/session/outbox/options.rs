//! What can be set about outboxes.

use crate::error::{Error, ErrorKind, Result};
use crate::session::outgoing::MAX_TEXT_BYTES;

/// Bounds of each session's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxOptions {
    /// How many messages may wait; 1 to 100,000. Default 1,000.
    pub max_entries: u32,
    /// The longest text that may wait; 1 to 65,536 bytes. Default 65,536.
    pub max_text_bytes: usize,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self { max_entries: 1_000, max_text_bytes: MAX_TEXT_BYTES }
    }
}

impl OutboxOptions {
    /// `Invalid` that names the option and its bounds.
    pub fn validate(&self) -> Result<()> {
        if !(1..=100_000).contains(&self.max_entries) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "option outbox.max_entries must be between 1 and 100000",
            ));
        }
        if !(1..=MAX_TEXT_BYTES).contains(&self.max_text_bytes) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("option outbox.max_text_bytes must be between 1 and {MAX_TEXT_BYTES}"),
            ));
        }
        Ok(())
    }
}
