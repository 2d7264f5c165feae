//! The port: WebSocket and admin API, with or without TLS, on loopback only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::StandInError;
use crate::state::Inner;

/// Small: there may be thousands of sockets, and stanzas are short.
const SOCKET_BUFFER: usize = 4096;

/// A frame's length has 24 bits.
const LARGEST_MESSAGE: usize = 1 << 24;

pub(crate) async fn bind(port: u16) -> Result<TcpListener, StandInError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address).await.map_err(|source| StandInError::Listen { port, source })
}

/// A certificate of our own for `127.0.0.1` and `localhost`.
pub(crate) fn tls_acceptor() -> Result<TlsAcceptor, StandInError> {
    let failed = |error: &dyn std::fmt::Display| StandInError::Tls(error.to_string());
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error| failed(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until told to stop.
pub(crate) async fn run(inner: Arc<Inner>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let app = crate::admin::routes()
        .route("/ws/chat", any(upgrade))
        .fallback(upgrade)
        .with_state(Arc::clone(&inner));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inner.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let (app, tls) = (app.clone(), tls.clone());
                inner.tasks.spawn(accept(Arc::clone(&inner), stream, app, tls));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others will be closed.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

async fn accept(inner: Arc<Inner>, stream: TcpStream, app: Router, tls: Option<TlsAcceptor>) {
    let _still_works = stream.set_nodelay(true);
    match tls {
        None => serve(&inner, stream, app).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(&inner, stream, app).await,
            Err(error) => tracing::debug!(%error, "TLS handshake failed"),
        },
    }
}

async fn serve<S>(inner: &Inner, stream: S, app: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().max_buf_size(16 * 1024);
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::select! {
        done = connection => {
            if let Err(error) = done {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = inner.stop.cancelled() => {}
    }
}

/// Any path that asks for a WebSocket gets the chat; clients differ in their paths.
async fn upgrade(Shared(inner): Shared<Arc<Inner>>, request: Request) -> Response {
    let (mut parts, _body) = request.into_parts();
    let Ok(socket) = WebSocketUpgrade::from_request_parts(&mut parts, &inner).await else {
        return (StatusCode::NOT_FOUND, "no such path; see the README of centralita-stand-in\n")
            .into_response();
    };
    let refused = {
        let mut state = inner.lock();
        state.arrivals.socket();
        state.faults.http_503.take()
    };
    if refused {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    socket
        .read_buffer_size(SOCKET_BUFFER)
        .write_buffer_size(0)
        .max_message_size(LARGEST_MESSAGE)
        .max_frame_size(LARGEST_MESSAGE)
        .on_upgrade(move |socket| crate::connection::serve(inner, socket))
}
