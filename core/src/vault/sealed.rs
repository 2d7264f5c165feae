//! The format of everything sealed: `magic ‖ version ‖ key id ‖ nonce ‖ ciphertext and tag`.
//!
//! | bytes | what |
//! | --- | --- |
//! | 3 | magic |
//! | 1 | version: 1 is XChaCha20-Poly1305, 0 is plaintext that happens to begin with the magic |
//! | 1 + n | length of the key id, and the key id |
//! | 24 | nonce, random |
//! | rest | ciphertext and 16 bytes of tag |
//!
//! The associated data is everything before the nonce and what the value belongs to, so that a value moved
//! to another place, or relabelled with another key, does not open.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::clock::Clock;

/// A 256-bit key that is wiped when dropped.
pub(super) type Key = Zeroizing<[u8; 32]>;

const MAGIC: [u8; 3] = [0xc7, 0x1a, 0x5e];
const PLAIN: u8 = 0;
const XCHACHA20_POLY1305: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;

/// The longest key id.
pub(super) const MAX_KEY_ID: usize = 64;

/// Why a value does not open; fit to be shown.
pub(super) type Why = &'static str;

const DAMAGED: Why = "is damaged";

/// Whether a key may have this id: 1 to 64 of `A-Z a-z 0-9 - _ .`.
pub(super) fn is_key_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_KEY_ID).contains(&id.len()) && id.bytes().all(plain)
}

/// The id of the key that a value was sealed with.
pub(super) fn key_id(bytes: &[u8]) -> Result<&str, Why> {
    split(bytes).map(|parts| parts.key_id)
}

/// Seals `plaintext` for the place that `belongs_to` names.
pub(super) fn seal(
    clock: &dyn Clock,
    key: &[u8; 32],
    key_id: &str,
    belongs_to: &[&[u8]],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + 2 + key_id.len() + NONCE + plaintext.len() + TAG);
    out.extend_from_slice(&MAGIC);
    out.push(XCHACHA20_POLY1305);
    out.push(u8::try_from(key_id.len()).expect("key ids have at most 64 bytes"));
    out.extend_from_slice(key_id.as_bytes());
    let aad = associated_data(&out, belongs_to);

    let mut nonce = [0; NONCE];
    clock.fill_random(&mut nonce);
    out.extend_from_slice(&nonce);
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: &aad })
        .expect("only a plaintext of 256 GiB is too long");
    out.extend_from_slice(&sealed);
    out
}

/// Opens a value, if it was sealed with `key` for the place that `belongs_to` names and not changed since.
pub(super) fn open(key: &[u8; 32], belongs_to: &[&[u8]], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Why> {
    let parts = split(bytes)?;
    let aad = associated_data(parts.header, belongs_to);
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(parts.nonce), Payload { msg: parts.ciphertext, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| "does not open: it was changed, moved from another place, or the key is wrong")
}

/// Writes a value that is not encrypted, so that it can never be taken for a sealed one.
pub(super) fn plain(bytes: &[u8]) -> Vec<u8> {
    if bytes.starts_with(&MAGIC) { [MAGIC.as_slice(), &[PLAIN], bytes].concat() } else { bytes.to_vec() }
}

/// Reads what [`plain`] wrote; `None` if the value is sealed.
pub(super) fn read_plain(bytes: &[u8]) -> Option<&[u8]> {
    match bytes.strip_prefix(&MAGIC) {
        None => Some(bytes),
        Some(rest) => rest.strip_prefix(&[PLAIN]),
    }
}

struct Parts<'a> {
    header: &'a [u8],
    key_id: &'a str,
    nonce: [u8; NONCE],
    ciphertext: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<Parts<'_>, Why> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or("is not encrypted, though encryption is on")?;
    let (&version, rest) = rest.split_first().ok_or(DAMAGED)?;
    if version != XCHACHA20_POLY1305 {
        return Err("has a format that this version of the library does not know");
    }
    let (&length, rest) = rest.split_first().ok_or(DAMAGED)?;
    let (key_id, rest) = rest.split_at_checked(length.into()).ok_or(DAMAGED)?;
    let key_id = std::str::from_utf8(key_id).ok().filter(|id| is_key_id(id)).ok_or(DAMAGED)?;
    let header = &bytes[..bytes.len() - rest.len()];
    let (nonce, ciphertext) = rest.split_first_chunk().ok_or(DAMAGED)?;
    if ciphertext.len() < TAG {
        return Err(DAMAGED);
    }
    Ok(Parts { header, key_id, nonce: *nonce, ciphertext })
}

