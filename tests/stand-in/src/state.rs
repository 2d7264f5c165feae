//! Everything the server knows, behind one lock, and how stanzas get to a companion.
//!
//! Handlers are plain functions on [`State`]: they never wait, so the order of effects is the
//! order in which stanzas came. Noise and sockets are outside the lock, in `connection`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent};
use waproto::whatsapp as wa;

use crate::account::{Account, Companion, ConnectionId, DeviceKey};
use crate::accounting::Ledger;
use crate::arrivals::Arrivals;
use crate::certificate::Certificate;
use crate::error::StandInError;
use crate::faults::{self, FaultState};
use crate::group::Group;
use crate::pair_code::CodeRequest;
use crate::pairing::Pairing;
use crate::queue::{Class, Phase};
use crate::traffic::Traffic;

/// Below this many pre-keys a companion is told to upload more.
pub(crate) const FEW_PRE_KEYS: usize = 5;

/// What all handles share.
pub(crate) struct Inner {
    state: Mutex<State>,
    pub(crate) certificate: Certificate,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) state_file: Option<std::path::PathBuf>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: tokio_util::task::TaskTracker,
}

impl Inner {
    pub(crate) fn new(
        state: State,
        certificate: Certificate,
        port: u16,
        tls: bool,
        state_file: Option<std::path::PathBuf>,
    ) -> Self {
        Self {
            state: Mutex::new(state),
            certificate,
            port,
            tls,
            state_file,
            stop: CancellationToken::new(),
            tasks: tokio_util::task::TaskTracker::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in one test must not take the server from the others.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something. Woken whenever `changed` of the account rings.
    pub(crate) async fn wait_for<T>(
        &self,
        changed: Arc<Notify>,
        limit: Duration,
        what: &str,
        mut look: impl FnMut(&State) -> Option<T>,
    ) -> Result<T, StandInError> {
        let search = async {
            loop {
                let woken = changed.notified();
                tokio::pin!(woken);
                // Registered before looking: a change in between is not missed.
                woken.as_mut().enable();
                let found = look(&self.lock());
                if let Some(found) = found {
                    return found;
                }
                woken.await;
            }
        };
        tokio::time::timeout(limit, search).await.map_err(|_elapsed| StandInError::TimedOut {
            what: what.to_owned(),
            waited_ms: limit.as_millis(),
        })
    }
}

/// What a connection's writer is told.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Node(Node),
    /// The plain bytes of a frame, to send nonsense.
    Plain(Vec<u8>),
    /// Let the client close first; close after a while.
    Close,
    /// Cut the TCP connection.
    Drop,
}

#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) due: Option<Instant>,
    pub(crate) what: Outgoing,
}

/// A client that has finished the Noise handshake.
pub(crate) struct Connection {
    pub(crate) out: UnboundedSender<Timed>,
    pub(crate) static_key: [u8; 32],
    pub(crate) payload: wa::ClientPayload,
    pub(crate) pattern: &'static str,
    /// None while it is not linked.
    pub(crate) device: Option<DeviceKey>,
    pub(crate) frozen: bool,
    /// It was told the end: what it still says is nobody's affair.
    pub(crate) closing: bool,
    pub(crate) pairing: Option<Pairing>,
    pub(crate) passkey: Option<crate::passkey::Passkey>,
}

/// The state of the server.
#[derive(Default)]
pub(crate) struct State {
    /// For the handles that are given out.
    pub(crate) server: Weak<Inner>,
    pub(crate) accounts: HashMap<String, Account>,
    /// LID → phone number.
    pub(crate) lids: HashMap<String, String>,
    pub(crate) groups: HashMap<String, Group>,
    pub(crate) connections: HashMap<ConnectionId, Connection>,
    /// The refs of QR codes → connection.
    pub(crate) refs: HashMap<String, ConnectionId>,
    /// Clients that wait for their code to be typed on a phone.
    pub(crate) code_requests: Vec<CodeRequest>,
    pub(crate) faults: FaultState,
    pub(crate) ledger: Ledger,
    pub(crate) arrivals: Arrivals,
    /// Load that was started over HTTP, by its index.
    pub(crate) traffic: Vec<Traffic>,
    /// (client, xmlns, child) → times.
    pub(crate) unknown_iqs: HashMap<(String, String, String), u64>,
    /// Messages of the reorder fault.
    pub(crate) held_back: HashMap<DeviceKey, VecDeque<Node>>,
    pub(crate) next_connection: ConnectionId,
    pub(crate) next_account: u64,
    pub(crate) next_id: u64,
    /// Phones answer each text with the same text.
    pub(crate) echo: bool,
    /// State that must be written to the file.
    pub(crate) dirty: bool,
}

