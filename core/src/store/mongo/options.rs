use std::fmt;
use std::time::Duration;

use crate::clock::{SharedClock, SystemClock};

/// How a [`MongoStore`](super::MongoStore) works. Start from `default()` and change what you need.
///
/// What the URI sets (`maxPoolSize`, `connectTimeoutMS`, `serverSelectionTimeoutMS`, `heartbeatFrequencyMS`, …)
/// wins over the defaults here.
#[derive(Clone)]
#[non_exhaustive]
pub struct MongoOptions {
    /// The database, if the URI names none. `centralita`.
    pub database: String,
    /// Connections at most, unless the URI says otherwise. 32.
    pub max_pool_size: u32,
    /// How long one call may take, retries included, before it answers `Timeout`. 30 s.
    pub deadline: Duration,
    /// How long the database may take to make a write durable on a majority. 10 s.
    pub write_timeout: Duration,
    /// How long chats and counters may lag behind their messages, so that many are written at once. 1 s. Whoever
    /// asks this store sees them as they should be; other programs see them that much later.
    pub count_interval: Duration,
    /// Whether indexes are created when the store is made. True.
    pub create_indexes: bool,
    /// Where deadlines, back-off and `updatedAt` come from. Leases go by the database's clock, not by this.
    pub clock: SharedClock,
}

impl Default for MongoOptions {
    fn default() -> Self {
        Self {
            database: "centralita".to_owned(),
            max_pool_size: 32,
            deadline: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            count_interval: Duration::from_secs(1),
            create_indexes: true,
            clock: SystemClock::shared(),
        }
    }
}

impl fmt::Debug for MongoOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoOptions")
            .field("database", &self.database)
            .field("max_pool_size", &self.max_pool_size)
            .field("deadline", &self.deadline)
            .field("write_timeout", &self.write_timeout)
            .field("count_interval", &self.count_interval)
            .field("create_indexes", &self.create_indexes)
            .finish_non_exhaustive()
    }
}
