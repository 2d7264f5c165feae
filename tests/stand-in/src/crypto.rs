//! Curve25519, XEdDSA, HMAC and HKDF in the few forms that WhatsApp uses.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use rand::rngs::StdRng;
use sha2::Sha256;
use wacore_libsignal::protocol::{KeyPair, PrivateKey, PublicKey};

pub(crate) fn rng() -> StdRng {
    rand::make_rng()
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    rng().fill(&mut out[..]);
    out
}

pub(crate) fn key_pair() -> KeyPair {
    KeyPair::generate(&mut rng())
}

/// The 32 bytes without the type byte, as stanzas carry them.
pub(crate) fn public(key: &KeyPair) -> [u8; 32] {
    raw(&key.public_key)
}

pub(crate) fn raw(key: &PublicKey) -> [u8; 32] {
    key.public_key_bytes().try_into().expect("Curve25519 public keys are 32 bytes")
}

pub(crate) fn public_key(bytes: &[u8; 32]) -> Option<PublicKey> {
    PublicKey::from_djb_public_key_bytes(bytes).ok()
}

pub(crate) fn key_pair_from_private(private: &[u8]) -> Option<KeyPair> {
    PrivateKey::deserialize(private).ok().and_then(|key| KeyPair::try_from(key).ok())
}

/// XEdDSA over the parts, one after the other.
pub(crate) fn sign(key: &KeyPair, parts: &[&[u8]]) -> [u8; 64] {
    let signature = key
        .calculate_signature(&parts.concat(), &mut rng())
        .expect("a Curve25519 private key can always sign");
    signature.as_ref().try_into().expect("XEdDSA signatures are 64 bytes")
}

pub(crate) fn verify(key: &[u8; 32], parts: &[&[u8]], signature: &[u8]) -> bool {
    public_key(key).is_some_and(|key| key.verify_signature(&parts.concat(), signature))
}

pub(crate) fn agree(key: &KeyPair, their: &[u8; 32]) -> Option<[u8; 32]> {
    key.calculate_agreement(&public_key(their)?).ok()
}

pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(crate) fn hkdf_sha256(secret: &[u8], salt: Option<&[u8]>, info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(salt, secret).expand(info, &mut out).expect("32 bytes are within HKDF's limit");
    out
}
