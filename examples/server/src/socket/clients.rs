//! Clients: their token, what they subscribe to, what is emitted to them.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, Extension, SocketRef, State, TryData};
use socketioxide::socket::Sid;
use socketioxide::{SendError, SocketError, SocketIo};
use tokio_util::sync::CancellationToken;

use super::Frame;
use crate::app::App;
use crate::auth::{Caller, Scope};

/// The room of those who see everything.
const EVERYTHING: &str = "*";
/// Sessions that one `subscribe` may name.
const MAX_SESSIONS: usize = 10_000;

fn room(session_id: &str) -> String {
    format!("session:{session_id}")
}

/// What a client sends as `auth`.
#[derive(Debug, Deserialize)]
pub(super) struct Auth {
    token: String,
}

/// Ends with the connection.
#[derive(Debug, Clone)]
struct Connection(CancellationToken);

/// Lets only clients with a valid token in. The error's text is the message of `connect_error`.
pub(super) async fn check_token(
    socket: SocketRef,
    TryData(auth): TryData<Auth>,
    State(app): State<App>,
) -> Result<(), &'static str> {
    let auth = auth.map_err(|_| "no token; connect with auth: { token }")?;
    let caller = app.verifier().verify(&auth.token).ok_or("the token is not valid or has ended")?;
    if !caller.may(Scope::Read) {
        return Err("the token lacks the scope read");
    }
    socket.extensions.insert(caller);
    Ok(())
}

/// Greets a client and waits for what it asks.
pub(super) async fn connected(
    socket: SocketRef,
    io: SocketIo,
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) {
    let connection = CancellationToken::new();
    socket.extensions.insert(Connection(connection.clone()));
    socket.on("subscribe", subscribe);
    socket.on("unsubscribe", unsubscribe);
    socket.on_disconnect(async |Extension(Connection(connection)): Extension<Connection>| {
        connection.cancel();
    });
    tokio::spawn(end_with_token(io, socket.id, caller.expires_at_s(), connection));
    let epoch = app.journal().lock().await.epoch().to_owned();
    // It may be gone again already.
    drop(socket.emit("ready", &json!({ "epoch": epoch })));
}

/// A connection does not outlive its token.
async fn end_with_token(io: SocketIo, id: Sid, expires_at_s: u64, connection: CancellationToken) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(expires_at_s).saturating_sub(now);
    if connection.run_until_cancelled(tokio::time::sleep(left)).await.is_some()
        && let Some(clients) = io.of("/")
        && let Some(socket) = clients.get_socket(id)
    {
        // It may be gone already.
        drop(socket.disconnect());
    }
}

/// Which sessions, and from where on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Subscribe {
    sessions: Sessions,
    /// The number of the last event seen of each session.
    #[serde(default)]
    since: HashMap<String, u64>,
    /// As told by `ready` or an earlier `subscribe`.
    #[serde(default)]
    epoch: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Sessions {
    All(All),
    Some(Vec<String>),
}

#[derive(Debug, Deserialize)]
enum All {
    #[serde(rename = "*")]
    All,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscribed {
    epoch: String,
    sessions: HashMap<String, Standing>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Standing {
    /// The number of the last event so far.
    seq: u64,
    /// Events since the number asked for, oldest first.
    events: Vec<Value>,
    /// True if some are no longer kept: read the rest over HTTP.
    incomplete: bool,
}

async fn subscribe(
    socket: SocketRef,
    TryData(request): TryData<Subscribe>,
    ack: AckSender,
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) {
    let answer = match request {
        Ok(request) => join(&socket, request, &app, &caller).await,
        Err(_) => Err("subscribe takes { sessions: [ids] or \"*\", since?: { id: number }, epoch?: text }"),
    };
    let sent = match answer {
        Ok(subscribed) => ack.send(&subscribed),
        Err(message) => ack.send(&json!({ "error": { "code": "invalid", "message": message } })),
    };
    if sent.is_err() {
        // Without the answer it would not know what it missed; it comes back and asks again.
        drop(socket.disconnect());
    }
}

async fn join(
    socket: &SocketRef,
    request: Subscribe,
    app: &App,
    caller: &Caller,
) -> Result<Subscribed, &'static str> {
    let ids = match (&request.sessions, caller.only_sessions()) {
        (Sessions::All(All::All), None) => None,
        (Sessions::All(All::All), Some(ids)) => Some(ids),
        (Sessions::Some(ids), _) => {
            if ids.len() > MAX_SESSIONS {
                return Err("too many sessions; subscribe to \"*\"");
            }
            if !ids.iter().all(|id| caller.sees(id)) {
                return Err("the token is not for one of these sessions");
            }
            Some(ids.clone())
        }
    };
    // Held until the rooms are joined: nothing is emitted in between.
    let kept = app.journal().lock().await;
    let mut asked: Vec<&str> = match &ids {
        Some(ids) => ids.iter().map(String::as_str).collect(),
        // Of all sessions, those with a number are answered; others begin now.
        None => request.since.keys().map(String::as_str).collect(),
    };
    asked.sort_unstable();
    asked.dedup();
    let sessions = asked
        .into_iter()
        .map(|id| {
            let missed = kept.missed(Some(id), request.since.get(id).copied(), request.epoch.as_deref());
            let standing =
                Standing { seq: missed.last, events: missed.frames, incomplete: missed.is_incomplete };
            (id.to_owned(), standing)
        })
        .collect();
    match ids {
        None => socket.join(EVERYTHING),
        Some(ids) => socket.join(ids.iter().map(|id| room(id)).collect::<Vec<_>>()),
    }
    Ok(Subscribed { epoch: kept.epoch().to_owned(), sessions })
}

/// Which sessions no longer.
#[derive(Debug, Deserialize)]
pub(super) struct Unsubscribe {
    sessions: Vec<String>,
}

async fn unsubscribe(socket: SocketRef, TryData(request): TryData<Unsubscribe>, ack: AckSender) {
    let answer = match request {
        Ok(request) => {
            socket.leave(request.sessions.iter().map(|id| room(id)).collect::<Vec<_>>());
            json!({})
        }
        Err(_) => {
            json!({ "error": { "code": "invalid", "message": "unsubscribe takes { sessions: [ids] }" } })
        }
    };
    // It may be gone already.
    drop(ack.send(&answer));
}

/// Emits to everybody who subscribed and may see it. Never waits: who is too slow is disconnected.
pub(super) fn emit(io: &SocketIo, frame: &Frame) {
    // There is none any more once the server ends.
    let Some(clients) = io.of("/") else { return };
    let sockets = match &frame.session_id {
        Some(id) => clients.within([EVERYTHING.to_owned(), room(id)]).sockets(),
        None => clients.within(EVERYTHING).sockets(),
    };
    for socket in sockets {
        let allowed = socket.extensions.get::<Caller>().is_some_and(|caller| {
            let sees = frame.session_id.as_deref().is_none_or(|id| caller.sees(id));
            sees && (!frame.is_secret || caller.may(Scope::Admin))
        });
        if !allowed {
            continue;
        }
        if let Err(SendError::Socket(SocketError::InternalChannelFull)) = socket.emit(frame.name, &frame.body)
        {
            tracing::info!("disconnected a Socket.IO client that was too slow");
            metrics::counter!("centralita_socket_io_too_slow").increment(1);
            drop(socket.disconnect());
        }
    }
}
