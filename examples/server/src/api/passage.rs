//! What every request passes through: log and metrics, time limit, headers, and answers where there is no handler.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Response as HttpResponse};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::error::ApiError;
use super::routes::Routes;
use crate::app::App;
use crate::{metrics, socket};

/// Scripts and styles only of this server; pictures also from memory, for QR codes.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
                      connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Logs and counts a request; all that is logged on its way names it.
pub(super) async fn observe(State(routes): State<Arc<Routes>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let route = routes.of(request.uri().path()).to_owned();
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        request_id = id,
        %method,
        route,
        session = tracing::field::Empty
    );
    async {
        let response = next.run(request).await;
        let status = response.status().as_u16();
        let took = began.elapsed();
        metrics::note_request(method.as_str(), &route, status, took);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        // Probes come every few seconds and say nothing new.
        if matches!(route.as_str(), "/livez" | "/readyz" | "/metrics") {
            tracing::debug!(status, took_ms, "answered");
        } else {
            tracing::info!(status, took_ms, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// Ends a request that takes too long. A send goes on: its idempotency key tells what came of it.
pub(super) async fn limit_time(State(app): State<App>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.options().request_timeout(), next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::too_long().into_response(),
    }
}

pub(super) async fn secure_headers(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_private = path.starts_with("/api/") || path.starts_with(socket::PATH) || path == "/metrics";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set =
        |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "no-referrer");
    set(CONTENT_SECURITY_POLICY, POLICY);
    if is_private {
        set(CACHE_CONTROL, "no-store");
    }
    response
}

pub(super) async fn no_such_path() -> ApiError {
    ApiError::not_found("there is nothing at this path; /api/openapi.json lists what there is")
}

pub(super) async fn no_such_method() -> ApiError {
    ApiError::method_not_allowed()
}

pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> HttpResponse<axum::body::Body> {
    // The text of a panic may hold what a log must not.
    drop(panic);
    tracing::error!("a request panicked; the others go on");
    ApiError::internal("the request panicked; report it").into_response()
}
