//! One write to WhatsApp, up to its acknowledgement.

use std::pin::Pin;

use super::live::LiveSession;
use crate::engine::connection::EngineConnection;
use crate::engine::content::Outbound;
use crate::error::{Error, ErrorKind};
use crate::store::MessageKey;

/// What came of it.
pub(super) enum Delivered {
    /// WhatsApp's server has it.
    Accepted,
    /// WhatsApp refused it with this code: it goes nowhere.
    Refused(String),
    /// It was written, perhaps, and nothing more is known.
    Unknown(Error),
}

/// Writes a message under its fixed id and waits for the server until `deadline`.
pub(super) async fn deliver(
    live: &LiveSession,
    engine: &EngineConnection,
    key: &MessageKey,
    outbound: &Outbound,
    mut deadline: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Delivered {
    // Before the write: no acknowledgement can come too early.
    let acknowledged = live.expect_ack(key);
    let written = tokio::select! {
        biased;
        written = engine.send(&key.chat_id, &key.message_id, outbound) => written,
        () = &mut deadline => Err(unknown_outcome()),
    };
    if let Err(error) = written {
        live.forget_ack(&key.message_id);
        return Delivered::Unknown(error);
    }
    let answer = tokio::select! {
        biased;
        answer = acknowledged => answer.ok(),
        () = &mut deadline => None,
    };
    match answer {
        Some(None) => Delivered::Accepted,
        Some(Some(code)) => Delivered::Refused(code),
        None => {
            live.forget_ack(&key.message_id);
            Delivered::Unknown(unknown_outcome())
        }
    }
}

fn unknown_outcome() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "WhatsApp did not acknowledge the message in time: it may or may not arrive; send it again with the same idempotency key to be sure",
    )
}
