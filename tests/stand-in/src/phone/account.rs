//! The accounts behind phones: made on demand, and what a phone does on its account's behalf.

use wacore_binary::{Jid, Server};

use super::{PhoneOptions, signal};
use crate::account::Account;
use crate::error::StandInError;
use crate::state::State;

impl State {
    pub(super) fn phone_reads(&mut self, account: &str, chat: &Jid, ids: &[String]) {
        let Some(reader) = self.accounts.get(account) else {
            return;
        };
        let is_group = chat.server == Server::Group;
        let own_companions = self.companions_of(account);
        let mut by_author: Vec<(String, Vec<String>)> = Vec::new();
        for id in ids {
            let author = reader
                .received
                .iter()
                .find(|message| message.id == *id)
                .map(|message| message.from.clone())
                .unwrap_or_else(|| chat.to_string());
            match by_author.iter_mut().find(|(known, _)| *known == author) {
                Some((_, ids)) => ids.push(id.clone()),
                None => by_author.push((author, vec![id.clone()])),
            }
        }
        for (author_jid, ids) in by_author {
            let Ok(author_jid) = author_jid.parse::<Jid>() else {
                continue;
            };
            let Some(reader) = self.accounts.get(account) else {
                return;
            };
            let own = reader.jid_like(author_jid.server, 0);
            if let Some(author) = self.key_of(&author_jid).filter(|author| author.account != account) {
                if is_group {
                    self.receipt_to_account(&author.account, chat, Some(&own), &ids, "read");
                } else {
                    self.receipt_to_account(&author.account, &own, None, &ids, "read");
                }
            }
            let author_user = author_jid.to_non_ad();
            for companion in &own_companions {
                self.receipt_to_companion(
                    companion,
                    chat,
                    is_group.then_some(&author_user),
                    &ids,
                    "read-self",
                );
            }
        }
    }

    /// A new account with its phone.
    pub(crate) fn add_account(&mut self, options: PhoneOptions) -> Result<String, StandInError> {
        let number = match options.phone_number {
            Some(number) => {
                let number = number.trim_start_matches('+').to_owned();
                if !(7..=15).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(StandInError::BadPhoneNumber(number));
                }
                if self.accounts.contains_key(&number) {
                    return Err(StandInError::PhoneExists(number));
                }
                number
            }
            None => loop {
                self.next_account += 1;
                let number = format!("54911{:08}", 50_000_000 + self.next_account);
                if !self.accounts.contains_key(&number) {
                    break number;
                }
            },
        };
        let lid = loop {
            let lid = format!(
                "{}",
                100_000_000_000_000_u64 + u64::from(u32::from_be_bytes(crate::crypto::random()))
            );
            if !self.lids.contains_key(&lid) {
                break lid;
            }
        };
        let push_name =
            if options.push_name.is_empty() { format!("Phone {number}") } else { options.push_name };
        let account = Account {
            phone_number: number.clone(),
            lid: lid.clone(),
            app_state: crate::app_state::AppState::new(&push_name),
            push_name,
            platform: options.platform,
            business_name: options.business_name,
            is_lid_migrated: options.is_lid_migrated,
            about: "Hey there!".to_owned(),
            history: options.history,
            signal: signal::PhoneSignal::generate(),
            raw_id: u32::from_be_bytes(crate::crypto::random()) >> 1,
            next_device: 1,
            companions: Default::default(),
            blocklist: Default::default(),
            privacy: Default::default(),
            contacts: Default::default(),
            watchers: Default::default(),
            phone_available: false,
            shown_available: false,
            sender_key_shared: Default::default(),
            received: Vec::new(),
            receipts: Vec::new(),
            sent: Default::default(),
            seen: Default::default(),
            retries_asked: Default::default(),
            delivery_receipts: options.delivery_receipts,
            changed: Default::default(),
        };
        self.lids.insert(lid, number.clone());
        self.accounts.insert(number.clone(), account);
        self.dirty = true;
        Ok(number)
    }

    /// The phone with this push name; a new one if there is none.
    pub(crate) fn account_with_name(&mut self, push_name: Option<&str>) -> Result<String, StandInError> {
        if let Some(name) = push_name.filter(|name| !name.is_empty()) {
            let known = self.accounts.values().find(|account| account.push_name == name);
            if let Some(known) = known {
                return Ok(known.phone_number.clone());
            }
        }
        self.add_account(PhoneOptions {
            push_name: push_name.unwrap_or_default().to_owned(),
            // Made only for its companion: "delivered" must mean that the companion has it.
            delivery_receipts: false,
            ..Default::default()
        })
    }
}
