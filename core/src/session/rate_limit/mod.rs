//! How fast a session may send: the operator's limits, and what WhatsApp itself asks for.
//!
//! | file | what |
//! | --- | --- |
//! | `options` | what can be set |
//! | `quotas` | the operator's limits, counted by `governor` on our clock |
//! | `penalties` | 429, 463 and temporary bans |
//! | `denied` | why a message may not go now |

mod denied;
mod options;
mod penalties;
mod quotas;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;

pub(crate) use denied::Denied;
#[cfg(test)]
pub(crate) use denied::Why;
pub use options::{Rate, RateLimits};
use penalties::Penalties;
use quotas::Quotas;

/// The limits of one session.
pub(crate) struct RateLimiter {
    clock: SharedClock,
    options: RateLimits,
    state: Mutex<State>,
}

struct State {
    quotas: Quotas,
    penalties: Penalties,
}

impl RateLimiter {
    pub(crate) fn new(options: RateLimits, clock: SharedClock) -> Self {
        let state = State { quotas: Quotas::default(), penalties: Penalties::default() };
        Self { clock, options, state: Mutex::new(state) }
    }

    /// Takes leave to send one message, or says why not and for how long. `has_written` is asked only while no new
    /// contact may be written to: whether this chat ever wrote to the account.
    pub(crate) fn acquire(&self, chat: &str, has_written: impl FnOnce() -> bool) -> Result<(), Denied> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.penalties.check(chat, now, has_written)?;
        let reduced = state.penalties.is_reduced(now);
        state.quotas.acquire(&self.options, reduced, chat, &self.clock)
    }

    /// What WhatsApp has against a message to this chat; takes no leave.
    pub(crate) fn penalty(&self, chat: &str, has_written: impl FnOnce() -> bool) -> Result<(), Denied> {
        self.state().penalties.check(chat, self.clock.monotonic(), has_written)
    }

    /// The ban that the account is under.
    pub(crate) fn ban(&self) -> Option<Denied> {
        self.state().penalties.ban(self.clock.monotonic())
    }

    /// Whether no new contact may be written to at present.
    pub(crate) fn is_closed_to_new_contacts(&self) -> bool {
        self.state().penalties.is_closed_to_new_contacts(self.clock.monotonic())
    }

    /// Takes what WhatsApp refused a message with. The wait if it is over by itself one day; `None` if it concerns
    /// the message alone.
    pub(crate) fn refused(&self, chat: &str, code: &str) -> Option<Denied> {
        self.state().penalties.refused(&self.options, chat, code, self.clock.monotonic())
    }

    /// WhatsApp has banned the account for so long.
    pub(crate) fn banned_for(&self, lasts: Duration) {
        self.state().penalties.banned_for(lasts, self.clock.monotonic());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimiter").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
