//! Opening: the store, the keys, the threads.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use centralita::runtime::RuntimeHandle;
use centralita::service::WhatsAppService;
use centralita::store::mongo::MongoOptions;
use centralita::store::sqlite::SqliteOptions;
use centralita::store::{MemoryStore, MongoStore, SqliteStore, Store};
use centralita::vault::{KeyProvider, KeyRing};
use centralita::{Error, ErrorKind};
use tokio::runtime::{Builder, Handle, Runtime};

use super::Service;
use crate::config::{Keys, centralita_config};
use crate::error::Outcome;
use crate::fork::Birth;
use crate::{metrics, wait};

pub(super) fn open(address: &str, config: centralita_config) -> Outcome<Service> {
    let birth = Birth::now();
    let mut threads = Builder::new_multi_thread();
    threads.enable_all().thread_name("centralita");
    if config.worker_threads > 0 {
        threads.worker_threads(config.worker_threads);
    }
    let runtime = threads.build().map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the operating system gave no threads for a runtime")
            .caused_by(error)
    })?;
    // An early return must not drop the runtime here: this thread may be one of a runtime of the host's.
    let runtime = Runtimes(Some(runtime));
    let handle = runtime.handle();
    if config.gather_metrics {
        // Before anything of the service counts.
        metrics::gather(&handle)?;
    }
    let options = config.service_options();
    let keys = key_provider(config.keys, address)?;
    let store = open_store(address, config.mongo, config.sqlite, &handle)?;
    let builder = WhatsAppService::builder()
        .shared_store(store)
        .runtime(RuntimeHandle::from_tokio(handle.clone()))
        .options(options);
    let builder = match keys {
        Some(keys) => builder.key_provider(keys),
        None => builder.dangerously_store_credentials_in_plaintext(),
    };
    let builder = match config.instance_id {
        Some(id) => builder.instance_id(id),
        None => builder,
    };
    let core = wait::run(&handle, builder.start())?;
    Ok(Service {
        core: Some(core),
        handle,
        runtime: Mutex::new(runtime.keep()),
        jobs: Mutex::new(None),
        closed: AtomicBool::new(false),
        birth,
    })
}

/// A runtime that is ended without waiting for it unless it is kept.
struct Runtimes(Option<Runtime>);

impl Runtimes {
    fn handle(&self) -> Handle {
        self.0.as_ref().expect("there until kept").handle().clone()
    }

    fn keep(mut self) -> Option<Runtime> {
        self.0.take()
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A MongoDB URI, `memory:`, or the path of an SQLite file.
fn open_store(
    address: &str,
    mongo: MongoOptions,
    sqlite: SqliteOptions,
    runtime: &Handle,
) -> Outcome<Arc<dyn Store>> {
    if address.is_empty() {
        let message = "no store; pass a path, memory: or mongodb://host:27017/database";
        return Err(Error::new(ErrorKind::Invalid, message).during("open").into());
    }
    if is_mongo(address) {
        let uri = address.to_owned();
        let store = wait::run(runtime, async move { MongoStore::connect_with(&uri, mongo).await })?;
        return Ok(Arc::new(store));
    }
    if address == "memory:" {
        return Ok(Arc::new(MemoryStore::new()));
    }
    Ok(Arc::new(SqliteStore::open_with(address, sqlite)?))
}

/// The keys that were set; else those of the environment; else, for an embedded store, a key file beside it. `None`
/// stands for no encryption, which only an explicit wish gives.
fn key_provider(wish: Option<Keys>, address: &str) -> Outcome<Option<Arc<dyn KeyProvider>>> {
    let ring = match wish {
        Some(Keys::Plaintext) => return Ok(None),
        Some(Keys::Provider(provider)) => return Ok(Some(provider)),
        Some(Keys::Ring(ring)) => ring,
        Some(Keys::File(path)) => KeyRing::open_or_create(path)?,
        None if std::env::var_os(KeyRing::ENV).is_some() => KeyRing::from_env()?,
        None if address == "memory:" => {
            KeyRing::generate("memory", centralita::clock::SystemClock::shared())?
        }
        None if is_mongo(address) => {
            let message = "no encryption key; set CENTRALITA_KEYS, or the option keys or key_file";
            return Err(Error::new(ErrorKind::Crypto, message).during("open").into());
        }
        None => KeyRing::open_or_create(PathBuf::from(address).with_extension("key"))?,
    };
    if ring.was_created() {
        tracing::warn!("made a key file; back it up: without it the stored sessions cannot be opened");
    }
    Ok(Some(Arc::new(ring)))
}

fn is_mongo(address: &str) -> bool {
    address.starts_with("mongodb://") || address.starts_with("mongodb+srv://")
}
