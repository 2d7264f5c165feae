//! Alerts and what of them could not be delivered.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{Paging, Params};
use crate::alerts::{self, Alert};
use crate::app::App;
use crate::auth::{Administer, Permit, Read};
use crate::webhook::{self, DeadLetter};

/// Alerts, those that last first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertsView {
    alerts: Vec<Alert>,
}

/// Alerts that last, and those that were over within a day.
#[utoipa::path(
    get, path = "/alerts", tag = "alerts",
    responses((status = 200, body = AlertsView), Problem)
)]
pub(super) async fn list(State(app): State<App>, permit: Permit<Read>) -> Result<Json<AlertsView>, ApiError> {
    let mut alerts = alerts::list(&app).await?;
    alerts.retain(|alert| match &alert.session_id {
        Some(id) => permit.caller.sees(id),
        None => permit.caller.only_sessions().is_none(),
    });
    Ok(Json(AlertsView { alerts }))
}

/// A page of dead letters, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLettersPage {
    dead_letters: Vec<DeadLetter>,
}

/// Alerts that the webhook's receiver did not take.
#[utoipa::path(
    get, path = "/alerts/dead-letters", tag = "alerts", params(Paging),
    responses((status = 200, body = DeadLettersPage), Problem)
)]
pub(super) async fn dead_letters(
    State(app): State<App>,
    permit: Permit<Administer>,
    Params(paging): Params<Paging>,
) -> Result<Json<DeadLettersPage>, ApiError> {
    if permit.caller.only_sessions().is_some() {
        return Err(ApiError::not_for_all());
    }
    let limit = paging.limit()?;
    let dead_letters = webhook::dead_letters(app.documents(), paging.after.as_deref(), limit).await?;
    Ok(Json(DeadLettersPage { dead_letters }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct DeadLetterPath {
    /// The delivery's id.
    id: String,
}

/// Try a dead letter again.
#[utoipa::path(
    post, path = "/alerts/dead-letters/{id}/resend", tag = "alerts", params(DeadLetterPath),
    responses((status = 202, description = "It waits for its next try"), Problem)
)]
pub(super) async fn resend(
    State(app): State<App>,
    permit: Permit<Administer>,
    path: Result<Path<DeadLetterPath>, axum::extract::rejection::PathRejection>,
) -> Result<StatusCode, ApiError> {
    if permit.caller.only_sessions().is_some() {
        return Err(ApiError::not_for_all());
    }
    let Path(path) = path.map_err(|rejection| ApiError::invalid(rejection.body_text()))?;
    if webhook::resend(app.documents(), &path.id).await? {
        Ok(StatusCode::ACCEPTED)
    } else {
        Err(ApiError::not_found("no such dead letter"))
    }
}
