//! Asks every request of the API for its token, and handlers for the right scope.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::scope::{Scope, Scopes};
use crate::api::error::ApiError;
use crate::app::App;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(super) scopes: Scopes,
    pub(super) sessions: Option<Arc<HashSet<String>>>,
    pub(super) expires_at_s: u64,
    /// Names the token in the rate limiter, without being it.
    pub(super) key: u64,
}

impl Caller {
    pub(super) fn key_of(token: &str) -> u64 {
        let hash = Sha256::digest(token.as_bytes());
        u64::from_be_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
    }

    /// Whether the token has this scope.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.allow(scope)
    }

    /// Whether the token is for this session.
    pub(crate) fn sees(&self, session_id: &str) -> bool {
        self.sessions.as_ref().is_none_or(|sessions| sessions.contains(session_id))
    }

    /// The only sessions that the token is for, sorted; `None`: all.
    pub(crate) fn only_sessions(&self) -> Option<Vec<String>> {
        self.sessions.as_ref().map(|sessions| {
            let mut ids: Vec<String> = sessions.iter().cloned().collect();
            ids.sort();
            ids
        })
    }

    /// When the token ends, in seconds since the Unix epoch.
    pub(crate) fn expires_at_s(&self) -> u64 {
        self.expires_at_s
    }
}

/// Lets a request pass that has a valid token and is within its rate; leaves the [`Caller`] with it.
pub(crate) async fn authenticate(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(ApiError::no_token)?;
    let caller = app.verifier().verify(token).ok_or_else(ApiError::bad_token)?;
    app.within_rate(caller.key)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// A scope as a type, so that a handler cannot be written without saying what it needs.
pub(crate) trait Needs {
    const SCOPE: Scope;
}

/// Needs `read`.
#[derive(Debug)]
pub(crate) struct Read;
/// Needs `send`.
#[derive(Debug)]
pub(crate) struct Send;
/// Needs `admin`.
#[derive(Debug)]
pub(crate) struct Administer;

impl Needs for Read {
    const SCOPE: Scope = Scope::Read;
}
impl Needs for Send {
    const SCOPE: Scope = Scope::Send;
}
impl Needs for Administer {
    const SCOPE: Scope = Scope::Admin;
}

/// The caller, who has the scope.
#[derive(Debug)]
pub(crate) struct Permit<N> {
    pub(crate) caller: Caller,
    needs: PhantomData<N>,
}

impl<N: Needs, S: Sync> FromRequestParts<S> for Permit<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(ApiError::no_token)?;
        if caller.may(N::SCOPE) {
            Ok(Self { caller, needs: PhantomData })
        } else {
            Err(ApiError::missing_scope(N::SCOPE))
        }
    }
}
