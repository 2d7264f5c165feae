//! The store and the key that the command line names.

use std::path::Path;
use std::sync::Arc;

use centralita::Result;
use centralita::store::{MongoStore, SqliteStore, Store};
use centralita::vault::KeyRing;

/// A MongoDB store for a `mongodb://` address, the embedded store for anything else.
pub(crate) async fn open(store: &str) -> Result<Arc<dyn Store>> {
    if store.starts_with("mongodb://") || store.starts_with("mongodb+srv://") {
        Ok(Arc::new(MongoStore::connect(store).await?))
    } else {
        Ok(Arc::new(SqliteStore::open(store)?))
    }
}

/// The keys of `CENTRALITA_KEYS`, or those of the key file, which is made if it is not there.
pub(crate) fn keys(key_file: &Path) -> Result<KeyRing> {
    if std::env::var_os("CENTRALITA_KEYS").is_some() {
        return KeyRing::from_env();
    }
    let keys = KeyRing::open_or_create(key_file)?;
    if keys.was_created() {
        eprintln!(
            "made the key file {}: back it up, without it the sessions cannot be opened",
            key_file.display()
        );
    }
    Ok(keys)
}
