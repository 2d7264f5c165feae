//! What was lost and what doubled: the stand-in's accounting and the phones against the database.

use std::collections::HashMap;

use crate::flow::Sent;
use crate::world::World;
use crate::{Result, progress};

/// The balance of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Messages that the stand-in had for the sessions.
    pub sent_to_sessions: u64,
    /// Messages that a session said were sent.
    pub sent_by_sessions: u64,
    /// Received, but not in the database; or said to be sent, but not shown by the contact's phone or not in the
    /// database.
    pub lost: u64,
    /// In the database or on the contact's phone more often than once, or received though nobody sent it.
    pub duplicated: u64,
    /// By how much `messagesReceived` and `messagesSent` differ from the stored messages.
    pub counters_off: u64,
    /// Retries that either side asked for because it could not read a message, and messages that a session refused.
    pub decrypt_failures: u64,
    /// Devices beyond the first of an account, and sessions that asked for a code though they were linked.
    pub relinked: u64,
}

impl Audit {
    /// Of a world whose workers have shut down and whose traffic has ended. `sent` is what sessions confirmed.
    pub async fn of(world: &World, sent: &[Sent]) -> Result<Self> {
        let accounting = world.stand_in.admin.accounting().await?;
        let rows = world.place.messages().await?;
        let session_of: HashMap<&str, &str> =
            world.sessions.iter().map(|known| (known.phone.as_str(), known.session.as_str())).collect();
        let mut audit = Self { sent_by_sessions: sent.len() as u64, ..Self::default() };

        let mut stored: HashMap<(&str, &str), u64> = HashMap::new();
        for row in rows.iter().filter(|row| !row.outgoing) {
            *stored.entry((&row.session, &row.message_id)).or_default() += 1;
        }
        for message in accounting.to_companions.iter().filter(|message| !message.is_peer) {
            let number = message.to_device.split([':', '@']).next().unwrap_or_default();
            let Some(session) = session_of.get(number) else { continue };
            audit.sent_to_sessions += 1;
            let failures = u64::from(message.retries) + u64::from(message.nacked.is_some());
            if failures > 0 {
                progress(format_args!("{session} could not read a message: {message:?}"));
            }
            audit.decrypt_failures += failures;
            match stored.remove(&(*session, message.message_id.as_str())) {
                None => {
                    progress(format_args!("{session} has lost a message: {message:?}"));
                    audit.lost += 1;
                }
                Some(times) => audit.duplicated += times - 1,
            }
        }
        // What nobody sent.
        audit.duplicated += stored.values().sum::<u64>();
        for message in accounting.by_companions.iter().filter(|message| message.retries > 0) {
            progress(format_args!("a contact could not read a message: {message:?}"));
            audit.decrypt_failures += u64::from(message.retries);
        }

        let mut out: HashMap<(&str, &str), u64> = HashMap::new();
        for row in rows.iter().filter(|row| row.outgoing) {
            *out.entry((&row.session, row.text.as_deref().unwrap_or_default())).or_default() += 1;
        }
        let mut shown: HashMap<(&str, String), u64> = HashMap::new();
        for contact in &world.contacts {
            for text in world.stand_in.admin.texts_of(contact).await? {
                *shown.entry((contact, text)).or_default() += 1;
            }
        }
        for message in sent {
            let on_phone = shown.get(&(message.contact.as_str(), message.text.clone())).copied().unwrap_or(0);
            let in_database =
                out.get(&(message.session.as_str(), message.text.as_str())).copied().unwrap_or(0);
            if on_phone == 0 || in_database == 0 {
                progress(format_args!(
                    "lost: {message:?}, shown {on_phone} times, stored {in_database} times"
                ));
                audit.lost += 1;
            }
            audit.duplicated += on_phone.saturating_sub(1) + in_database.saturating_sub(1);
        }

        for session in world.place.sessions().await? {
            let of_session = rows.iter().filter(|row| row.session == session.session);
            let (outgoing, incoming): (Vec<_>, Vec<_>) = of_session.partition(|row| row.outgoing);
            let stored = (incoming.len() as u64, outgoing.len() as u64);
            let off = session.received.abs_diff(stored.0) + session.sent.abs_diff(stored.1);
            if off > 0 {
                progress(format_args!("{stored:?} messages in and out are stored, but counted {session:?}"));
            }
            audit.counters_off += off;
        }
        audit.relinked = world.relinked().await?;
        Ok(audit)
    }
}
