//! The start order, which is the seed's, and the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use centralita::cleanup::{CleanupOptions, CleanupService};
use centralita::runtime::RuntimeHandle;
use centralita::service::WhatsAppService;
use centralita::service::options::ServiceOptions;
use centralita::store::Store;
use centralita::{Error, ErrorKind, Result};
use socketioxide::SocketIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alerts::{self, Alerts};
use crate::api;
use crate::app::{App, Parts};
use crate::auth::Verifier;
use crate::config::Options;
use crate::documents::Documents;
use crate::socket::{self, Replay};
use crate::webhook::Webhook;
use crate::{history, metrics, stores};

/// A server that runs. [`shutdown`](Server::shutdown) ends it.
pub struct Server {
    app: App,
    address: SocketAddr,
    /// Ends the acceptance of requests.
    drain: CancellationToken,
    tasks: TaskTracker,
    serving: JoinHandle<std::io::Result<()>>,
    io: SocketIo,
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts with what the options say. An error names what stands in the way.
    pub async fn start(options: Options) -> Result<Self> {
        let service = options.service_options();
        Self::start_with(options, service).await
    }

    /// Starts with options of the library of one's own.
    pub async fn start_with(options: Options, service_options: ServiceOptions) -> Result<Self> {
        let verifier = Verifier::new(&options)?;
        let keys = stores::keys(&options)?;
        let (store, documents) = stores::open(&options).await?;
        let started = Self::start_on(options, service_options, verifier, keys, &store, &documents).await;
        if started.is_err() {
            documents.close().await;
            if let Err(error) = store.close().await {
                tracing::warn!(%error, "the store did not close");
            }
        }
        started
    }

    async fn start_on(
        options: Options,
        service_options: ServiceOptions,
        verifier: Verifier,
        keys: centralita::vault::KeyRing,
        store: &Arc<dyn Store>,
        documents: &Arc<dyn Documents>,
    ) -> Result<Self> {
        metrics::start();
        // Before the service: a port that is taken should not first take leases.
        let listener = listen(&options).await?;
        let address = listener.local_addr().map_err(|error| {
            Error::new(ErrorKind::Internal, "the socket does not say where it listens").caused_by(error)
        })?;
        let replay = Replay::new(service_options.durable_events.is_some());
        let service = WhatsAppService::builder()
            .shared_store(Arc::clone(store))
            .keys(keys)
            .options(service_options)
            .start()
            .await?;
        let cleanup = CleanupService::new(
            service.manager().clone(),
            Arc::new(service.clone()),
            CleanupOptions {
                inactive_days: options.inactive_days,
                health_check_interval: Duration::from_secs(options.health_check_s),
                disconnected_alert_after: Duration::from_secs(options.alert_disconnected_s),
                problematic_min_attempts: options.alert_attempts,
                ..CleanupOptions::default()
            },
        )?;
        let webhook = Webhook::new(&options)?;
        let app = App::new(Parts {
            verifier,
            cleanup,
            webhook,
            replay,
            alerts: Alerts::default(),
            documents: Arc::clone(documents),
            stop: CancellationToken::new(),
            service,
            options,
        });
        let (socket_io, io) = socket::router(&app);
        let router = api::router(&app, socket_io)?;
        let drain = CancellationToken::new();
        let until = drain.clone().cancelled_owned();
        let serving = tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(until).into_future());
        let tasks = TaskTracker::new();
        let events = socket::events(&app)?;
        tasks.spawn(socket::publish(app.clone(), io.clone(), events));
        tasks.spawn(restore_later(app.clone()));
        tasks.spawn(clean_later(app.clone()));
        tasks.spawn(history::keep(app.clone()));
        tasks.spawn(metrics::upkeep(app.clone()));
        tasks.spawn(alerts::watch(app.clone(), io.clone()));
        tasks.spawn(crate::webhook::deliver(app.clone()));
        tasks.close();
        tracing::info!(%address, store = store.name(), "listening");
        Ok(Self { app, address, drain, tasks, serving, io, store: Arc::clone(store) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service that it serves.
    pub fn service(&self) -> &WhatsAppService {
        self.app.service()
    }

    #[cfg(feature = "stand-in")]
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Takes no new requests, ends those under way, stops the sessions, closes the store; within the bound of the
    /// options. `Timeout` if something had to be cut off: nothing that was accepted is lost by that.
    pub async fn shutdown(self) -> Result<()> {
        let patience = Duration::from_secs(self.app.options().shutdown_s);
        self.drain.cancel();
        self.app.stop().cancel();
        self.io.close().await;
        let mut serving = self.serving;
        let drained = tokio::time::timeout(patience, &mut serving).await.is_ok();
        if !drained {
            serving.abort();
            tracing::warn!("some requests did not end in time and were cut off");
        }
        self.app.cleanup().stop().await;
        let stopped = self.app.service().shutdown(patience).await;
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!("some tasks of the server did not end in time");
        }
        self.app.documents().close().await;
        self.store.close().await?;
        stopped?;
        if drained {
            Ok(())
        } else {
            Err(Error::new(
                ErrorKind::Timeout,
                "some requests did not end in time and were cut off; repeat them with their idempotency keys",
            ))
        }
    }
}

async fn listen(options: &Options) -> Result<TcpListener> {
    TcpListener::bind((options.bind, options.port)).await.map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot listen on {} port {}; choose another PORT", options.bind, options.port),
        )
        .caused_by(error)
    })
}

async fn restore_later(app: App) {
    let wait = tokio::time::sleep(Duration::from_secs(app.options().restore_after_s));
    if app.stop().run_until_cancelled(wait).await.is_none() {
        return;
    }
    loop {
        match app.service().restore_all(|_| {}).await {
            Ok(report) => {
                tracing::info!(
                    started = report.started.len(),
                    not_linked = report.not_linked.len(),
                    malformed = report.malformed.len(),
                    "restored the stored sessions"
                );
                app.set_restored(report.started.len());
                return;
            }
            // Also a restore that was cut short may be repeated: what runs is left alone.
            Err(error) => {
                tracing::error!(%error, "the stored sessions could not be restored; trying again");
                let pause = tokio::time::sleep(RESTORE_RETRY);
                if app.stop().run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        }
    }
}

async fn clean_later(app: App) {
    let wait = tokio::time::sleep(Duration::from_secs(app.options().cleanup_after_s));
    if app.stop().run_until_cancelled(wait).await.is_none() {
        return;
    }
    match RuntimeHandle::current() {
        Ok(runtime) => app.cleanup().start(&runtime),
        Err(error) => tracing::error!(%error, "the cleanup could not be started"),
    }
}

const RESTORE_RETRY: Duration = Duration::from_secs(5);
