//! The server's half of the Noise handshake: XX, IK, and XXfallback when an IK cannot be read.

use wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, NOISE_PATTERN_XXFALLBACK, WA_CONN_HEADER};
use wacore_libsignal::protocol::KeyPair;
use wacore_noise::{NoiseCipher, NoiseHandshake};
use waproto::buffa::{Message, MessageField};
use waproto::whatsapp as wa;

use crate::certificate::Certificate;
use crate::crypto;

/// A handshake that cannot go on; the client is at fault.
#[derive(Debug, thiserror::Error)]
#[error("handshake: {0}")]
pub(crate) struct HandshakeFailed(String);

fn failed(reason: impl ToString) -> HandshakeFailed {
    HandshakeFailed(reason.to_string())
}

/// Both directions of an established connection, each with its own counter.
pub(crate) struct Ciphers {
    pub(crate) read: Cipher,
    pub(crate) write: Cipher,
}

/// One direction.
pub(crate) struct Cipher {
    cipher: NoiseCipher,
    counter: u32,
}

impl Cipher {
    fn new(cipher: NoiseCipher) -> Self {
        Self { cipher, counter: 0 }
    }

    pub(crate) fn decrypt(&mut self, frame: &mut bytes::BytesMut) -> bool {
        let counter = self.counter;
        self.counter = counter.wrapping_add(1);
        self.cipher.decrypt_in_place_with_counter(counter, frame).is_ok()
    }

    pub(crate) fn encrypt(&mut self, frame: &mut Vec<u8>) -> bool {
        let counter = self.counter;
        self.counter = counter.wrapping_add(1);
        self.cipher.encrypt_in_place_with_counter(counter, frame).is_ok()
    }
}

/// Who the client says it is, proven by the handshake.
pub(crate) struct Client {
    pub(crate) static_key: [u8; 32],
    pub(crate) payload: wa::ClientPayload,
    pub(crate) pattern: &'static str,
}

/// What to do after the client's first message.
pub(crate) enum Step {
    /// Send this; the client's finish comes next.
    Hello(Vec<u8>, Box<Pending>),
    /// IK: send this and the handshake is over.
    Done(Vec<u8>, Box<(Ciphers, Client)>),
}

/// A handshake that waits for the client's finish.
pub(crate) struct Pending {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
    pattern: &'static str,
}

/// Answers a ClientHello.
pub(crate) fn begin(certificate: &Certificate, message: &[u8]) -> Result<Step, HandshakeFailed> {
    let hello = wa::HandshakeMessage::decode_from_slice(message)
        .map_err(failed)?
        .client_hello
        .into_option()
        .ok_or_else(|| failed("no ClientHello"))?;
    let client_ephemeral: [u8; 32] = hello
        .ephemeral
        .unwrap_or_default()
        .try_into()
        .map_err(|_| failed("the client's ephemeral key is not 32 bytes"))?;
    match (hello.r#static, hello.payload) {
        (Some(client_static), Some(payload)) => {
            match answer_ik(certificate, &client_ephemeral, &client_static, &payload) {
                Ok((reply, ciphers, client)) => Ok(Step::Done(reply, Box::new((ciphers, client)))),
                // Its cached key is not ours: say so by answering in XX form.
                Err(_) => answer_xx(certificate, &client_ephemeral, NOISE_PATTERN_XXFALLBACK, "XXfallback"),
            }
        }
        _ => answer_xx(certificate, &client_ephemeral, NOISE_PATTERN_XX, "XX"),
    }
}

fn answer_xx(
    certificate: &Certificate,
    client_ephemeral: &[u8; 32],
    pattern: &str,
    name: &'static str,
) -> Result<Step, HandshakeFailed> {
    let mut noise = NoiseHandshake::new(pattern, &WA_CONN_HEADER).map_err(failed)?;
    noise.authenticate(client_ephemeral);
    let ephemeral = crypto::key_pair();
    noise.authenticate(&crypto::public(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral).map_err(failed)?;
    let server_static = noise.encrypt(&crypto::public(&certificate.server_static)).map_err(failed)?;
    noise
        .mix_shared_secret(certificate.server_static.private_key.serialize(), client_ephemeral)
        .map_err(failed)?;
    let payload = noise.encrypt(&certificate.chain).map_err(failed)?;
    let hello = server_hello(&ephemeral, Some(server_static), payload);
    Ok(Step::Hello(hello, Box::new(Pending { noise, ephemeral, pattern: name })))
}

fn answer_ik(
    certificate: &Certificate,
    client_ephemeral: &[u8; 32],
    client_static: &[u8],
    payload: &[u8],
) -> Result<(Vec<u8>, Ciphers, Client), HandshakeFailed> {
    let server_private = certificate.server_static.private_key.serialize();
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER).map_err(failed)?;
    noise.authenticate(&crypto::public(&certificate.server_static));
    noise.authenticate(client_ephemeral);
    noise.mix_shared_secret(server_private, client_ephemeral).map_err(failed)?;
    let static_key: [u8; 32] = noise
        .decrypt(client_static)
        .map_err(failed)?
        .try_into()
        .map_err(|_| failed("the client's static key is not 32 bytes"))?;
    noise.mix_shared_secret(server_private, &static_key).map_err(failed)?;
    let payload = noise.decrypt(payload).map_err(failed)?;
    let payload = wa::ClientPayload::decode_from_slice(&payload).map_err(failed)?;

    let ephemeral = crypto::key_pair();
    noise.authenticate(&crypto::public(&ephemeral));
    noise.mix_shared_secret(ephemeral.private_key.serialize(), client_ephemeral).map_err(failed)?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &static_key).map_err(failed)?;
    let chain = noise.encrypt(&certificate.chain).map_err(failed)?;
    let hello = server_hello(&ephemeral, None, chain);
    let client = Client { static_key, payload, pattern: "IK" };
    Ok((hello, split(noise)?, client))
}

/// Reads the ClientFinish of an XX or XXfallback handshake.
pub(crate) fn finish(pending: Pending, message: &[u8]) -> Result<(Ciphers, Client), HandshakeFailed> {
    let Pending { mut noise, ephemeral, pattern } = pending;
    let finish = wa::HandshakeMessage::decode_from_slice(message)
        .map_err(failed)?
        .client_finish
        .into_option()
        .ok_or_else(|| failed("no ClientFinish"))?;
    let static_key: [u8; 32] = noise
        .decrypt(&finish.r#static.unwrap_or_default())
        .map_err(failed)?
        .try_into()
        .map_err(|_| failed("the client's static key is not 32 bytes"))?;
    noise.mix_shared_secret(ephemeral.private_key.serialize(), &static_key).map_err(failed)?;
    let payload = noise.decrypt(&finish.payload.unwrap_or_default()).map_err(failed)?;
    let payload = wa::ClientPayload::decode_from_slice(&payload).map_err(failed)?;
    let client = Client { static_key, payload, pattern };
    Ok((split(noise)?, client))
}

fn split(noise: NoiseHandshake) -> Result<Ciphers, HandshakeFailed> {
    // The pair is the initiator's (write, read): ours is the other way round.
    let (client_write, client_read) = noise.finish().map_err(failed)?;
    Ok(Ciphers { read: Cipher::new(client_write), write: Cipher::new(client_read) })
}

fn server_hello(ephemeral: &KeyPair, server_static: Option<Vec<u8>>, payload: Vec<u8>) -> Vec<u8> {
    wa::HandshakeMessage {
        server_hello: MessageField::some(wa::handshake_message::ServerHello {
            ephemeral: Some(crypto::public(ephemeral).to_vec()),
            r#static: server_static,
            payload: Some(payload),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}
