//! The engine's events in our own words, and where they go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use whatsapp_rust::types::events::{Event, EventHandler, EventInterest, EventKind};
use whatsapp_rust::wacore::types::events::{ConnectFailureReason, LazyHistorySync};
use whatsapp_rust::wacore::types::presence::{ChatPresence, ReceiptType};

use crate::store::MessageStatus;

/// What the engine says about one connection.
#[derive(Debug)]
pub(crate) enum EngineEvent {
    QrCode {
        code: String,
        valid_for: Duration,
    },
    QrCodesUsedUp,
    PairCode {
        code: String,
        valid_for: Duration,
    },
    PairCodeRefused {
        retry_after: Option<Duration>,
    },
    PasskeyChallenge {
        request_options_json: String,
    },
    PasskeyConfirmation {
        code: String,
        shown: bool,
    },
    PasskeyRefused,
    Paired {
        platform: String,
    },
    PairRefused,
    Connected,
    /// The link ended and why the session cannot or need not simply connect again.
    Ended(EndReason),
    ServerAck {
        message_id: String,
        error: Option<String>,
    },
    Receipt {
        chat: String,
        chat_is_group: bool,
        sender: String,
        message_ids: Vec<String>,
        status: MessageStatus,
    },
    Typing {
        chat: String,
        sender: String,
        composing: bool,
    },
    Presence {
        contact: String,
        available: bool,
        last_seen_s: Option<i64>,
    },
    ContactName {
        chat: String,
        name: String,
    },
    History(Box<LazyHistorySync>),
    OwnName(String),
    Undecryptable,
}

/// Why a connection ended, as far as WhatsApp said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// 515 after linking: come back at once.
    RestartRequired,
    /// 401, 406, 516, or the phone removed the device.
    LoggedOut { code: i32 },
    /// 402 or 403: banned for `lasts`, or until WhatsApp says otherwise.
    Banned { lasts: Option<Duration> },
    /// 405.
    ClientOutdated,
    /// 409, 440: another client logged in with these credentials.
    Replaced,
    /// 429.
    RateLimited,
    /// 503.
    Overloaded,
    /// 500, the socket lost, no connection to be had.
    Lost,
    /// WhatsApp refused in a way that no retry mends.
    Refused { code: i32 },
}

impl EndReason {
    /// A short name for series.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::RestartRequired => "restart_required",
            Self::LoggedOut { .. } => "logged_out",
            Self::Banned { .. } => "banned",
            Self::ClientOutdated => "client_outdated",
            Self::Replaced => "replaced",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Lost => "lost",
            Self::Refused { .. } => "refused",
        }
    }
}

/// Sorts a `stream:error` or `failure` code.
pub(crate) fn end_reason(code: i32) -> EndReason {
    match code {
        515 => EndReason::RestartRequired,
        401 | 406 | 516 => EndReason::LoggedOut { code },
        402 | 403 => EndReason::Banned { lasts: None },
        405 => EndReason::ClientOutdated,
        409 | 440 => EndReason::Replaced,
        429 => EndReason::RateLimited,
        503 => EndReason::Overloaded,
        400 | 413 | 414 | 415 | 418 | 501 => EndReason::Refused { code },
        _ => EndReason::Lost,
    }
}

/// Which events the engine must build for us; it skips the others.
pub(crate) fn interest() -> EventInterest {
    EventInterest::of(&[
        EventKind::PairingQrCode,
        EventKind::PairingQrCodesExhausted,
        EventKind::PairingCode,
        EventKind::PairingCodeError,
        EventKind::PairPasskeyRequest,
        EventKind::PairPasskeyConfirmation,
        EventKind::PairPasskeyError,
        EventKind::PairSuccess,
        EventKind::PairError,
        EventKind::Connected,
        EventKind::LoggedOut,
        EventKind::StreamReplaced,
        EventKind::TemporaryBan,
        EventKind::ClientOutdated,
        EventKind::ConnectFailure,
        EventKind::StreamError,
        EventKind::ServerAck,
        EventKind::Receipt,
        EventKind::ChatPresence,
        EventKind::Presence,
        EventKind::ContactUpdate,
        EventKind::HistorySync,
        EventKind::SelfPushNameUpdated,
        EventKind::UndecryptableMessage,
    ])
}

/// Hands events over without ever holding up the engine's task, on which it is called.
#[derive(Debug)]
pub(crate) struct EventForwarder {
    /// Boxed: a channel keeps room for 32 items, however few there are.
    events: mpsc::UnboundedSender<Box<EngineEvent>>,
}

impl EventForwarder {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Box<EngineEvent>>) {
        let (events, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { events }), receiver)
    }
}

impl EventHandler for EventForwarder {
    fn handle_event(&self, event: Arc<Event>) {
        // A receiver that is gone is a session that has ended.
        if let Some(event) = translate(&event)
            && self.events.send(Box::new(event)).is_err()
        {
            tracing::trace!("an event came after its session had ended");
        }
    }
}

