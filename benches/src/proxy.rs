//! A loopback proxy before a MongoDB server: it counts commands, and can be cut, frozen or slowed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Result;

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Everything.
    Open,
    /// Nothing: connections are closed, in the middle of a command if need be, and new ones as well.
    Cut,
    /// Nothing, but connections stay open and nobody is told.
    Frozen,
    /// Each command after this time.
    Slow(Duration),
}

/// Commands that belong to the driver and not to whoever uses it: the driver's own command events leave them out.
const OF_THE_DRIVER: [&str; 7] =
    ["hello", "ismaster", "isMaster", "saslStart", "saslContinue", "endSessions", "buildInfo"];
/// What MongoDB takes in one message.
const LARGEST: usize = 48_000_000;
const HEADER: usize = 16;
const OP_MSG: i32 = 2013;

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    passage: watch::Sender<Passage>,
    counts: Arc<Counts>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl Proxy {
    /// Listens on a free port and passes on to `target`.
    pub async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (passage, _) = watch::channel(Passage::Open);
        let counts = Arc::new(Counts::default());
        let stop = CancellationToken::new();
        let line = Line { target, passage: passage.subscribe(), counts: Arc::clone(&counts) };
        let stopped = stop.clone();
        tokio::spawn(
            async move { stopped.run_until_cancelled(accept(listener, line, stopped.clone())).await },
        );
        Ok(Self { address, passage, counts, stop })
    }

    /// From now on.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }

    /// Commands that came through so far, by name and, if they are of one, collection.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Clone)]
struct Line {
    target: String,
    passage: watch::Receiver<Passage>,
    counts: Arc<Counts>,
}

async fn accept(listener: TcpListener, line: Line, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let (line, stop) = (line.clone(), stop.clone());
                tokio::spawn(async move { stop.run_until_cancelled(connection(client, line)).await });
            }
            Err(error) => {
                tracing::error!(%error, "the proxy cannot accept");
                return;
            }
        }
    }
}

/// One connection, until either side ends or it is cut.
async fn connection(client: TcpStream, line: Line) {
    let mut passage = line.passage.clone();
    if *passage.borrow_and_update() == Passage::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(&line.target).await else { return };
    // Small messages, both ways, one at a time.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let answers = async {
        let mut chunk = vec![0; 16 * 1024];
        let mut passage = line.passage.clone();
        while let Ok(read) = from_server.read(&mut chunk).await {
            if read == 0
                || !unfrozen(&mut passage).await
                || to_client.write_all(&chunk[..read]).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        _ = passage.wait_for(|passage| *passage == Passage::Cut) => {}
        () = answers => {}
        () = requests(from_client, to_server, &line) => {}
    }
}

/// False if the proxy has ended.
async fn unfrozen(passage: &mut watch::Receiver<Passage>) -> bool {
    passage.wait_for(|passage| *passage != Passage::Frozen).await.is_ok()
}

