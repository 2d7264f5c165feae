//! One engine client: built from a session's auth state, run connection by connection, closed for good.
//!
//! The reconnect is ours: the engine's own is switched off, so one [`run`](EngineConnection::run) is one connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use whatsapp_rust::client::NodeFilter;
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::passkey::Assertion;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::types::events::Subscription;
use whatsapp_rust::wacore::iq::devices::RemoveCompanionDeviceSpec;
use whatsapp_rust::wacore::iq::keepalive::KeepaliveSpec;
use whatsapp_rust::wacore::store::DevicePropsOverride;
use whatsapp_rust::wacore_binary::JidExt;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{CacheConfig, CacheEntryConfig, Client, Jid, SendOptions};

use super::backend::SessionBackend;
use super::content::{Outbound, write_content};
use super::events::{EndReason, EngineEvent, EventForwarder, end_reason, interest};
use super::executor::EngineExecutor;
use super::inbound::{Commit, CommitHook};
use super::jid::parse_jid;
use super::session_auth::SessionAuth;
use super::transport::SocketFactory;
use crate::error::{Error, ErrorKind, Result};

/// How every engine client of the process is made.
#[derive(Clone, Debug)]
pub(crate) struct EngineSettings {
    /// The WhatsApp Web version to claim.
    pub(crate) version: (u32, u32, u32),
    /// The name under which the phone lists this device.
    pub(crate) device_name: String,
    /// Pre-keys kept ready on the server.
    pub(crate) pre_key_count: usize,
    /// Whether the phone's history is taken at linking.
    pub(crate) take_history: bool,
    /// The account's name to show until the phone has told it; also what the stand-in chooses a phone by.
    pub(crate) push_name: Option<String>,
}

/// Who is logged in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// Digits only.
    pub(crate) phone: Option<String>,
    /// The account's JID without device.
    pub(crate) jid: Option<String>,
    /// The account's push name; empty until known.
    pub(crate) name: String,
}

pub(crate) struct EngineConnection {
    client: Arc<Client>,
    auth: Arc<SessionAuth>,
    ended: CancellationToken,
    _subscription: Subscription,
}

impl std::fmt::Debug for EngineConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineConnection").field("auth", &self.auth).finish_non_exhaustive()
    }
}

impl EngineConnection {
    /// Loads the device (or makes a new one if the session was never linked) and wires it up. Nothing connects yet.
    pub(crate) async fn build(
        auth: Arc<SessionAuth>,
        settings: &EngineSettings,
        sockets: SocketFactory,
        commit: Commit,
        runtime: Handle,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Box<EngineEvent>>)> {
        let backend = Arc::new(SessionBackend::new(Arc::clone(&auth)));
        let device = PersistenceManager::new(backend).await.map_err(|error| load_failed(&auth, error))?;
        let device = Arc::new(device);
        if let Some(name) = &settings.push_name
            && device.get_device_snapshot().push_name.is_empty()
        {
            device.modify_device(|device| device.push_name.clone_from(name)).await;
        }
        let ended = CancellationToken::new();
        let build = Client::builder()
            .with_runtime(EngineExecutor::new(runtime, ended.clone()))
            .with_persistence_manager(device)
            .with_transport_factory(sockets.cut_by(auth.cut()))
            .with_http_client(sockets.http())
            // Without it every session fetches the version over HTTPS, and none connects if that is down.
            .with_version_override(settings.version)
            // Without it the device is saved only at a few moments: a crash after linking would lose the link.
            .with_background_saver_interval(SAVE_INTERVAL)
            .with_cache_config(cache_config())
            .with_wanted_pre_key_count(settings.pre_key_count)
            .with_skip_history_sync(!settings.take_history)
            .with_inbound_durability_hook(CommitHook::new(commit))
            .build()
            .await
            .map_err(|error| load_failed(&auth, error))?;
        let client = build.into_client();
        client.enable_auto_reconnect.store(false, Ordering::SeqCst);
        let props = DevicePropsOverride::new()
            .with_os(settings.device_name.clone())
            .with_platform_type(wa::device_props::PlatformType::CHROME);
        client.set_device_props(props).await;
        let (forwarder, events) = EventForwarder::new();
        let subscription = client.subscribe(interest(), forwarder);
        Ok((Self { client, auth, ended, _subscription: subscription }, events))
    }

