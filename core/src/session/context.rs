//! What all sessions of a service share.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::engine::transport::SocketFactory;
use crate::engine::version::latest_version;
use crate::events::EventHub;
use crate::events::durable::DurableLog;
use crate::lease::LeaseKeeper;
use crate::runtime::RuntimeHandle;
use crate::service::options::ServiceOptions;
use crate::session::outbox::Backlogs;
use crate::session::pacing::Pacer;
use crate::session_manager::SessionManager;
use crate::store::Store;
use crate::store::group::GroupCommit;
use crate::vault::Vault;

pub(crate) struct SessionContext {
    pub(crate) store: Arc<dyn Store>,
    /// What sessions write goes through it, so that many write at once.
    pub(crate) group: Arc<GroupCommit>,
    pub(crate) vault: Vault,
    pub(crate) clock: SharedClock,
    pub(crate) options: ServiceOptions,
    pub(crate) events: Arc<EventHub>,
    /// `None` if durable events are off.
    pub(crate) durable: Option<Arc<DurableLog>>,
    pub(crate) leases: Arc<LeaseKeeper>,
    pub(crate) manager: SessionManager,
    pub(crate) runtime: RuntimeHandle,
    pub(crate) sockets: SocketFactory,
    pub(crate) outboxes: Backlogs,
    pub(crate) pacer: Arc<Pacer>,
    pub(crate) version: Mutex<Option<(u32, u32, u32)>>,
    /// Cancelled by shutdown; every session's own token is its child.
    pub(crate) stop: CancellationToken,
}

impl SessionContext {
    /// The version to claim: as set, or asked for once, until WhatsApp calls it outdated.
    pub(crate) async fn whatsapp_version(&self) -> (u32, u32, u32) {
        if let Some(version) = self.options.whatsapp_version {
            return version;
        }
        let mut known = self.version.lock().await;
        match *known {
            Some(version) => version,
            None => *known.insert(latest_version().await),
        }
    }

    /// Has the version asked for anew: WhatsApp refuses the one in use.
    pub(crate) async fn forget_version(&self) {
        *self.version.lock().await = None;
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
