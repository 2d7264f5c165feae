//! Which store and which keys a service stands on.

use std::path::PathBuf;
use std::sync::Arc;

use centralita::store::{MemoryStore, MongoStore, SqliteStore, Store};
use centralita::vault::KeyRing;
use centralita::{Error, ErrorKind};
use tokio::runtime::Handle;

use crate::config::Keys;
use crate::error::Outcome;
use crate::wait;

/// A MongoDB URI, `memory:`, or the path of an SQLite file.
pub(crate) fn open(address: &str, runtime: &Handle) -> Outcome<Arc<dyn Store>> {
    if address.is_empty() {
        let message = "no store; pass a path, memory: or mongodb://host:27017/database";
        return Err(Error::new(ErrorKind::Invalid, message).during("open").into());
    }
    if is_mongo(address) {
        let uri = address.to_owned();
        let store = wait::run(runtime, async move { MongoStore::connect(&uri).await })?;
        return Ok(Arc::new(store));
    }
    if address == "memory:" {
        return Ok(Arc::new(MemoryStore::new()));
    }
    Ok(Arc::new(SqliteStore::open(address)?))
}

/// The keys that were set; else those of the environment; else, for an embedded store, a key file beside it. `None`
/// stands for no encryption, which only an explicit wish gives.
pub(crate) fn keys(wish: Option<Keys>, address: &str) -> Outcome<Option<KeyRing>> {
    let ring = match wish {
        Some(Keys::Plaintext) => return Ok(None),
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
    Ok(Some(ring))
}

fn is_mongo(address: &str) -> bool {
    address.starts_with("mongodb://") || address.starts_with("mongodb+srv://")
}