/// Every part with its length before it: no two lists of parts give the same bytes.
fn associated_data(header: &[u8], belongs_to: &[&[u8]]) -> Vec<u8> {
    let mut aad = Vec::new();
    for part in std::iter::once(&header).chain(belongs_to) {
        aad.extend_from_slice(&(part.len() as u64).to_le_bytes());
        aad.extend_from_slice(part);
    }
    aad
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::ManualClock;

    const KEY: [u8; 32] = [7; 32];
    const PLACE: &[&[u8]] = &[b"ventas", b"session", b"1"];

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        seal(&ManualClock::new(), &KEY, "k1", PLACE, plaintext)
    }

    #[test]
    fn no_byte_may_change_and_none_may_be_missing() {
        let whole = sealed(b"secret");
        assert_eq!(open(&KEY, PLACE, &whole).unwrap().as_slice(), b"secret");
        for index in 0..whole.len() {
            for bit in [1, 0x80] {
                let mut changed = whole.clone();
                changed[index] ^= bit;
                assert!(open(&KEY, PLACE, &changed).is_err(), "byte {index} was changed unseen");
            }
            assert!(open(&KEY, PLACE, &whole[..index]).is_err(), "cut at {index} unseen");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        assert!(open(&KEY, PLACE, &longer).is_err());
    }

    #[test]
    fn the_same_bytes_in_other_parts_are_another_place() {
        let whole = sealed(b"secret");
        let places: [&[&[u8]]; 4] = [
            &[b"ventass", b"ession", b"1"],
            &[b"ventas", b"session1", b""],
            &[b"ventas", b"session"],
            &[b"ventas", b"session", b"1", b""],
        ];
        for place in places {
            assert!(open(&KEY, place, &whole).is_err());
        }
        assert!(open(&[8; 32], PLACE, &whole).is_err());
    }

    #[test]
    fn equal_values_seal_to_different_bytes() {
        let clock = ManualClock::new();
        let seal = || seal(&clock, &KEY, "k1", PLACE, b"secret");
        assert_ne!(seal(), seal());
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens(bytes: Vec<u8>, key: [u8; 32], place: Vec<Vec<u8>>, id in "[A-Za-z0-9._-]{1,64}") {
            let place: Vec<&[u8]> = place.iter().map(Vec::as_slice).collect();
            let whole = seal(&ManualClock::new(), &key, &id, &place, &bytes);
            prop_assert_eq!(read_plain(&whole), None);
            prop_assert_eq!(key_id(&whole), Ok(id.as_str()));
            prop_assert_eq!(open(&key, &place, &whole).unwrap().to_vec(), bytes);
        }

        #[test]
        fn garbage_never_opens_and_never_panics(mut bytes: Vec<u8>, marked: bool) {
            if marked {
                bytes.splice(0..0, [MAGIC.as_slice(), &[XCHACHA20_POLY1305]].concat());
            }
            prop_assert!(open(&KEY, PLACE, &bytes).is_err());
        }

        #[test]
        fn plaintext_is_never_taken_for_sealed(mut bytes: Vec<u8>, marked: bool) {
            if marked {
                bytes.splice(0..0, MAGIC);
            }
            let written = plain(&bytes);
            prop_assert!(key_id(&written).is_err());
            prop_assert_eq!(read_plain(&written), Some(bytes.as_slice()));
        }
    }
}
