//! The WebSocket to WhatsApp, with buffers small enough for thousands of sockets in one process.

mod address;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt, SinkExt, StreamExt};
use http::header::ORIGIN;
use http::{HeaderValue, Uri};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_websockets::{
    ClientBuilder, CloseCode, Config, Connector, Limits, MaybeTlsStream, Message, WebSocketStream,
};
use whatsapp_rust::anyhow;
use whatsapp_rust::wacore::net::{
    DisconnectReason, Transport, TransportEvent, TransportFactory, WHATSAPP_WEB_ORIGIN, WHATSAPP_WEB_WS_URL,
};
use whatsapp_rust::wacore::stats::TransportResourceReport;

pub(crate) use self::address::admit_address;
use self::address::host_of;
use self::tls::tls_config;
use super::http::EngineHttp;
use crate::error::Result;

/// What tokio-util gives a framed reader to begin with.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Frames wait here until the engine takes them: the only back-pressure towards the socket.
const FRAMES_IN_FLIGHT: usize = 8;
/// A stanza with inline history is the largest thing that WhatsApp sends.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// The engine appends each frame to one buffer that it keeps. A frame above this size is held here until the engine
/// has begun another, so that the 39 KiB that the pre-keys of a fresh session need are not kept for its whole life.
const OUTSIZED_BYTES: usize = 8 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens sockets to one server.
#[derive(Clone)]
pub(crate) struct SocketFactory {
    url: Arc<str>,
    tls: TlsConnector,
    runtime: Handle,
    cut: CancellationToken,
    /// One pool for all sessions.
    http: EngineHttp,
}

impl SocketFactory {
    /// For WhatsApp itself, or for the stand-in at `stand_in_url`.
    pub(crate) fn new(stand_in_url: Option<&str>, runtime: Handle) -> Result<Self> {
        let url = stand_in_url.unwrap_or(WHATSAPP_WEB_WS_URL);
        if stand_in_url.is_some() {
            admit_address(url)?;
        }
        let tls = Arc::new(tls_config()?).into();
        let cut = CancellationToken::new();
        Ok(Self { url: url.into(), tls, runtime, cut, http: EngineHttp::default() })
    }

    /// The HTTPS client that all sessions share.
    pub(crate) fn http(&self) -> EngineHttp {
        self.http.clone()
    }

    /// For a session whose sockets are cut by this token: from then on nothing is written to them.
    pub(crate) fn cut_by(&self, cut: CancellationToken) -> Self {
        Self { cut, ..self.clone() }
    }

    async fn open(&self) -> anyhow::Result<Socket> {
        let uri: Uri = self.url.parse()?;
        let encrypted = matches!(uri.scheme_str(), Some("wss" | "https"));
        let host = host_of(&uri).to_owned();
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        let connector = if encrypted { Connector::Rustls(self.tls.clone()) } else { Connector::Plain };
        let stream = connector.wrap(&host, tcp).await?;
        let (socket, _response) = ClientBuilder::from_uri(uri)
            .add_header(ORIGIN, HeaderValue::from_static(WHATSAPP_WEB_ORIGIN))?
            // A stanza goes in one WebSocket frame, as from a browser.
            .config(Config::default().frame_size(usize::MAX))
            .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE_BYTES)))
            .connect_on(stream)
            .await?;
        Ok(socket)
    }
}

#[async_trait]
impl TransportFactory for SocketFactory {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        admit_address(&self.url)?;
        let (sink, stream) = self.open().await?.split();
        let (events, receiver) = async_channel::bounded(FRAMES_IN_FLIGHT);
        // The first event of a fresh channel: it cannot be full.
        events.try_send(TransportEvent::Connected)?;
        let reader = self.runtime.spawn(read_frames(stream, events)).abort_handle();
        Ok((
            Arc::new(WebSocketTransport {
                cut: self.cut.clone(),
                outgoing: Mutex::new(Some(Outgoing { sink, outsized: None })),
                reader,
            }),
            receiver,
        ))
    }
}

struct WebSocketTransport {
    cut: CancellationToken,
    /// `None` once closed.
    outgoing: Mutex<Option<Outgoing>>,
    reader: tokio::task::AbortHandle,
}

struct Outgoing {
    sink: SplitSink<Socket, Message>,
    /// The last frame above [`OUTSIZED_BYTES`], while the engine still has its buffer.
    outsized: Option<Bytes>,
}

