//! The store and the keys that the options name.

use std::path::PathBuf;
use std::sync::Arc;

use centralita::store::{MongoStore, SqliteStore, Store};
use centralita::vault::KeyRing;
use centralita::{Error, ErrorKind, Result};

use crate::config::{AuthStorage, Options};
use crate::documents::{Documents, MongoDocuments, SqliteDocuments};

/// Opens the database twice: for the library, and for the little that the server itself keeps.
pub(crate) async fn open(options: &Options) -> Result<(Arc<dyn Store>, Arc<dyn Documents>)> {
    match options.storage() {
        AuthStorage::Mongo => {
            let uri = mongodb_uri(options)?;
            let store = MongoStore::connect(uri).await?;
            Ok((Arc::new(store), Arc::new(MongoDocuments::connect(uri).await?)))
        }
        AuthStorage::Sqlite => {
            let store = SqliteStore::open(&options.sqlite_file)?;
            Ok((Arc::new(store), Arc::new(SqliteDocuments::open(own_file(options))?)))
        }
    }
}

/// The address of MongoDB, which must be given.
pub(crate) fn mongodb_uri(options: &Options) -> Result<&str> {
    options.mongodb_uri.as_deref().ok_or_else(|| {
        Error::new(ErrorKind::Invalid, "MONGODB_URI is not set; set it to the database's address")
    })
}

/// The master keys.
pub(crate) fn keys(options: &Options) -> Result<KeyRing> {
    if let Some(keys) = &options.keys {
        return KeyRing::parse(keys);
    }
    let file =
        options.key_file.clone().unwrap_or_else(|| options.sqlite_file.with_file_name("centralita.key"));
    let keys = KeyRing::open_or_create(&file)?;
    if keys.was_created() {
        tracing::warn!(
            "made the key file {}: back it up, without it the sessions cannot be opened",
            file.display()
        );
    }
    Ok(keys)
}

/// Alerts and webhook deliveries, in a file of their own: the library holds its own file for itself.
fn own_file(options: &Options) -> PathBuf {
    let name = options.sqlite_file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    options.sqlite_file.with_file_name(format!("{name}-server.db"))
}
