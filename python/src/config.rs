//! Where a service stores, and with which keys, as the package writes it.

use std::path::PathBuf;
use std::sync::Arc;

use centralita::service::WhatsAppService;
use centralita::service::options::ServiceOptions;
use centralita::store::mongo::MongoOptions;
use centralita::store::sqlite::SqliteOptions;
use centralita::store::{MemoryStore, MongoStore, SqliteStore, Store};
use centralita::vault::{KeyProvider, KeyRing};
use centralita::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::errors;
use crate::options::{Settings, seconds, set};
use crate::service::Open;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    store: StoreConfig,
    keys: KeysConfig,
    instance_id: Option<String>,
    #[serde(default)]
    options: Settings,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum StoreConfig {
    Sqlite {
        path: PathBuf,
        cache_bytes: Option<u64>,
        readers: Option<u8>,
        busy_timeout_s: Option<f64>,
        max_file_bytes: Option<u64>,
    },
    Mongo {
        uri: String,
        database: Option<String>,
        max_pool_size: Option<u32>,
        deadline_s: Option<f64>,
        write_timeout_s: Option<f64>,
        count_interval_s: Option<f64>,
        create_indexes: Option<bool>,
    },
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

impl Config {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| errors::invalid("the service's settings", &error))
    }

    /// Opens the store and starts the service.
    pub(crate) async fn start(self, provider: Option<Arc<dyn KeyProvider>>) -> Result<Open> {
        let Self { store, keys, instance_id, options } = self;
        let keys = keys.open(provider).await?;
        let mut service_options = ServiceOptions::default();
        options.apply(&mut service_options)?;
        let store = store.open().await?;
        let builder = WhatsAppService::builder().shared_store(Arc::clone(&store)).options(service_options);
        let mut builder = match keys {
            Some(keys) => builder.key_provider(keys),
            None => builder.dangerously_store_credentials_in_plaintext(),
        };
        if let Some(id) = instance_id {
            builder = builder.instance_id(id);
        }
        match builder.start().await {
            Ok(service) => Ok(Open { service, store }),
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
            Self::Sqlite { path, cache_bytes, readers, busy_timeout_s, max_file_bytes } => {
                let mut options = SqliteOptions::default();
                set(&mut options.cache_bytes, cache_bytes);
                set(&mut options.readers, readers);
                set(&mut options.busy_timeout, seconds("busy_timeout", busy_timeout_s)?);
                options.max_file_bytes = max_file_bytes;
                Arc::new(off_the_workers(move || SqliteStore::open_with(path, options)).await?)
                    as Arc<dyn Store>
            }
            Self::Mongo {
                uri,
                database,
                max_pool_size,
                deadline_s,
                write_timeout_s,
                count_interval_s,
                create_indexes,
            } => {
                let mut options = MongoOptions::default();
                set(&mut options.database, database);
                set(&mut options.max_pool_size, max_pool_size);
                set(&mut options.deadline, seconds("deadline", deadline_s)?);
                set(&mut options.write_timeout, seconds("write_timeout", write_timeout_s)?);
                set(&mut options.count_interval, seconds("count_interval", count_interval_s)?);
                set(&mut options.create_indexes, create_indexes);
                Arc::new(MongoStore::connect_with(&uri, options).await?)
            }
            Self::Memory => Arc::new(MemoryStore::new()),
        })
    }
}

impl KeysConfig {
    /// What holds the master keys; `None` without encryption.
    async fn open(self, provider: Option<Arc<dyn KeyProvider>>) -> Result<Option<Arc<dyn KeyProvider>>> {
        let ring = match self {
            Self::File { path } => off_the_workers(move || KeyRing::open_or_create(path)).await?,
            Self::Text { keys } => KeyRing::parse(&keys)?,
            Self::Env => KeyRing::from_env()?,
            Self::Provider => {
                return match provider {
                    Some(provider) => Ok(Some(provider)),
                    None => Err(Error::new(ErrorKind::Internal, "the key provider was not handed over")),
                };
            }
            Self::Plaintext => return Ok(None),
        };
        Ok(Some(Arc::new(ring)))
    }
}

/// Files are opened where a slow disk holds up nobody.
async fn off_the_workers<T: Send + 'static>(open: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(open)
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Panic, "opening a file panicked; report it")))
}
