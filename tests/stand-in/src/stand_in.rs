//! The handle of a running stand-in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wacore_binary::Jid;

use crate::account::DeviceKey;
use crate::accounting::{Accounting, Progress};
use crate::arrivals::Arrivals;
use crate::certificate::Certificate;
use crate::crypto;
use crate::error::StandInError;
use crate::faults::Faults;
use crate::phone::{LinkedDevice, Phone, PhoneOptions, parse_chat};
use crate::state::{Inner, State};
use crate::traffic::{Traffic, TrafficOptions};
use crate::{server, state_file};

/// How to start a [`StandIn`].
#[derive(Clone, Debug, Default)]
pub struct StandInBuilder {
    port: u16,
    tls: bool,
    state_file: Option<PathBuf>,
    echo: bool,
}

impl StandInBuilder {
    /// The port on 127.0.0.1; 0 (the default) takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// TLS with a certificate of its own, which clients must not check.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// State is read from this file at the start, and written to it as it changes and at the end.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Phones answer each text with the same text.
    pub fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    /// Opens the port and serves until [`StandIn::shutdown`].
    pub async fn start(self) -> Result<StandIn, StandInError> {
        let kept = match &self.state_file {
            Some(path) => state_file::load(path)?,
            None => None,
        };
        let (certificate, mut state) = kept.unwrap_or_else(|| (Certificate::generate(), State::default()));
        state.echo = self.echo;
        let tls = if self.tls { Some(server::tls_acceptor()?) } else { None };
        let listener = server::bind(self.port).await?;
        let port =
            listener.local_addr().map_err(|source| StandInError::Listen { port: self.port, source })?.port();
        let inner = Arc::new(Inner::new(state, certificate, port, self.tls, self.state_file));
        inner.lock().server = Arc::downgrade(&inner);
        inner.tasks.spawn(server::run(Arc::clone(&inner), listener, tls));
        if inner.state_file.is_some() {
            inner.lock().dirty = true;
            // Reports a path that cannot be written at once, not after the first change.
            state_file::write_if_changed(&inner)?;
            inner.tasks.spawn(state_file::keep_written(Arc::clone(&inner)));
        }
        Ok(StandIn::from_inner(&inner))
    }
}

/// A kind of request that the stand-in does not know, and how often a client made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownIq {
    /// The device, or `unlinked`.
    pub client: String,
    /// The namespace.
    pub xmlns: String,
    /// The first child.
    pub child: String,
    /// How often.
    pub count: u64,
}

/// A running stand-in. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct StandIn {
    inner: Arc<Inner>,
    faults: Faults,
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").field("port", &self.inner.port).finish()
    }
}

impl StandIn {
    pub(crate) fn from_inner(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner), faults: Faults { inner: Arc::clone(inner) } }
    }

    /// How it is to run.
    pub fn builder() -> StandInBuilder {
        StandInBuilder::default()
    }

    /// On a free port, without TLS, state in memory.
    pub async fn start() -> Result<Self, StandInError> {
        Self::builder().start().await
    }

    /// Where clients connect.
    pub fn web_socket_url(&self) -> String {
        let scheme = if self.inner.tls { "wss" } else { "ws" };
        format!("{scheme}://127.0.0.1:{}/ws/chat", self.inner.port)
    }

    /// Where the HTTP API is.
    pub fn admin_url(&self) -> String {
        let scheme = if self.inner.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.inner.port)
    }

    /// The key that signs the certificate chain: what a client with a configurable pin pins.
    pub fn root_public_key(&self) -> [u8; 32] {
        crypto::public(&self.inner.certificate.root)
    }

    /// A new phone: an account with its primary device.
    pub fn add_phone(&self, options: PhoneOptions) -> Result<Phone, StandInError> {
        let number = self.inner.lock().add_account(options)?;
        Ok(self.handle(number))
    }

    /// The phone with this number (or JID).
    pub fn phone(&self, phone_number: &str) -> Option<Phone> {
        let jid = parse_chat(phone_number).ok()?;
        let number = self.inner.lock().account_of(&jid)?.phone_number.clone();
        Some(self.handle(number))
    }

    /// All phones, by number.
    pub fn phones(&self) -> Vec<Phone> {
        let mut numbers: Vec<_> = self.inner.lock().accounts.keys().cloned().collect();
        numbers.sort();
        numbers.into_iter().map(|number| self.handle(number)).collect()
    }

    fn handle(&self, number: String) -> Phone {
        Phone { inner: Arc::clone(&self.inner), number }
    }

    /// Lets the phone that has the client's push name scan its QR code; a new phone is made if
    /// there is none. A client that gives no push name gets a phone of its own.
    pub fn scan_qr(&self, qr: &str) -> Result<LinkedDevice, StandInError> {
        let mut state = self.inner.lock();
        let push_name = state.push_name_of_qr(qr)?;
        let account = state.account_with_name(push_name.as_deref())?;
        state.scan_qr(&account, qr)
    }

    /// A group of `owner` and the members, given by number or JID. Returns its JID.
    pub fn create_group(
        &self,
        owner: &Phone,
        subject: &str,
        members: &[&str],
    ) -> Result<String, StandInError> {
        let members: Vec<Jid> = members.iter().map(|member| parse_chat(member)).collect::<Result<_, _>>()?;
        let mut state = self.inner.lock();
        let id = state.create_group(&owner.number, subject, &members, None)?;
        let actor = DeviceKey { account: owner.number.clone(), device: 0 };
        state.announce_group(&id, &actor);
        Ok(Jid::group(id).to_string())
    }

    /// The knobs that make the server misbehave.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What was sent and what became of it, up to now.
    pub fn accounting(&self) -> Accounting {
        self.inner.lock().ledger.book.clone()
    }

    /// The sums of the accounting, without a copy of it.
    pub fn progress(&self) -> Progress {
        self.inner.lock().ledger.book.progress()
    }

    /// Who came, and when.
    pub fn arrivals(&self) -> Arrivals {
        self.inner.lock().arrivals.clone()
    }

    /// Has phones write to others at a given rate.
    pub fn start_traffic(&self, options: &TrafficOptions) -> Result<Traffic, StandInError> {
        Traffic::start(&self.inner, options)
    }

    /// Requests that were answered with an empty result because nothing is known of them.
    pub fn unknown_iqs(&self) -> Vec<UnknownIq> {
        let state = self.inner.lock();
        let mut all: Vec<_> = state
            .unknown_iqs
            .iter()
            .map(|((client, xmlns, child), count)| UnknownIq {
                client: client.clone(),
                xmlns: xmlns.clone(),
                child: child.clone(),
                count: *count,
            })
            .collect();
        all.sort_by(|one, other| {
            (&one.client, &one.xmlns, &one.child).cmp(&(&other.client, &other.xmlns, &other.child))
        });
        all
    }

    /// Waits until the device has logged in and has its backlog: [`LinkedDevice::wait_connected`].
    pub async fn wait_connected(&self, device: &LinkedDevice, limit: Duration) -> Result<(), StandInError> {
        device.wait_connected(limit).await
    }

    /// Closes every connection and the port, and writes the state file.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Err(error) = state_file::write_if_changed(&self.inner) {
            tracing::error!(%error, "cannot keep the state");
        }
    }
}
