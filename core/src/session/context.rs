//! What all sessions of a service share.

use std::sync::Arc;

use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::engine::transport::SocketFactory;
use crate::engine::version::latest_version;
use crate::events::EventHub;
use crate::lease::LeaseKeeper;
use crate::runtime::RuntimeHandle;
use crate::service::options::ServiceOptions;
use crate::session::outbox::Backlogs;
use crate::session_manager::SessionManager;
use crate::store::Store;
use crate::vault::Vault;

pub(crate) struct SessionContext {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Vault,
    pub(crate) clock: SharedClock,
    pub(crate) options: ServiceOptions,
    pub(crate) events: Arc<EventHub>,
    pub(crate) leases: LeaseKeeper,
    pub(crate) manager: SessionManager,
    pub(crate) runtime: RuntimeHandle,
    pub(crate) sockets: SocketFactory,
    pub(crate) outboxes: Backlogs,
    /// So many sessions may be connecting at the same time.
    pub(crate) connecting: Semaphore,
    pub(crate) version: OnceCell<(u32, u32, u32)>,
    /// Cancelled by shutdown; every session's own token is its child.
    pub(crate) stop: CancellationToken,
}

impl SessionContext {
    /// The version to claim: as set, or asked for once in the life of the process.
    pub(crate) async fn whatsapp_version(&self) -> (u32, u32, u32) {
        match self.options.whatsapp_version {
            Some(version) => version,
            None => *self.version.get_or_init(latest_version).await,
        }
    }
}

impl std::fmt::Debug for SessionContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionContext")
            .field("store", &self.store.name())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
