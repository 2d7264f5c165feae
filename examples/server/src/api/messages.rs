//! Sending, and what was sent and received.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use centralita::clock::Timestamp;
use centralita::session::{Outgoing, SentMessage};
use centralita::store::{MessageKey, MessagePage, MessageStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, Problem};
use super::extract::{Body, Paging, Params, SessionInPath, SessionPath};
use super::views::{ChatsPage, KeyView, MessagesPage};
use crate::app::App;
use crate::auth::{Permit, Read, Send};

/// What makes a repeated send the same send.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMessages {
    /// Only this chat.
    chat_id: Option<String>,
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

/// Messages of a session or of one chat, newest first.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/messages", tag = "messages", params(SessionPath, ListMessages),
    responses((status = 200, body = MessagesPage), Problem)
)]
pub(super) async fn list(
    State(app): State<App>,
    _: Permit<Read>,
    SessionInPath(id): SessionInPath,
    Params(asked): Params<ListMessages>,
) -> Result<Json<MessagesPage>, ApiError> {
    app.manager().get_session(&id).await?;
    let limit = Paging { limit: asked.limit, after: None }.limit()?;
    let page = MessagePage { chat_id: asked.chat_id, limit, after: asked.after };
    Ok(Json(app.store().list_messages(&id, &page).await?.into()))
}

/// Chats of a session, the one with the newest message first.
#[utoipa::path(
    get, path = "/sessions/{sessionId}/chats", tag = "messages", params(SessionPath, Paging),
    responses((status = 200, body = ChatsPage), Problem)
)]
pub(super) async fn chats(
    State(app): State<App>,
    _: Permit<Read>,
    SessionInPath(id): SessionInPath,
    Params(paging): Params<Paging>,
) -> Result<Json<ChatsPage>, ApiError> {
    app.manager().get_session(&id).await?;
    let page = app.store().list_chats(&id, paging.limit()?, paging.after.as_deref()).await?;
    Ok(Json(page.into()))
}

/// A text to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SendText {
    /// Phone number in international form, or the JID of a contact or group.
    #[schema(min_length = 1, max_length = 256, example = "5491155550000")]
    to: String,
    /// Up to 65,536 bytes.
    #[schema(min_length = 1, max_length = 65536)]
    text: String,
    /// Milliseconds to wait for WhatsApp's acknowledgement; default 30,000.
    #[schema(minimum = 1000, maximum = 120000)]
    timeout_ms: Option<u64>,
    /// Seconds for which it may wait in the outbox if the session is down or held up; its end is an event.
    #[schema(minimum = 1, maximum = 2592000)]
    queue_for_s: Option<u64>,
}

/// A text in answer to a message, or in place of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TextOn {
    target: KeyView,
    #[schema(min_length = 1, max_length = 65536)]
    text: String,
}

/// An emoji on a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct React {
    target: KeyView,
    /// An empty one takes it back.
    #[schema(max_length = 64)]
    emoji: String,
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Target {
    target: KeyView,
}

/// Messages of one chat and author.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Targets {
    #[schema(max_items = 1000)]
    targets: Vec<KeyView>,
}

/// A message that WhatsApp's server has.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentView {
    #[serde(flatten)]
    key: KeyView,
    /// `sent`, or more if the recipient was quicker than this answer.
    #[schema(value_type = String, example = "sent")]
    status: MessageStatus,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Whether an earlier request with the same idempotency key had sent it.
    repeated: bool,
}

impl From<SentMessage> for SentView {
    fn from(sent: SentMessage) -> Self {
        Self { key: sent.key.into(), status: sent.status, timestamp: sent.timestamp, repeated: sent.repeated }
    }
}

async fn send_now(
    app: &App,
    id: &str,
    mut outgoing: Outgoing,
    headers: &HeaderMap,
) -> Result<Json<SentView>, ApiError> {
    if let Some(key) = headers.get(IDEMPOTENCY_KEY) {
        let key = key.to_str().map_err(|_| ApiError::invalid("Idempotency-Key must be ASCII"))?;
        outgoing = outgoing.idempotency_key(key);
    }
    Ok(Json(app.service().send(id, outgoing).await?.into()))
}

