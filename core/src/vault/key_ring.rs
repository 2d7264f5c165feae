//! Named master keys, the first of which seals and all of which open.

use std::ffi::OsString;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use zeroize::{Zeroize, Zeroizing};

use super::sealed;
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::error::{Error, ErrorKind, Result};

struct MasterKey {
    id: String,
    key: SecretBox<[u8; 32]>,
}

/// Named 256-bit master keys in order. The first is the primary: it wraps; the others only unwrap.
///
/// Rotation: [`with_keys`](KeyRing::with_keys) a new key on every instance, then make it primary
/// ([`with_primary`](KeyRing::with_primary)) on every instance, run [`rewrap`](super::rewrap()) until its
/// report says that nothing is left, then [`retire`](KeyRing::retire) the old one.
pub struct KeyRing {
    keys: Vec<MasterKey>,
    clock: SharedClock,
    created: bool,
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, message).during("key ring")
}

impl KeyRing {
    /// The environment variable that holds the keys: `id:base64,id2:base64`, the first is the primary.
    pub const ENV: &'static str = "CENTRALITA_KEYS";

    /// Reads [`CENTRALITA_KEYS`](KeyRing::ENV). `Invalid` if it is unset, empty or malformed.
    pub fn from_env() -> Result<Self> {
        Self::from_variable(std::env::var_os(Self::ENV))
    }

    fn from_variable(value: Option<OsString>) -> Result<Self> {
        let text = value.filter(|value| !value.is_empty()).ok_or_else(|| {
            invalid(
                "CENTRALITA_KEYS is not set; set it to id:key where key is the base64 of 32 random bytes \
                 (openssl rand -base64 32)",
            )
        })?;
        let text = Zeroizing::new(text.into_string().map_err(|_| invalid("CENTRALITA_KEYS is not UTF-8"))?);
        Self::parse(&text).map_err(|error| invalid(format!("CENTRALITA_KEYS: {}", error.message())))
    }

