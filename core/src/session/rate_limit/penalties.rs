//! What WhatsApp itself asks for: 429, 463, and temporary bans.

use std::collections::HashSet;
use std::time::Duration;

use super::denied::{Denied, Why};
use super::options::RateLimits;

/// For so long after a 429 the session has half its limit, and another 429 pauses it for twice as long.
const REMEMBERED: Duration = Duration::from_secs(3_600);
/// A pause grows to this many times the first one.
const MOST_DOUBLINGS: u32 = 4;

/// All times are of the monotonic clock.
#[derive(Default)]
pub(super) struct Penalties {
    silent_until: Duration,
    reduced_until: Duration,
    /// 429s, each within an hour of the one before.
    in_a_row: u32,
    closed_until: Duration,
    /// Chats that were refused by name: for them it does not matter whether they have written.
    refused: HashSet<String>,
    banned_until: Duration,
}

impl Penalties {
    pub(super) fn check(
        &self,
        chat: &str,
        now: Duration,
        has_written: impl FnOnce() -> bool,
    ) -> Result<(), Denied> {
        if let Some(ban) = self.ban(now) {
            return Err(ban);
        }
        if now < self.silent_until {
            return Err(Denied { why: Why::TooMany, wait: self.silent_until - now });
        }
        if now < self.closed_until && (self.refused.contains(chat) || !has_written()) {
            return Err(Denied { why: Why::NewContacts, wait: self.closed_until - now });
        }
        Ok(())
    }

    pub(super) fn ban(&self, now: Duration) -> Option<Denied> {
        (now < self.banned_until).then(|| Denied { why: Why::Banned, wait: self.banned_until - now })
    }

    pub(super) fn is_reduced(&self, now: Duration) -> bool {
        now < self.reduced_until
    }

    pub(super) fn is_closed_to_new_contacts(&self, now: Duration) -> bool {
        now < self.closed_until
    }

    pub(super) fn refused(
        &mut self,
        options: &RateLimits,
        chat: &str,
        code: &str,
        now: Duration,
    ) -> Option<Denied> {
        match code {
            "429" => {
                // Those that were on their way already when the first was refused are no further offence.
                if now >= self.silent_until {
                    self.in_a_row = if self.is_reduced(now) { self.in_a_row + 1 } else { 1 };
                    let doublings = (self.in_a_row - 1).min(MOST_DOUBLINGS);
                    self.silent_until = now + options.pause_after_429 * 2_u32.pow(doublings);
                    self.reduced_until = self.silent_until + REMEMBERED;
                }
                Some(Denied { why: Why::TooMany, wait: self.silent_until - now })
            }
            "463" => {
                if now >= self.closed_until {
                    self.refused.clear();
                }
                self.closed_until = now + options.pause_after_463;
                self.refused.insert(chat.to_owned());
                Some(Denied { why: Why::NewContacts, wait: options.pause_after_463 })
            }
            _ => None,
        }
    }

    pub(super) fn banned_for(&mut self, lasts: Duration, now: Duration) {
        self.banned_until = self.banned_until.max(now.saturating_add(lasts));
    }
}
