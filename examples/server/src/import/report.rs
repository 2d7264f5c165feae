//! What `import` prints.

use std::collections::BTreeMap;

use centralita::Result;
use centralita::service::import::BaileysReport;
use serde::Serialize;

/// What was found, by session.
pub(super) type Sessions = BTreeMap<String, Found>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) dry_run: bool,
    pub(super) sessions: Sessions,
}

/// Whose credentials there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Credentials {
    #[default]
    None,
    Centralita,
    Baileys,
}

/// What there is of one session.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    /// Whether there is a record.
    pub(super) record: bool,
    /// Whose were found.
    pub(super) credentials: Credentials,
    pub(super) keys: u64,
    pub(super) messages: u64,
    pub(super) chats: u64,
    /// Rows of Baileys by type: taken over, and left because WhatsApp is asked for them anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    baileys: Option<BaileysReport>,
    /// Why it was not taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
    /// What must be done to use it.
    to_do: &'static str,
    /// An earlier import was cut off after its rows were moved aside.
    #[serde(skip)]
    pub(super) is_aside: bool,
    #[serde(skip)]
    pub(super) is_done: bool,
}

impl Found {
    /// Whether there is something to take over.
    pub(super) fn is_foreign(&self) -> bool {
        self.credentials == Credentials::Baileys || (self.credentials == Credentials::None && self.is_aside)
    }

    pub(super) fn note(&mut self, outcome: Result<BaileysReport>) {
        match outcome {
            Ok(report) => self.baileys = Some(report),
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    pub(super) fn say_what_to_do(&mut self) {
        self.to_do = match (self.is_foreign(), &self.problem, self.is_done) {
            (true, None, true) => "nothing: the server restores it at its start, without a code",
            (true, None, false) => {
                "stop the Node system for good, then import: it is taken over without a code"
            }
            (true, Some(_), _) => "link it anew with a code; its history is shown as it is",
            (false, ..) if self.credentials == Credentials::Centralita => {
                "nothing: the server restores it at its start"
            }
            (false, ..) if self.record => "start it and scan its QR code; its history is shown as it is",
            (false, ..) => "create it and scan its QR code; its history is shown as it is",
        };
    }
}
