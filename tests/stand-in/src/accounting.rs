//! The ledger: what was sent to and by companions, and what became of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// A message for one companion device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentToCompanion {
    /// Its id.
    pub message_id: String,
    /// The chat as the companion sees it.
    pub chat: String,
    /// The sending device.
    pub from: String,
    /// The companion device (number JID).
    pub to_device: String,
    /// How often it went out to this device, repetitions on purpose included; 0 = still waiting.
    pub times_sent: u32,
    /// Kinds of the receipts that came for it (`delivery`, `read`, `retry`, …), each once.
    pub receipt_kinds: Vec<String>,
    /// The device answered it: it will not come again.
    pub settled: bool,
    /// The error of a refusal, if the device refused it.
    pub nacked: Option<String>,
    /// Retries the device asked for.
    pub retries: u32,
    /// A message of the phone to its own device (keys, history): no chat.
    pub is_peer: bool,
    /// When it arose, ms since 1970.
    #[serde(default)]
    pub queued_at_ms: i64,
    /// When the device first answered it, ms since 1970.
    #[serde(default)]
    pub settled_at_ms: Option<i64>,
}

/// A message by one companion device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentByCompanion {
    /// Its id.
    pub message_id: String,
    /// The sending device (number JID).
    pub from_device: String,
    /// The chat, as the sender addressed it.
    pub to: String,
    /// How often it came in, retries on request not counted.
    pub times_received: u32,
    /// The server acknowledged it.
    pub acked: bool,
    /// Devices it was passed on to.
    pub delivered_to: Vec<String>,
    /// How many of the recipients could read it, phones and companions (a delivery receipt).
    pub decrypted_by_recipients: u32,
    /// Retries that a recipient asked for.
    pub retries: u32,
}

/// A copy of the ledger at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Messages for companions, in the order they arose.
    pub to_companions: Vec<SentToCompanion>,
    /// Messages by companions, in the order they came.
    pub by_companions: Vec<SentByCompanion>,
}

impl Accounting {
    /// Messages for this device that are gone without an answer that they were read: refused by it.
    /// What still waits or may come again is not lost; see [`Accounting::unsettled`].
    pub fn lost_to(&self, device: &str) -> usize {
        self.to(device).filter(|sent| sent.nacked.is_some()).count()
    }

    /// Messages for this device that it has not answered yet.
    pub fn unsettled(&self, device: &str) -> usize {
        self.to(device).filter(|sent| !sent.settled).count()
    }

    /// Times that this device sent a message the server had already.
    pub fn duplicated_from(&self, device: &str) -> usize {
        self.by_companions
            .iter()
            .filter(|sent| sent.from_device == device)
            .map(|sent| sent.times_received.saturating_sub(1) as usize)
            .sum()
    }

    fn to(&self, device: &str) -> impl Iterator<Item = &SentToCompanion> {
        self.to_companions.iter().filter(move |sent| sent.to_device == device)
    }
}

/// Sums of an [`Accounting`], of messages with a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Messages for companions.
    pub to_companions: u64,
    /// Of them answered.
    pub settled: u64,
    /// Messages by companions.
    pub by_companions: u64,
    /// Of them acknowledged.
    pub acked: u64,
}

impl Accounting {
    /// The sums.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for sent in self.to_companions.iter().filter(|sent| !sent.is_peer) {
            progress.to_companions += 1;
            progress.settled += u64::from(sent.settled);
        }
        for sent in &self.by_companions {
            progress.by_companions += 1;
            progress.acked += u64::from(sent.acked);
        }
        progress
    }
}

/// [`Accounting`] with an index.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) book: Accounting,
    to_index: HashMap<(String, String), usize>,
    by_index: HashMap<(String, String), usize>,
}

impl Ledger {
    pub(crate) fn restore(book: Accounting) -> Self {
        let to_index = (book.to_companions.iter().enumerate())
            .map(|(at, sent)| ((sent.to_device.clone(), sent.message_id.clone()), at))
            .collect();
        let by_index = (book.by_companions.iter().enumerate())
            .map(|(at, sent)| ((sent.from_device.clone(), sent.message_id.clone()), at))
            .collect();
        Self { book, to_index, by_index }
    }

    /// The entry of a message for a companion; made if new.
    pub(crate) fn to(&mut self, device: &str, id: &str) -> &mut SentToCompanion {
        let at = *self.to_index.entry((device.to_owned(), id.to_owned())).or_insert_with(|| {
            self.book.to_companions.push(SentToCompanion {
                message_id: id.to_owned(),
                to_device: device.to_owned(),
                queued_at_ms: crate::clock::now_ms(),
                ..Default::default()
            });
            self.book.to_companions.len() - 1
        });
        &mut self.book.to_companions[at]
    }

    /// The entry of a message for a companion, if there is one.
    pub(crate) fn known_to(&mut self, device: &str, id: &str) -> Option<&mut SentToCompanion> {
        let at = *self.to_index.get(&(device.to_owned(), id.to_owned()))?;
        self.book.to_companions.get_mut(at)
    }

    /// The entry of a message by a companion; made if new.
    pub(crate) fn by(&mut self, device: &str, id: &str) -> &mut SentByCompanion {
        let at = *self.by_index.entry((device.to_owned(), id.to_owned())).or_insert_with(|| {
            self.book.by_companions.push(SentByCompanion {
                message_id: id.to_owned(),
                from_device: device.to_owned(),
                ..Default::default()
            });
            self.book.by_companions.len() - 1
        });
        &mut self.book.by_companions[at]
    }

    /// The entry of a message by a companion, if there is one.
    pub(crate) fn known_by(&mut self, device: &str, id: &str) -> Option<&mut SentByCompanion> {
        let at = *self.by_index.get(&(device.to_owned(), id.to_owned()))?;
        self.book.by_companions.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums() {
        let mut ledger = Ledger::default();
        ledger.to("a:1@s.whatsapp.net", "1").times_sent = 1;
        ledger.to("a:1@s.whatsapp.net", "2").settled = true;
        let refused = ledger.to("a:1@s.whatsapp.net", "3");
        refused.settled = true;
        refused.nacked = Some("500".to_owned());
        ledger.by("a:1@s.whatsapp.net", "x").times_received = 3;
        assert!(ledger.known_to("b", "1").is_none());
        ledger.to("a:1@s.whatsapp.net", "4").is_peer = true;
        let book = Ledger::restore(ledger.book).book;
        let sums = Progress { to_companions: 3, settled: 2, by_companions: 1, acked: 0 };
        assert_eq!(book.progress(), sums);
        assert_eq!(book.unsettled("a:1@s.whatsapp.net"), 2);
        assert_eq!(book.lost_to("a:1@s.whatsapp.net"), 1);
        assert_eq!(book.duplicated_from("a:1@s.whatsapp.net"), 2);
    }
}
