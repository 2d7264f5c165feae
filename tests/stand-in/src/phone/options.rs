//! How a phone is to be, and how it is to send.

use serde::{Deserialize, Serialize};

use crate::history::HistoryChat;

/// How a phone is to be. All but the defaults are optional.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PhoneOptions {
    /// The name contacts see; one is made up if empty.
    pub push_name: String,
    /// Digits only; a free one is chosen if none is given.
    pub phone_number: Option<String>,
    /// Companions address one-to-one chats by LID.
    pub is_lid_migrated: bool,
    /// What a companion gets as history when it is linked.
    pub history: Vec<HistoryChat>,
    /// The phone's system, as told in `pair-success`.
    pub platform: String,
    /// Makes it a business account with this name.
    pub business_name: Option<String>,
    /// Sends delivery receipts for what it reads. On by default.
    pub delivery_receipts: bool,
}

impl Default for PhoneOptions {
    fn default() -> Self {
        Self {
            push_name: String::new(),
            phone_number: None,
            is_lid_migrated: false,
            history: Vec::new(),
            platform: "android".to_owned(),
            business_name: None,
            delivery_receipts: true,
        }
    }
}

/// How a message is to be sent.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// The id; one is made if none is given.
    pub message_id: Option<String>,
    /// Seconds since 1970; now if none is given.
    pub timestamp: Option<u64>,
}