    /// Whether the session was linked.
    pub(crate) fn is_linked(&self) -> bool {
        self.client.pn().is_some()
    }

    /// The generation of the lease under which it runs.
    pub(crate) fn generation(&self) -> u64 {
        self.auth.tenure().generation
    }

    /// Who is logged in, as far as the device knows.
    pub(crate) fn identity(&self) -> Identity {
        let jid = self.client.pn();
        Identity {
            phone: jid.as_ref().map(|jid| jid.user.to_string()),
            jid: jid.map(|jid| jid.to_non_ad_string()),
            name: self.client.push_name(),
        }
    }

    /// Connects and stays until that connection has ended. Returns what the server said with a `stream:error`,
    /// if it did: the engine has no event for 429 and 503.
    pub(crate) async fn run(&self) -> Option<EndReason> {
        let mut stream_error = self.client.wait_for_node(NodeFilter::tag("stream:error"));
        self.client.run().await;
        let node = stream_error.try_recv().ok().flatten()?;
        let node = node.get();
        let code = node.attrs().optional_string("code").and_then(|code| code.parse::<i32>().ok());
        let conflict = node.get_optional_child("conflict");
        let conflict =
            conflict.and_then(|conflict| conflict.attrs().optional_string("type").map(|t| t.into_owned()));
        match (conflict.as_deref(), code) {
            (Some("replaced"), _) => Some(EndReason::Replaced),
            (Some(_), code) => Some(EndReason::LoggedOut { code: code.unwrap_or(401) }),
            (None, Some(code)) => Some(end_reason(code)),
            (None, None) => None,
        }
    }

    /// Asks for a code to type on the phone. Waits until the socket is up.
    pub(crate) async fn request_pair_code(&self, phone_number: &str) -> Result<String> {
        self.client.wait_for_socket(SOCKET_PATIENCE).await.map_err(|error| {
            Error::new(ErrorKind::Timeout, "no connection to WhatsApp in time for a pair code; try again")
                .caused_by(error)
        })?;
        let options = PairCodeOptions { phone_number: phone_number.to_owned(), ..Default::default() };
        self.client.pair_with_code(options).await.map_err(|error| {
            Error::new(
                ErrorKind::Protocol,
                "WhatsApp gave no pair code; check the phone number, wait a minute, try again",
            )
            .caused_by(error)
        })
    }

    /// Answers a passkey challenge.
    pub(crate) async fn answer_passkey(&self, assertion_json: Vec<u8>, credential_id: Vec<u8>) -> Result<()> {
        let assertion = Assertion { assertion_json, credential_id };
        self.client.send_passkey_response(assertion).await.map_err(|error| {
            Error::new(ErrorKind::Protocol, "the passkey answer was not accepted; start linking again")
                .caused_by(error)
        })
    }

    /// Confirms the code that follows a passkey answer.
    pub(crate) async fn confirm_passkey(&self) -> Result<()> {
        self.client.send_passkey_confirmation().await.map_err(|error| {
            Error::new(ErrorKind::Protocol, "there is no passkey link to confirm; start linking again")
                .caused_by(error)
        })
    }

    /// Writes the device down now.
    pub(crate) async fn save(&self) -> Result<()> {
        self.client.persistence_manager().flush().await.map_err(|error| load_failed(&self.auth, error))
    }

