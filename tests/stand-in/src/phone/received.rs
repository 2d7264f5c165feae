//! What a phone has received.

use serde::{Deserialize, Serialize};
use waproto::whatsapp as wa;

/// A message that a phone has read.
#[derive(Clone, Debug)]
pub struct ReceivedMessage {
    /// Its id.
    pub id: String,
    /// The device that sent it.
    pub from: String,
    /// The chat, as this phone would answer it.
    pub chat: String,
    /// The sender in a group.
    pub participant: Option<String>,
    /// The text, if it has one.
    pub text: Option<String>,
    /// All of it.
    pub message: wa::Message,
    /// The server's time, seconds since 1970.
    pub timestamp: u64,
    /// An own companion sent it: this is the phone's copy.
    pub device_sent: bool,
}

/// Kinds of receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReceiptKind {
    /// It arrived.
    Delivery,
    /// It was read.
    Read,
    /// It was played.
    Played,
    /// An own device sent it.
    Sender,
    /// It could not be decrypted.
    Retry,
    /// It arrived at a device that is not in use.
    Inactive,
    /// Any other.
    Other,
}

impl ReceiptKind {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "" | "delivery" => Self::Delivery,
            "read" => Self::Read,
            "played" => Self::Played,
            "sender" => Self::Sender,
            "retry" => Self::Retry,
            "inactive" => Self::Inactive,
            _ => Self::Other,
        }
    }
}

/// A receipt for something a phone's account sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceivedReceipt {
    /// The messages it is for.
    pub message_ids: Vec<String>,
    /// The device that sent it.
    pub from: String,
    /// The chat.
    pub chat: String,
    /// What it says.
    pub kind: ReceiptKind,
    /// Seconds since 1970.
    pub timestamp: u64,
}
