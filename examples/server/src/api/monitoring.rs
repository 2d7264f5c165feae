//! The seed's statistics, monitoring and maintenance.

use axum::Json;
use axum::extract::State;
use centralita::cleanup::MemoryProbe;
use centralita::store::{PageRequest, SessionFilter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{OptionalBody, Paging, Params, SessionInPath, SessionPath};
use super::sessions::page_of;
use super::views::{HistoryView, SessionDetails, SessionView, SessionsPage, StatisticsView};
use crate::app::App;
use crate::auth::{Administer, Permit, Read};
use crate::history;

/// Bytes in a MB.
const MB: f64 = 1_048_576.0;

/// The figures of the whole system, at most a second old.
#[utoipa::path(
    get, path = "/sessions/stats", tag = "monitoring",
    responses((status = 200, body = StatisticsView), Problem)
)]
pub(super) async fn stats(
    State(app): State<App>,
    permit: Permit<Read>,
) -> Result<Json<StatisticsView>, ApiError> {
    let Some(ids) = permit.caller.only_sessions() else {
        return Ok(Json(app.stats().get(&app).await?.into()));
    };
    let mut view = StatisticsView::default();
    for ids in ids.chunks(PageRequest::MAX_LIMIT as usize) {
        let filter = SessionFilter { session_ids: ids.to_vec(), ..Default::default() };
        let page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
        for record in app.store().list_sessions(&filter, &page).await?.items {
            view.add(&record);
        }
    }
    Ok(Json(view))
}

/// Sessions that were not put away.
#[utoipa::path(
    get, path = "/sessions/active", tag = "monitoring", params(Paging),
    responses((status = 200, body = SessionsPage), Problem)
)]
pub(super) async fn active(
    State(app): State<App>,
    permit: Permit<Read>,
    Params(paging): Params<Paging>,
) -> Result<Json<SessionsPage>, ApiError> {
    let filter = SessionFilter { is_active: Some(true), ..Default::default() };
    page_of(&app, &permit, filter, request(paging)?).await
}

/// Sessions that are logged in.
#[utoipa::path(
    get, path = "/sessions/connected", tag = "monitoring", params(Paging),
    responses((status = 200, body = SessionsPage), Problem)
)]
pub(super) async fn connected(
    State(app): State<App>,
    permit: Permit<Read>,
    Params(paging): Params<Paging>,
) -> Result<Json<SessionsPage>, ApiError> {
    let filter = SessionFilter { is_connected: Some(true), ..Default::default() };
    page_of(&app, &permit, filter, request(paging)?).await
}

fn request(paging: Paging) -> Result<PageRequest, ApiError> {
    Ok(PageRequest { limit: paging.limit()?, after: paging.after, ..Default::default() })
}

/// What makes a session problematic.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problematic {
    /// Failed attempts from which it is; default 5.
    #[param(minimum = 1)]
    min_attempts: Option<u32>,
    /// How many at most.
    #[serde(default = "hundred")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The `next` of the page before.
    after: Option<String>,
}

fn hundred() -> u32 {
    100
}

/// Sessions in status `error`, or with many failed attempts.
#[utoipa::path(
    get, path = "/sessions/problematic", tag = "monitoring", params(Problematic),
    responses((status = 200, body = SessionsPage), Problem)
)]
pub(super) async fn problematic(
    State(app): State<App>,
    permit: Permit<Read>,
    Params(asked): Params<Problematic>,
) -> Result<Json<SessionsPage>, ApiError> {
    let min_attempts = asked.min_attempts.unwrap_or(app.options().alert_attempts);
    if min_attempts == 0 {
        return Err(ApiError::invalid("minAttempts must be at least 1"));
    }
    let filter = SessionFilter { problematic_from_attempts: Some(min_attempts), ..Default::default() };
    let paging = Paging { limit: asked.limit, after: asked.after };
    page_of(&app, &permit, filter, request(paging)?).await
}

