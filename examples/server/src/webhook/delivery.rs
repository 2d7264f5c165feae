//! Posts what waits.

use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use rand::RngExt as _;

use super::queue::{self, Delivery};
use super::signature::sign;
use super::{Target, Webhook};
use crate::app::App;

/// How often it looks for deliveries whose pause is over, or that another instance left.
const INTERVAL: Duration = Duration::from_secs(1);
/// Posts at the same time.
const AT_ONCE: usize = 4;
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);

/// Delivers until the application stops.
pub(crate) async fn deliver(app: App) {
    let webhook = app.webhook();
    let Some(target) = &webhook.target else { return };
    loop {
        let wait = async {
            tokio::select! { () = tokio::time::sleep(INTERVAL) => {}, () = webhook.wake.notified() => {} }
        };
        if app.stop().run_until_cancelled(wait).await.is_none() {
            return;
        }
        store_what_was_not(&app, webhook, target).await;
        match queue::claim(app.documents()).await {
            Ok(due) => {
                futures::stream::iter(due)
                    .for_each_concurrent(AT_ONCE, |delivery| try_once(&app, target, delivery))
                    .await;
            }
            Err(error) => tracing::warn!(%error, "the webhook queue could not be read; trying again"),
        }
    }
}

/// While the store is away, alerts are posted from memory; what is not taken is stored once it is back.
async fn store_what_was_not(app: &App, webhook: &Webhook, target: &Target) {
    let held = std::mem::take(&mut *webhook.unstored.lock().unwrap_or_else(PoisonError::into_inner));
    for delivery in held {
        if post(target, &delivery).await.is_ok() {
            continue;
        }
        if delivery.store(app.documents()).await.is_err() {
            webhook.unstored.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
        }
    }
}

async fn try_once(app: &App, target: &Target, delivery: Delivery) {
    let noted = match post(target, &delivery).await {
        Ok(()) => queue::done(app.documents(), &delivery).await,
        Err(error) if delivery.attempts >= target.attempts => {
            tracing::warn!(delivery = delivery.id, error, "an alert was not taken; it is a dead letter now");
            metrics::counter!("centralita_webhook_dead_letters").increment(1);
            queue::bury(app.documents(), &delivery, &error).await
        }
        Err(error) => {
            let pause = pause(target.backoff, delivery.attempts);
            queue::again(app.documents(), &delivery, &error, pause).await
        }
    };
    if let Err(error) = noted {
        // Its claim runs out, and it is tried again.
        tracing::warn!(delivery = delivery.id, %error, "what came of a delivery could not be noted");
    }
}

/// Exponential, half of it jitter.
fn pause(first: Duration, attempts: u32) -> Duration {
    let full = first.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(MAX_PAUSE);
    full / 2 + full.mul_f64(rand::rng().random_range(0.0..0.5))
}

async fn post(target: &Target, delivery: &Delivery) -> Result<(), String> {
    let timestamp_s = queue::now_ms() / 1_000;
    let sent = target
        .client
        .post(&target.url)
        .header("content-type", "application/json")
        .header("x-centralita-delivery", &delivery.id)
        .header("x-centralita-timestamp", timestamp_s.to_string())
        .header("x-centralita-signature", sign(&target.secret, timestamp_s, &delivery.body))
        .body(delivery.body.clone())
        .send()
        .await;
    match sent {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("the receiver answered {}", response.status().as_u16())),
        // Without the address, which may hold a secret of its own.
        Err(error) => Err(format!("the receiver could not be reached: {}", error.without_url())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let first = Duration::from_secs(2);
        for (attempts, full) in [(1, 2), (2, 4), (3, 8), (30, 900)] {
            let full = Duration::from_secs(full);
            for _ in 0..50 {
                let pause = pause(first, attempts);
                assert!(pause >= full / 2 && pause <= full, "{attempts}: {pause:?}");
            }
        }
    }
}