impl State {
    /// An id for a stanza of the server.
    pub(crate) fn new_id(&mut self) -> String {
        self.next_id += 1;
        format!("s{}-{}", crate::clock::now(), self.next_id)
    }

    /// The account of a number, `+number`, number JID or LID JID.
    pub(crate) fn account_of(&self, jid: &Jid) -> Option<&Account> {
        let number =
            if jid.server.is_lid_family() { self.lids.get(jid.user_base())? } else { jid.user_base() };
        self.accounts.get(number)
    }

    pub(crate) fn key_of(&self, jid: &Jid) -> Option<DeviceKey> {
        self.account_of(jid).map(|account| account.key(jid.device))
    }

    pub(crate) fn account(&self, number: &str) -> Option<&Account> {
        self.accounts.get(number)
    }

    pub(crate) fn companion(&self, key: &DeviceKey) -> Option<&Companion> {
        self.accounts.get(&key.account)?.companions.get(&key.device)
    }

    pub(crate) fn companion_mut(&mut self, key: &DeviceKey) -> Option<&mut Companion> {
        self.accounts.get_mut(&key.account)?.companions.get_mut(&key.device)
    }

    /// Sends to a connection, past any queue.
    pub(crate) fn send(&self, id: ConnectionId, node: Node) {
        self.post(id, Outgoing::Node(node));
    }

    pub(crate) fn post(&self, id: ConnectionId, what: Outgoing) {
        self.post_after(id, what, Duration::ZERO);
    }

