//! One WebSocket: handshake, then stanzas in and out until it closes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use wacore_binary::{Node, OwnedNodeRef};

use crate::account::ConnectionId;
use crate::frame::{self, Frames};
use crate::noise::{self, Cipher, Ciphers, Client, Step};
use crate::state::{Connection, Inner, Outgoing, Timed};

/// Clients themselves give a handshake 20 s.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// whatsmeow loses a `stream:error` that a close follows at once, so the client closes first.
const GRACE_BEFORE_CLOSE: Duration = Duration::from_millis(1500);

/// Serves one client until it is gone.
pub(crate) async fn serve(inner: Arc<Inner>, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let mut frames = Frames::default();
    let handshake = shake_hands(&inner, &mut sink, &mut stream, &mut frames);
    let (ciphers, client) = match tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
        Ok(Some(done)) => done,
        Ok(None) => return,
        Err(_elapsed) => {
            tracing::debug!("a client did not finish the handshake in time");
            return;
        }
    };
    let Ciphers { read, write } = ciphers;
    let (out, outgoing) = unbounded_channel();
    let closed = inner.stop.child_token();
    let writer = tokio::spawn(write_all(sink, write, outgoing, closed.clone()));

    let id = enter(&inner, client, out);
    if let Some(id) = id {
        read_all(&inner, id, &mut stream, &mut frames, read, &closed).await;
        inner.lock().connection_closed(id);
    }
    if id.is_some() {
        closed.cancel();
    }
    let _ended = writer.await;
}

/// Registers the connection and answers the login. None: it is refused without a word.
fn enter(
    inner: &Arc<Inner>,
    client: Client,
    out: tokio::sync::mpsc::UnboundedSender<Timed>,
) -> Option<ConnectionId> {
    let mut state = inner.lock();
    if state.faults.refuse.take() {
        return None;
    }
    state.next_connection += 1;
    let id = state.next_connection;
    tracing::debug!(id, pattern = client.pattern, "handshake done");
    state.connections.insert(
        id,
        Connection {
            out,
            static_key: client.static_key,
            payload: client.payload,
            pattern: client.pattern,
            device: None,
            frozen: false,
            closing: false,
            pairing: None,
            passkey: None,
        },
    );
    state.connection_opened(id);
    Some(id)
}

async fn shake_hands(
    inner: &Inner,
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    frames: &mut Frames,
) -> Option<(Ciphers, Client)> {
    let hello = next_frame(stream, frames).await?;
    match noise::begin(&inner.certificate, &hello) {
        Ok(Step::Done(reply, done)) => {
            send_frame(sink, reply).await?;
            Some(*done)
        }
        Ok(Step::Hello(reply, pending)) => {
            send_frame(sink, reply).await?;
            let finish = next_frame(stream, frames).await?;
            noise::finish(*pending, &finish)
                .inspect_err(|error| tracing::info!(%error, "client refused"))
                .ok()
        }
        Err(error) => {
            tracing::info!(%error, "client refused");
            None
        }
    }
}

async fn next_frame(stream: &mut SplitStream<WebSocket>, frames: &mut Frames) -> Option<bytes::BytesMut> {
    loop {
        match frames.next() {
            Ok(Some(frame)) => return Some(frame),
            Ok(None) => {}
            Err(error) => {
                tracing::info!(%error, "client refused");
                return None;
            }
        }
        match stream.next().await? {
            Ok(Message::Binary(bytes)) => frames.push(&bytes),
            Ok(Message::Close(_)) => {
                // The library has the answer ready, and sends it when it is polled once more.
                let _answered = stream.next().await;
                return None;
            }
            Err(_) => return None,
            // Text is no part of the protocol; pings are answered by the library.
            Ok(_) => {}
        }
    }
}

/// One WebSocket message a frame: some clients lose what comes in the same read as the ServerHello.
async fn send_frame(sink: &mut SplitSink<WebSocket, Message>, payload: Vec<u8>) -> Option<()> {
    let mut framed = Vec::with_capacity(payload.len() + 3);
    framed.extend_from_slice(&frame::header(payload.len()));
    framed.extend_from_slice(&payload);
    sink.send(Message::Binary(Bytes::from(framed))).await.ok()
}

async fn read_all(
    inner: &Arc<Inner>,
    id: ConnectionId,
    stream: &mut SplitStream<WebSocket>,
    frames: &mut Frames,
    mut cipher: Cipher,
    closed: &CancellationToken,
) {
    loop {
        let frame = tokio::select! {
            frame = next_frame(stream, frames) => frame,
            () = closed.cancelled() => None,
        };
        let Some(mut frame) = frame else { return };
        if !cipher.decrypt(&mut frame) {
            tracing::info!(id, "a frame does not decrypt; closing");
            return;
        }
        match decode(&frame) {
            Ok(node) => {
                tracing::trace!(id, ?node, "in");
                if !crate::dispatch::handle(inner, id, &node) {
                    return;
                }
            }
            Err(error) => {
                // Only the client that sent it is closed.
                tracing::info!(id, %error, "malformed stanza; closing");
                let error = crate::node::stream_error(Some("400"), None);
                inner.lock().end_stream(id, &error);
            }
        }
    }
}

fn decode(frame: &[u8]) -> Result<Node, wacore_binary::BinaryError> {
    let plain = wacore_binary::util::unpack(frame)?;
    Ok(OwnedNodeRef::new(plain.into_owned())?.to_owned_node())
}

async fn write_all(
    mut sink: SplitSink<WebSocket, Message>,
    mut cipher: Cipher,
    mut outgoing: UnboundedReceiver<Timed>,
    closed: CancellationToken,
) {
    while let Some(Timed { due, what }) = outgoing.recv().await {
        if let Some(due) = due {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = closed.cancelled() => return,
            }
        }
        let plain = match what {
            Outgoing::Node(node) => {
                tracing::trace!(?node, "out");
                match wacore_binary::marshal(&node) {
                    Ok(plain) => plain,
                    Err(error) => {
                        tracing::error!(%error, ?node, "cannot encode a stanza");
                        continue;
                    }
                }
            }
            Outgoing::Plain(plain) => plain,
            Outgoing::Drop => {
                closed.cancel();
                return;
            }
            Outgoing::Close => {
                // The reader sees the client's close and cancels.
                tokio::select! {
                    () = tokio::time::sleep(GRACE_BEFORE_CLOSE) => {}
                    () = closed.cancelled() => {}
                }
                let _closed = sink.send(Message::Close(None)).await;
                closed.cancel();
                return;
            }
        };
        let mut payload = plain;
        if !cipher.encrypt(&mut payload) || send_frame(&mut sink, payload).await.is_none() {
            closed.cancel();
            return;
        }
    }
    let _closed = sink.send(Message::Close(None)).await;
}