    /// Reads `id:base64` entries separated by commas or line ends. `#` starts a comment line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys: Vec<MasterKey> = Vec::new();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        for (index, entry) in lines.flat_map(|line| line.split(',')).map(str::trim).enumerate() {
            if entry.is_empty() {
                continue;
            }
            let key = read_entry(entry, index + 1)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(invalid(format!(
                    "the key id {:?} is there twice; give each key its own",
                    key.id
                )));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(invalid("there is no key in it; write id:key where key is the base64 of 32 bytes"));
        }
        Ok(Self { keys, clock: SystemClock::shared(), created: false })
    }

    /// A ring with one new random key.
    pub fn generate(id: &str, clock: SharedClock) -> Result<Self> {
        check_id(id)?;
        let key = SecretBox::init_with_mut(|key: &mut [u8; 32]| clock.fill_random(key));
        Ok(Self { keys: vec![MasterKey { id: id.to_owned(), key }], clock, created: false })
    }

    /// Takes nonces from `clock` instead of the system's generator.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Appends the keys of another ring: they open, and seal only once made primary.
    pub fn with_keys(mut self, other: KeyRing) -> Result<Self> {
        for key in other.keys {
            if self.key(&key.id).is_some() {
                return Err(invalid(format!("the ring has a key {:?} already; choose another id", key.id)));
            }
            self.keys.push(key);
        }
        Ok(self)
    }

    /// Makes the key of this id the primary; the others keep their order.
    pub fn with_primary(mut self, id: &str) -> Result<Self> {
        let index = self.index_of(id)?;
        self.keys[..=index].rotate_right(1);
        Ok(self)
    }

    /// Removes a key that is not the primary. What it alone sealed opens no more: [`rewrap`](super::rewrap())
    /// first.
    pub fn retire(mut self, id: &str) -> Result<Self> {
        match self.index_of(id)? {
            0 => Err(invalid(format!("{id:?} is the primary key; make another one primary first"))),
            index => {
                self.keys.remove(index);
                Ok(self)
            }
        }
    }

    /// The ids, the primary first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Whether [`open_or_create`](KeyRing::open_or_create) made the key file just now: tell the user to keep
    /// a copy.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// The ring as [`parse`](KeyRing::parse) reads it, one key a line. Whoever has it can read everything.
    pub fn expose(&self) -> SecretString {
        let mut text = String::with_capacity(self.keys.len() * (sealed::MAX_KEY_ID + 46));
        for MasterKey { id, key } in &self.keys {
            text.push_str(id);
            text.push(':');
            STANDARD.encode_string(key.expose_secret(), &mut text);
            text.push('\n');
        }
        text.into()
    }

    pub(super) fn mark_created(mut self) -> Self {
        self.created = true;
        self
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn primary(&self) -> (&str, &[u8; 32]) {
        let MasterKey { id, key } = &self.keys[0];
        (id, key.expose_secret())
    }

    pub(super) fn key(&self, id: &str) -> Option<&[u8; 32]> {
        let found = self.keys.iter().find(|key| key.id == id)?;
        Some(found.key.expose_secret())
    }

    fn index_of(&self, id: &str) -> Result<usize> {
        let found = self.keys.iter().position(|key| key.id == id);
        found.ok_or_else(|| invalid(format!("the ring has no key {id:?}; add it first")))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("ids", &self.ids().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

fn check_id(id: &str) -> Result<()> {
    if sealed::is_key_id(id) {
        return Ok(());
    }
    // Not echoed: a key pasted without its id would end up in a log.
    Err(invalid("a key id is 1 to 64 of letters, digits, hyphen, underscore and dot"))
}

/// Reads one `id:base64`. Errors name the entry by its place or id, never by its text.
fn read_entry(entry: &str, place: usize) -> Result<MasterKey> {
    let (id, key) = entry
        .split_once(':')
        .ok_or_else(|| invalid(format!("key number {place} has no id; write id:key")))?;
    let (id, key) = (id.trim(), key.trim());
    check_id(id)?;
    let bytes = STANDARD.decode(key).map(Zeroizing::new).map_err(|_| {
        invalid(format!("the key {id:?} is not base64; make one with openssl rand -base64 32"))
    })?;
    if bytes.len() != 32 {
        let length = bytes.len();
        return Err(invalid(format!(
            "the key {id:?} has {length} bytes instead of 32; make one with openssl rand -base64 32"
        )));
    }
    let key = SecretBox::init_with_mut(|key: &mut [u8; 32]| {
        key.zeroize();
        key.copy_from_slice(&bytes);
    });
    Ok(MasterKey { id: id.to_owned(), key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;
    use crate::vault::KeyProvider;

    const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    fn ring(ids: &str) -> KeyRing {
        let clock = ManualClock::new().shared();
        let mut rings = ids.split(' ').map(|id| KeyRing::generate(id, clock.clone()).unwrap());
        let first = rings.next().unwrap();
        rings.fold(first, |ring, other| ring.with_keys(other).unwrap())
    }

    #[test]
    fn reads_lists_and_files() {
        for text in [
            format!("a:{ONE},b:{TWO}"),
            format!(" a : {ONE} ,\n b:{TWO},\n"),
            format!("# made today\na:{ONE}\n\nb:{TWO}\n"),
        ] {
            let ring = KeyRing::parse(&text).unwrap();
            assert_eq!(ring.ids().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(ring.primary(), ("a", &[1; 32]));
            assert_eq!(ring.key("b"), Some(&[2; 32]));
            assert!(!ring.was_created());
        }
    }

    #[test]
    fn what_it_exposes_reads_back() {
        let ring = ring("a b");
        let again = KeyRing::parse(ring.expose().expose_secret()).unwrap();
        assert_eq!(again.ids().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(again.key("b"), ring.key("b"));
    }

    #[test]
    fn says_what_is_wrong_and_never_the_key() {
        let short = "c2VjcmV0c2VjcmV0";
        for (text, words) in [
            (String::new(), "no key"),
            (" ,\n,".to_owned(), "no key"),
            (ONE.to_owned(), "key number 1 has no id"),
            (format!("a:{ONE},{TWO}"), "key number 2 has no id"),
            (format!(":{ONE}"), "a key id is"),
            (format!("a b:{ONE}"), "a key id is"),
            (format!("{}:{ONE}", "x".repeat(65)), "a key id is"),
            ("a:not*base64".to_owned(), "\"a\" is not base64"),
            (format!("a:{}", &ONE[..43]), "\"a\" is not base64"),
            (format!("a:{short}"), "\"a\" has 12 bytes instead of 32"),
            ("a:".to_owned(), "\"a\" has 0 bytes instead of 32"),
            (format!("a:{ONE},a:{TWO}"), "\"a\" is there twice"),
        ] {
            let error = KeyRing::parse(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(words), "{shown:?} lacks {words:?}");
            for secret in [ONE, TWO, short, "not*base64"] {
                assert!(!shown.contains(secret.trim_end_matches('=')));
            }
        }
    }

    #[test]
    fn the_environment_is_named_when_it_is_wrong() {
        let ring = KeyRing::from_variable(Some(format!("a:{ONE},b:{TWO}").into())).unwrap();
        assert_eq!(ring.primary(), ("a", &[1; 32]));
        for value in [None, Some("".into()), Some(format!("a:{ONE},a:{TWO}").into())] {
            let error = KeyRing::from_variable(value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("CENTRALITA_KEYS"));
        }
    }

    #[test]
    fn debug_shows_ids_only() {
        let shown = format!("{:?}", KeyRing::parse(&format!("casa:{ONE}")).unwrap());
        assert_eq!(shown, r#"KeyRing { ids: ["casa"], .. }"#);
    }

    #[test]
    fn order_follows_the_primary() {
        let ring = ring("a b c").with_primary("c").unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["c", "a", "b"]);
        let ring = ring.retire("a").unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(ring.retire("c").unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn refuses_what_would_lose_a_key() {
        let twice = ring("a").with_keys(ring("a")).unwrap_err();
        assert!(twice.message().contains("already"));
        assert!(ring("a").with_primary("b").is_err());
        assert!(ring("a").retire("b").is_err());
    }

    #[tokio::test]
    async fn rotation_step_by_step() {
        let clock = ManualClock::new().shared();
        let old = KeyRing::generate("old", clock.clone()).unwrap();
        let wrapped = old.wrap(b"ventas", &[9; 32]).await.unwrap();
        assert!(old.is_current(&wrapped));

        let both =
            old.with_keys(KeyRing::generate("new", clock).unwrap()).unwrap().with_primary("new").unwrap();
        assert!(!both.is_current(&wrapped));
        let data_key = both.unwrap(b"ventas", &wrapped).await.unwrap();
        assert_eq!(*data_key, [9; 32]);
        let renewed = both.wrap(b"ventas", &data_key).await.unwrap();
        assert!(both.is_current(&renewed));

        let new = both.retire("old").unwrap();
        assert_eq!(*new.unwrap(b"ventas", &renewed).await.unwrap(), [9; 32]);
        let error = new.unwrap(b"ventas", &wrapped).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Crypto);
        assert!(error.message().contains("\"old\"") && error.message().contains("CENTRALITA_KEYS"));
    }

    #[tokio::test]
    async fn a_data_key_opens_only_for_its_session_and_with_its_key() {
        let ring = KeyRing::parse(&format!("a:{ONE}")).unwrap();
        let wrapped = ring.wrap(b"ventas", &[9; 32]).await.unwrap();
        assert_eq!(ring.unwrap(b"soporte", &wrapped).await.unwrap_err().kind(), ErrorKind::Crypto);
        let impostor = KeyRing::parse(&format!("a:{TWO}")).unwrap();
        assert_eq!(impostor.unwrap(b"ventas", &wrapped).await.unwrap_err().kind(), ErrorKind::Crypto);
        assert_eq!(ring.unwrap(b"ventas", b"junk").await.unwrap_err().kind(), ErrorKind::Crypto);
    }
}
