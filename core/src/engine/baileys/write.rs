//! Writes what was converted into a session's auth state.

use std::sync::Arc;

use whatsapp_rust::wacore::store::error::StoreError;
use whatsapp_rust::wacore::store::traits::{AppSyncStore, DeviceStore, ProtocolStore, SignalStore};

use super::Converted;
use crate::engine::backend::SessionBackend;
use crate::engine::session_auth::SessionAuth;
use crate::error::{Error, ErrorKind, Result};

/// The credentials last: as long as they are not there, the session was never linked, and this is repeated as a whole.
pub(crate) async fn write(auth: &Arc<SessionAuth>, converted: &Converted) -> Result<()> {
    let outcome = write_all(&SessionBackend::new(Arc::clone(auth)), converted).await;
    outcome.map_err(|error| match auth.failure() {
        Some(cause) => Error::new(cause.kind(), cause.message().to_owned()),
        None => Error::new(ErrorKind::Store, "the store did not take the keys of Baileys; import again")
            .caused_by(error),
    })
}

async fn write_all(backend: &SessionBackend, converted: &Converted) -> std::result::Result<(), StoreError> {
    let identities: Vec<(Arc<str>, [u8; 32])> =
        converted.identities.iter().map(|(address, key)| (Arc::clone(address), *key)).collect();
    backend.put_identities_batch(&identities).await?;
    backend.put_sessions_batch(&converted.sessions).await?;
    backend.store_prekeys_batch(&converted.pre_keys, true).await?;
    backend.put_sender_keys_batch(&converted.sender_keys).await?;
    backend.put_lid_mappings(&converted.lid_mappings).await?;
    // The newest last: it is the one that is written with.
    let is_latest = |id: &[u8]| converted.latest_sync_key.as_deref() == Some(id);
    let (latest, others): (Vec<_>, Vec<_>) = converted.sync_keys.iter().partition(|(id, _)| is_latest(id));
    for (id, key) in others.into_iter().chain(latest) {
        backend.set_sync_key(id, key.clone()).await?;
    }
    for (collection, state, macs) in &converted.versions {
        backend.put_mutation_macs(collection, state.version, macs).await?;
        backend.set_version(collection, state.clone()).await?;
    }
    backend.save(&converted.device).await
}
