//! Knobs that make the server misbehave. All take effect at once.
//!
//! A `target` is a device JID (number or LID form), a phone number (all its devices), or
//! `None` for everybody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use wacore_binary::Node;

use crate::account::Account;
use crate::node::stream_error;
use crate::state::{Inner, Outgoing};

/// What goes with a `<failure>`.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct FailureDetails {
    /// Attribute `code`: the reason of a temporary ban.
    pub code: Option<String>,
    /// Attribute `expire`: seconds until the ban ends.
    pub expire_s: Option<u64>,
    /// Attribute `message`.
    pub message: Option<String>,
    /// How many logins fail; none means one.
    pub count: Option<u32>,
}

/// How long `refuse_logins` lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// No more.
    Never,
    /// Until told otherwise.
    Always,
    /// This many connections.
    Count(u32),
}

impl From<bool> for Refuse {
    fn from(refuse: bool) -> Self {
        if refuse { Self::Always } else { Self::Never }
    }
}

impl From<u32> for Refuse {
    fn from(count: u32) -> Self {
        Self::Count(count)
    }
}

impl Refuse {
    /// Uses one up, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Count(0) => false,
            Self::Count(left) => {
                *left -= 1;
                true
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct PlannedFailure {
    pub(crate) target: Option<String>,
    pub(crate) reason: u16,
    pub(crate) details: FailureDetails,
    pub(crate) left: u32,
}

/// The knobs as they stand.
#[derive(Debug)]
pub(crate) struct FaultState {
    pub(crate) failures: Vec<PlannedFailure>,
    pub(crate) refuse: Refuse,
    pub(crate) http_503: Refuse,
    pub(crate) delays: Vec<(Option<String>, Duration)>,
    pub(crate) duplicate: u32,
    pub(crate) reorder: usize,
    pub(crate) lose_acks: bool,
    pub(crate) nacks: VecDeque<String>,
    pub(crate) corrupt: VecDeque<Option<String>>,
    pub(crate) passkey: bool,
}

impl Default for FaultState {
    fn default() -> Self {
        Self {
            failures: Vec::new(),
            refuse: Refuse::Never,
            http_503: Refuse::Never,
            delays: Vec::new(),
            duplicate: 1,
            reorder: 0,
            lose_acks: false,
            nacks: VecDeque::new(),
            corrupt: VecDeque::new(),
            passkey: false,
        }
    }
}

/// Whether a fault with this target meets this device.
pub(crate) fn meets(target: Option<&str>, account: &Account, device: u16) -> bool {
    let Some(target) = target else { return true };
    target.trim_start_matches('+') == account.phone_number
        || target == account.pn_jid().with_device(device).to_string()
        || target == account.lid_jid().with_device(device).to_string()
        || target == account.pn_jid().to_string()
        || target == account.lid_jid().to_string()
}

/// The knobs. Get them with [`crate::StandIn::faults`].
#[derive(Clone)]
pub struct Faults {
    pub(crate) inner: Arc<Inner>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

impl Faults {
    fn each(&self, target: Option<&str>, mut action: impl FnMut(&Outbox<'_>)) -> usize {
        let state = self.inner.lock();
        let mut met = 0;
        for connection in state.connections.values() {
            let hit = match &connection.device {
                Some(key) => {
                    state.accounts.get(&key.account).is_some_and(|account| meets(target, account, key.device))
                }
                None => target.is_none(),
            };
            if hit {
                met += 1;
                action(&Outbox { out: &connection.out });
            }
        }
        met
    }

    /// Sends `<stream:error code=…>`, with `<conflict type=…>` if given (then the code may be
    /// empty), and closes. Returns how many connections it met.
    pub fn stream_error(&self, target: Option<&str>, code: &str, conflict: Option<&str>) -> usize {
        let code = (!code.is_empty()).then_some(code);
        self.each(target, |outbox| {
            outbox.send(Outgoing::Node(stream_error(code, conflict)));
            outbox.send(Outgoing::Close);
        })
    }

    /// The next login (or `details.count` logins) is answered with `<failure reason=…>`.
    pub fn failure_on_next_login(&self, target: Option<&str>, reason: u16, details: FailureDetails) {
        let left = details.count.unwrap_or(1);
        self.inner.lock().faults.failures.push(PlannedFailure {
            target: target.map(str::to_owned),
            reason,
            details,
            left,
        });
    }

    /// Closes each new connection after the Noise handshake, before any answer. Takes a `bool` or a count.
    pub fn refuse_logins(&self, refuse: impl Into<Refuse>) {
        self.inner.lock().faults.refuse = refuse.into();
    }

    /// Answers each WebSocket upgrade with HTTP 503. Takes a `bool` or a count.
    pub fn http_503(&self, refuse: impl Into<Refuse>) {
        self.inner.lock().faults.http_503 = refuse.into();
    }

    /// Cuts the TCP connection without a word.
    pub fn drop_connection(&self, target: &str) -> usize {
        self.each(Some(target), |outbox| outbox.send(Outgoing::Drop))
    }

    /// Cuts every connection.
    pub fn drop_all(&self) -> usize {
        self.each(None, |outbox| outbox.send(Outgoing::Drop))
    }

    /// Holds each stanza to the target back for so long; 0 ends it.
    pub fn delay_stanzas_ms(&self, target: Option<&str>, ms: u64) {
        let mut state = self.inner.lock();
        let target = target.map(str::to_owned);
        state.faults.delays.retain(|(of, _)| *of != target);
        if ms > 0 {
            let delay = Duration::from_millis(ms);
            state.faults.delays.push((target, delay));
        }
    }

    /// Each message to a companion is sent `times` times; 1 ends it.
    pub fn duplicate_messages(&self, times: u32) {
        self.inner.lock().faults.duplicate = times.max(1);
    }

    /// Messages to a live companion are held until `window` of them are there, then sent last first.
    /// 0 ends it and lets go of what is held.
    pub fn reorder(&self, window: usize) {
        let mut state = self.inner.lock();
        state.faults.reorder = window;
        if window < 2 {
            state.release_held_back();
        }
    }

    /// Swallows the `<ack>` of what clients send.
    pub fn lose_acks(&self, lose: bool) {
        self.inner.lock().faults.lose_acks = lose;
    }

    /// The next message by a client is refused: `<ack error=code>`, and goes nowhere.
    pub fn nack_next_send(&self, code: &str) {
        self.inner.lock().faults.nacks.push_back(code.to_owned());
    }

    /// Flips a bit in the ciphertext of the next message to the target: it must ask for a retry.
    pub fn corrupt_next_message(&self, target: Option<&str>) {
        let target = target.map(str::to_owned);
        self.inner.lock().faults.corrupt.push_back(target);
    }

    /// Sends bytes that are no stanza.
    pub fn send_malformed_stanza(&self, target: Option<&str>) -> usize {
        self.each(target, |outbox| {
            outbox.send(Outgoing::Plain(vec![0, 0xf8, 0xff, 0x01, 0x02]));
        })
    }

    /// Sends any stanza, past the queue.
    pub fn send_raw(&self, target: Option<&str>, node: Node) -> usize {
        self.each(target, |outbox| outbox.send(Outgoing::Node(node.clone())))
    }

    /// Keeps the socket open and answers nothing, for good: a zombie connection.
    pub fn freeze(&self, target: Option<&str>) -> usize {
        let mut state = self.inner.lock();
        let state = &mut *state;
        let mut met = 0;
        for connection in state.connections.values_mut() {
            let hit = connection.device.as_ref().is_some_and(|key| {
                (state.accounts.get(&key.account)).is_some_and(|account| meets(target, account, key.device))
            });
            if hit {
                connection.frozen = true;
                met += 1;
            }
        }
        met
    }

    /// After the scan (or the typed code) linking demands a passkey: the client gets
    /// `passkey_prologue_request`, and `pair-success` only after it has shown an assertion of the
    /// right shape. The device number in the scan's answer is then a forecast.
    pub fn request_passkey(&self, request: bool) {
        self.inner.lock().faults.passkey = request;
    }

    /// Ends every fault that lasts. Connections that are frozen stay so.
    pub fn clear(&self) {
        let mut state = self.inner.lock();
        state.faults = FaultState::default();
        state.release_held_back();
    }
}

struct Outbox<'a> {
    out: &'a tokio::sync::mpsc::UnboundedSender<crate::state::Timed>,
}

impl Outbox<'_> {
    fn send(&self, what: Outgoing) {
        // A closed channel is a connection that has just gone: nothing to do.
        let _gone = self.out.send(crate::state::Timed { due: None, what });
    }
}