/// Send a text and wait until WhatsApp's server has it.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/messages", tag = "messages",
    params(SessionPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request the same message")),
    request_body = SendText, responses((status = 200, body = SentView), Problem)
)]
pub(super) async fn send(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    headers: HeaderMap,
    Body(request): Body<SendText>,
) -> Result<Json<SentView>, ApiError> {
    let mut outgoing = Outgoing::text(request.to, request.text);
    match request.timeout_ms {
        Some(ms @ MIN_TIMEOUT_MS..=MAX_TIMEOUT_MS) => outgoing = outgoing.timeout(Duration::from_millis(ms)),
        Some(_) => return Err(ApiError::invalid("timeoutMs must be 1000 to 120000")),
        None => {}
    }
    match request.queue_for_s {
        Some(seconds @ 1..=MAX_QUEUE_S) => outgoing = outgoing.queue_for(Duration::from_secs(seconds)),
        Some(_) => return Err(ApiError::invalid("queueForS must be 1 to 2592000")),
        None => {}
    }
    send_now(&app, &id, outgoing, &headers).await
}

/// Less and a store that is only busy looks as if it were away.
const MIN_TIMEOUT_MS: u64 = 1_000;
const MAX_TIMEOUT_MS: u64 = 120_000;
/// Thirty days.
const MAX_QUEUE_S: u64 = 30 * 24 * 60 * 60;

/// Answer a message in its chat.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/messages/reply", tag = "messages",
    params(SessionPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request the same message")),
    request_body = TextOn, responses((status = 200, body = SentView), Problem)
)]
pub(super) async fn reply(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    headers: HeaderMap,
    Body(request): Body<TextOn>,
) -> Result<Json<SentView>, ApiError> {
    send_now(&app, &id, Outgoing::reply(&request.target.into(), request.text), &headers).await
}

/// Put an emoji on a message.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/messages/reaction", tag = "messages",
    params(SessionPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request the same message")),
    request_body = React, responses((status = 200, body = SentView), Problem)
)]
pub(super) async fn react(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    headers: HeaderMap,
    Body(request): Body<React>,
) -> Result<Json<SentView>, ApiError> {
    send_now(&app, &id, Outgoing::reaction(&request.target.into(), request.emoji), &headers).await
}

/// Give a message of one's own another text.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/messages/edit", tag = "messages",
    params(SessionPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request the same message")),
    request_body = TextOn, responses((status = 200, body = SentView), Problem)
)]
pub(super) async fn edit(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    headers: HeaderMap,
    Body(request): Body<TextOn>,
) -> Result<Json<SentView>, ApiError> {
    send_now(&app, &id, Outgoing::edit(&request.target.into(), request.text), &headers).await
}

/// Take a message back for everybody.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/messages/revoke", tag = "messages",
    params(SessionPath, ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request the same message")),
    request_body = Target, responses((status = 200, body = SentView), Problem)
)]
pub(super) async fn revoke(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    headers: HeaderMap,
    Body(request): Body<Target>,
) -> Result<Json<SentView>, ApiError> {
    send_now(&app, &id, Outgoing::revoke(&request.target.into()), &headers).await
}

/// Tell the author that his messages were read.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/messages/read", tag = "messages", params(SessionPath),
    request_body = Targets, responses((status = 204, description = "He was told"), Problem)
)]
pub(super) async fn mark_read(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    Body(request): Body<Targets>,
) -> Result<StatusCode, ApiError> {
    let keys: Vec<MessageKey> = request.targets.into_iter().map(Into::into).collect();
    app.service().session(&id).await?.mark_read(&keys).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where to show it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Typing {
    /// Phone number or JID.
    #[schema(min_length = 1, max_length = 256)]
    to: String,
    /// Whether somebody types, or stopped.
    composing: bool,
}

/// Show "typing…" in a chat, or stop showing it.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/typing", tag = "messages", params(SessionPath),
    request_body = Typing, responses((status = 204, description = "It is shown"), Problem)
)]
pub(super) async fn typing(
    State(app): State<App>,
    _: Permit<Send>,
    SessionInPath(id): SessionInPath,
    Body(request): Body<Typing>,
) -> Result<StatusCode, ApiError> {
    app.service().session(&id).await?.set_typing(&request.to, request.composing).await?;
    Ok(StatusCode::NO_CONTENT)
}
