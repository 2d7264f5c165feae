//! What came in: stored and counted once, then published. WhatsApp is told after the store has it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::live::LiveSession;
use crate::engine::content::Inbound;
use crate::engine::inbound::Commit;
use crate::engine::session_auth::SessionAuth;
use crate::error::Result;
use crate::events::durable::{change_key, message_key};
use crate::events::{EventKind, Received};
use crate::store::patience::until_available;
use crate::store::{Direction, MessageChange, MessageKey, StoredMessage};

/// The engine's commit hook for one session. It waits while the store is away. What the store refuses for good ends
/// the use of `auth`, and with it the session: nothing is acknowledged that is not stored.
pub(crate) fn commit(live: &Arc<LiveSession>, auth: &Arc<SessionAuth>) -> Commit {
    let live = Arc::downgrade(live);
    let auth = Arc::clone(auth);
    Arc::new(move |batch| {
        let live = live.clone();
        let auth = auth.clone();
        Box::pin(async move {
            match live.upgrade() {
                Some(live) => {
                    let stored = store_and_publish(&live, &auth.closed(), batch).await;
                    stored.map_err(|error| auth.give_up(error))
                }
                // The session is gone and so is its socket: WhatsApp will deliver again.
                None => {
                    Err(crate::error::Error::new(crate::error::ErrorKind::Closed, "the session was stopped"))
                }
            }
        })
    })
}

async fn store_and_publish(
    live: &LiveSession,
    closed: &CancellationToken,
    batch: Vec<Inbound>,
) -> Result<()> {
    let context = &live.context;
    let start = context.clock.monotonic();
    let mut messages: Vec<StoredMessage> = Vec::new();
    let mut changes: Vec<(MessageKey, MessageChange)> = Vec::new();
    for inbound in batch {
        match inbound {
            Inbound::Message(message) => messages.push(*message),
            Inbound::Change(key, change) => changes.push((key, change)),
            Inbound::Internal => {}
        }
    }
    if !messages.is_empty() {
        let names: Arc<[_]> = direct_chat_names(&messages).into();
        let messages: Arc<[StoredMessage]> = messages.into();
        // An attempt that failed may have stored some all the same; the next then takes them for redeliveries.
        let mut unsure = false;
        let recorded = until_available(
            &context.clock,
            closed,
            |_| unsure = true,
            || {
                let now = context.clock.now();
                context.group.record(&live.id, Arc::clone(&messages), Arc::clone(&names), now)
            },
        )
        .await?;
        crate::metrics::committed(context.clock.monotonic().saturating_sub(start));
        // A redelivery was published when it came first. In doubt twice is better than never.
        let received = messages.iter().zip(recorded.inserted).map(|(message, new)| Received {
            key: message_key(&message.key),
            kind: EventKind::Message(Box::new(message.clone())),
            is_new: new || unsure,
        });
        live.publish_received(received.collect(), closed).await?;
    }
    if !changes.is_empty() {
        let changes: Arc<[_]> = changes.into();
        let changed = until_available(
            &context.clock,
            closed,
            |_| {},
            || context.group.change(&live.id, Arc::clone(&changes), context.clock.now()),
        )
        .await?;
        let received = changes.iter().zip(changed).filter_map(|((key, change), message)| {
            let kind = EventKind::MessageChanged(Box::new(message?));
            Some(Received { key: change_key(key, change), kind, is_new: true })
        });
        live.publish_received(received.collect(), closed).await?;
    }
    Ok(())
}

/// The name under which a contact writes is the name of the chat with him.
fn direct_chat_names(messages: &[StoredMessage]) -> Vec<(String, String)> {
    messages
        .iter()
        .filter(|message| message.direction == Direction::In && message.key.sender == message.key.chat_id)
        .filter_map(|message| Some((message.key.chat_id.clone(), message.sender_name.clone()?)))
        .collect()
}
