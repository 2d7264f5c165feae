//! Whether it lives, whether it is ready, and its metrics.

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use crate::app::App;
use crate::auth::Scope;
use crate::metrics as recorded;

/// How long the store may take to say that it is there.
const STORE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Whether the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "probes", security(()),
    responses((status = 200, content_type = "text/plain", body = String))
)]
pub(super) async fn live() -> &'static str {
    "ok"
}

/// Whether it is ready, part by part.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// The database answers.
    store: Part,
    /// The stored sessions were restored.
    sessions: Part,
}

/// One part.
#[derive(Debug, Serialize, ToSchema)]
struct Part {
    ready: bool,
    message: String,
}

/// Whether it is ready; if not, which part is not.
#[utoipa::path(
    get, path = "/readyz", tag = "probes", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let store = match tokio::time::timeout(STORE_PATIENCE, app.store().ping()).await {
        Ok(Ok(())) => Part { ready: true, message: "the store answers".to_owned() },
        Ok(Err(error)) => Part { ready: false, message: format!("the store: {}", error.message()) },
        Err(_) => Part { ready: false, message: "the store does not answer".to_owned() },
    };
    let sessions = match app.restored() {
        Some(count) => Part { ready: true, message: format!("{count} stored sessions were started") },
        None => Part { ready: false, message: "the stored sessions are not restored yet".to_owned() },
    };
    let ready = store.ready && sessions.ready && !app.stop().is_cancelled();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, store, sessions }))
}

/// What Prometheus reads.
pub(super) async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    if !app.options().metrics_open {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(ApiError::no_token)?;
        let caller = app.verifier().verify(token).ok_or_else(ApiError::bad_token)?;
        if !caller.may(Scope::Read) {
            return Err(ApiError::missing_scope(Scope::Read));
        }
        if caller.only_sessions().is_some() {
            return Err(ApiError::not_for_all());
        }
    }
    let text = recorded::render(&app).await?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
