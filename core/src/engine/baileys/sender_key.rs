//! Sender keys of groups: Baileys stores JSON text as bytes, the newest state last; the engine has it first.

use bytes::Bytes;
use serde_json::Value;
use whatsapp_rust::wacore::libsignal::protocol::{
    SenderChainKeyComponents, SenderKeyRecord, SenderKeyRecordComponents, SenderKeyStateComponents,
    SenderMessageKeyComponents, SenderSigningKeyComponents,
};

use super::json::Field;
use crate::error::Result;

pub(super) fn record(value: &Field<'_>) -> Result<Bytes> {
    let text = value.bytes()?;
    let states: Value = serde_json::from_slice(&text).map_err(|_| value.wrong("JSON"))?;
    let mut states = Field::new("sender-key", &states)
        .items()?
        .map(|state| self::state(&state))
        .collect::<Result<Vec<_>>>()?;
    states.reverse();
    let record = SenderKeyRecord::from_components(SenderKeyRecordComponents { states });
    let record =
        record.and_then(|record| record.serialize()).map_err(|_| value.wrong("a sender key of libsignal"))?;
    Ok(record.into())
}

fn state(state: &Field<'_>) -> Result<SenderKeyStateComponents> {
    let chain = state.field("senderChainKey")?;
    let signing = state.field("senderSigningKey")?;
    let private = signing.optional("private").map(|key| key.bytes()).transpose()?;
    let message_keys = match state.optional("senderMessageKeys") {
        Some(keys) => keys.items()?.map(|key| message_key(&key)).collect::<Result<_>>()?,
        None => Vec::new(),
    };
    Ok(SenderKeyStateComponents {
        key_id: state.field("senderKeyId")?.u32()?,
        chain_key: SenderChainKeyComponents {
            iteration: chain.field("iteration")?.u32()?,
            seed: chain.field("seed")?.bytes()?,
        },
        signing_key: SenderSigningKeyComponents {
            public: signing.field("public")?.public_key()?.to_vec(),
            // Empty where the key is another's.
            private: private.filter(|key| !key.is_empty()),
        },
        message_keys,
    })
}

fn message_key(key: &Field<'_>) -> Result<SenderMessageKeyComponents> {
    Ok(SenderMessageKeyComponents {
        iteration: key.field("iteration")?.u32()?,
        seed: key.field("seed")?.bytes()?,
    })
}
