//! Which events are logged, and under which key.

use super::options::DurableEventOptions;
use crate::clock::SharedClock;
use crate::events::EventKind;
use crate::store::{MessageChange, MessageKey, StatusDetail};

/// Codes are secrets. That another instance has the session is that one's to tell: it logs now. What a subscription or
/// a consumer is told about itself is no event of the session.
pub(super) fn is_logged(kind: &EventKind, options: &DurableEventOptions) -> bool {
    match kind {
        EventKind::Code(_)
        | EventKind::Lagged { .. }
        | EventKind::Missed { .. }
        | EventKind::Unknown { .. } => false,
        EventKind::Typing { .. } | EventKind::Presence { .. } => options.log_presence,
        EventKind::Status { detail: Some(StatusDetail::OwnedElsewhere), .. } => false,
        _ => true,
    }
}

/// The key of the event that a message came in: the same when WhatsApp delivers it again.
pub(crate) fn message_key(key: &MessageKey) -> String {
    joined("message", key, &[])
}

/// The key of the event that a received message changed another one.
pub(crate) fn change_key(key: &MessageKey, change: &MessageChange) -> String {
    match change {
        MessageChange::Status(status) => joined("status", key, &[&status.rank().to_string()]),
        MessageChange::Edited { at, .. } => joined("edited", key, &[&at.unix_ms().to_string()]),
        MessageChange::Revoked { at } => joined("revoked", key, &[&at.unix_ms().to_string()]),
    }
}

/// A key that no other event has, for what cannot come twice.
pub(super) fn fresh_key(clock: &SharedClock) -> String {
    let mut random = [0; 16];
    clock.fill_random(&mut random);
    format!("event/{:032x}", u128::from_le_bytes(random))
}

fn joined(what: &str, key: &MessageKey, more: &[&str]) -> String {
    let parts = [key.chat_id.as_str(), &key.sender, &key.message_id];
    let escaped =
        parts.iter().chain(more).map(|part| part.replace('%', "%25").replace('/', "%2F")).collect::<Vec<_>>();
    format!("{what}/{}", escaped.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, Timestamp};
    use crate::events::LinkCode;
    use crate::session::status::Status;

    #[test]
    fn secrets_are_never_logged_and_presence_only_if_wanted() {
        let quiet = DurableEventOptions::default();
        let all = DurableEventOptions { log_presence: true, ..DurableEventOptions::default() };
        let code = EventKind::Code(LinkCode::PairCode { code: "x".into(), expires_at: Timestamp::default() });
        let typing = EventKind::Typing { chat_id: "c".into(), sender: "s".into(), composing: true };
        let robbed =
            EventKind::Status { status: Status::Disconnected, detail: Some(StatusDetail::OwnedElsewhere) };
        let status = EventKind::Status { status: Status::Disconnected, detail: None };
        for (kind, by_quiet, by_all) in
            [(code, false, false), (typing, false, true), (robbed, false, false), (status, true, true)]
        {
            assert_eq!((is_logged(&kind, &quiet), is_logged(&kind, &all)), (by_quiet, by_all), "{kind:?}");
        }
    }

    #[test]
    fn keys_that_join_alike_stay_apart() {
        let key = |chat: &str, sender: &str| MessageKey {
            chat_id: chat.into(),
            sender: sender.into(),
            message_id: "1".into(),
        };
        let revoked = |ms| MessageChange::Revoked { at: Timestamp::from_unix_ms(ms) };
        let clock = SystemClock::shared();
        let keys = [
            message_key(&key("a/b", "c")),
            message_key(&key("a", "b/c")),
            message_key(&key("a%2Fb", "c")),
            change_key(&key("a", "b/c"), &revoked(1)),
            change_key(&key("a", "b/c"), &revoked(2)),
            fresh_key(&clock),
            fresh_key(&clock),
        ];
        assert!(keys.iter().enumerate().all(|(index, key)| !keys[..index].contains(key)));
        assert_eq!(message_key(&key("a/b", "c")), keys[0]);
    }
}
