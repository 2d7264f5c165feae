use std::fmt;
use std::time::Duration;

use crate::clock::{SharedClock, SystemClock};

/// How a [`SqliteStore`](super::SqliteStore) is opened. Start from `default()` and change what you need.
#[derive(Clone)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// The clock that leases go by. The host's unless a test brings its own.
    pub clock: SharedClock,
    /// Page cache of all connections together, in bytes. 8 MiB.
    pub cache_bytes: u64,
    /// Threads that read at the same time. 2; at least 1.
    pub readers: u8,
    /// How long to wait for a program that looks into the file from outside. 5 s.
    pub busy_timeout: Duration,
    /// The database refuses to grow beyond this many bytes, as if the disk were full.
    pub max_file_bytes: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            clock: SystemClock::shared(),
            cache_bytes: 8 << 20,
            readers: 2,
            busy_timeout: Duration::from_secs(5),
            max_file_bytes: None,
        }
    }
}

impl fmt::Debug for SqliteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOptions")
            .field("cache_bytes", &self.cache_bytes)
            .field("readers", &self.readers)
            .field("busy_timeout", &self.busy_timeout)
            .field("max_file_bytes", &self.max_file_bytes)
            .finish_non_exhaustive()
    }
}
