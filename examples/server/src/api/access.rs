//! What the dashboard needs before it has a token.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, Problem};
use super::extract::Body;
use crate::app::App;

/// What this server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct About {
    name: &'static str,
    version: &'static str,
    /// Whether WhatsApp is simulated.
    demo: bool,
}

/// What this server is.
#[utoipa::path(
    get, path = "/api/about", tag = "access", security(()),
    responses((status = 200, body = About))
)]
pub(super) async fn about(State(app): State<App>) -> Json<About> {
    #[cfg(feature = "stand-in")]
    let demo = app.demo().is_some();
    #[cfg(not(feature = "stand-in"))]
    let demo = {
        let _ = app;
        false
    };
    Json(About { name: "centralita", version: env!("CARGO_PKG_VERSION"), demo })
}

/// A one-time code, as in the link that `--demo` prints.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Exchange {
    #[schema(max_length = 256)]
    code: String,
}

/// What a code is good for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Exchanged {
    token: String,
}

/// Exchange a one-time code for a token; it works once.
#[utoipa::path(
    post, path = "/api/auth/exchange", tag = "access", request_body = Exchange, security(()),
    responses((status = 200, body = Exchanged), Problem)
)]
pub(super) async fn exchange(
    State(app): State<App>,
    Body(request): Body<Exchange>,
) -> Result<Json<Exchanged>, ApiError> {
    app.one_time().take(&request.code).map(|token| Json(Exchanged { token })).ok_or_else(ApiError::bad_token)
}

/// Have the simulated phone scan a session's QR code. Only with `--demo`.
#[cfg(feature = "stand-in")]
#[utoipa::path(
    post, path = "/demo/sessions/{sessionId}/scan", tag = "access", params(super::extract::SessionPath),
    responses((status = 204, description = "The phone has scanned it"), Problem)
)]
pub(super) async fn demo_scan(
    State(app): State<App>,
    _: crate::auth::Permit<crate::auth::Administer>,
    super::extract::SessionInPath(id): super::extract::SessionInPath,
) -> Result<axum::http::StatusCode, ApiError> {
    let phones =
        app.demo().ok_or_else(|| ApiError::not_found("only with --demo is there a simulated phone"))?;
    phones.scan(app.service(), &id).await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}
