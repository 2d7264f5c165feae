//! Alerts fire once, resolve once, and reach the webhook's receiver signed; what it does not take is kept.
#![cfg(feature = "stand-in")]
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use common::{Api, PATIENCE, StoreKind, World};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const WEBHOOK_SECRET: &str = "webhook secret";

/// Somebody who takes alerts, or not.
#[derive(Clone, Default)]
struct Receiver {
    refuses: Arc<Mutex<bool>>,
    taken: Arc<Mutex<Vec<Value>>>,
    tries: Arc<Mutex<u32>>,
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    *receiver.tries.lock().unwrap() += 1;
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.{body}", header("x-centralita-timestamp")).as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(header("x-centralita-signature"), format!("v1={hex}"));
    if *receiver.refuses.lock().unwrap() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["id"], header("x-centralita-delivery"));
    receiver.taken.lock().unwrap().push(value);
    StatusCode::NO_CONTENT
}

impl Receiver {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/alerts", listener.local_addr().unwrap());
        let router = Router::new().route("/alerts", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    async fn wait_for(&self, what: &str, count: usize) -> Vec<Value> {
        let began = std::time::Instant::now();
        loop {
            let taken = self.taken.lock().unwrap().clone();
            if taken.len() >= count {
                return taken;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {taken:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn alert_where(api: &Api, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let list =
        api.where_("/api/alerts", what, |list| list["alerts"].as_array().unwrap().iter().any(&fits)).await;
    list["alerts"].as_array().unwrap().iter().find(|alert| fits(alert)).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_out_session_is_told_once_on_sqlite() {
    a_logged_out_session_is_told_once(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_out_session_is_told_once_on_mongodb() {
    a_logged_out_session_is_told_once(StoreKind::Mongo).await;
}

async fn a_logged_out_session_is_told_once(kind: StoreKind) {
    let receiver = Receiver::default();
    let url = receiver.start().await;
    let world = World::new(kind).await;
    let arguments = ["--webhook-url", &url, "--webhook-secret", WEBHOOK_SECRET, "--alert-cooldown-s", "600"];
    let (server, api) = world.server(&arguments).await;
    let device = world.link(&api, "ventas").await;
    assert!(world.phone.unlink(&device));
    let fired = alert_where(&api, "the alert", |alert| alert["rule"] == "logged_out").await;
    assert_eq!((&fired["sessionId"], &fired["resolvedAt"]), (&json!("ventas"), &Value::Null));
    receiver.wait_for("the webhook", 1).await;

    // A restart must not tell it again.
    server.shutdown().await.unwrap();
    let (server, api) = world.server(&arguments).await;
    let again = alert_where(&api, "the alert", |alert| alert["rule"] == "logged_out").await;
    assert_eq!(again["firedAt"], fired["firedAt"]);

    api.delete("/api/sessions/ventas").await.expect(reqwest::StatusCode::NO_CONTENT).await;
    alert_where(&api, "the end", |alert| alert["rule"] == "logged_out" && alert["resolvedAt"].is_string())
        .await;
    let taken = receiver.wait_for("both", 2).await;
    let types: Vec<&Value> = taken.iter().map(|one| &one["type"]).collect();
    assert_eq!(types, ["alert.fired", "alert.resolved"]);
    assert_eq!(taken[0]["alert"]["rule"], "logged_out");
    server.shutdown().await.unwrap();
    assert_eq!(receiver.taken.lock().unwrap().len(), 2, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_is_kept_and_can_be_sent_again() {
    let receiver = Receiver::default();
    let url = receiver.start().await;
    *receiver.refuses.lock().unwrap() = true;
    let world = World::new(StoreKind::Sqlite).await;
    let (server, api) = world
        .server(&[
            "--webhook-url",
            &url,
            "--webhook-secret",
            WEBHOOK_SECRET,
            "--webhook-attempts",
            "2",
            "--webhook-backoff-s",
            "1",
        ])
        .await;
    let device = world.link(&api, "ventas").await;
    assert!(world.phone.unlink(&device));
    let path = "/api/alerts/dead-letters";
    let letters =
        api.where_(path, "a dead letter", |page| !page["deadLetters"].as_array().unwrap().is_empty()).await;
    let letter = &letters["deadLetters"][0];
    assert_eq!((&letter["attempts"], *receiver.tries.lock().unwrap()), (&json!(2), 2));
    assert_eq!(letter["lastError"], "the receiver answered 500");
    *receiver.refuses.lock().unwrap() = false;
    let resend = format!("{path}/{}/resend", letter["id"].as_str().unwrap());
    api.post_nothing(&resend).await.expect(reqwest::StatusCode::ACCEPTED).await;
    let taken = receiver.wait_for("the letter", 1).await;
    assert_eq!(taken[0]["id"], letter["id"]);
    api.where_(path, "none left", |page| page["deadLetters"].as_array().unwrap().is_empty()).await;
    api.post_nothing(&resend).await.expect_error(reqwest::StatusCode::NOT_FOUND, "not_found").await;
    server.shutdown().await.unwrap();
}
