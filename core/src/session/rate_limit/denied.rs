//! Why a message may not go now.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// Why, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) why: Why,
    pub(crate) wait: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The limit of the session.
    Session,
    /// The limit of the recipient.
    Recipient,
    /// WhatsApp said 429.
    TooMany,
    /// WhatsApp said 463, and this contact never wrote.
    NewContacts,
    /// WhatsApp banned the account for a time.
    Banned,
}

impl Denied {
    /// Whether it holds for every recipient.
    pub(crate) fn is_for_all(self) -> bool {
        matches!(self.why, Why::Session | Why::TooMany | Why::Banned)
    }

    pub(crate) fn into_error(self) -> Error {
        let (kind, message) = match self.why {
            Why::Session => (
                ErrorKind::RateLimited,
                "the session's own limit (rate_limits.per_session); nothing was sent; wait, or let the outbox send it",
            ),
            Why::Recipient => (
                ErrorKind::RateLimited,
                "the limit for one recipient (rate_limits.per_recipient); nothing was sent; wait, or let the outbox send it",
            ),
            Why::TooMany => (
                ErrorKind::RateLimited,
                "WhatsApp has said that it is too many (429); nothing was sent; wait, or let the outbox send it",
            ),
            Why::NewContacts => (
                ErrorKind::RateLimited,
                "WhatsApp lets the account write to no new contact at present (463); nothing was sent; wait, and let contacts write first",
            ),
            Why::Banned => {
                (ErrorKind::Banned, "WhatsApp has banned the account for a time; nothing was sent; wait")
            }
        };
        Error::new(kind, message).retry_after(self.wait)
    }
}