#[async_trait]
impl Transport for WebSocketTransport {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        if self.cut.is_cancelled() {
            return Err(anyhow::anyhow!("the socket is cut"));
        }
        let mut outgoing = self.outgoing.lock().await;
        let outgoing = outgoing.as_mut().ok_or_else(|| anyhow::anyhow!("the socket is closed"))?;
        // A frame that has its buffer for itself is no longer what the engine appends to.
        outgoing.outsized.take_if(|outsized| outsized.is_unique());
        if data.len() > OUTSIZED_BYTES {
            outgoing.outsized = Some(data.clone());
        }
        outgoing.sink.send(Message::binary(data)).await?;
        Ok(())
    }

    async fn disconnect(&self) {
        let Some(mut outgoing) = self.outgoing.lock().await.take() else { return };
        // A peer that is gone never takes the close frame, and whether this one answers is not waited for.
        match tokio::time::timeout(CLOSE_PATIENCE, outgoing.sink.send(Message::close(None, ""))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the socket was gone before its close frame"),
            Err(_) => tracing::debug!("the peer did not take the close frame in time"),
        }
        self.reader.abort();
    }

    fn resource_report(&self) -> Option<TransportResourceReport> {
        Some(TransportResourceReport {
            read_buffer_bytes: Some(READ_BUFFER_BYTES as u64),
            ..Default::default()
        })
    }
}

impl Drop for WebSocketTransport {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_frames(mut stream: SplitStream<Socket>, events: async_channel::Sender<TransportEvent>) {
    let reason = loop {
        match stream.next().await {
            Some(Ok(message)) if message.is_binary() => {
                let frame = TransportEvent::DataReceived(message.into_payload().into());
                if events.send(frame).await.is_err() {
                    return;
                }
            }
            Some(Ok(message)) => {
                // Pings are answered by the WebSocket layer; WhatsApp sends no text.
                if let Some((code, reason)) = message.as_close() {
                    // The layer's answer to it leaves with the next poll; after that there is nothing to read.
                    drop(stream.next().now_or_never());
                    let code = (code != CloseCode::NO_STATUS_RECEIVED).then(|| code.into());
                    break DisconnectReason::ServerClose { code, reason: reason.to_owned() };
                }
            }
            Some(Err(tokio_websockets::Error::AlreadyClosed)) | None => break DisconnectReason::StreamEnded,
            Some(Err(error)) => break DisconnectReason::ReadError(error.to_string()),
        }
    };
    if events.send(TransportEvent::Disconnected(reason)).await.is_err() {
        tracing::trace!("the engine had left before its socket closed");
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// A transport whose peer reads everything.
    async fn transport() -> WebSocketTransport {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while peer.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        let (sink, _stream) = ClientBuilder::new().take_over(MaybeTlsStream::Plain(tcp)).split();
        WebSocketTransport {
            cut: CancellationToken::new(),
            outgoing: Mutex::new(Some(Outgoing { sink, outsized: None })),
            reader: reader.abort_handle(),
        }
    }

    /// As the engine sends: one buffer, whose written part is handed over.
    async fn send(transport: &WebSocketTransport, buffer: &mut BytesMut, bytes: usize) {
        buffer.resize(bytes, 7);
        transport.send(buffer.split().freeze()).await.unwrap();
    }

    #[tokio::test]
    async fn one_large_frame_leaves_no_large_buffer() {
        let transport = transport().await;
        let mut buffer = BytesMut::with_capacity(4096);
        send(&transport, &mut buffer, 100).await;
        send(&transport, &mut buffer, 39_000).await;
        send(&transport, &mut buffer, 100).await;
        assert!(buffer.capacity() <= 4096, "the engine still has {} bytes", buffer.capacity());
        send(&transport, &mut buffer, 100).await;
        assert!(transport.outgoing.lock().await.as_ref().unwrap().outsized.is_none());
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_cut() {
        let transport = transport().await;
        transport.cut.cancel();
        assert!(transport.send(Bytes::from_static(b"x")).await.is_err());
    }

    #[tokio::test]
    async fn a_closed_socket_takes_nothing() {
        let transport = transport().await;
        transport.disconnect().await;
        assert!(transport.send(Bytes::from_static(b"x")).await.is_err());
        transport.disconnect().await;
    }
}
