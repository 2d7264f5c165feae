//! The HTTP side: the same actions as the Rust methods, as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::StandIn;
use crate::error::StandInError;
use crate::faults::{FailureDetails, Faults, Refuse};
use crate::phone::{LinkedDevice, Phone, PhoneOptions, ReceivedMessage, SendOptions};
use crate::state::Inner;
use crate::traffic::{Traffic, TrafficOptions};

type App = Shared<Arc<Inner>>;
type Answer = Result<Json<Value>, Failure>;

/// An error with its HTTP status.
struct Failure(StatusCode, String);

impl From<StandInError> for Failure {
    fn from(error: StandInError) -> Self {
        let status = match &error {
            StandInError::UnknownRecipient(_)
            | StandInError::UnknownDevice(_)
            | StandInError::UnknownMessage(_)
            | StandInError::NoSuchPairCode(_)
            | StandInError::QrExpired => StatusCode::NOT_FOUND,
            StandInError::PhoneExists(_) => StatusCode::CONFLICT,
            StandInError::TimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
            StandInError::Encrypt { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

pub(crate) fn routes() -> Router<Arc<Inner>> {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/admin/mock-phone/scan-qr", post(scan_any))
        .route("/admin/phones", get(phones).post(add_phone))
        .route("/admin/phones/{number}", get(phone))
        .route("/admin/phones/{number}/send", post(send))
        .route("/admin/phones/{number}/scan-qr", post(scan))
        .route("/admin/phones/{number}/pair-code", post(pair_code))
        .route("/admin/phones/{number}/read", post(read))
        .route("/admin/phones/{number}/typing", post(typing))
        .route("/admin/phones/{number}/presence", post(presence))
        .route("/admin/phones/{number}/received", get(received))
        .route("/admin/phones/{number}/receipts", get(receipts))
        .route("/admin/phones/{number}/unlink", post(unlink))
        .route("/admin/groups", get(groups).post(add_group))
        .route("/admin/devices", get(devices))
        .route("/admin/accounting", get(accounting))
        .route("/admin/accounting/progress", get(progress))
        .route("/admin/arrivals", get(arrivals))
        .route("/admin/traffic", post(start_traffic))
        .route("/admin/traffic/{index}", get(traffic))
        .route("/admin/traffic/{index}/stop", post(stop_traffic))
        .route("/admin/unknown-iqs", get(unknown_iqs))
        .route("/admin/faults/{name}", post(fault))
}

fn phone_of(inner: &Arc<Inner>, number: &str) -> Result<Phone, Failure> {
    StandIn::from_inner(inner)
        .phone(number)
        .ok_or_else(|| StandInError::UnknownRecipient(number.to_owned()).into())
}

fn body<T: for<'a> Deserialize<'a>>(bytes: &Bytes) -> Result<T, Failure> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| Failure(StatusCode::BAD_REQUEST, error.to_string()))
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn to_json<T: serde::Serialize>(value: T) -> Answer {
    serde_json::to_value(value)
        .map(Json)
        .map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn scan_any(Shared(inner): App, qr: Bytes) -> Answer {
    to_json(StandIn::from_inner(&inner).scan_qr(&text(&qr))?)
}

async fn phones(Shared(inner): App) -> Answer {
    let phones: Vec<_> = StandIn::from_inner(&inner).phones().iter().map(describe).collect();
    to_json(phones)
}

fn describe(phone: &Phone) -> Value {
    json!({
        "phone_number": phone.phone_number(),
        "jid": phone.jid(),
        "lid": phone.lid(),
        "push_name": phone.push_name(),
        "devices": phone.devices(),
    })
}

async fn add_phone(Shared(inner): App, bytes: Bytes) -> Answer {
    let options: PhoneOptions = body(&bytes)?;
    let phone = StandIn::from_inner(&inner).add_phone(options)?;
    Ok(Json(describe(&phone)))
}

async fn phone(Shared(inner): App, Path(number): Path<String>) -> Answer {
    Ok(Json(describe(&phone_of(&inner, &number)?)))
}

#[derive(Deserialize)]
struct Send {
    to: String,
    text: Option<String>,
    message_id: Option<String>,
    /// Message id: what the text replies to, or edits, or what is deleted or reacted to.
    reply_to: Option<String>,
    edit: Option<String>,
    revoke: Option<String>,
    react_to: Option<String>,
    emoji: Option<String>,
}

async fn send(Shared(inner): App, Path(number): Path<String>, bytes: Bytes) -> Answer {
    let phone = phone_of(&inner, &number)?;
    let send: Send = body(&bytes)?;
    let text = send.text.clone().unwrap_or_default();
    let id = if let Some(id) = &send.reply_to {
        phone.send_reply(&send.to, id, &text).await?
    } else if let Some(id) = &send.edit {
        phone.send_edit(&send.to, id, &text).await?
    } else if let Some(id) = &send.revoke {
        phone.send_revoke(&send.to, id).await?
    } else if let Some(id) = &send.react_to {
        phone.send_reaction(&send.to, id, send.emoji.as_deref().unwrap_or_default()).await?
    } else {
        let options = SendOptions { message_id: send.message_id, ..Default::default() };
        phone.send(&send.to, crate::phone::text_message(&text), options).await?
    };
    Ok(Json(json!({ "message_id": id })))
}

async fn scan(Shared(inner): App, Path(number): Path<String>, qr: Bytes) -> Answer {
    to_json(phone_of(&inner, &number)?.scan_qr(&text(&qr))?)
}

async fn pair_code(Shared(inner): App, Path(number): Path<String>, code: Bytes) -> Answer {
    let phone = phone_of(&inner, &number)?;
    // Either the bare code, or {"code": "…"}.
    let code = body::<Value>(&code)
        .ok()
        .and_then(|value| Some(value.get("code")?.as_str()?.to_owned()))
        .unwrap_or_else(|| text(&code));
    let linked = tokio::task::spawn_blocking(move || phone.enter_pair_code(&code))
        .await
        .map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    to_json(linked?)
}

#[derive(Deserialize)]
struct Read {
    chat: String,
    message_ids: Vec<String>,
}

async fn read(Shared(inner): App, Path(number): Path<String>, bytes: Bytes) -> Answer {
    let read: Read = body(&bytes)?;
    phone_of(&inner, &number)?.mark_read(&read.chat, &read.message_ids);
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Typing {
    chat: String,
    #[serde(default = "yes")]
    typing: bool,
}

fn yes() -> bool {
    true
}

async fn typing(Shared(inner): App, Path(number): Path<String>, bytes: Bytes) -> Answer {
    let typing: Typing = body(&bytes)?;
    phone_of(&inner, &number)?.set_typing(&typing.chat, typing.typing);
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Presence {
    #[serde(default = "yes")]
    available: bool,
}

async fn presence(Shared(inner): App, Path(number): Path<String>, bytes: Bytes) -> Answer {
    let presence: Presence = body(&bytes)?;
    phone_of(&inner, &number)?.set_presence(presence.available);
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Wait {
    /// Wait until a message with this text is there.
    text: Option<String>,
    /// Or until there are this many.
    count: Option<usize>,
    #[serde(default)]
    timeout_ms: u64,
    /// Only id and text of each message.
    #[serde(default)]
    brief: bool,
}

/// A `Message` has a hundred fields, nearly all of them empty.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn message_json(message: &ReceivedMessage) -> Value {
    json!({
        "id": message.id,
        "from": message.from,
        "chat": message.chat,
        "participant": message.participant,
        "text": message.text,
        "timestamp": message.timestamp,
        "device_sent": message.device_sent,
        "message": without_nulls(serde_json::to_value(&message.message).unwrap_or(Value::Null)),
    })
}

fn brief_json(message: &ReceivedMessage) -> Value {
    json!({ "id": message.id, "text": message.text })
}

async fn received(Shared(inner): App, Path(number): Path<String>, Query(wait): Query<Wait>) -> Answer {
    let phone = phone_of(&inner, &number)?;
    let limit = Duration::from_millis(wait.timeout_ms);
    if let Some(text) = &wait.text {
        phone.wait_for_message(limit, |message| message.text.as_ref() == Some(text)).await?;
    }
    if let Some(count) = wait.count {
        phone.wait_for_count(limit, count).await?;
    }
    let describe: fn(&ReceivedMessage) -> Value = if wait.brief { brief_json } else { message_json };
    let all: Vec<_> = phone.received().iter().map(describe).collect();
    to_json(all)
}

async fn receipts(Shared(inner): App, Path(number): Path<String>) -> Answer {
    to_json(phone_of(&inner, &number)?.receipts())
}

#[derive(Deserialize)]
struct Device {
    device: String,
}

async fn unlink(Shared(inner): App, Path(number): Path<String>, bytes: Bytes) -> Answer {
    let device: Device = body(&bytes)?;
    let phone = phone_of(&inner, &number)?;
    let found = phone
        .devices()
        .into_iter()
        .find(|linked| linked.jid == device.device || linked.lid == device.device)
        .ok_or(StandInError::UnknownDevice(device.device))?;
    Ok(Json(json!({ "unlinked": phone.unlink(&found) })))
}

#[derive(Deserialize)]
struct NewGroup {
    owner: String,
    subject: String,
    members: Vec<String>,
}

async fn add_group(Shared(inner): App, bytes: Bytes) -> Answer {
    let group: NewGroup = body(&bytes)?;
    let owner = phone_of(&inner, &group.owner)?;
    let members: Vec<_> = group.members.iter().map(String::as_str).collect();
    let jid = StandIn::from_inner(&inner).create_group(&owner, &group.subject, &members)?;
    Ok(Json(json!({ "group": jid })))
}

async fn groups(Shared(inner): App) -> Answer {
    let groups: Vec<_> = inner.lock().groups.values().cloned().collect();
    to_json(groups)
}

async fn devices(Shared(inner): App) -> Answer {
    let state = inner.lock();
    let devices: Vec<_> = state
        .accounts
        .values()
        .flat_map(|account| {
            account.companions.values().map(|companion| {
                let device = LinkedDevice::new(&state.server, account, companion.device);
                json!({
                    "jid": device.jid,
                    "lid": device.lid,
                    "device_id": device.device_id,
                    "phone_number": device.phone_number,
                    "platform": device.platform,
                    "push_name": companion.push_name,
                    "connected": companion.connection.is_some(),
                    "live": companion.phase == crate::queue::Phase::Live,
                    "queued": companion.queue.len(),
                    "pre_keys": companion.pre_keys.len(),
                    "logins": companion.logins,
                })
            })
        })
        .collect();
    drop(state);
    to_json(devices)
}

async fn accounting(Shared(inner): App) -> Answer {
    to_json(StandIn::from_inner(&inner).accounting())
}

async fn progress(Shared(inner): App) -> Answer {
    to_json(StandIn::from_inner(&inner).progress())
}

async fn arrivals(Shared(inner): App) -> Answer {
    to_json(StandIn::from_inner(&inner).arrivals())
}

async fn start_traffic(Shared(inner): App, bytes: Bytes) -> Answer {
    let options: TrafficOptions = body(&bytes)?;
    let traffic = StandIn::from_inner(&inner).start_traffic(&options)?;
    let mut state = inner.lock();
    state.traffic.push(traffic);
    Ok(Json(json!({ "traffic": state.traffic.len() - 1 })))
}

#[derive(Deserialize)]
struct Patience {
    #[serde(default)]
    timeout_ms: u64,
}

fn traffic_of(inner: &Inner, index: usize) -> Result<Traffic, Failure> {
    let found = inner.lock().traffic.get(index).cloned();
    found.ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("no traffic {index} was started")))
}

async fn traffic(Shared(inner): App, Path(index): Path<usize>, Query(wait): Query<Patience>) -> Answer {
    let traffic = traffic_of(&inner, index)?;
    // Whether it has ended is in the report.
    let _in_time = tokio::time::timeout(Duration::from_millis(wait.timeout_ms), traffic.ended()).await;
    to_json(traffic.report())
}

async fn stop_traffic(Shared(inner): App, Path(index): Path<usize>) -> Answer {
    let traffic = traffic_of(&inner, index)?;
    traffic.stop();
    traffic.ended().await;
    to_json(traffic.report())
}

async fn unknown_iqs(Shared(inner): App) -> Answer {
    to_json(StandIn::from_inner(&inner).unknown_iqs())
}

/// The arguments of all faults; each uses its own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fault {
    target: Option<String>,
    code: Option<String>,
    conflict: Option<String>,
    reason: Option<u16>,
    #[serde(flatten)]
    details: FaultDetails,
    on: Option<bool>,
    times: Option<u32>,
    window: Option<usize>,
    ms: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FaultDetails {
    ban_code: Option<String>,
    expire_s: Option<u64>,
    message: Option<String>,
    count: Option<u32>,
}

async fn fault(Shared(inner): App, Path(name): Path<String>, bytes: Bytes) -> Answer {
    let fault: Fault = body(&bytes)?;
    let faults = Faults { inner: Arc::clone(&inner) };
    let target = fault.target.as_deref();
    let refuse = || match fault.details.count {
        Some(count) => Refuse::Count(count),
        None => Refuse::from(fault.on.unwrap_or(true)),
    };
    let mut met = None;
    match &*name {
        "stream-error" => {
            met = Some(faults.stream_error(
                target,
                fault.code.as_deref().unwrap_or_default(),
                fault.conflict.as_deref(),
            ));
        }
        "failure" => faults.failure_on_next_login(
            target,
            fault.reason.unwrap_or(401),
            FailureDetails {
                code: fault.details.ban_code.or(fault.code),
                expire_s: fault.details.expire_s,
                message: fault.details.message,
                count: fault.details.count,
            },
        ),
        "refuse-logins" => faults.refuse_logins(refuse()),
        "http-503" => faults.http_503(refuse()),
        "drop" => {
            met = Some(match target {
                Some(target) => faults.drop_connection(target),
                None => faults.drop_all(),
            });
        }
        "delay" => faults.delay_stanzas_ms(target, fault.ms.unwrap_or(0)),
        "duplicate" => faults.duplicate_messages(fault.times.unwrap_or(2)),
        "reorder" => faults.reorder(fault.window.unwrap_or(0)),
        "lose-acks" => faults.lose_acks(fault.on.unwrap_or(true)),
        "nack" => faults.nack_next_send(fault.code.as_deref().unwrap_or("479")),
        "corrupt" => faults.corrupt_next_message(target),
        "malformed" => met = Some(faults.send_malformed_stanza(target)),
        "freeze" => met = Some(faults.freeze(target)),
        "passkey" => faults.request_passkey(fault.on.unwrap_or(true)),
        "clear" => faults.clear(),
        _ => {
            return Err(Failure(StatusCode::NOT_FOUND, format!("no fault {name:?}; the README lists them")));
        }
    }
    Ok(Json(json!({ "connections": met })))
}
