//! The name that a user gives to a session.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// A valid session id: 1 to 128 bytes of letters and digits of any script and `-_.:@+`, not `.` or `..`.
///
/// It becomes part of URLs, log lines and database keys, so it holds nothing that one of them gives a meaning
/// to. Only new sessions need one: what is stored already is found under whatever name it has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(String);

impl SessionId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks an id. `Invalid` says the rule.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let allowed = |c: char| c.is_alphanumeric() || "-_.:@+".contains(c);
        if (1..=Self::MAX_BYTES).contains(&id.len()) && id.chars().all(allowed) && id != "." && id != ".." {
            return Ok(Self(id));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "a session id is 1 to 128 bytes of letters, digits and any of - _ . : @ + and not . or ..; choose \
             another",
        ))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl FromStr for SessionId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        Self::new(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        let longest = "x".repeat(128);
        for good in ["a", "ventas-1", "Año_2026", "线路.7", "a:b@c+d", "...", &longest] {
            assert_eq!(SessionId::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(129);
        let wide = "ñ".repeat(65);
        for bad in ["", ".", "..", "a b", "a/b", "a\\b", "$where", "a\0", "a\n", "😀", "a%2f", &long, &wide]
        {
            let error = SessionId::new(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
            assert!(error.message().contains("1 to 128 bytes"));
        }
    }
}
