//! One error type. Its [`ErrorKind`] says what the caller must do, its message what happened and to what.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// The result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in terms of what the caller must do next.
///
/// The numbers of [`code`](ErrorKind::code) are stable and shared by every binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or an option is not acceptable. Nothing was changed. Mend the call.
    Invalid,
    /// No such session, message or document. Nothing was changed.
    NotFound,
    /// It is there already. Nothing was changed.
    AlreadyExists,
    /// The call does not fit the present state (a send on a session that is not connected, say).
    /// Bring the session into that state, then call again.
    InvalidState,
    /// The service was shut down. Build a new one.
    Closed,
    /// The phone removed this device. Link it anew.
    LoggedOut,
    /// WhatsApp banned the account for a time. Wait for `retry_after`.
    Banned,
    /// Another process or instance owns the session, or the file. Nothing was written. Do not retry
    /// unless the other one is gone.
    Conflict,
    /// Too much in too short a time. Call again after `retry_after`.
    RateLimited,
    /// A deadline passed. The outcome may be unknown; the message says if it is.
    Timeout,
    /// The caller cancelled it.
    Cancelled,
    /// The database or the network cannot be reached at present, or the disk is full. Retry, or drop the operation.
    Unavailable,
    /// The database refused the operation for good (rights, read-only, index conflict).
    Store,
    /// A stored document cannot be understood. The session that owns it must be repaired or deleted.
    Corrupt,
    /// A key is missing, wrong or retired, or a sealed value was changed. Nothing was overwritten.
    Crypto,
    /// WhatsApp answered in a way that the protocol does not allow, or refused the request.
    Protocol,
    /// A callback of the caller failed.
    Callback,
    /// A panic was caught. Only the session named was affected.
    Panic,
    /// A bug of this library. Please report it.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables in bindings and tests.
    pub const ALL: &'static [ErrorKind] = &[
        Self::Invalid,
        Self::NotFound,
        Self::AlreadyExists,
        Self::InvalidState,
        Self::Closed,
        Self::LoggedOut,
        Self::Banned,
        Self::Conflict,
        Self::RateLimited,
        Self::Timeout,
        Self::Cancelled,
        Self::Unavailable,
        Self::Store,
        Self::Corrupt,
        Self::Crypto,
        Self::Protocol,
        Self::Callback,
        Self::Panic,
        Self::Internal,
    ];

    /// The stable number of this kind: decades by who must act (10 caller, 20 account, 30 time,
    /// 40 storage, 50 peer, 90 us). 0 is never used: it means success in C.
    pub const fn code(self) -> u32 {
        match self {
            Self::Invalid => 10,
            Self::NotFound => 11,
            Self::AlreadyExists => 12,
            Self::InvalidState => 13,
            Self::Closed => 14,
            Self::LoggedOut => 20,
            Self::Banned => 21,
            Self::Conflict => 22,
            Self::RateLimited => 30,
            Self::Timeout => 31,
            Self::Cancelled => 32,
            Self::Unavailable => 40,
            Self::Store => 41,
            Self::Corrupt => 42,
            Self::Crypto => 43,
            Self::Protocol => 50,
            Self::Callback => 51,
            Self::Panic => 90,
            Self::Internal => 91,
        }
    }

    /// The name in snake case, as logs, JSON and metrics show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::InvalidState => "invalid_state",
            Self::Closed => "closed",
            Self::LoggedOut => "logged_out",
            Self::Banned => "banned",
            Self::Conflict => "conflict",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Store => "store",
            Self::Corrupt => "corrupt",
            Self::Crypto => "crypto",
            Self::Protocol => "protocol",
            Self::Callback => "callback",
            Self::Panic => "panic",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed later with no change by the caller.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Timeout | Self::Unavailable)
    }
}

/// What happened, to what, and what to do.
///
/// Never holds a secret, a message text, a phone number or a JID.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    op: Option<&'static str>,
    session: Option<String>,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A new error. The message is lower case, without a full stop, and says what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            op: None,
            session: None,
            message: message.into(),
            retry_after: None,
            source: None,
        }))
    }

    /// Names the operation that failed, once: the innermost wins.
    #[must_use]
    pub fn during(mut self, op: &'static str) -> Self {
        self.0.op.get_or_insert(op);
        self
    }

    /// Names the session that it happened to, once: the innermost wins.
    #[must_use]
    pub fn of_session(mut self, session_id: &str) -> Self {
        self.0.session.get_or_insert_with(|| session_id.to_owned());
        self
    }

    /// Says when the call may be repeated.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable number of the kind, see [`ErrorKind::code`].
    pub fn code(&self) -> u32 {
        self.0.kind.code()
    }

    /// The operation that failed, if known.
    pub fn op(&self) -> Option<&'static str> {
        self.0.op
    }

    /// The session that it happened to, if any.
    pub fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// The message alone, without operation, session and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How long to wait before the next try, if that is known.
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable() || self.0.retry_after.is_some()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(op) = self.0.op {
            write!(f, "{op}: ")?;
        }
        if let Some(session) = &self.0.session {
            write!(f, "session {session:?}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(wait) = self.0.retry_after {
            write!(f, " (retry after {} s)", wait.as_secs_f64().ceil())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("op", &self.0.op)
            .field("session", &self.0.session)
            .field("message", &self.0.message)
            .field("retry_after", &self.0.retry_after)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_never_zero() {
        let mut codes: Vec<u32> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
        assert!(!codes.contains(&0));
    }

    #[test]
    fn the_innermost_context_wins() {
        let error = Error::new(ErrorKind::Timeout, "no answer in 5 s; the outcome is unknown")
            .during("send")
            .of_session("ventas")
            .during("outer")
            .of_session("other");
        assert_eq!(error.to_string(), "send: session \"ventas\": no answer in 5 s; the outcome is unknown");
        assert!(error.is_retryable());
    }
}
