//! Socket.IO: what happens, as it happens, to clients whose token lets them see it.
//!
//! A client connects with `auth: { token }`, then emits `subscribe` with `{ sessions: ["ventas"] }` (or `"*"`), and
//! `since: { ventas: 17 }` with the `epoch` it was told if it comes back. The acknowledgement holds what it missed;
//! what comes after follows as events, each with its number. A client that is too slow is disconnected: it comes back
//! and asks for the rest, and no session ever waits for it.
//!
//! | file | what |
//! | --- | --- |
//! | `clients` | tokens, rooms, what is emitted to whom |
//! | `frame` | an event as clients see it |
//! | `replay` | the order of what is emitted and what was missed |
//! | `log` | what was missed, from the durable log of events |
//! | `journal` | the same from memory, if there is no log |

mod clients;
mod frame;
mod journal;
mod log;
mod replay;

use axum::Router;
use centralita::Result;
use centralita::events::{EventKind, Filter, Subscription, SubscriptionOptions};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{SocketIo, TransportType};

pub(crate) use frame::Frame;
pub(crate) use replay::Replay;

use crate::app::App;
use clients::{check_token, connected};

/// Events that wait for this server; it only hands them on.
const QUEUE: usize = 65_536;
/// Packets that wait for one client; then it is too slow.
const CLIENT_BUFFER: usize = 1_024;
/// The largest packet of a client, in bytes.
const CLIENT_PAYLOAD: u64 = 64 * 1024;

/// Where clients of Socket.IO look for it.
pub(crate) const PATH: &str = "/socket.io/";

/// The route of Socket.IO, and the handle to emit with. A route and not a layer: axum would make one for each route,
/// and each would know its own clients only.
pub(crate) fn router(app: &App) -> (Router, SocketIo) {
    let (service, io) = SocketIo::builder()
        .with_state(app.clone())
        .max_buffer_size(CLIENT_BUFFER)
        .max_payload(CLIENT_PAYLOAD)
        .transports([TransportType::Websocket, TransportType::Polling])
        .build_svc();
    io.ns("/", connected.with(check_token));
    (Router::new().route_service(PATH, service), io)
}

/// The events of all sessions, from now on.
pub(crate) fn events(app: &App) -> Result<Subscription> {
    app.service().subscribe(SubscriptionOptions::from(Filter::all()).capacity(QUEUE))
}

/// Hands events on until the service ends.
pub(crate) async fn publish(app: App, io: SocketIo, mut events: Subscription) {
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                if matches!(event.kind, EventKind::Lagged { .. }) {
                    tracing::warn!(
                        "events were lost between the sessions and Socket.IO; clients must come back"
                    );
                    app.replay().lost(&io).await;
                } else {
                    app.replay().publish(&io, &event).await;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the events of the sessions ended");
                return;
            }
        }
    }
}
