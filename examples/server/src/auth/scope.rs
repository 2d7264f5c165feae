//! What a token allows.

use std::str::FromStr;

use centralita::{Error, ErrorKind};

/// One thing that a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// See sessions, messages, chats, figures, alerts.
    Read,
    /// Send and mark as read.
    Send,
    /// All of it: create, link, start, stop, delete, clean up; codes to link with are shown only to it.
    Admin,
}

impl Scope {
    /// As the claim `scope` writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Read, Self::Send, Self::Admin].into_iter().find(|scope| scope.as_str() == text).ok_or_else(
            || Error::new(ErrorKind::Invalid, format!("unknown scope {text:?}; use read, send or admin")),
        )
    }
}

/// What a token allows in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scopes {
    read: bool,
    send: bool,
    admin: bool,
}

impl Scopes {
    /// From the words of a claim. Unknown ones allow nothing: they may be another service's.
    pub(crate) fn from_words<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        let mut scopes = Self::default();
        for scope in words.filter_map(|word| word.parse().ok()) {
            match scope {
                Scope::Read => scopes.read = true,
                Scope::Send => scopes.send = true,
                Scope::Admin => scopes.admin = true,
            }
        }
        scopes
    }

    /// Whether it is allowed; `admin` includes the others.
    pub(crate) fn allow(self, scope: Scope) -> bool {
        self.admin
            || match scope {
                Scope::Read => self.read,
                Scope::Send => self.send,
                Scope::Admin => false,
            }
    }
}