fn translate(event: &Event) -> Option<EngineEvent> {
    Some(match event {
        Event::PairingQrCode(qr) => EngineEvent::QrCode { code: qr.code.clone(), valid_for: qr.timeout },
        Event::PairingQrCodesExhausted(_) => EngineEvent::QrCodesUsedUp,
        Event::PairingCode(pair) => {
            EngineEvent::PairCode { code: pair.code.clone(), valid_for: pair.timeout }
        }
        Event::PairingCodeError(refused) => EngineEvent::PairCodeRefused { retry_after: refused.backoff },
        Event::PairPasskeyRequest(request) => {
            EngineEvent::PasskeyChallenge { request_options_json: request.request_options_json.clone() }
        }
        Event::PairPasskeyConfirmation(confirm) => {
            EngineEvent::PasskeyConfirmation { code: confirm.code.clone(), shown: !confirm.skip_handoff_ux }
        }
        Event::PairPasskeyError(_) => EngineEvent::PasskeyRefused,
        Event::PairSuccess(paired) => EngineEvent::Paired { platform: paired.platform.clone() },
        Event::PairError(_) => EngineEvent::PairRefused,
        Event::Connected(_) => EngineEvent::Connected,
        Event::LoggedOut(out) => EngineEvent::Ended(match out.reason {
            ConnectFailureReason::AccountLocked => EndReason::Banned { lasts: None },
            _ => EndReason::LoggedOut { code: 401 },
        }),
        Event::StreamReplaced(_) => EngineEvent::Ended(EndReason::Replaced),
        Event::TemporaryBan(ban) => EngineEvent::Ended(EndReason::Banned {
            lasts: u64::try_from(ban.expire.num_seconds()).ok().filter(|s| *s > 0).map(Duration::from_secs),
        }),
        Event::ClientOutdated(_) => EngineEvent::Ended(EndReason::ClientOutdated),
        Event::ConnectFailure(failure) => EngineEvent::Ended(end_reason(failure_code(&failure.reason))),
        Event::StreamError(error) => EngineEvent::Ended(end_reason(error.code.parse().unwrap_or_default())),
        Event::ServerAck(ack) if ack.class.as_deref().is_none_or(|class| class == "message") => {
            EngineEvent::ServerAck { message_id: ack.id.clone(), error: ack.error.clone() }
        }
        Event::Receipt(receipt) => EngineEvent::Receipt {
            chat: receipt.source.chat.to_non_ad_string(),
            chat_is_group: receipt.source.is_group,
            sender: receipt.source.sender.to_non_ad_string(),
            message_ids: receipt.message_ids.iter().map(ToString::to_string).collect(),
            status: receipt_status(&receipt.r#type)?,
        },
        Event::ChatPresence(update) => EngineEvent::Typing {
            chat: update.source.chat.to_non_ad_string(),
            sender: update.source.sender.to_non_ad_string(),
            composing: update.state == ChatPresence::Composing,
        },
        Event::Presence(update) => EngineEvent::Presence {
            contact: update.from.to_non_ad_string(),
            available: !update.unavailable,
            last_seen_s: update.last_seen.map(|seen| seen.timestamp()),
        },
        Event::ContactUpdate(update) => EngineEvent::ContactName {
            chat: update.jid.to_non_ad_string(),
            name: update.action.full_name.clone().filter(|name| !name.is_empty())?,
        },
        Event::HistorySync(history) => EngineEvent::History(history.clone()),
        Event::SelfPushNameUpdated(update) => EngineEvent::OwnName(update.new_name.clone()),
        Event::UndecryptableMessage(_) => EngineEvent::Undecryptable,
        _ => return None,
    })
}

fn failure_code(reason: &ConnectFailureReason) -> i32 {
    match reason {
        ConnectFailureReason::Generic => 400,
        ConnectFailureReason::LoggedOut => 401,
        ConnectFailureReason::TempBanned => 402,
        ConnectFailureReason::AccountLocked => 403,
        ConnectFailureReason::ClientOutdated => 405,
        ConnectFailureReason::UnknownLogout => 406,
        // On the wire a `failure` 409 is a bad user agent; as a `stream:error` it means "replaced".
        ConnectFailureReason::BadUserAgent => 400,
        ConnectFailureReason::CatExpired => 413,
        ConnectFailureReason::CatInvalid => 414,
        ConnectFailureReason::NotFound => 415,
        ConnectFailureReason::ClientUnknown => 418,
        ConnectFailureReason::InternalServerError => 500,
        ConnectFailureReason::Experimental => 501,
        ConnectFailureReason::ServiceUnavailable => 503,
        ConnectFailureReason::Unknown(code) => *code,
    }
}

fn receipt_status(kind: &ReceiptType) -> Option<MessageStatus> {
    match kind {
        ReceiptType::Delivered | ReceiptType::Inactive => Some(MessageStatus::Delivered),
        ReceiptType::Read => Some(MessageStatus::Read),
        ReceiptType::Played => Some(MessageStatus::Played),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_its_reason() {
        for (code, reason) in [
            (515, EndReason::RestartRequired),
            (401, EndReason::LoggedOut { code: 401 }),
            (516, EndReason::LoggedOut { code: 516 }),
            (403, EndReason::Banned { lasts: None }),
            (405, EndReason::ClientOutdated),
            (409, EndReason::Replaced),
            (440, EndReason::Replaced),
            (429, EndReason::RateLimited),
            (503, EndReason::Overloaded),
            (500, EndReason::Lost),
            (0, EndReason::Lost),
            (418, EndReason::Refused { code: 418 }),
        ] {
            assert_eq!(end_reason(code), reason, "{code}");
        }
    }
}