async fn requests(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    line: &Line,
) {
    let mut passage = line.passage.clone();
    while let Ok(message) = read_message(&mut from).await {
        if !unfrozen(&mut passage).await {
            return;
        }
        if let Some(name) = command_name(&message)
            && !OF_THE_DRIVER.contains(&name)
        {
            let mut counts = line.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
            let name = match command_collection(&message) {
                Some(collection) => format!("{name} {collection}"),
                None => name.to_owned(),
            };
            *counts.entry(name).or_default() += 1;
        }
        let slow = *passage.borrow();
        if let Passage::Slow(pause) = slow {
            tokio::time::sleep(pause).await;
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn read_message(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    from.read_exact(&mut message).await?;
    let length = little_endian(&message, 0).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if !(HEADER..=LARGEST).contains(&length) {
        return Err(std::io::Error::other("not a message of MongoDB's protocol"));
    }
    message.resize(length, 0);
    from.read_exact(&mut message[HEADER..]).await?;
    Ok(message)
}

fn little_endian(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The first field of the body is the command.
fn command_name(message: &[u8]) -> Option<&str> {
    text(first_field(message)?.get(1..)?)
}

/// The value of that field is the collection, if it is a string.
fn command_collection(message: &[u8]) -> Option<&str> {
    let field = first_field(message)?;
    if *field.first()? != STRING {
        return None;
    }
    // Type (1), name and its zero, length of the value (4).
    text(field.get(1 + command_name(message)?.len() + 1 + 4..)?)
}

/// BSON's type of strings.
const STRING: u8 = 0x02;

/// Up to the zero.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&bytes[..end]).ok()
}

/// From its type on.
fn first_field(message: &[u8]) -> Option<&[u8]> {
    if little_endian(message, 12)? != OP_MSG {
        return None;
    }
    // Flags (4), then sections: documents (kind 1) may come before the body (kind 0).
    let mut at = HEADER + 4;
    while *message.get(at)? == 1 {
        at += 1 + usize::try_from(little_endian(message, at + 1)?).ok()?;
    }
    message.get(at + 1 + 4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op_msg(name: &str, documents_first: bool) -> Vec<u8> {
        let mut body = vec![0_u8];
        let mut document = vec![0; 4];
        match name.split_once(' ') {
            Some((name, collection)) => {
                document.push(STRING);
                document.extend(name.as_bytes());
                document.push(0);
                document.extend((collection.len() as i32 + 1).to_le_bytes());
                document.extend(collection.as_bytes());
                document.extend([0, 0]);
            }
            None => {
                document.push(0x10);
                document.extend(name.as_bytes());
                document.extend([0, 1, 0, 0, 0, 0]);
            }
        }
        let length = document.len() as i32;
        document[..4].copy_from_slice(&length.to_le_bytes());
        body.extend(document);
        let mut message = vec![0; HEADER + 4];
        if documents_first {
            message.push(1);
            message.extend(14_i32.to_le_bytes());
            message.extend(*b"documents\0");
        }
        message.extend(body);
        let length = message.len() as i32;
        message[..4].copy_from_slice(&length.to_le_bytes());
        message[12..16].copy_from_slice(&OP_MSG.to_le_bytes());
        message
    }

    #[test]
    fn commands_have_names() {
        assert_eq!(command_name(&op_msg("find", false)), Some("find"));
        assert_eq!(command_name(&op_msg("insert", true)), Some("insert"));
        assert_eq!(command_collection(&op_msg("insert", true)), None);
        assert_eq!(command_name(&op_msg("update messages", true)), Some("update"));
        assert_eq!(command_collection(&op_msg("update messages", true)), Some("messages"));
        assert_eq!(command_name(&[0; 40]), None);
        assert_eq!(command_name(&[]), None);
    }

    /// A server that sends back what it gets.
    async fn echo() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = socket.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn round_trip(socket: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
        socket.write_all(message).await?;
        let mut back = vec![0; message.len()];
        socket.read_exact(&mut back).await?;
        assert_eq!(back, message);
        Ok(())
    }

    #[tokio::test]
    async fn passes_counts_freezes_and_cuts() {
        let proxy = Proxy::start(echo().await).await.expect("a free port");
        let mut socket = TcpStream::connect(proxy.address).await.expect("it listens");
        round_trip(&mut socket, &op_msg("hello", false)).await.expect("it passes");
        round_trip(&mut socket, &op_msg("find", false)).await.expect("it passes");
        round_trip(&mut socket, &op_msg("find", false)).await.expect("it passes");
        assert_eq!(proxy.by_name(), BTreeMap::from([("find".to_owned(), 2)]));

        proxy.set(Passage::Frozen);
        let find = op_msg("find", false);
        let frozen = tokio::time::timeout(Duration::from_millis(100), round_trip(&mut socket, &find)).await;
        assert!(frozen.is_err(), "nothing passes");
        proxy.set(Passage::Open);
        let mut back = vec![0; op_msg("find", false).len()];
        socket.read_exact(&mut back).await.expect("what was held comes after all");

        proxy.set(Passage::Cut);
        assert_eq!(socket.read(&mut [0; 1]).await.expect("closed"), 0);
        let mut refused = TcpStream::connect(proxy.address).await.expect("it listens");
        assert!(round_trip(&mut refused, &op_msg("find", false)).await.is_err());
        proxy.set(Passage::Open);
        let mut socket = TcpStream::connect(proxy.address).await.expect("it listens");
        round_trip(&mut socket, &op_msg("find", false)).await.expect("it is back");
    }
}