    /// Shows the account as online, or not: phones stop ringing while a companion is.
    pub(crate) async fn set_available(&self, available: bool) -> Result<()> {
        let presence = self.client.presence();
        let outcome =
            if available { presence.set_available().await } else { presence.set_unavailable().await };
        outcome.map_err(not_written)
    }

    /// Writes a message to the socket under the id given. The server's acknowledgement comes as an event.
    pub(crate) async fn send(&self, chat_id: &str, message_id: &str, outbound: &Outbound) -> Result<()> {
        let to = parse_jid(chat_id)?;
        let message = write_content(outbound, self.auth.now().unix_ms());
        self.save_ratchet().await?;
        let options = SendOptions::default().with_message_id(message_id);
        self.client.send_message_with_options(to, message, options).await.map_err(not_written)?;
        Ok(())
    }

    /// A message that has just come in gave its chat a new ratchet key, which the engine would save up to 25 ms later:
    /// a send and a crash in that time would leave the contact with a key that nobody has any more. Goes on until a
    /// round had nothing to save, since more may come in during one.
    async fn save_ratchet(&self) -> Result<()> {
        for _ in 0..SAVE_ROUNDS {
            let saved = self.auth.ratchet_saves();
            self.client.flush_pending_signal_state().await.map_err(not_written)?;
            if self.auth.ratchet_saves() == saved {
                break;
            }
        }
        Ok(())
    }

    /// Tells the author that messages were read.
    pub(crate) async fn mark_read(&self, chat_id: &str, sender: &str, message_ids: &[&str]) -> Result<()> {
        let chat = parse_jid(chat_id)?;
        let sender = chat.is_group().then(|| parse_jid(sender)).transpose()?;
        self.client.mark_as_read(&chat, sender.as_ref(), message_ids).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the read receipt could not be sent; try again once connected")
                .caused_by(error)
        })
    }

    /// Shows or hides "typing…".
    pub(crate) async fn set_typing(&self, chat_id: &str, composing: bool) -> Result<()> {
        let chat = parse_jid(chat_id)?;
        let state = self.client.chatstate();
        let outcome =
            if composing { state.send_composing(&chat).await } else { state.send_paused(&chat).await };
        outcome.map_err(not_written)
    }

    /// The other name (number or LID) of a user, if known.
    pub(crate) async fn alternative_jid(&self, jid: &str) -> Option<String> {
        let jid: Jid = jid.parse().ok()?;
        let entry = self.client.get_lid_pn_entry(&jid).await.ok().flatten()?;
        Some(if jid.is_lid() {
            format!("{}@s.whatsapp.net", entry.phone_number)
        } else {
            format!("{}@lid", entry.lid)
        })
    }

    /// Frames received on this client so far.
    pub(crate) fn frames_received(&self) -> u64 {
        self.client.stats().frames_received
    }

    /// Pings. False if nothing at all came in until `patience` was over.
    pub(crate) async fn answers_ping(&self, patience: Duration) -> bool {
        let before = self.frames_received();
        let ping = self.client.execute(KeepaliveSpec::with_timeout(patience));
        // A full socket buffer takes no ping: the engine's own time-out begins only after it is written.
        let outcome = tokio::time::timeout(patience, ping).await;
        matches!(outcome, Ok(Ok(()))) || self.frames_received() != before
    }

    /// Memory that the engine and its socket take for this session, by the engine's own count.
    pub(crate) async fn memory_bytes(&self) -> u64 {
        let report = self.client.memory_report().await;
        let resources = self.client.resource_report().await;
        let transport = resources.transport.map_or(0, |transport| transport.total_bytes());
        (report.total_estimated_bytes() + transport) as u64
    }

    /// Removes this device from the account, then closes. `Unavailable` if WhatsApp did not confirm it: the phone may
    /// still list the device, so its credentials must be kept.
    pub(crate) async fn log_out(&self, patience: Duration) -> Result<()> {
        let removed = self.remove_device(patience).await;
        if tokio::time::timeout(patience, self.client.disconnect()).await.is_err() {
            tracing::debug!("a session that leaves did not close by itself");
        }
        self.end();
        removed
    }

    /// The engine's own logout tells nobody whether the request for it was answered.
    async fn remove_device(&self, patience: Duration) -> Result<()> {
        let Some(jid) = self.client.pn() else { return Ok(()) };
        // WhatsApp ends the stream of a device that is gone, and may do so before it answers.
        let mut farewell = self.client.wait_for_node(NodeFilter::tag("stream:error"));
        let request = self.client.execute(RemoveCompanionDeviceSpec::new(&jid));
        let refusal = match tokio::time::timeout(patience, request).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        if let Ok(Some(node)) = farewell.try_recv()
            && node.get().get_optional_child("conflict").is_some_and(|conflict| {
                conflict.attrs().optional_string("type").is_some_and(|kind| kind == "device_removed")
            })
        {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::Unavailable,
            "WhatsApp did not confirm the logout; the session is stopped and its credentials are kept: start it and \
             log out again, or delete it and remove the device on the phone",
        );
        Err(match refusal {
            Some(refusal) => error.caused_by(refusal),
            None => error,
        })
    }

    /// Commits what was decrypted, sends what was confirmed, saves the device, closes the socket.
    pub(crate) async fn close(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.client.disconnect()).await.is_err() {
            // Nothing is lost: what was not committed was not acknowledged either.
            tracing::warn!(
                "a session did not close in time; WhatsApp will deliver again what was not stored"
            );
        } else {
            match tokio::time::timeout(patience, self.auth.write_held()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "what was left to be written was not"),
                Err(_) => tracing::debug!("the store did not take what was left to be written in time"),
            }
        }
        self.end();
    }

    /// Ends at once, writing nothing more: for a session that was robbed or whose store is away.
    pub(crate) async fn abandon(&self) {
        self.auth.close();
        self.client.signal_shutdown_sync();
        if tokio::time::timeout(ABANDON_PATIENCE, self.client.disconnect()).await.is_err() {
            tracing::debug!("an abandoned connection did not close by itself");
        }
        self.end();
    }

    fn end(&self) {
        self.auth.close();
        self.ended.cancel();
    }
}

