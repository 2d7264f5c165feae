//! Building a service: a store and a key are required, everything else has a default.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::handle::WhatsAppService;
use super::options::ServiceOptions;
use crate::clock::{SharedClock, SystemClock};
use crate::engine::transport::SocketFactory;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventHub;
use crate::events::durable::DurableLog;
use crate::lease::{LeaseKeeper, LeaseTimes};
use crate::runtime::RuntimeHandle;
use crate::session::context::SessionContext;
use crate::session::outbox::Backlogs;
use crate::session::pacing::Pacer;
use crate::session_manager::SessionManager;
use crate::store::Store;
use crate::store::group::GroupCommit;
use crate::vault::{KeyProvider, KeyRing, Vault};

/// See [`WhatsAppService::builder`].
#[must_use = "call .start() to get the service"]
#[derive(Default)]
pub struct WhatsAppServiceBuilder {
    store: Option<Arc<dyn Store>>,
    keys: Option<Keys>,
    clock: Option<SharedClock>,
    runtime: Option<RuntimeHandle>,
    instance_id: Option<String>,
    options: ServiceOptions,
}

enum Keys {
    Provider(Arc<dyn KeyProvider>),
    Plaintext,
}

impl std::fmt::Debug for WhatsAppServiceBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WhatsAppServiceBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl WhatsAppServiceBuilder {
    /// Where sessions are kept. Required.
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// A store that is used elsewhere, too.
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The master keys that credentials are encrypted with. Required, or one of the next two.
    pub fn keys(self, keys: KeyRing) -> Self {
        self.key_provider(Arc::new(keys))
    }

    /// Master keys that live elsewhere, in a KMS for example.
    pub fn key_provider(mut self, provider: Arc<dyn KeyProvider>) -> Self {
        self.keys = Some(Keys::Provider(provider));
        self
    }

    /// Stores credentials and Signal keys unencrypted: whoever reads the database can take over every account.
    pub fn dangerously_store_credentials_in_plaintext(mut self) -> Self {
        self.keys = Some(Keys::Plaintext);
        self
    }

    /// Another clock and source of randomness, for tests.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The runtime to run on. Default: the one that `start` is called in.
    pub fn runtime(mut self, runtime: RuntimeHandle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// A name for this instance in the leases; unique among those on the same store. Default: random.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = Some(id.into());
        self
    }

    /// All options at once.
    pub fn options(mut self, options: ServiceOptions) -> Self {
        self.options = options;
        self
    }

    /// Some options, by a function that changes the present ones.
    pub fn configure(mut self, change: impl FnOnce(&mut ServiceOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Checks everything, asks the store whether it is there and writable, and starts the heartbeat of the
    /// leases. No session is started: see [`restore_all`](WhatsAppService::restore_all).
    pub async fn start(self) -> Result<WhatsAppService> {
        const OP: &str = "start";
        let store = self.store.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "no store; pass one to .store(…): SqliteStore::open(path) or MongoStore::connect(uri)",
            )
            .during(OP)
        })?;
        let keys = self.keys.ok_or_else(|| {
            Error::new(
                ErrorKind::Crypto,
                "no encryption key; pass KeyRing::open_or_create(path) or KeyRing::from_env() (CENTRALITA_KEYS) to .keys(…)",
            )
            .during(OP)
        })?;
        self.options.validate().map_err(|error| error.during(OP))?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => RuntimeHandle::current().map_err(|error| error.during(OP))?,
        };
        let clock = self.clock.unwrap_or_else(SystemClock::shared);
        let vault = match keys {
            Keys::Provider(provider) => Vault::encrypted(provider, Arc::clone(&clock)),
            Keys::Plaintext => {
                tracing::warn!("credentials and Signal keys are stored unencrypted");
                Vault::plaintext_dangerously()
            }
        };
        crate::metrics::describe();
        store.ping().await.map_err(|error| error.during(OP))?;
        #[cfg(feature = "stand-in")]
        let stand_in_url = self.options.stand_in_url.as_deref();
        #[cfg(not(feature = "stand-in"))]
        let stand_in_url = None;
        let sockets =
            SocketFactory::new(stand_in_url, runtime.tokio().clone()).map_err(|error| error.during(OP))?;
        let owner = self.instance_id.unwrap_or_else(|| random_instance_id(&clock));
        let stop = CancellationToken::new();
        let group = Arc::new(GroupCommit::new(Arc::clone(&store), &clock, runtime.tokio()));
        let context =
            Arc::new(SessionContext {
                leases: Arc::new(LeaseKeeper::new(
                    Arc::clone(&group),
                    Arc::clone(&clock),
                    owner,
                    LeaseTimes {
                        duration: self.options.lease_duration,
                        heartbeat: self.options.lease_heartbeat.unwrap_or(self.options.lease_duration / 3),
                    },
                )),
                durable: self.options.durable_events.clone().map(|options| {
                    Arc::new(DurableLog::new(Arc::clone(&store), Arc::clone(&clock), options))
                }),
                manager: SessionManager::grouped(&group, vault.clone(), Arc::clone(&clock)),
                pacer: Pacer::new(&self.options, Arc::clone(&clock)),
                version: Mutex::new(None),
                outboxes: Backlogs::default(),
                events: Arc::new(EventHub::default()),
                group,
                options: self.options,
                store,
                vault,
                clock,
                runtime,
                sockets,
                stop,
            });
        Ok(WhatsAppService::run(context))
    }
}

fn random_instance_id(clock: &SharedClock) -> String {
    let mut bytes = [0_u8; 8];
    clock.fill_random(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// How long a heartbeat may take to end at shutdown.
pub(super) const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(2);
