//! What all handlers share.

use std::sync::Arc;
use std::time::Duration;

use centralita::cleanup::CleanupService;
use centralita::service::WhatsAppService;
use centralita::session_manager::SessionManager;
use centralita::store::Store;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::alerts::Alerts;
use crate::api::error::ApiError;
use crate::auth::Verifier;
use crate::auth::one_time::OneTimeCode;
use crate::config::Options;
use crate::documents::Documents;
use crate::history::History;
use crate::socket::Replay;
use crate::stats::StatsCache;
use crate::webhook::Webhook;

/// Cheap to clone; all clones are one application.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

/// The parts that an application is made of.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) service: WhatsAppService,
    pub(crate) cleanup: CleanupService,
    pub(crate) verifier: Verifier,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) replay: Replay,
    pub(crate) alerts: Alerts,
    pub(crate) webhook: Webhook,
    pub(crate) stop: CancellationToken,
}

struct Inner {
    parts: Parts,
    stats: StatsCache,
    history: History,
    limiter: Option<DefaultKeyedRateLimiter<u64>>,
    one_time: OneTimeCode,
    /// How many sessions have been restored; `None` until that is done.
    restored: watch::Sender<Option<usize>>,
    #[cfg(feature = "stand-in")]
    demo: std::sync::OnceLock<crate::demo::Phones>,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        let limiter = std::num::NonZeroU32::new(parts.options.rate_limit_per_s)
            .zip(std::num::NonZeroU32::new(parts.options.rate_limit_burst))
            .map(|(rate, burst)| RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)));
        Self(Arc::new(Inner {
            limiter,
            stats: StatsCache::default(),
            history: History::default(),
            one_time: OneTimeCode::default(),
            restored: watch::Sender::new(None),
            #[cfg(feature = "stand-in")]
            demo: std::sync::OnceLock::new(),
            parts,
        }))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.parts.options
    }

    pub(crate) fn service(&self) -> &WhatsAppService {
        &self.0.parts.service
    }

    pub(crate) fn manager(&self) -> &SessionManager {
        self.service().manager()
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.service().store()
    }

    pub(crate) fn cleanup(&self) -> &CleanupService {
        &self.0.parts.cleanup
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.0.parts.verifier
    }

    pub(crate) fn documents(&self) -> &dyn Documents {
        &*self.0.parts.documents
    }

    pub(crate) fn replay(&self) -> &Replay {
        &self.0.parts.replay
    }

    pub(crate) fn alerts(&self) -> &Alerts {
        &self.0.parts.alerts
    }

    pub(crate) fn webhook(&self) -> &Webhook {
        &self.0.parts.webhook
    }

    pub(crate) fn stats(&self) -> &StatsCache {
        &self.0.stats
    }

    pub(crate) fn history(&self) -> &History {
        &self.0.history
    }

    pub(crate) fn one_time(&self) -> &OneTimeCode {
        &self.0.one_time
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.parts.stop
    }

    /// How many sessions were restored; `None` until that is done.
    pub(crate) fn restored(&self) -> Option<usize> {
        *self.0.restored.borrow()
    }

    pub(crate) fn set_restored(&self, sessions: usize) {
        self.0.restored.send_replace(Some(sessions));
    }

    #[cfg(feature = "stand-in")]
    pub(crate) fn demo(&self) -> Option<&crate::demo::Phones> {
        self.0.demo.get()
    }

    #[cfg(feature = "stand-in")]
    pub(crate) fn set_demo(&self, phones: crate::demo::Phones) {
        // There is one demo a process; a second would have an app of its own.
        drop(self.0.demo.set(phones));
    }

    /// Counts one request of this token, or says when to come again.
    pub(crate) fn within_rate(&self, token: u64) -> Result<(), ApiError> {
        let Some(limiter) = &self.0.limiter else { return Ok(()) };
        limiter.check_key(&token).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            ApiError::too_many(wait.max(Duration::from_millis(1)))
        })
    }

    /// Forgets tokens that have not been seen of late.
    pub(crate) fn forget_idle_tokens(&self) {
        if let Some(limiter) = &self.0.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}
