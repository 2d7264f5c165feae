//! A loopback proxy between a store and its MongoDB that plays the faults of a network and of a busy server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Open,
    /// Holds every command but `hello` up for so long.
    Slow(Duration),
    /// Cuts all connections and refuses new ones.
    Away,
}

/// A proxy; it ends with its runtime.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    cut: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy in front of the server that a URI names.
    pub async fn before(uri: &str) -> Self {
        let host =
            uri.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next()).expect("a URI has a host");
        let upstream: SocketAddr = host.parse().expect("the test server is named by address and port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let (mode, cut) = (watch::Sender::new(Mode::Open), Arc::default());
        tokio::spawn(serve(listener, address, upstream, mode.subscribe(), Arc::clone(&cut)));
        Self { address, mode, cut }
    }

    /// The same URI through the proxy.
    pub fn uri(&self, uri: &str) -> String {
        let (scheme, rest) = uri.split_once("://").expect("a URI has a scheme");
        let tail = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
        format!("{scheme}://{}{tail}", self.address)
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Has the next command of this name carried out and its connection cut instead of the answer.
    pub fn cut_answer_to(&self, command: &str) {
        self.cut.lock().expect("no panic holds it").push(command.to_owned());
    }

    /// Whether every answer that was to be cut was cut.
    pub fn has_cut_all(&self) -> bool {
        self.cut.lock().expect("no panic holds it").is_empty()
    }
}

async fn serve(
    mut listener: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    cut: Arc<Mutex<Vec<String>>>,
) {
    loop {
        if *mode.borrow() == Mode::Away {
            // Without a listener the system itself refuses.
            drop(listener);
            if mode.wait_for(|mode| *mode != Mode::Away).await.is_err() {
                return;
            }
            listener = TcpListener::bind(address).await.expect("the port is still ours");
        }
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let (mut mode, commands, cut) = (mode.clone(), mode.clone(), Arc::clone(&cut));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(upstream).await else { return };
                    tokio::select! {
                        () = relay(client, server, commands, cut) => {}
                        _ = mode.wait_for(|mode| *mode == Mode::Away) => {}
                    }
                });
            }
            changed = mode.changed() => if changed.is_err() { return },
        }
    }
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    mode: watch::Receiver<Mode>,
    cut: Arc<Mutex<Vec<String>>>,
) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let cutting = AtomicBool::new(false);
    // Whichever side ends first takes the other with it.
    tokio::select! {
        () = commands(from_client, to_server, mode, &cut, &cutting) => {}
        () = answers(from_server, to_client, &cutting) => {}
    }
}

async fn commands(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mode: watch::Receiver<Mode>,
    cut: &Mutex<Vec<String>>,
    cutting: &AtomicBool,
) {
    while let Some(frame) = frame(&mut from).await {
        let name = command_name(&frame);
        let slow = *mode.borrow();
        if let Mode::Slow(by) = slow
            && !matches!(name.as_str(), "hello" | "isMaster" | "ismaster")
        {
            tokio::time::sleep(by).await;
        }
        {
            let mut cut = cut.lock().expect("no panic holds it");
            if let Some(index) = cut.iter().position(|wanted| *wanted == name) {
                cut.remove(index);
                cutting.store(true, Ordering::SeqCst);
            }
        }
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cutting: &AtomicBool) {
    while let Some(frame) = frame(&mut from).await {
        if cutting.load(Ordering::SeqCst) || to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// One message of MongoDB's wire protocol: its length comes first.
async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32_le().await.ok()?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.resize(usize::try_from(length).ok()?.max(4), 0);
    from.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame)
}

/// The first field of an OP_MSG's body: header, flags, kind of section, length, type of field, name.
fn command_name(frame: &[u8]) -> String {
    const NAME: usize = 16 + 4 + 1 + 4 + 1;
    let name = frame.get(NAME..).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or_default();
    String::from_utf8_lossy(&name[..end]).into_owned()
}
