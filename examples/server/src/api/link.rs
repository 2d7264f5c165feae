//! Linking a phone: QR code, pair code, passkey.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use centralita::clock::Timestamp;
use centralita::session::LinkStep;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{Body, Params, SessionInPath, SessionPath};
use crate::app::App;
use crate::auth::{Administer, Permit};

/// Pixels of a module in a PNG.
const PNG_SCALE: u32 = 6;
/// The longest that a request may wait for a code.
const MAX_WAIT_MS: u64 = 30_000;

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wait {
    /// Milliseconds to wait for the first step.
    #[serde(default)]
    #[param(minimum = 0, maximum = 30000, default = 0)]
    wait_ms: u64,
}

/// Where a link stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum LinkView {
    /// Nothing yet; ask again.
    Waiting,
    /// Scan this with the phone.
    Qr {
        qr: String,
        #[serde(rename = "expiresAt")]
        #[schema(value_type = String, format = DateTime)]
        expires_at: Timestamp,
    },
    /// Type this on the phone.
    PairCode {
        code: String,
        #[serde(rename = "expiresAt")]
        #[schema(value_type = String, format = DateTime)]
        expires_at: Timestamp,
    },
    /// Have an authenticator sign these, and post its answer to `passkey`.
    PasskeyChallenge {
        #[serde(rename = "requestOptions")]
        #[schema(value_type = Object)]
        request_options: serde_json::Value,
    },
    /// Compare the code with the phone's, then post to `passkey/confirm`.
    PasskeyConfirmation {
        code: String,
        #[serde(rename = "mustCompare")]
        must_compare: bool,
    },
    /// It is linked.
    Linked,
    /// Nobody used a code in time; start the session for new ones.
    TimedOut,
    /// It did not work.
    Failed { code: String, message: String },
}

async fn step(app: &App, id: &str, wait: &Wait) -> Result<Option<LinkStep>, ApiError> {
    if wait.wait_ms > MAX_WAIT_MS {
        return Err(ApiError::invalid("waitMs must be at most 30000"));
    }
    let mut link = app.service().session(id).await?.link()?;
    // A step that is there is taken at once, also with no time to wait.
    let next = tokio::time::timeout(Duration::from_millis(wait.wait_ms), link.next());
    Ok(next.await.ok().flatten())
}

/// Where the link stands, with the code that is valid now.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/qr", tag = "link", params(SessionPath, Wait),
    responses((status = 200, body = LinkView), Problem)
)]
pub(super) async fn link(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    Params(wait): Params<Wait>,
) -> Result<Json<LinkView>, ApiError> {
    Ok(Json(match step(&app, &id, &wait).await? {
        None => LinkView::Waiting,
        Some(LinkStep::Qr { code, expires_at }) => LinkView::Qr { qr: code.text().to_owned(), expires_at },
        Some(LinkStep::PairCode { code, expires_at }) => {
            LinkView::PairCode { code: code.expose().to_owned(), expires_at }
        }
        Some(LinkStep::PasskeyChallenge { request_options_json }) => LinkView::PasskeyChallenge {
            request_options: serde_json::from_str(request_options_json.expose()).map_err(|_| {
                ApiError::internal("WhatsApp's passkey challenge is no JSON; link by QR code")
            })?,
        },
        Some(LinkStep::PasskeyConfirmation { code, must_compare }) => {
            LinkView::PasskeyConfirmation { code: code.expose().to_owned(), must_compare }
        }
        Some(LinkStep::Linked) => LinkView::Linked,
        Some(LinkStep::TimedOut) => LinkView::TimedOut,
        Some(LinkStep::Failed { kind, message }) => {
            LinkView::Failed { code: kind.name().to_owned(), message }
        }
        Some(_) => LinkView::Waiting,
    }))
}

async fn qr(app: &App, id: &str, wait: &Wait) -> Result<centralita::qr::QrCode, ApiError> {
    match step(app, id, wait).await? {
        Some(LinkStep::Qr { code, .. }) => Ok(code),
        _ => {
            Err(ApiError::invalid_state("no QR code waits to be scanned; see …/qr for where the link stands"))
        }
    }
}

/// The QR code as a picture.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/qr.png", tag = "link", params(SessionPath, Wait),
    responses((status = 200, content_type = "image/png", body = Vec<u8>), Problem)
)]
pub(super) async fn qr_png(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    Params(wait): Params<Wait>,
) -> Result<Response, ApiError> {
    let picture = qr(&app, &id, &wait).await?.to_png(PNG_SCALE)?;
    Ok(([(CONTENT_TYPE, "image/png")], picture).into_response())
}

/// The QR code as a picture that scales.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/qr.svg", tag = "link", params(SessionPath, Wait),
    responses((status = 200, content_type = "image/svg+xml", body = String), Problem)
)]
pub(super) async fn qr_svg(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    Params(wait): Params<Wait>,
) -> Result<Response, ApiError> {
    Ok(([(CONTENT_TYPE, "image/svg+xml")], qr(&app, &id, &wait).await?.to_svg()).into_response())
}

/// The QR code for a terminal.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/qr.txt", tag = "link", params(SessionPath, Wait),
    responses((status = 200, content_type = "text/plain", body = String), Problem)
)]
pub(super) async fn qr_text(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    Params(wait): Params<Wait>,
) -> Result<Response, ApiError> {
    let text = qr(&app, &id, &wait).await?.to_terminal();
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Whose phone.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PairCodeRequest {
    /// In international form.
    #[schema(max_length = 32, example = "5491155550000")]
    phone_number: String,
}

/// A code to type on the phone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PairCodeView {
    /// Eight characters.
    code: String,
}

/// Ask for a code to type on the phone, instead of scanning one.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/pair-code", tag = "link", params(SessionPath),
    request_body = PairCodeRequest,
    responses((status = 200, body = PairCodeView), Problem)
)]
pub(super) async fn pair_code(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    Body(request): Body<PairCodeRequest>,
) -> Result<Json<PairCodeView>, ApiError> {
    let code = app.service().session(&id).await?.request_pair_code(&request.phone_number).await?;
    Ok(Json(PairCodeView { code }))
}

/// What the authenticator answered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PasskeyAnswer {
    /// WebAuthn's assertion.
    #[schema(value_type = Object)]
    assertion: serde_json::Map<String, serde_json::Value>,
    /// The raw id of the credential in base64url without padding.
    #[schema(max_length = 2048)]
    credential_id: String,
}

/// Answer a passkey challenge.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/passkey", tag = "link", params(SessionPath),
    request_body = PasskeyAnswer,
    responses((status = 204, description = "The answer was passed on; the link goes on"), Problem)
)]
pub(super) async fn passkey(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    Body(answer): Body<PasskeyAnswer>,
) -> Result<axum::http::StatusCode, ApiError> {
    let credential_id = URL_SAFE_NO_PAD
        .decode(&answer.credential_id)
        .map_err(|_| ApiError::invalid("credentialId must be base64url without padding"))?;
    let assertion = serde_json::to_vec(&answer.assertion)
        .map_err(|_| ApiError::invalid("the assertion cannot be written as JSON"))?;
    app.service().session(&id).await?.answer_passkey(assertion, credential_id).await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// Say that the code on the phone and the one shown here are the same.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/passkey/confirm", tag = "link", params(SessionPath),
    responses((status = 204, description = "Confirmed; the link goes on"), Problem)
)]
pub(super) async fn confirm_passkey(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<axum::http::StatusCode, ApiError> {
    app.service().session(&id).await?.confirm_passkey().await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}
