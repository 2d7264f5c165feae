//! Reading requests: each failure is an answer in JSON.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::error::ApiError;
use crate::auth::Caller;

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync + std::marker::Send> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(unreadable_body(&rejection)),
        }
    }
}

fn unreadable_body(rejection: &JsonRejection) -> ApiError {
    ApiError::unreadable(rejection.status(), rejection.body_text())
}

/// A JSON body that may be left out: then it is the default.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Sync + std::marker::Send> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| ApiError::unreadable(rejection.status(), rejection.body_text()))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let status =
                if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            ApiError::unreadable(status, format!("the body is not what is expected: {error}"))
        })
    }
}

/// Query parameters.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(unreadable_query(&rejection)),
        }
    }
}

fn unreadable_query(rejection: &QueryRejection) -> ApiError {
    ApiError::invalid(rejection.body_text())
}

/// The session that a path names, which the caller may see.
#[derive(Debug)]
pub(crate) struct SessionInPath(pub(crate) String);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionPath {
    /// The session's id.
    pub(crate) session_id: String,
}

impl<S: Sync + std::marker::Send> FromRequestParts<S> for SessionInPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<SessionPath>::from_request_parts(parts, state).await;
        let Path(path) = path.map_err(|rejection: PathRejection| ApiError::invalid(rejection.body_text()))?;
        let caller = parts.extensions.get::<Caller>().ok_or_else(ApiError::no_token)?;
        if !caller.sees(&path.session_id) {
            return Err(ApiError::not_your_session());
        }
        tracing::Span::current().record("session", path.session_id.as_str());
        Ok(Self(path.session_id))
    }
}

/// A part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// How many at most.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub(crate) limit: u32,
    /// The `next` of the page before.
    #[serde(default)]
    pub(crate) after: Option<String>,
}

fn hundred() -> u32 {
    100
}

impl Paging {
    /// The limit, if it is within its bounds.
    pub(crate) fn limit(&self) -> Result<u32, ApiError> {
        if (1..=1_000).contains(&self.limit) {
            Ok(self.limit)
        } else {
            Err(ApiError::invalid("limit must be 1 to 1000"))
        }
    }
}
