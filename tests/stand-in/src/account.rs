//! An account: one phone (device 0) and its companions, as the server and the phone know them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use wacore_binary::{Jid, Node, Server};
use waproto::whatsapp as wa;

use crate::app_state::AppState;
use crate::history::HistoryChat;
use crate::phone::signal::{PhoneSignal, SignedKey};
use crate::phone::{ReceivedMessage, ReceivedReceipt};
use crate::queue::{Phase, Queue};

/// The number of a connection; never used twice in one process.
pub(crate) type ConnectionId = u64;

/// One device: the account's phone number and the device number (0 = the phone).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DeviceKey {
    pub(crate) account: String,
    pub(crate) device: u16,
}

impl std::fmt::Display for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.account, self.device)
    }
}

impl DeviceKey {
    pub(crate) fn pn_jid(&self) -> Jid {
        Jid::pn_device(self.account.as_str(), self.device)
    }
}

/// One account.
pub(crate) struct Account {
    pub(crate) phone_number: String,
    pub(crate) lid: String,
    pub(crate) push_name: String,
    pub(crate) platform: String,
    pub(crate) business_name: Option<String>,
    pub(crate) is_lid_migrated: bool,
    pub(crate) about: String,
    pub(crate) history: Vec<HistoryChat>,
    /// Signal state of the phone.
    pub(crate) signal: PhoneSignal,
    pub(crate) raw_id: u32,
    pub(crate) next_device: u16,
    pub(crate) companions: BTreeMap<u16, Companion>,
    pub(crate) app_state: AppState,
    pub(crate) blocklist: BTreeSet<String>,
    pub(crate) privacy: BTreeMap<String, String>,
    /// Accounts it exchanged messages with: they hear of device changes.
    pub(crate) contacts: HashSet<String>,
    /// Accounts that asked to see this one's presence.
    pub(crate) watchers: HashSet<DeviceKey>,
    pub(crate) phone_available: bool,
    /// What the watchers were told last.
    pub(crate) shown_available: bool,
    /// Group → devices that have the phone's sender key.
    pub(crate) sender_key_shared: HashMap<String, HashSet<DeviceKey>>,
    pub(crate) received: Vec<Arc<ReceivedMessage>>,
    pub(crate) receipts: Vec<ReceivedReceipt>,
    /// For retries: what the phone sent, by id.
    pub(crate) sent: HashMap<String, SentMessage>,
    /// Ids already shown to the user of the phone: a repeated one is dropped.
    pub(crate) seen: HashSet<(String, String)>,
    /// Retries asked for by the phone, by message.
    pub(crate) retries_asked: HashMap<String, u32>,
    pub(crate) delivery_receipts: bool,
    pub(crate) changed: Arc<Notify>,
}

/// A message as the phone sent it.
#[derive(Clone)]
pub(crate) struct SentMessage {
    pub(crate) chat: Jid,
    pub(crate) message: wa::Message,
    pub(crate) timestamp: u64,
    /// Key shares and history go to one device, with their own category.
    pub(crate) peer: bool,
}

/// A linked device.
pub(crate) struct Companion {
    pub(crate) device: u16,
    pub(crate) noise_key: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) registration_id: u32,
    pub(crate) key_index: u32,
    /// ADVSignedDeviceIdentity with the device's signature.
    pub(crate) signed_identity: Vec<u8>,
    pub(crate) signed_key: SignedKey,
    pub(crate) pre_keys: VecDeque<(u32, [u8; 32])>,
    pub(crate) platform: String,
    pub(crate) push_name: Option<String>,
    /// Key share and history were not sent yet: they need its pre-keys.
    pub(crate) needs_welcome: bool,
    /// The queue for a device that does not read is kept; it is told once of low keys.
    pub(crate) told_low_keys: bool,
    pub(crate) available: bool,
    /// The newest presence of each account that changed while this device was away.
    pub(crate) missed_presence: BTreeMap<String, Node>,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) phase: Phase,
    /// Stanzas of this drain so far: the `offline` attribute counts up.
    pub(crate) drained: usize,
    pub(crate) queue: Queue,
    pub(crate) logins: u32,
}

impl Account {
    pub(crate) fn pn_jid(&self) -> Jid {
        Jid::pn(self.phone_number.as_str())
    }

    pub(crate) fn lid_jid(&self) -> Jid {
        Jid::lid(self.lid.as_str())
    }

    /// A device of this account, in the same namespace (number or LID) as `like`.
    pub(crate) fn jid_like(&self, like: Server, device: u16) -> Jid {
        if like.is_lid_family() {
            Jid::lid_device(self.lid.as_str(), device)
        } else {
            Jid::pn_device(self.phone_number.as_str(), device)
        }
    }

    pub(crate) fn key(&self, device: u16) -> DeviceKey {
        DeviceKey { account: self.phone_number.clone(), device }
    }

    /// The phone and all companions.
    pub(crate) fn device_ids(&self) -> Vec<u16> {
        std::iter::once(0).chain(self.companions.keys().copied()).collect()
    }
}
