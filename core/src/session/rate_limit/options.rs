//! What can be set about rate limits.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// So many messages a minute, evenly spread, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Messages a minute in the long run; 1 to 6,000.
    pub per_minute: u32,
    /// How many may go at once after a quiet time; 1 to 6,000.
    pub burst: u32,
}

impl Rate {
    /// The most of either: a hundred messages a second.
    pub const MAX: u32 = 6_000;

    /// A rate without bursts.
    pub const fn per_minute(per_minute: u32) -> Self {
        Self { per_minute, burst: 1 }
    }

    /// The same rate with bursts of this size.
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    /// Half of it, at least 1.
    pub(super) fn halved(self) -> Self {
        Self { per_minute: (self.per_minute / 2).max(1), burst: (self.burst / 2).max(1) }
    }

    fn validate(self, option: &str) -> Result<()> {
        for (name, value) in [("per_minute", self.per_minute), ("burst", self.burst)] {
            if !(1..=Self::MAX).contains(&value) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "option rate_limits.{option}.{name} must be between 1 and {}; leave {option} out for no limit",
                        Self::MAX
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// How fast a session may send, and how long it keeps still when WhatsApp says so.
///
/// Limits are off by default. WhatsApp's own signals always count: after a 429 the session sends nothing for
/// `pause_after_429`, twice as long after each further one within an hour (up to 16 times), and for that hour it has
/// half of `per_session`; after a 463 it writes to no new contact for `pause_after_463`; a temporary ban lasts as
/// long as WhatsApp said. A send that may not go is `RateLimited` (or `Banned`) with the time to wait; the outbox
/// waits by itself. All of it is kept per session and process, and forgotten at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimits {
    /// For all messages of a session. Default: no limit.
    pub per_session: Option<Rate>,
    /// For the messages of a session to one chat. Default: no limit.
    pub per_recipient: Option<Rate>,
    /// The first pause after WhatsApp said "too many" to a message (429). Default 1 min.
    pub pause_after_429: Duration,
    /// How long no new contact is written to after WhatsApp refused one (463). Default 1 h.
    pub pause_after_463: Duration,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            per_session: None,
            per_recipient: None,
            pause_after_429: Duration::from_secs(60),
            pause_after_463: Duration::from_secs(3_600),
        }
    }
}

impl RateLimits {
    /// `Invalid` that names the option and its bounds.
    pub fn validate(&self) -> Result<()> {
        if let Some(rate) = self.per_session {
            rate.validate("per_session")?;
        }
        if let Some(rate) = self.per_recipient {
            rate.validate("per_recipient")?;
        }
        let bounds = Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);
        for (name, pause) in
            [("pause_after_429", self.pause_after_429), ("pause_after_463", self.pause_after_463)]
        {
            if !bounds.contains(&pause) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("option rate_limits.{name} must be between 1 ms and 7 days"),
                ));
            }
        }
        Ok(())
    }
}
