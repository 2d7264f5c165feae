//! The server's Noise key and its certificate chain: root → intermediate → leaf, each signed XEdDSA.

use wacore_libsignal::protocol::KeyPair;
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;

use crate::clock;
use crate::crypto;

const YEAR: u64 = 365 * 24 * 3600;
const INTERMEDIATE_SERIAL: u32 = 1;

/// Made anew at each start, or restored from the state file: clients keep the chain for Noise IK.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) root: KeyPair,
    pub(crate) server_static: KeyPair,
    pub(crate) chain: Vec<u8>,
}

impl Certificate {
    pub(crate) fn generate() -> Self {
        Self::from_keys(crypto::key_pair(), crypto::key_pair())
    }

    pub(crate) fn from_keys(root: KeyPair, server_static: KeyPair) -> Self {
        let intermediate = crypto::key_pair();
        let not_before = clock::now() - YEAR;
        let not_after = clock::now() + 10 * YEAR;
        let certificate = |serial, issuer, key: &KeyPair, signer: &KeyPair| {
            let details = wa::cert_chain::noise_certificate::Details {
                serial: Some(serial),
                issuer_serial: Some(issuer),
                key: Some(crypto::public(key).to_vec()),
                not_before: Some(not_before),
                not_after: Some(not_after),
            }
            .encode_to_vec();
            let signature = crypto::sign(signer, &[&details]).to_vec();
            MessageField::some(wa::cert_chain::NoiseCertificate {
                details: Some(details),
                signature: Some(signature),
            })
        };
        let chain = wa::CertChain {
            intermediate: certificate(INTERMEDIATE_SERIAL, 0, &intermediate, &root),
            leaf: certificate(2, INTERMEDIATE_SERIAL, &server_static, &intermediate),
        }
        .encode_to_vec();
        Self { root, server_static, chain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_link_is_signed_by_the_one_above() {
        let made = Certificate::generate();
        let chain = wa::CertChain::decode_from_slice(&made.chain).expect("chain");
        let intermediate = chain.intermediate.into_option().expect("intermediate");
        let leaf = chain.leaf.into_option().expect("leaf");
        let details = intermediate.details.expect("details");
        assert!(crypto::verify(
            &crypto::public(&made.root),
            &[&details],
            &intermediate.signature.expect("signature")
        ));
        let key = wa::cert_chain::noise_certificate::Details::decode_from_slice(&details)
            .expect("details")
            .key
            .expect("key");
        let leaf_details = leaf.details.expect("details");
        assert!(crypto::verify(
            &key.try_into().expect("32 bytes"),
            &[&leaf_details],
            &leaf.signature.expect("signature")
        ));
        let leaf_details =
            wa::cert_chain::noise_certificate::Details::decode_from_slice(&leaf_details).expect("details");
        assert_eq!(leaf_details.key.as_deref(), Some(&crypto::public(&made.server_static)[..]));
        assert_eq!(leaf_details.issuer_serial, Some(INTERMEDIATE_SERIAL));
    }
}