/// All that is known of a session.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/details", tag = "monitoring", params(SessionPath),
    responses((status = 200, body = SessionDetails), Problem)
)]
pub(super) async fn details(
    State(app): State<App>,
    permit: Permit<Read>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<SessionDetails>, ApiError> {
    let record = app.manager().get_session(&id).await?;
    let running = app.service().running_sessions().binary_search(&id).is_ok();
    let live = app.service().session(&id).await?;
    let connected_now = live.is_connected();
    // None if it does not run here, which `running` says.
    let health = live.health().await.ok();
    let memory_now = app.service().memory_bytes(&id).await.map(to_mb);
    let session = SessionView::of(record, &permit.caller);
    Ok(Json(SessionDetails { session, running, connected_now, memory_now, health }))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn to_mb(bytes: u64) -> f64 {
    bytes as f64 / MB
}

/// The last hour of a session: messages and memory.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/history", tag = "monitoring", params(SessionPath),
    responses((status = 200, body = HistoryView), Problem)
)]
pub(super) async fn last_hour(
    State(app): State<App>,
    _: Permit<Read>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<HistoryView>, ApiError> {
    let record = app.manager().get_session(&id).await?;
    let mut points = app.history().of(&id);
    points.push(history::point(&app, &record).await);
    Ok(Json(HistoryView::of(points)))
}

/// Set the count of failed connection attempts to zero, and try to connect now if the session waits.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/reset-attempts", tag = "maintenance", params(SessionPath),
    responses((status = 200, body = SessionView), Problem)
)]
pub(super) async fn reset_attempts(
    State(app): State<App>,
    permit: Permit<Administer>,
    SessionInPath(id): SessionInPath,
) -> Result<Json<SessionView>, ApiError> {
    let record = app.manager().reset_connection_attempts(&id).await?;
    if app.service().running_sessions().binary_search(&id).is_ok() {
        // It may have ended since: then there is no pause to end.
        drop(app.service().session(&id).await?.reconnect_now());
    }
    Ok(Json(SessionView::of(record, &permit.caller)))
}

/// A health check of one session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HealthCheck {
    /// Memory in MB, if the caller measured it; else the server does.
    #[serde(rename = "memoryMB")]
    #[schema(minimum = 0)]
    memory_mb: Option<f64>,
}

/// Check a session's health now and note its memory.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/health-check", tag = "maintenance", params(SessionPath),
    request_body = Option<HealthCheck>,
    responses((status = 200, body = SessionView), Problem)
)]
pub(super) async fn health_check(
    State(app): State<App>,
    permit: Permit<Administer>,
    SessionInPath(id): SessionInPath,
    OptionalBody(request): OptionalBody<Option<HealthCheck>>,
) -> Result<Json<SessionView>, ApiError> {
    let memory_mb = match request.and_then(|request| request.memory_mb) {
        Some(memory_mb) => memory_mb,
        None => app.service().memory_bytes(&id).await.map_or(0.0, to_mb),
    };
    let record = app.manager().update_health_check(&id, memory_mb).await?;
    Ok(Json(SessionView::of(record, &permit.caller)))
}

/// Which sessions a cleanup removes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CleanupRequest {
    /// Days without activity; default 30.
    #[schema(minimum = 1, maximum = 36500)]
    days_inactive: Option<u32>,
    /// Remove nothing, only say what would be.
    #[serde(default)]
    dry_run: bool,
}

/// What a cleanup removed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CleanupView {
    dry_run: bool,
    /// Ids of the sessions removed; in a dry run, that would be.
    removed: Vec<String>,
    /// Old enough, but they run somewhere.
    held: Vec<String>,
    /// Could not be removed.
    failed: Vec<CleanupFailureView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CleanupFailureView {
    session_id: String,
    kind: String,
    message: String,
}

/// Remove sessions that have not been used for a long time, with all that is theirs.
#[utoipa::path(
    post, path = "/sessions/cleanup-inactive", tag = "maintenance", request_body = Option<CleanupRequest>,
    responses((status = 200, body = CleanupView), Problem)
)]
pub(super) async fn cleanup_inactive(
    State(app): State<App>,
    permit: Permit<Administer>,
    OptionalBody(request): OptionalBody<Option<CleanupRequest>>,
) -> Result<Json<CleanupView>, ApiError> {
    if permit.caller.only_sessions().is_some() {
        return Err(ApiError::not_for_all());
    }
    let request = request.unwrap_or_default();
    let days = request.days_inactive.unwrap_or(app.options().inactive_days);
    let report = app.cleanup().run_manual_cleanup(days, request.dry_run).await?;
    app.stats().forget().await;
    let failure = |failure: centralita::session_manager::CleanupFailure| CleanupFailureView {
        session_id: failure.session_id,
        kind: failure.kind,
        message: failure.message,
    };
    Ok(Json(CleanupView {
        dry_run: report.dry_run,
        removed: report.removed,
        held: report.held,
        failed: report.failed.into_iter().map(failure).collect(),
    }))
}

/// The health of the whole system: figures, problems, memory, cleanup.
#[utoipa::path(
    get, path = "/health", tag = "monitoring",
    responses((status = 200, body = Object, description = "The health report"), Problem)
)]
pub(super) async fn health(
    State(app): State<App>,
    permit: Permit<Read>,
) -> Result<Json<centralita::cleanup::HealthReport>, ApiError> {
    if permit.caller.only_sessions().is_some() {
        return Err(ApiError::not_for_all());
    }
    Ok(Json(app.cleanup().get_health_report().await?))
}
