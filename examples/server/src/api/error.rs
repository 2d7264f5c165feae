//! Errors as HTTP answers: a status, and JSON that says what happened and what to do.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use centralita::{Error, ErrorKind};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::auth::Scope;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ErrorDetail {
    /// A stable name, such as `not_found`.
    code: String,
    /// What happened, to what, and what to do.
    message: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Milliseconds to wait before that, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// What every endpoint of the API may answer beside success.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, in the OpenAPI document")]
pub(crate) enum Problem {
    /// The request is malformed, or a value is out of its bounds.
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// No token, or one that is not valid.
    #[response(status = 401)]
    NoToken(ErrorBody),
    /// The token lacks the scope, or is not for this session.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// There is no such session or message.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// It does not fit the present state, or another instance owns the session.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The body is not declared as JSON.
    #[response(status = 415)]
    NotJson(ErrorBody),
    /// The body is JSON, and not what is expected.
    #[response(status = 422)]
    Unprocessable(ErrorBody),
    /// WhatsApp refused, or answered what it should not.
    #[response(status = 424)]
    Refused(ErrorBody),
    /// Too many requests, or WhatsApp says so; see `Retry-After`.
    #[response(status = 429)]
    TooMany(ErrorBody),
    /// A fault of the server or of what is stored.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// The database or WhatsApp cannot be reached at present.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// It took too long; whether it was done may be unknown: the message says.
    #[response(status = 504)]
    TooLong(ErrorBody),
}

/// An error that becomes an answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    retryable: bool,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retryable: false, retry_after: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// What a body or query that cannot be read deserves, under axum's own status.
    pub(crate) fn unreadable(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "invalid", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn invalid_state(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_state", message)
    }

    pub(crate) fn no_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "no_token",
            "no token; send it as Authorization: Bearer … (centralita-server token makes one)",
        )
    }

    pub(crate) fn bad_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad_token", "the token is not valid or has ended; get a new one")
    }

    pub(crate) fn missing_scope(scope: Scope) -> Self {
        let message = format!("the token lacks the scope {}; use one that has it", scope.as_str());
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The same whether or not there is such a session.
    pub(crate) fn not_your_session() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "the token is not for this session; use one that is")
    }

    pub(crate) fn not_for_all() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the token is for some sessions only and this concerns all; use one without a list of sessions",
        )
    }

    pub(crate) fn too_many(wait: Duration) -> Self {
        Self {
            retryable: true,
            retry_after: Some(wait),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "too many requests with this token; slow down",
            )
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
    }

    pub(crate) fn internal(message: &'static str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(crate) fn too_long() -> Self {
        Self {
            retryable: true,
            ..Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "the request took too long; whether it was done is unknown: repeat it with the same idempotency key",
            )
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = status(error.kind());
        if status.is_server_error() {
            tracing::warn!(%error, source = ?std::error::Error::source(&error), "answered with an error");
        }
        Self {
            status,
            code: error.kind().name(),
            message: error.to_string(),
            retryable: error.is_retryable(),
            retry_after: error.retry_after_hint(),
        }
    }
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists
        | ErrorKind::InvalidState
        | ErrorKind::LoggedOut
        | ErrorKind::Banned
        | ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Cancelled | ErrorKind::Closed | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        // Not the server's fault, and a proxy must not repeat it.
        ErrorKind::Protocol => StatusCode::FAILED_DEPENDENCY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = ErrorDetail {
            code: self.code.to_owned(),
            message: self.message,
            retryable: self.retryable,
            retry_after_ms: self.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut response = (self.status, Json(ErrorBody { error: detail })).into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1_000) as u64));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // axum adds `Allow` to answers of 405 that lack it, unless a fallback has answered.
        debug_assert!(!headers.contains_key(ALLOW));
        response
    }
}
