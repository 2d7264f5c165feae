//! Where the workers store, and the same database read directly.

mod mongo;
mod sqlite;

use std::path::PathBuf;

use tempfile::TempDir;

use crate::Result;
use crate::proxy::{Passage, Proxy};

/// A row of `messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// The session.
    pub session: String,
    /// WhatsApp's id.
    pub message_id: String,
    /// Sent, not received.
    pub outgoing: bool,
    /// The text, if it has one.
    pub text: Option<String>,
}

/// A row of `sessions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session.
    pub session: String,
    /// `messagesReceived`.
    pub received: u64,
    /// `messagesSent`.
    pub sent: u64,
    /// `isConnected`.
    pub connected: bool,
    /// `status`.
    pub status: String,
}

/// A row of `authkeys` or `authstates`, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthRow {
    /// The session.
    pub session: String,
    /// Type and id; `creds` for the credentials.
    pub key: String,
    /// The generation of the lease under which it was written.
    pub generation: i64,
}

/// A row of `leases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The session.
    pub session: String,
    /// Who holds it; empty if nobody.
    pub owner: String,
    /// Its generation.
    pub generation: i64,
    /// Rows of a lower generation are not read.
    pub fence: i64,
}

/// A fresh database, and the folder for the key file. Both are gone when this is.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Sqlite(sqlite::File),
    Mongo { database: mongo::Database, proxy: Proxy },
}

/// The look at the outboxes.
const LOOK: &str = "aggregate outbox";

impl Place {
    /// On `store`: `mongodb://…` (a database of its own on that server), `sqlite` or nothing (a file in a
    /// temporary folder), or a folder for the file.
    pub async fn new(store: Option<&str>) -> Result<Self> {
        match store {
            Some(uri) if uri.starts_with("mongodb") => {
                let folder = tempfile::tempdir()?;
                let database = mongo::Database::new(uri).await?;
                let proxy = Proxy::start(database.server().to_owned()).await?;
                Ok(Self { folder, data: Data::Mongo { database, proxy } })
            }
            _ => {
                let folder = match store {
                    None | Some("sqlite") => tempfile::tempdir()?,
                    Some(path) => tempfile::tempdir_in(path)?,
                };
                let file = sqlite::File::new(folder.path().join("centralita.db"));
                Ok(Self { folder, data: Data::Sqlite(file) })
            }
        }
    }

    /// `sqlite` or `mongodb`.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Sqlite(_) => "sqlite",
            Data::Mongo { .. } => "mongodb",
        }
    }

    /// Whether two processes can have it open at the same time.
    pub fn is_shared(&self) -> bool {
        matches!(self.data, Data::Mongo { .. })
    }

    /// What workers open: the file, or the address of the proxy.
    pub fn for_workers(&self) -> String {
        match &self.data {
            Data::Sqlite(file) => file.path().to_string_lossy().into_owned(),
            Data::Mongo { database, proxy } => database.uri_through(proxy.address),
        }
    }

    /// The key file.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("centralita.key")
    }

    /// MongoDB: commands that came through the proxy, but for the look at the outboxes of all sessions every five
    /// seconds, which costs the same whatever the sessions do. SQLite: write transactions, by the counter in the
    /// write-ahead log's index, which starts over when the last process closes the file.
    pub fn commands(&self) -> Result<u64> {
        match &self.data {
            Data::Sqlite(file) => file.transactions(),
            Data::Mongo { proxy, .. } => {
                Ok(proxy.by_name().into_iter().filter(|(name, _)| name != LOOK).map(|(_, count)| count).sum())
            }
        }
    }

    /// Commands by name, for people.
    pub fn commands_by_name(&self) -> String {
        match &self.data {
            Data::Sqlite(_) => String::new(),
            Data::Mongo { proxy, .. } => format!("{:?}", proxy.by_name()),
        }
    }

    /// Takes the database away: MongoDB's connections are closed and refused; on SQLite another program holds the
    /// write lock.
    pub fn cut(&self) -> Result<()> {
        match &self.data {
            Data::Sqlite(file) => file.hold()?,
            Data::Mongo { proxy, .. } => proxy.set(Passage::Cut),
        }
        Ok(())
    }

    /// As [`cut`](Self::cut), but nobody is told: connections stay open and nothing comes back.
    pub fn freeze(&self) -> Result<()> {
        match &self.data {
            Data::Sqlite(file) => file.hold()?,
            Data::Mongo { proxy, .. } => proxy.set(Passage::Frozen),
        }
        Ok(())
    }

    /// Every command takes so much longer. On SQLite there is nothing between.
    pub fn slow(&self, pause: std::time::Duration) -> Result<()> {
        match &self.data {
            Data::Sqlite(_) => Err("an SQLite file cannot be slowed; use MongoDB".into()),
            Data::Mongo { proxy, .. } => {
                proxy.set(Passage::Slow(pause));
                Ok(())
            }
        }
    }

    /// Gives it back.
    pub fn restore(&self) -> Result<()> {
        match &self.data {
            Data::Sqlite(file) => file.let_go()?,
            Data::Mongo { proxy, .. } => proxy.set(Passage::Open),
        }
        Ok(())
    }

    /// All messages.
    pub async fn messages(&self) -> Result<Vec<MessageRow>> {
        match &self.data {
            Data::Sqlite(file) => file.messages(),
            Data::Mongo { database, .. } => database.messages().await,
        }
    }

    /// All sessions.
    pub async fn sessions(&self) -> Result<Vec<SessionRow>> {
        match &self.data {
            Data::Sqlite(file) => file.sessions(),
            Data::Mongo { database, .. } => database.sessions().await,
        }
    }

    /// All credentials and keys, without their values.
    pub async fn auth(&self) -> Result<Vec<AuthRow>> {
        match &self.data {
            Data::Sqlite(file) => file.auth(),
            Data::Mongo { database, .. } => database.auth().await,
        }
    }

    /// All leases.
    pub async fn leases(&self) -> Result<Vec<LeaseRow>> {
        match &self.data {
            Data::Sqlite(file) => file.leases(),
            Data::Mongo { database, .. } => database.leases().await,
        }
    }

    /// Drops the database; the folder goes with the value.
    pub async fn remove(self) -> Result<()> {
        match self.data {
            Data::Sqlite(_) => Ok(()),
            Data::Mongo { database, .. } => database.remove().await,
        }
    }
}
