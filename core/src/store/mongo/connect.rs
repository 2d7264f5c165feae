//! How a store is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mongodb::Client;
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{
    Acknowledgment, ClientOptions, DatabaseOptions, ReadPreference, SelectionCriteria, WriteConcern,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bulk::BulkWrite;
use super::counts::Counts;
use super::options::MongoOptions;
use super::pieces::Pace;
use super::{Inner, MongoStore, indexes};
use crate::error::{Error, ErrorKind, Result};
use crate::store::rules::Arrivals;

impl MongoStore {
    /// Connects to the database that the URI names (`centralita` if it names none) and creates the indexes
    /// that are missing. Must be called in a tokio runtime that outlives the store.
    ///
    /// # Errors
    /// `Invalid` if the URI cannot be read; `Unavailable` if no server can be reached; `Store` if the user may
    /// not write, or an index cannot be created.
    pub async fn connect(uri: &str) -> Result<Self> {
        Self::connect_with(uri, MongoOptions::default()).await
    }

    /// As [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(uri: &str, options: MongoOptions) -> Result<Self> {
        runtime()?;
        // The driver's own words may quote the URI, and with it the password.
        let mut client_options = ClientOptions::parse(uri).await.map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                "the MongoDB URI cannot be read; write it as mongodb://host:27017/database",
            )
            .during("connect")
        })?;
        client_options.max_pool_size.get_or_insert(options.max_pool_size);
        client_options.connect_timeout.get_or_insert(Duration::from_secs(3));
        client_options.server_selection_timeout.get_or_insert(Duration::from_secs(5));
        client_options.heartbeat_freq.get_or_insert(Duration::from_secs(2));
        client_options.app_name.get_or_insert_with(|| "centralita".to_owned());
        let commands = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commands);
        client_options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(_) = event {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }));
        let database = client_options.default_database.clone().unwrap_or_else(|| options.database.clone());
        let client = Client::with_options(client_options).map_err(|_| {
            Error::new(ErrorKind::Invalid, "the MongoDB URI has options that do not fit together")
                .during("connect")
        })?;
        Self::start(client, Some(commands), &database, options).await
    }

    /// Works through a client of yours, which stays yours to shut down. Its write concern and read preference
    /// are not used: writes wait for a majority, reads go to the primary.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn from_client(client: Client, database: &str) -> Result<Self> {
        Self::from_client_with(client, database, MongoOptions::default()).await
    }

    /// As [`from_client`](Self::from_client), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn from_client_with(client: Client, database: &str, options: MongoOptions) -> Result<Self> {
        Self::start(client, None, database, options).await
    }

    async fn start(
        client: Client,
        commands: Option<Arc<AtomicU64>>,
        database: &str,
        options: MongoOptions,
    ) -> Result<Self> {
        let write_concern = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(options.write_timeout)
            .build();
        let database_options = DatabaseOptions::builder()
            .write_concern(write_concern)
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let db = client.database_with_options(database, database_options);
        let counts = Counts::new(&options.clock);
        let store = Self(Arc::new(Inner {
            client,
            owned: commands.is_some(),
            db,
            options,
            runtime: runtime()?,
            calls: TaskTracker::new(),
            closed: AtomicBool::new(false),
            closing: CancellationToken::new(),
            counts,
            arrivals: Arrivals::default(),
            bulk_write: BulkWrite::default(),
            pace: Pace::default(),
            commands,
        }));
        if store.0.options.create_indexes {
            store.call("connect", |inner| async move { indexes::create(&inner).await }).await?;
        } else {
            super::Store::ping(&store).await?;
        }
        Ok(store)
    }
}

fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(
            ErrorKind::InvalidState,
            "a MongoStore must be made inside a tokio runtime; enter one first",
        )
        .during("connect")
    })
}
