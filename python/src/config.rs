//! The settings of a service, as the package writes them: durations in seconds, names as in `ServiceOptions`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use centralita::service::options::{PreloadChatsType, ServiceOptions};
use centralita::service::{WhatsAppService, WhatsAppServiceBuilder};
use centralita::store::mongo::MongoOptions;
use centralita::store::{MemoryStore, MongoStore, SqliteStore, Store};
use centralita::vault::{KeyProvider, KeyRing};
use centralita::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::durable::LogSettings;
use crate::errors;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    store: StoreConfig,
    keys: KeysConfig,
    instance_id: Option<String>,
    #[serde(default)]
    options: Options,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum StoreConfig {
    Sqlite { path: PathBuf },
    Mongo { uri: String, database: Option<String> },
    Memory,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum KeysConfig {
    File { path: PathBuf },
    Text { keys: String },
    Env,
    Provider,
    Plaintext,
}

/// A field that is absent keeps its default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    device_name: Option<String>,
    show_online: Option<bool>,
    preload_chats_type: Option<PreloadChatsType>,
    preload_chats_limit: Option<u32>,
    whatsapp_version: Option<(u32, u32, u32)>,
    lease_duration_s: Option<f64>,
    store_patience_s: Option<f64>,
    send_timeout_s: Option<f64>,
    pre_key_count: Option<usize>,
    reconnect_min_s: Option<f64>,
    reconnect_max_s: Option<f64>,
    stable_after_s: Option<f64>,
    penalty_min_s: Option<f64>,
    connect_concurrency: Option<usize>,
    push_name: Option<String>,
    durable_events: Option<LogSettings>,
    connects_per_s: Option<u32>,
    outbox_max_entries: Option<u32>,
    outbox_max_text_bytes: Option<usize>,
    per_session_metrics: Option<bool>,
}

impl Config {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| errors::invalid("the service's settings", &error))
    }

    /// Opens the store and starts the service.
    pub(crate) async fn start(
        self,
        provider: Option<Arc<dyn KeyProvider>>,
    ) -> Result<(WhatsAppService, Arc<dyn Store>)> {
        let Self { store, keys, instance_id, options } = self;
        let builder = keys.give(WhatsAppService::builder(), provider).await?;
        let mut service_options = ServiceOptions::default();
        options.apply(&mut service_options)?;
        let store = store.open().await?;
        let mut builder = builder.shared_store(Arc::clone(&store)).options(service_options);
        if let Some(id) = instance_id {
            builder = builder.instance_id(id);
        }
        match builder.start().await {
            Ok(service) => Ok((service, store)),
            Err(error) => {
                if let Err(closing) = store.close().await {
                    tracing::warn!(error = %closing, "the store of a service that did not start was not closed");
                }
                Err(error)
            }
        }
    }
}

impl StoreConfig {
    async fn open(self) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Sqlite { path } => {
                Arc::new(off_the_workers(move || SqliteStore::open(path)).await?) as Arc<dyn Store>
            }
            Self::Mongo { uri, database } => {
                let mut options = MongoOptions::default();
                if let Some(database) = database {
                    options.database = database;
                }
                Arc::new(MongoStore::connect_with(&uri, options).await?)
            }
            Self::Memory => Arc::new(MemoryStore::new()),
        })
    }
}

impl KeysConfig {
    async fn give(
        self,
        builder: WhatsAppServiceBuilder,
        provider: Option<Arc<dyn KeyProvider>>,
    ) -> Result<WhatsAppServiceBuilder> {
        Ok(match self {
            Self::File { path } => {
                builder.keys(off_the_workers(move || KeyRing::open_or_create(path)).await?)
            }
            Self::Text { keys } => builder.keys(KeyRing::parse(&keys)?),
            Self::Env => builder.keys(KeyRing::from_env()?),
            Self::Provider => match provider {
                Some(provider) => builder.key_provider(provider),
                None => return Err(Error::new(ErrorKind::Internal, "the key provider was not handed over")),
            },
            Self::Plaintext => builder.dangerously_store_credentials_in_plaintext(),
        })
    }
}

/// Files are opened where a slow disk holds up nobody.
async fn off_the_workers<T: Send + 'static>(open: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(open)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Panic, "opening a file panicked; report it")))
}

impl Options {
    fn apply(self, options: &mut ServiceOptions) -> Result<()> {
        set(&mut options.device_name, self.device_name);
        set(&mut options.show_online, self.show_online);
        set(&mut options.preload_chats.chats, self.preload_chats_type);
        set(&mut options.preload_chats.limit, self.preload_chats_limit);
        set(&mut options.lease_duration, seconds("lease_duration", self.lease_duration_s)?);
        set(&mut options.store_patience, seconds("store_patience", self.store_patience_s)?);
        set(&mut options.send_timeout, seconds("send_timeout", self.send_timeout_s)?);
        set(&mut options.pre_key_count, self.pre_key_count);
        set(&mut options.reconnect_min, seconds("reconnect_min", self.reconnect_min_s)?);
        set(&mut options.reconnect_max, seconds("reconnect_max", self.reconnect_max_s)?);
        set(&mut options.stable_after, seconds("stable_after", self.stable_after_s)?);
        set(&mut options.penalty_min, seconds("penalty_min", self.penalty_min_s)?);
        set(&mut options.connect_concurrency, self.connect_concurrency);
        set(&mut options.connects_per_s, self.connects_per_s);
        set(&mut options.outbox.max_entries, self.outbox_max_entries);
        set(&mut options.outbox.max_text_bytes, self.outbox_max_text_bytes);
        set(&mut options.per_session_metrics, self.per_session_metrics);
        if let Some(log) = self.durable_events {
            options.durable_events = Some(log.options()?);
        }
        if self.whatsapp_version.is_some() {
            options.whatsapp_version = self.whatsapp_version;
        }
        if self.push_name.is_some() {
            options.push_name = self.push_name;
        }
        Ok(())
    }
}

fn set<T>(option: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *option = value;
    }
}

fn seconds(name: &str, value: Option<f64>) -> Result<Option<Duration>> {
    value.map(|value| duration(name, value)).transpose()
}

/// Seconds from Python, which may be anything that a float can be.
pub(crate) fn duration(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("{name} must be a number of seconds, 0 or more")))
}