impl Drop for EngineConnection {
    fn drop(&mut self) {
        self.client.signal_shutdown_sync();
        self.end();
    }
}

/// A chat that is never quiet must not hold up a send for ever.
const SAVE_ROUNDS: usize = 8;
const SAVE_INTERVAL: Duration = Duration::from_secs(15);
const SOCKET_PATIENCE: Duration = Duration::from_secs(25);
const ABANDON_PATIENCE: Duration = Duration::from_secs(3);

/// Accounts of bots and shops: a few chats at a time. The engine's defaults are for one session a process.
fn cache_config() -> CacheConfig {
    let defaults = CacheConfig::default();
    let at_most = |entries: CacheEntryConfig, capacity: u64| CacheEntryConfig { capacity, ..entries };
    CacheConfig {
        chat_lanes_capacity: 32,
        session_locks_capacity: 256,
        group_distribution_locks_capacity: 64,
        resend_rate_limiter_capacity: 256,
        device_registry_cache: at_most(defaults.device_registry_cache.clone(), 512),
        group_cache: at_most(defaults.group_cache.clone(), 64),
        lid_pn_cache: at_most(defaults.lid_pn_cache.clone(), 10_000),
        ..defaults
    }
}

/// An error of the engine while it loaded or saved: the cause is in the auth state if it was ours.
fn load_failed(auth: &SessionAuth, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    match auth.failure() {
        Some(cause) => Error::new(cause.kind(), cause.message().to_owned()),
        None => {
            Error::new(ErrorKind::Internal, "the engine could not take up its stored state").caused_by(error)
        }
    }
}

fn not_written(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection did not take it; try again once connected")
        .caused_by(error)
}
