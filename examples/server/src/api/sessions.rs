//! The seed's basic endpoints, and starting, stopping, logging out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use centralita::session_manager::SessionData;
use centralita::store::{PageRequest, SessionFilter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{Body, Params, SessionInPath, SessionPath};
use super::views::{SessionView, SessionsPage};
use crate::app::App;
use crate::auth::{Administer, Permit, Read};

/// Words that are paths of their own, so that a session of that name could not be reached.
const RESERVED: &[&str] = &["stats", "active", "connected", "problematic", "cleanup-inactive"];

/// A session to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateSession {
    /// 1 to 128 bytes of letters, digits and any of `- _ . : @ +`.
    #[schema(min_length = 1, max_length = 128, example = "ventas")]
    session_id: String,
    /// A name for people.
    #[schema(max_length = 200)]
    name: Option<String>,
}

/// Create a session and start it; one that exists is started with its credentials.
///
/// Then fetch its QR code, or ask for a pair code.
#[utoipa::path(
    post, path = "/sessions", tag = "sessions", request_body = CreateSession,
    responses((status = 201, body = SessionView), Problem)
)]
pub(super) async fn create(
    State(app): State<App>,
    permit: Permit<Administer>,
    Body(request): Body<CreateSession>,
) -> Result<(StatusCode, Json<SessionView>), ApiError> {
    if !permit.caller.sees(&request.session_id) {
        return Err(ApiError::not_your_session());
    }
    if RESERVED.contains(&request.session_id.as_str()) {
        return Err(ApiError::invalid("this session id is a path of the API; choose another"));
    }
    let session = app.service().create_session(&request.session_id).await?;
    if let Some(name) = request.name {
        if name.len() > MAX_NAME_BYTES {
            return Err(ApiError::invalid("name must have at most 800 bytes"));
        }
        let data = SessionData { name: Some(name), ..SessionData::default() };
        app.manager().create_or_update_session(session.id(), &data).await?;
    }
    app.stats().forget().await;
    let record = session.record().await?;
    Ok((StatusCode::CREATED, Json(SessionView::of(record, &permit.caller))))
}

/// 200 characters of four bytes.
const MAX_NAME_BYTES: usize = 800;

/// Which sessions, and in what order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListSessions {
    /// How many at most.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    after: Option<String>,
    /// Only this status.
    #[param(example = "connected")]
    status: Option<String>,
    /// `id` (default) or `activity`: the most recently active first.
    #[param(example = "activity")]
    sort: Option<String>,
}

fn hundred() -> u32 {
    100
}

/// List sessions.
#[utoipa::path(
    get, path = "/sessions", tag = "sessions", params(ListSessions),
    responses((status = 200, body = SessionsPage), Problem)
)]
pub(super) async fn list(
    State(app): State<App>,
    permit: Permit<Read>,
    Params(request): Params<ListSessions>,
) -> Result<Json<SessionsPage>, ApiError> {
    if !(1..=PageRequest::MAX_LIMIT).contains(&request.limit) {
        return Err(ApiError::invalid("limit must be 1 to 1000"));
    }
    let statuses = request.status.as_deref().map(str::parse).transpose()?;
    let filter = SessionFilter { statuses: statuses.into_iter().collect(), ..Default::default() };
    let page = PageRequest {
        limit: request.limit,
        after: request.after,
        most_recently_active_first: match request.sort.as_deref() {
            None | Some("id") => false,
            Some("activity") => true,
            Some(_) => return Err(ApiError::invalid("sort must be id or activity")),
        },
    };
    page_of(&app, &permit, filter, page).await
}

/// A page of those of the filter that the caller may see.
pub(super) async fn page_of(
    app: &App,
    permit: &Permit<Read>,
    mut filter: SessionFilter,
    page: PageRequest,
) -> Result<Json<SessionsPage>, ApiError> {
    if let Some(ids) = permit.caller.only_sessions() {
        if ids.is_empty() {
            return Ok(Json(SessionsPage::of(Default::default(), &permit.caller)));
        }
        filter.session_ids = ids;
    }
    let found = app.manager().list_sessions(&filter, &page).await?;
    Ok(Json(SessionsPage::of(found, &permit.caller)))
}

/// Delete a session: it is logged out if it is connected, and all of it is removed, messages included.
#[utoipa::path(
    delete, path = "/sessions/{sessionId}", tag = "sessions", params(SessionPath),
    responses((status = 204, description = "It is gone"), Problem)
)]
pub(super) async fn delete(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<StatusCode, ApiError> {
    app.service().delete_session(&id).await?;
    app.stats().forget().await;
    Ok(StatusCode::NO_CONTENT)
}

/// Start a stored session. One that runs is left alone.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/start", tag = "sessions", params(SessionPath),
    responses((status = 200, body = SessionView), Problem)
)]
pub(super) async fn start(
    State(app): State<App>,
    permit: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<SessionView>, ApiError> {
    let session = app.service().start_session(&id).await?;
    app.stats().forget().await;
    Ok(Json(SessionView::of(session.record().await?, &permit.caller)))
}

/// End a session's connection; its credentials stay.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/stop", tag = "sessions", params(SessionPath),
    responses((status = 200, body = SessionView), Problem)
)]
pub(super) async fn stop(
    State(app): State<App>,
    permit: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<SessionView>, ApiError> {
    app.service().stop_session(&id).await?;
    app.stats().forget().await;
    Ok(Json(SessionView::of(app.manager().get_session(&id).await?, &permit.caller)))
}

/// Log a running session out: the phone forgets this device. Messages stay.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/logout", tag = "sessions", params(SessionPath),
    responses((status = 200, body = SessionView), Problem)
)]
pub(super) async fn log_out(
    State(app): State<App>,
    permit: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<SessionView>, ApiError> {
    app.service().log_out_session(&id).await?;
    app.stats().forget().await;
    Ok(Json(SessionView::of(app.manager().get_session(&id).await?, &permit.caller)))
}

/// What went with a session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeletedView {
    /// Documents of credentials and keys.
    auth: u64,
    messages: u64,
    chats: u64,
}

/// Delete a session completely, and say what went with it.
#[utoipa::path(
    delete, path = "/sessions/{sessionId}/cleanup", tag = "maintenance", params(SessionPath),
    responses((status = 200, body = DeletedView), Problem)
)]
pub(super) async fn clean_up(
    State(app): State<App>,
    _: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<DeletedView>, ApiError> {
    let session = app.service().session(&id).await?;
    if session.is_connected() {
        session.log_out().await?;
    } else {
        session.stop().await?;
    }
    let deleted = app.manager().delete_session(&id, None).await?;
    app.stats().forget().await;
    Ok(Json(DeletedView { auth: deleted.auth, messages: deleted.messages, chats: deleted.chats }))
}
