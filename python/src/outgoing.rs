//! A message to send, as the package writes it.

use centralita::clock::Timestamp;
use centralita::session::{Outgoing, SentMessage};
use centralita::store::MessageKey;
use centralita::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;

use crate::errors;
use crate::options::duration;

#[derive(Deserialize)]
struct Request {
    #[serde(flatten)]
    body: Body,
    idempotency_key: Option<String>,
    timeout_s: Option<f64>,
    queue_for_s: Option<f64>,
    queue_until: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Body {
    Text { to: String, text: String },
    Reply { target: MessageKey, text: String },
    Reaction { target: MessageKey, emoji: String },
    Edit { target: MessageKey, text: String },
    Revoke { target: MessageKey },
}

/// `Invalid` if it is not a message.
pub(crate) fn parse(text: &str) -> Result<Outgoing> {
    let request: Request =
        serde_json::from_str(text).map_err(|error| errors::invalid("the message", &error))?;
    let mut outgoing = match request.body {
        Body::Text { to, text } => Outgoing::text(to, text),
        Body::Reply { target, text } => Outgoing::reply(&target, text),
        Body::Reaction { target, emoji } => Outgoing::reaction(&target, emoji),
        Body::Edit { target, text } => Outgoing::edit(&target, text),
        Body::Revoke { target } => Outgoing::revoke(&target),
    };
    if let Some(key) = request.idempotency_key {
        outgoing = outgoing.idempotency_key(key);
    }
    if let Some(timeout_s) = request.timeout_s {
        if timeout_s <= 0.0 {
            return Err(Error::new(ErrorKind::Invalid, "timeout must be more than 0 seconds"));
        }
        outgoing = outgoing.timeout(duration("timeout", timeout_s)?);
    }
    if let Some(queue_for_s) = request.queue_for_s {
        outgoing = outgoing.queue_for(duration("queue_for", queue_for_s)?);
    }
    if let Some(expires_at) = request.queue_until {
        outgoing = outgoing.queue_until(expires_at);
    }
    Ok(outgoing)
}

pub(crate) fn sent_to_json(sent: &SentMessage) -> String {
    json!({"key": sent.key, "status": sent.status, "timestamp": sent.timestamp, "repeated": sent.repeated})
        .to_string()
}
