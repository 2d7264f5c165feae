//! Clients: their token, what they subscribe to, what is emitted to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use socketioxide::extract::{AckSender, Extension, SocketRef, State, TryData};
use socketioxide::socket::Sid;
use socketioxide::{SendError, SocketError, SocketIo};
use tokio_util::sync::CancellationToken;

use super::Frame;
use super::replay::Missed;
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

/// The last number of each session that the client was told in an answer: what is emitted later must be higher.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<HashMap<String, u64>>>);

impl Told {
    fn note(&self, missed: &HashMap<String, Missed>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, missed) in missed {
            let last = told.entry(id.clone()).or_default();
            *last = missed.seq.max(*last);
        }
    }

    fn knows(&self, frame: &Frame) -> bool {
        let (Some(id), Some(seq)) = (&frame.session_id, frame.seq) else { return false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).is_some_and(|last| seq <= *last)
    }
}

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
    socket.extensions.insert(Told::default());
    socket.on("subscribe", subscribe);
    socket.on("unsubscribe", unsubscribe);
    socket.on_disconnect(async |Extension(Connection(connection)): Extension<Connection>| {
        connection.cancel();
    });
    tokio::spawn(end_with_token(io, socket.id, caller.expires_at_s(), connection));
    let epoch = app.replay().epoch().await;
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
    sessions: HashMap<String, Missed>,
}

/// Why nothing was subscribed to.
#[derive(Debug)]
struct Refused {
    code: &'static str,
    message: String,
}

impl Refused {
    fn invalid(message: &str) -> Self {
        Self { code: "invalid", message: message.to_owned() }
    }
}

impl From<centralita::Error> for Refused {
    fn from(error: centralita::Error) -> Self {
        tracing::warn!(%error, "a Socket.IO client could not be told what it missed");
        Self { code: error.kind().name(), message: error.to_string() }
    }
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
        Err(_) => Err(Refused::invalid(
            "subscribe takes { sessions: [ids] or \"*\", since?: { id: number }, epoch?: text }",
        )),
    };
    let sent = match answer {
        Ok(subscribed) => ack.send(&subscribed),
        Err(refused) => ack.send(&json!({ "error": { "code": refused.code, "message": refused.message } })),
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
) -> Result<Subscribed, Refused> {
    let ids = match (&request.sessions, caller.only_sessions()) {
        (Sessions::All(All::All), None) => None,
        (Sessions::All(All::All), Some(ids)) => Some(ids),
        (Sessions::Some(ids), _) => {
            if ids.len() > MAX_SESSIONS {
                return Err(Refused::invalid("too many sessions; subscribe to \"*\""));
            }
            if !ids.iter().all(|id| caller.sees(id)) {
                return Err(Refused::invalid("the token is not for one of these sessions"));
            }
            Some(ids.clone())
        }
    };
    let mut asked: Vec<&str> = match &ids {
        Some(ids) => ids.iter().map(String::as_str).collect(),
        // Of all sessions, those with a number are answered; others begin now.
        None => request.since.keys().map(String::as_str).collect(),
    };
    asked.sort_unstable();
    asked.dedup();
    let asked: Vec<(&str, Option<u64>)> =
        asked.into_iter().map(|id| (id, request.since.get(id).copied())).collect();
    let told = socket.extensions.get::<Told>().unwrap_or_default();
    let sessions =
        app.replay()
            .catch_up(&**app.store(), &asked, request.epoch.as_deref(), |missed| {
                told.note(missed);
                let is_through = |id: &str| missed.get(id).is_none_or(|missed| !missed.more);
                match &ids {
                    None if missed.values().any(|missed| missed.more) => {}
                    None => socket.join(EVERYTHING),
                    Some(ids) => socket
                        .join(ids.iter().filter(|id| is_through(id)).map(|id| room(id)).collect::<Vec<_>>()),
                }
            })
            .await?;
    Ok(Subscribed { epoch: app.replay().epoch().await, sessions })
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
        if !allowed || socket.extensions.get::<Told>().is_some_and(|told| told.knows(frame)) {
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

/// They come back, and ask for what they missed.
pub(super) fn disconnect_all(io: &SocketIo) {
    let Some(clients) = io.of("/") else { return };
    for socket in clients.sockets() {
        // It may be gone already.
        drop(socket.disconnect());
    }
}
