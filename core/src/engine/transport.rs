//! The WebSocket to WhatsApp, with buffers small enough for thousands of sockets in one process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::anyhow;
use whatsapp_rust::wacore::net::{
    DisconnectReason, Transport, TransportEvent, TransportFactory, WHATSAPP_WEB_ORIGIN, WHATSAPP_WEB_WS_URL,
};
use whatsapp_rust::wacore::stats::TransportResourceReport;

use super::http::EngineHttp;
use crate::error::{Error, ErrorKind, Result};

/// tungstenite's default is 128 KiB a socket, most of what an idle session would weigh.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Frames wait here until the engine takes them: the only back-pressure towards the socket.
const FRAMES_IN_FLIGHT: usize = 8;
/// A stanza with inline history is the largest thing that WhatsApp sends.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens sockets to one server.
#[derive(Clone)]
pub(crate) struct SocketFactory {
    url: Arc<str>,
    tls: Arc<rustls::ClientConfig>,
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
        let cut = CancellationToken::new();
        let http = EngineHttp::default();
        Ok(Self { url: url.into(), tls: Arc::new(tls_config()?), runtime, cut, http })
    }

    /// The HTTPS client that all sessions share.
    pub(crate) fn http(&self) -> EngineHttp {
        self.http.clone()
    }

    /// For a session whose sockets are cut by this token: from then on nothing is written to them.
    pub(crate) fn cut_by(&self, cut: CancellationToken) -> Self {
        Self { cut, ..self.clone() }
    }
}

#[async_trait]
impl TransportFactory for SocketFactory {
    async fn create_transport(
        &self,
    ) -> anyhow::Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        admit_address(&self.url)?;
        let mut request = (&*self.url).into_client_request()?;
        request.headers_mut().insert("Origin", HeaderValue::from_static(WHATSAPP_WEB_ORIGIN));
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = READ_BUFFER_BYTES;
        config.write_buffer_size = 0;
        config.max_message_size = Some(MAX_MESSAGE_BYTES);
        config.max_frame_size = Some(MAX_MESSAGE_BYTES);
        let connector = Connector::Rustls(Arc::clone(&self.tls));
        let (socket, _response) =
            tokio_tungstenite::connect_async_tls_with_config(request, Some(config), true, Some(connector))
                .await?;
        let (sink, stream) = socket.split();
        let (events, receiver) = async_channel::bounded(FRAMES_IN_FLIGHT);
        // The first event of a fresh channel: it cannot be full.
        events.try_send(TransportEvent::Connected)?;
        let reader = self.runtime.spawn(read_frames(stream, events)).abort_handle();
        Ok((
            Arc::new(WebSocketTransport { cut: self.cut.clone(), sink: Mutex::new(Some(sink)), reader }),
            receiver,
        ))
    }
}

struct WebSocketTransport {
    cut: CancellationToken,
    sink: Mutex<Option<SplitSink<Socket, Message>>>,
    reader: tokio::task::AbortHandle,
}

#[async_trait]
impl Transport for WebSocketTransport {
    async fn send(&self, data: Bytes) -> anyhow::Result<()> {
        if self.cut.is_cancelled() {
            return Err(anyhow::anyhow!("the socket is cut"));
        }
        let mut sink = self.sink.lock().await;
        let sink = sink.as_mut().ok_or_else(|| anyhow::anyhow!("the socket is closed"))?;
        sink.send(Message::Binary(data)).await?;
        Ok(())
    }

    async fn disconnect(&self) {
        let Some(mut sink) = self.sink.lock().await.take() else { return };
        // A peer that is gone never takes the close frame.
        match tokio::time::timeout(CLOSE_PATIENCE, sink.close()).await {
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
            Some(Ok(Message::Binary(data))) => {
                if events.send(TransportEvent::DataReceived(data)).await.is_err() {
                    return;
                }
            }
            Some(Ok(Message::Close(frame))) => {
                break DisconnectReason::ServerClose {
                    code: frame.as_ref().map(|frame| frame.code.into()),
                    reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
                };
            }
            // Pings are answered by the WebSocket layer; WhatsApp sends no text.
            Some(Ok(_)) => {}
            Some(Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed)) | None => {
                break DisconnectReason::StreamEnded;
            }
            Some(Err(error)) => break DisconnectReason::ReadError(error.to_string()),
        }
    };
    if events.send(TransportEvent::Disconnected(reason)).await.is_err() {
        tracing::trace!("the engine had left before its socket closed");
    }
}

/// In a build with feature `stand-in` the server's certificate is not checked, so such a build must reach
/// nothing but this machine. Other builds reach WhatsApp.
#[cfg(feature = "stand-in")]
pub(crate) fn admit_address(url: &str) -> Result<()> {
    let uri: tungstenite::http::Uri =
        url.parse().map_err(|_| Error::new(ErrorKind::Invalid, "the server's address is not a URL"))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback {
        return Ok(());
    }
    tracing::error!(
        "refused to leave this machine: this build has the feature `stand-in` and checks no certificate"
    );
    Err(Error::new(
        ErrorKind::Invalid,
        "this build has the feature `stand-in`: it checks no certificate and reaches nothing but loopback; \
         build without the feature to reach WhatsApp",
    ))
}

/// See the build with feature `stand-in`.
#[cfg(not(feature = "stand-in"))]
pub(crate) fn admit_address(url: &str) -> Result<()> {
    if url.starts_with("https://") || url.starts_with("wss://") {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Invalid,
            "only encrypted connections to WhatsApp are made; build with the feature `stand-in` to test against a local server",
        ))
    }
}

fn tls_config() -> Result<rustls::ClientConfig> {
    // The provider is named, never installed: which one the process uses by default is the host's choice.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(
            |error| Error::new(ErrorKind::Internal, "TLS could not be set up; report it").caused_by(error),
        )?;
    #[cfg(feature = "stand-in")]
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(loopback_tls::AcceptSelfSigned))
        .with_no_client_auth();
    #[cfg(not(feature = "stand-in"))]
    let config = builder
        .with_root_certificates(
            webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect::<rustls::RootCertStore>(),
        )
        .with_no_client_auth();
    Ok(config)
}

/// The stand-in signs its own certificate.
#[cfg(feature = "stand-in")]
mod loopback_tls {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct AcceptSelfSigned;

    impl ServerCertVerifier for AcceptSelfSigned {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}

#[cfg(all(test, feature = "stand-in"))]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_checks_no_certificate_stays_on_this_machine() {
        for url in ["ws://127.0.0.1:9/ws/chat", "wss://[::1]:9/ws/chat", "http://localhost/x"] {
            assert!(admit_address(url).is_ok(), "{url}");
        }
        for url in [
            WHATSAPP_WEB_WS_URL,
            "ws://10.0.0.1/",
            "https://web.whatsapp.com/sw.js",
            "ws://localhost.evil/",
            "x",
        ] {
            assert_eq!(admit_address(url).unwrap_err().kind(), ErrorKind::Invalid, "{url}");
        }
    }
}
