//! Seals and opens the values of one session, and blinds their ids.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::sealed::{self, Key};
use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};

/// The vault of one session; cheap to clone.
#[derive(Clone)]
pub struct SessionVault(Arc<Inner>);

struct Inner {
    session: String,
    keys: Option<Keys>,
}

/// Derived from the data key, each for one purpose.
struct Keys {
    /// Names the data key in each value, so that a lost data key is told from a changed value.
    id: String,
    sealing: Key,
    blinding: Key,
    clock: SharedClock,
}

const PURPOSE: &[u8] = b"centralita value";

fn hmac(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes everything");
    }
    text
}

impl SessionVault {
    pub(super) fn plaintext(session: &str) -> Self {
        Self(Arc::new(Inner { session: session.to_owned(), keys: None }))
    }

    pub(super) fn encrypted(session: &str, data_key: &[u8; 32], clock: SharedClock) -> Self {
        let keys = Keys {
            id: hex(&hmac(data_key, b"centralita key id 1")[..4]),
            sealing: Zeroizing::new(hmac(data_key, b"centralita sealing 1")),
            blinding: Zeroizing::new(hmac(data_key, b"centralita blinding 1")),
            clock,
        };
        Self(Arc::new(Inner { session: session.to_owned(), keys: Some(keys) }))
    }

    /// The session that this vault belongs to.
    pub fn session(&self) -> &str {
        &self.0.session
    }

    /// Seals a value for the row `(kind, id)`, the id as it is stored: blinded, if it is.
    pub fn seal(&self, kind: &str, id: &str, plaintext: &[u8]) -> Bytes {
        match &self.0.keys {
            None => sealed::plain(plaintext).into(),
            Some(keys) => {
                let place = self.place(kind, id);
                sealed::seal(&*keys.clock, &keys.sealing, &keys.id, &place, plaintext).into()
            }
        }
    }

    /// Opens the value of the row `(kind, id)`. `Crypto` if it was changed, moved from another row or session,
    /// sealed with another key, or is not sealed though encryption is on (or the other way round).
    pub fn open(&self, kind: &str, id: &str, value: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.open_value(kind, id, value).map_err(|why| {
            let message =
                format!("a stored value of type {kind:?} {why}; restore it or link the session again");
            Error::new(ErrorKind::Crypto, message).during("open value").of_session(self.session())
        })
    }

    fn open_value(
        &self,
        kind: &str,
        id: &str,
        value: &[u8],
    ) -> std::result::Result<Zeroizing<Vec<u8>>, Cow<'static, str>> {
        let Some(keys) = &self.0.keys else {
            let plain = sealed::read_plain(value).ok_or("is encrypted, though encryption is off")?;
            return Ok(Zeroizing::new(plain.to_vec()));
        };
        let key_id = sealed::key_id(value)?;
        if key_id != keys.id {
            return Err(format!(
                "was sealed with the data key {key_id:?}, but the session's is {:?} (the data keys themselves \
                 are wrapped by CENTRALITA_KEYS or the key file)",
                keys.id
            )
            .into());
        }
        Ok(sealed::open(&keys.sealing, &self.place(kind, id), value)?)
    }

    /// The id of a row, without what its parts say: a phone number or a JID must not lie in the open.
    ///
    /// The same parts give the same id in the same session, other parts another one; ids that share their
    /// first parts share their beginning. Without encryption the parts are kept, escaped.
    pub fn blind_id(&self, parts: &[&str]) -> String {
        let parts = parts.iter().map(|part| match &self.0.keys {
            Some(keys) => hex(&hmac(&keys.blinding, part.as_bytes())[..16]),
            None => part.replace('%', "%25").replace('.', "%2E"),
        });
        parts.collect::<Vec<_>>().join(".")
    }

    /// How every [`blind_id`](SessionVault::blind_id) of more parts begins, whose first parts are these.
    pub fn blind_prefix(&self, parts: &[&str]) -> String {
        self.blind_id(parts) + "."
    }

    fn place<'a>(&'a self, kind: &'a str, id: &'a str) -> [&'a [u8]; 4] {
        [PURPOSE, self.0.session.as_bytes(), kind.as_bytes(), id.as_bytes()]
    }
}

