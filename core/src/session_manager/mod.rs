//! The seed's `SessionManager`: everything that is known of sessions, whether they run here or not.
//!
//! | file | operations |
//! | --- | --- |
//! | `records` | create or update, get, list, statistics |
//! | `status` | every change of `status`, QR codes, connection attempts |
//! | `usage` | message and chat counters, health checks |
//! | `removal` | deletion, cleanup of inactive sessions |

mod records;
mod removal;
mod status;
mod usage;

use std::fmt;
use std::sync::Arc;

pub use records::SessionData;
pub use removal::{CleanupFailure, CleanupReport, Deleted};
pub use status::{ConnectionMetadata, StatusUpdate};

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::store::group::GroupCommit;
use crate::store::{SessionPatch, SessionRecord, Store};
use crate::vault::Vault;

/// Reads and changes session records; cheap to clone.
///
/// It does not run sessions: the service does, and calls it. Every change is one atomic statement in the
/// database, so that any number of instances may make them at once.
#[derive(Clone)]
pub struct SessionManager(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// A running service's: changes of status of many sessions go out together.
    group: Option<Arc<GroupCommit>>,
    vault: Vault,
    clock: SharedClock,
    /// The name under which it takes the lease of a session that it deletes.
    owner: String,
}

/// The field that the vault seals.
const QR_CODE: &str = "qrCode";

impl SessionManager {
    /// A manager of the sessions in `store`, whose QR codes `vault` seals.
    pub fn new(store: Arc<dyn Store>, vault: Vault, clock: SharedClock) -> Self {
        Self::make(store, None, vault, clock)
    }

    /// The manager of a running service.
    pub(crate) fn grouped(group: &Arc<GroupCommit>, vault: Vault, clock: SharedClock) -> Self {
        Self::make(Arc::clone(group.store()), Some(Arc::clone(group)), vault, clock)
    }

    fn make(
        store: Arc<dyn Store>,
        group: Option<Arc<GroupCommit>>,
        vault: Vault,
        clock: SharedClock,
    ) -> Self {
        let mut random = [0; 8];
        clock.fill_random(&mut random);
        let owner = format!("session-manager-{:016x}", u64::from_le_bytes(random));
        Self(Arc::new(Inner { store, group, vault, clock, owner }))
    }

    /// The clock that it reads.
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// Changes one record. `NotFound` if there is none.
    async fn patch(&self, session: &str, patch: &SessionPatch) -> Result<SessionRecord> {
        let Inner { store, clock, .. } = &*self.0;
        let record = store.patch_session(session, patch, clock.now()).await?;
        self.reveal(record.ok_or_else(|| not_found(session))?).await
    }

    /// The record with its QR code opened. One that does not open (left by a system without encryption, or
    /// under a retired key) has long expired: there is none.
    async fn reveal(&self, mut record: SessionRecord) -> Result<SessionRecord> {
        let opened = self.0.vault.open_text(&record.session_id, QR_CODE, record.qr_code.as_deref()).await;
        record.qr_code = match opened {
            Err(error) if error.kind() == ErrorKind::Crypto => {
                tracing::debug!(session = record.session_id, %error, "left out a QR code that does not open");
                None
            }
            opened => opened?,
        };
        Ok(record)
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager").field("store", &self.0.store.name()).finish_non_exhaustive()
    }
}

fn not_found(session: &str) -> Error {
    Error::new(ErrorKind::NotFound, "no such session; create it first").of_session(session)
}

#[cfg(test)]
mod test_world {
    use super::*;
    use crate::store::MemoryStore;
    use crate::testing::ManualClock;
    use crate::vault::KeyRing;

    /// A manager over a store in memory, with encryption.
    pub(super) struct World {
        pub(super) clock: ManualClock,
        pub(super) store: Arc<MemoryStore>,
        pub(super) manager: SessionManager,
    }

    impl World {
        pub(super) fn new() -> Self {
            let clock = ManualClock::new();
            let store = Arc::new(MemoryStore::with_clock(clock.shared()));
            let ring = Arc::new(KeyRing::generate("k1", clock.shared()).unwrap());
            let vault = Vault::encrypted(ring, clock.shared());
            let manager = SessionManager::new(store.clone(), vault, clock.shared());
            Self { clock, store, manager }
        }

        pub(super) async fn with_sessions(ids: &[&str]) -> Self {
            let world = Self::new();
            for id in ids {
                world.manager.create_or_update_session(id, &SessionData::default()).await.unwrap();
            }
            world
        }

        pub(super) async fn get(&self, session: &str) -> SessionRecord {
            self.manager.get_session(session).await.unwrap()
        }
    }

    pub(super) fn kind<T: fmt::Debug>(result: Result<T>) -> ErrorKind {
        result.unwrap_err().kind()
    }
}
