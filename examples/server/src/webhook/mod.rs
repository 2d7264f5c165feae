//! Posts alerts: signed, stored until they are delivered, tried again with growing pauses, kept when nobody took them.
//!
//! A receiver checks `X-Centralita-Signature`, which is `v1=` and the hex of HMAC-SHA256 over the value of
//! `X-Centralita-Timestamp` (seconds), a dot, and the body; and refuses old timestamps. `X-Centralita-Delivery` is the
//! same in each try of a delivery.

mod delivery;
mod queue;
mod signature;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use centralita::{Error, ErrorKind, Result};
use tokio::sync::Notify;

pub(crate) use delivery::deliver;
pub(crate) use queue::{DeadLetter, dead_letters, resend};

use crate::alerts::AlertChange;
use crate::config::Options;
use crate::documents::Documents;
use queue::Delivery;

/// How long a receiver may take.
const RECEIVER_PATIENCE: Duration = Duration::from_secs(10);

/// Where alerts are posted, if anywhere.
#[derive(Debug)]
pub(crate) struct Webhook {
    target: Option<Target>,
    /// What could not be stored since the store is away, itself the likeliest reason for an alert.
    unstored: Mutex<Vec<Delivery>>,
    wake: Notify,
}

struct Target {
    url: String,
    secret: String,
    client: reqwest::Client,
    attempts: u32,
    backoff: Duration,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl Webhook {
    /// The webhook of the options.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let target = match (&options.webhook_url, &options.webhook_secret) {
            (Some(url), Some(secret)) => Some(Target {
                url: url.clone(),
                secret: secret.clone(),
                client: client()?,
                attempts: options.webhook_attempts,
                backoff: Duration::from_secs(options.webhook_backoff_s),
            }),
            _ => None,
        };
        Ok(Self { target, unstored: Mutex::default(), wake: Notify::new() })
    }

    /// Stores a change for delivery; does nothing if there is nowhere to post it.
    pub(crate) async fn enqueue(&self, documents: &dyn Documents, change: &AlertChange) {
        if self.target.is_none() {
            return;
        }
        let delivery = Delivery::of(change);
        if let Err(error) = delivery.store(documents).await {
            tracing::warn!(%error, "an alert is kept in memory until it is posted; it could not be stored");
            self.unstored.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
        }
        self.wake.notify_one();
    }
}

fn client() -> Result<reqwest::Client> {
    // Another part of the process may have chosen a provider already; either serves.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .timeout(RECEIVER_PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "no HTTP client for webhooks").caused_by(error))
}