    /// At the earliest after `wait`; what is posted behind it waits as well.
    pub(crate) fn post_after(&self, id: ConnectionId, what: Outgoing, wait: Duration) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if connection.frozen {
            return;
        }
        let wait = wait.max(self.delay_of(connection).unwrap_or_default());
        let due = (!wait.is_zero()).then(|| Instant::now() + wait);
        // A closed channel is a connection that has just gone; its end is handled elsewhere.
        let _gone = connection.out.send(Timed { due, what });
    }

    fn delay_of(&self, connection: &Connection) -> Option<Duration> {
        if self.faults.delays.is_empty() {
            return None;
        }
        let account =
            connection.device.as_ref().and_then(|key| Some((self.accounts.get(&key.account)?, key.device)));
        self.faults
            .delays
            .iter()
            .filter(|(target, _)| match account {
                Some((account, device)) => faults::meets(target.as_deref(), account, device),
                None => target.is_none(),
            })
            .map(|(_, delay)| *delay)
            .max()
    }

    /// Sends something that need not be kept: presence, chat states. Lost if the device is not live.
    pub(crate) fn send_if_live(&self, key: &DeviceKey, node: Node) {
        if let Some(companion) = self.companion(key)
            && companion.phase != Phase::Closed
            && let Some(connection) = companion.connection
        {
            self.send(connection, node);
        }
    }

    /// Queues a stanza for a companion and sends it as soon as its turn comes.
    pub(crate) fn deliver(&mut self, key: &DeviceKey, class: Class, id: &str, mut node: Node) {
        if class == Class::Message {
            self.corrupt_if_asked(key, &mut node);
        }
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        companion.queue.push(class, id.to_owned(), node);
        self.dirty = true;
        self.pump(key);
    }

    /// Sends what may be sent now to a live companion.
    pub(crate) fn pump(&mut self, key: &DeviceKey) {
        let duplicate = self.faults.duplicate;
        let reorder = self.faults.reorder;
        let device = key.pn_jid().to_string();
        loop {
            let Some(companion) = self.companion_mut(key) else {
                return;
            };
            if companion.phase != Phase::Live {
                return;
            }
            let Some(connection) = companion.connection else {
                return;
            };
            let Some(stanza) = companion.queue.take() else {
                return;
            };
            let (node, class, id) = (stanza.node.clone(), stanza.class, stanza.id.clone());
            if class != Class::Message {
                self.send(connection, node);
                continue;
            }
            self.ledger.to(&device, &id).times_sent += duplicate;
            for _ in 0..duplicate {
                if reorder >= 2 {
                    self.hold_back(key, node.clone(), reorder);
                } else {
                    self.send(connection, node.clone());
                }
            }
        }
    }

    fn hold_back(&mut self, key: &DeviceKey, node: Node, window: usize) {
        let held = self.held_back.entry(key.clone()).or_default();
        held.push_back(node);
        if held.len() >= window {
            self.release(key);
        }
    }

    fn release(&mut self, key: &DeviceKey) {
        let held = self.held_back.remove(key).unwrap_or_default();
        if let Some(connection) = self.companion(key).and_then(|c| c.connection) {
            for node in held.into_iter().rev() {
                self.send(connection, node);
            }
        }
    }

    /// Ends the reorder fault: what is held goes out.
    pub(crate) fn release_held_back(&mut self) {
        let keys: Vec<_> = self.held_back.keys().cloned().collect();
        for key in keys {
            self.release(&key);
        }
    }

    fn corrupt_if_asked(&mut self, key: &DeviceKey, node: &mut Node) {
        let Some(account) = self.accounts.get(&key.account) else {
            return;
        };
        // Key shares and history stay whole: the fault is about messages of people.
        if node.attrs.get("category").is_some() {
            return;
        }
        let hit = self
            .faults
            .corrupt
            .iter()
            .position(|target| faults::meets(target.as_deref(), account, key.device));
        let Some(hit) = hit else { return };
        self.faults.corrupt.remove(hit);
        if let Some(NodeContent::Nodes(children)) = &mut node.content
            && let Some(enc) = children.iter_mut().rfind(|child| child.tag == "enc")
            && let Some(NodeContent::Bytes(bytes)) = &mut enc.content
            && let Some(at) = bytes.len().checked_sub(12)
        {
            // Within the ciphertext or its MAC: the envelope stays readable.
            bytes[at] ^= 0x40;
        }
    }

    /// The client answered a stanza: it will not come again.
    pub(crate) fn settle(&mut self, key: &DeviceKey, class: Class, id: &str) -> bool {
        let settled = self.companion_mut(key).is_some_and(|companion| companion.queue.settle(class, id));
        if class == Class::Message
            && let Some(entry) = self.ledger.known_to(&key.pn_jid().to_string(), id)
        {
            entry.settled = true;
            entry.settled_at_ms.get_or_insert_with(crate::clock::now_ms);
        }
        self.dirty |= settled;
        self.ring(&key.account);
        settled
    }

    /// Wakes whoever waits for something of this account.
    pub(crate) fn ring(&self, account: &str) {
        if let Some(account) = self.accounts.get(account) {
            account.changed.notify_waiters();
        }
    }

    /// Tells a companion that the server is short of its pre-keys.
    pub(crate) fn tell_if_few_keys(&mut self, key: &DeviceKey) {
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        let left = companion.pre_keys.len();
        if left >= FEW_PRE_KEYS || companion.told_low_keys || companion.logins == 0 {
            return;
        }
        companion.told_low_keys = true;
        let id = self.new_id();
        let notice = NodeBuilder::new("notification")
            .attr("type", "encrypt")
            .attr("from", crate::node::server_jid())
            .attr("id", id.as_str())
            .attr("t", crate::clock::now())
            .children([NodeBuilder::new("count").attr("value", left).build()])
            .build();
        self.deliver(key, Class::Notification, &id, notice);
    }
}