impl fmt::Debug for SessionVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionVault")
            .field("session", &self.0.session)
            .field("encrypted", &self.0.keys.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::ManualClock;

    fn vault(session: &str, key: u8) -> SessionVault {
        SessionVault::encrypted(session, &[key; 32], ManualClock::new().shared())
    }

    fn refused(vault: &SessionVault, kind: &str, id: &str, value: &[u8]) -> String {
        let error = vault.open(kind, id, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Crypto);
        assert_eq!(error.session(), Some(vault.session()));
        error.to_string()
    }

    #[test]
    fn a_value_opens_in_its_own_row_only() {
        let ventas = vault("ventas", 1);
        let value = ventas.seal("session", "a.b", b"secret");
        assert_eq!(ventas.open("session", "a.b", &value).unwrap().as_slice(), b"secret");
        for (vault, kind, id) in [
            (&ventas, "session", "a"),
            (&ventas, "identity", "a.b"),
            (&ventas, "sessiona", ".b"),
            (&vault("soporte", 1), "session", "a.b"),
        ] {
            let error = refused(vault, kind, id, &value);
            assert!(error.contains(kind) && !error.contains("secret"));
        }
    }

    #[test]
    fn says_which_key_is_missing() {
        let value = vault("ventas", 1).seal("session", "1", b"secret");
        let (one, two) = (vault("ventas", 1), vault("ventas", 2));
        let error = refused(&two, "session", "1", &value);
        assert!(error.contains(&one.0.keys.as_ref().unwrap().id));
        assert!(error.contains(&two.0.keys.as_ref().unwrap().id) && error.contains("CENTRALITA_KEYS"));
    }

    #[test]
    fn plaintext_and_sealed_are_never_taken_for_each_other() {
        let (on, off) = (vault("ventas", 1), SessionVault::plaintext("ventas"));
        let plain = off.seal("session", "1", b"secret");
        assert_eq!(plain.as_ref(), b"secret");
        assert_eq!(off.open("session", "1", &plain).unwrap().as_slice(), b"secret");
        assert!(refused(&on, "session", "1", &plain).contains("not encrypted"));
        let sealed = on.seal("session", "1", b"secret");
        assert!(refused(&off, "session", "1", &sealed).contains("encryption is off"));

        // Even if a plaintext looks like a sealed value.
        let nested = off.seal("session", "1", &sealed);
        assert_eq!(off.open("session", "1", &nested).unwrap().as_slice(), sealed.as_ref());
    }

    #[test]
    fn ids_hide_their_parts_and_keep_their_order_of_parts() {
        let vault = vault("ventas", 1);
        let id = vault.blind_id(&["5491155550000", "3"]);
        assert_eq!(id.len(), 65);
        assert!(!id.contains("5491155550000"));
        assert!(id.starts_with(&vault.blind_prefix(&["5491155550000"])));
        assert_eq!(id, vault.blind_id(&["5491155550000", "3"]));
        assert_ne!(id, vault.blind_id(&["3", "5491155550000"]));
        assert_ne!(id, super::tests::vault("ventas", 2).blind_id(&["5491155550000", "3"]));
    }

    #[test]
    fn a_part_that_begins_alike_is_no_prefix() {
        let off = SessionVault::plaintext("ventas");
        assert!(off.blind_id(&["549", "1"]).starts_with(&off.blind_prefix(&["549"])));
        assert!(!off.blind_id(&["5491", "1"]).starts_with(&off.blind_prefix(&["549"])));
        assert!(!off.blind_id(&["549.1", "1"]).starts_with(&off.blind_prefix(&["549"])));
    }

    proptest! {
        #[test]
        fn values_come_back(bytes: Vec<u8>, kind: String, id: String, encrypted: bool) {
            let vault = if encrypted { vault("ventas", 1) } else { SessionVault::plaintext("ventas") };
            let value = vault.seal(&kind, &id, &bytes);
            prop_assert_eq!(vault.open(&kind, &id, &value).unwrap().to_vec(), bytes);
        }

        #[test]
        fn different_parts_have_different_ids(all in proptest::collection::vec(proptest::collection::vec("[a.%2E5]{0,3}", 1..4), 2..20)) {
            for vault in [vault("ventas", 1), SessionVault::plaintext("ventas")] {
                let mut seen = HashMap::new();
                for parts in &all {
                    let id = vault.blind_id(&parts.iter().map(String::as_str).collect::<Vec<_>>());
                    let before = seen.insert(id, parts);
                    prop_assert!(before.is_none_or(|before| before == parts));
                }
            }
        }
    }
}
