//! One write to WhatsApp, up to its acknowledgement.

use std::pin::Pin;

use super::live::LiveSession;
use crate::engine::connection::EngineConnection;
use crate::engine::content::Outbound;
use crate::error::{Error, ErrorKind};
use crate::store::{MessageKey, MessageStatus};

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
    deadline: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Delivered {
    let start = live.context.clock.monotonic();
    let delivered = write_and_wait(live, engine, key, outbound, deadline).await;
    live.series.send_ended(match &delivered {
        Delivered::Accepted => {
            crate::metrics::acknowledged(live.context.clock.monotonic().saturating_sub(start));
            MessageStatus::Sent
        }
        Delivered::Refused(_) => MessageStatus::Failed,
        Delivered::Unknown(_) => MessageStatus::Indeterminate,
    });
    delivered
}

async fn write_and_wait(
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
    live.note_written(&key.message_id);
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
