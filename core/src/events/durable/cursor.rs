//! A place in the log as opaque text that names its consumer.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, ErrorKind, Result};

/// A place in one session's log, as one consumer sees it. Its text ([`Display`](fmt::Display), [`FromStr`]) is opaque:
/// keep it, pass it back, and look for nothing in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(super) consumer: String,
    pub(super) session: String,
    pub(super) seq: u64,
    /// A dead letter that is handled once more, not a place to move to.
    pub(super) replayed: bool,
}

/// What the text holds: a version first.
type Parts<'a> = (u8, std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>, u64, bool);

const VERSION: u8 = 1;

impl Cursor {
    /// Refuses the cursor of another consumer.
    pub(super) fn check_consumer(&self, name: &str) -> Result<()> {
        if self.consumer == name {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "the cursor belongs to consumer {:?}, not to {name:?}; acknowledge it with the consumer that read it",
                self.consumer
            ),
        ))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Parts<'_> =
            (VERSION, (&self.consumer).into(), (&self.session).into(), self.seq, self.replayed);
        let json = serde_json::to_vec(&parts).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let parts = json.and_then(|json| serde_json::from_slice::<Parts<'_>>(&json).ok().map(owned));
        match parts {
            Some((VERSION, cursor)) => Ok(cursor),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "not a cursor; pass the cursor of an event as it was given, unchanged",
            )),
        }
    }
}

fn owned((version, consumer, session, seq, replayed): Parts<'_>) -> (u8, Cursor) {
    (version, Cursor { consumer: consumer.into_owned(), session: session.into_owned(), seq, replayed })
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_comes_back_as_it_was(consumer in ".*", session in ".*", seq: u64, replayed: bool) {
            let cursor = Cursor { consumer, session, seq, replayed };
            let text = cursor.to_string();
            prop_assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
            prop_assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn different_places_have_different_texts(one: (String, String, u64), other: (String, String, u64)) {
            let text = |(consumer, session, seq): (String, String, u64)| {
                Cursor { consumer, session, seq, replayed: false }.to_string()
            };
            prop_assert_eq!(one == other, text(one.clone()) == text(other.clone()));
        }

        #[test]
        fn anything_else_is_refused_and_never_panics(text in ".*") {
            if let Err(error) = text.parse::<Cursor>() {
                prop_assert_eq!(error.kind(), ErrorKind::Invalid);
            }
        }
    }

    #[test]
    fn a_later_version_and_cut_text_are_refused() {
        let json = serde_json::to_vec(&(2, "crm", "s", 1, false)).unwrap();
        assert!(URL_SAFE_NO_PAD.encode(json).parse::<Cursor>().is_err());
        let cursor = Cursor { consumer: "crm".into(), session: "s".into(), seq: 7, replayed: false };
        let text = cursor.to_string();
        assert!(text[..text.len() - 1].parse::<Cursor>().is_err());
        assert!("".parse::<Cursor>().is_err());
    }
}
