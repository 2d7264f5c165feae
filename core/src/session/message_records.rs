//! The stored side of what goes out: recorded, read, changed; with patience for the store.

use tokio_util::sync::CancellationToken;

use super::context::SessionContext;
use super::live::LiveSession;
use crate::engine::content::Outbound;
use crate::error::Result;
use crate::events::EventKind;
use crate::store::patience::until_available;
use crate::store::{
    Direction, MessageChange, MessageKey, MessageKind, MessagePage, MessageStatus, StoredMessage,
};

use super::outgoing::Body;

/// One session's messages. Without a live session nothing is published: nobody numbers its events.
#[derive(Clone, Copy)]
pub(super) struct MessageRecords<'a> {
    pub(super) context: &'a SessionContext,
    pub(super) session: &'a str,
    pub(super) live: Option<&'a LiveSession>,
    /// Ends the wait for a store that is away.
    pub(super) stop: &'a CancellationToken,
}

/// What goes to the engine, and what changes in the store once WhatsApp has accepted it.
pub(super) struct ToSend {
    pub(super) outbound: Outbound,
    pub(super) change: Option<(MessageKey, MessageChange)>,
}

/// How many messages of a chat are looked through for one that was received.
const LOOKED_AT: u32 = 50;

impl<'a> MessageRecords<'a> {
    pub(super) fn of(live: &'a LiveSession) -> Self {
        Self { context: &live.context, session: &live.id, live: Some(live), stop: &live.stop }
    }

    /// Stores a message unless it is there. Whether it was new.
    pub(super) async fn record(&self, message: &StoredMessage) -> Result<bool> {
        let context = self.context;
        let recorded = until_available(
            &context.clock,
            self.stop,
            |_| {},
            || {
                context.store.record_messages(
                    self.session,
                    std::slice::from_ref(message),
                    &[],
                    context.clock.now(),
                )
            },
        )
        .await?;
        Ok(recorded.inserted.first() != Some(&false))
    }

    pub(super) async fn stored(&self, key: &MessageKey) -> Result<Option<StoredMessage>> {
        let context = self.context;
        let found = until_available(
            &context.clock,
            self.stop,
            |_| {},
            || context.store.get_messages(self.session, std::slice::from_ref(key)),
        )
        .await?;
        Ok(found.into_iter().next().flatten())
    }

    pub(super) async fn mark(
        &self,
        key: &MessageKey,
        status: MessageStatus,
    ) -> Result<Option<StoredMessage>> {
        self.change((key.clone(), MessageChange::Status(status))).await
    }

    pub(super) async fn change(&self, change: (MessageKey, MessageChange)) -> Result<Option<StoredMessage>> {
        let context = self.context;
        let changes = [change];
        let changed = until_available(
            &context.clock,
            self.stop,
            |_| {},
            || context.store.change_messages(self.session, &changes, context.clock.now()),
        )
        .await?;
        let message = changed.into_iter().next().flatten();
        if let Some(message) = &message {
            self.publish(EventKind::MessageChanged(Box::new(message.clone())));
        }
        Ok(message)
    }

    pub(super) fn publish(&self, kind: EventKind) {
        if let Some(live) = self.live {
            live.publish(kind);
        }
    }

    /// Whether a chat ever wrote to the account. A group is nobody's new contact.
    pub(super) async fn has_written(&self, chat_id: &str) -> Result<bool> {
        if chat_id.ends_with("@g.us") {
            return Ok(true);
        }
        let context = self.context;
        let page = MessagePage { chat_id: Some(chat_id.to_owned()), limit: LOOKED_AT, after: None };
        let found = until_available(
            &context.clock,
            self.stop,
            |_| {},
            || context.store.list_messages(self.session, &page),
        )
        .await?;
        Ok(found.items.iter().any(|message| message.direction == Direction::In))
    }

    /// The wire form of a body.
    pub(super) async fn wire_form(&self, body: Body, own: &str) -> Result<ToSend> {
        body.check_author(own)?;
        let now = self.context.clock.now();
        let (outbound, change) = match body {
            Body::Text { text, quoted } => {
                let quoted = match quoted {
                    Some(quoted) => {
                        let quoted_text = self.stored_text(&quoted).await?;
                        Some((quoted, quoted_text))
                    }
                    None => None,
                };
                (Outbound::Text { text, quoted }, None)
            }
            Body::Reaction { target, emoji } => {
                let from_me = target.sender == own;
                (Outbound::Reaction { target, from_me, emoji }, None)
            }
            Body::Edit { target, text } => {
                let content = MessageKind::Text { text: text.clone(), quoted: None };
                let change = MessageChange::Edited { content, at: now };
                (Outbound::Edit { target: target.clone(), text }, Some((target, change)))
            }
            Body::Revoke { target } => {
                let from_me = target.sender == own;
                let change = MessageChange::Revoked { at: now };
                (Outbound::Revoke { target: target.clone(), from_me }, Some((target, change)))
            }
        };
        Ok(ToSend { outbound, change })
    }

    async fn stored_text(&self, key: &MessageKey) -> Result<Option<String>> {
        Ok(self.stored(key).await?.and_then(|message| match message.content {
            MessageKind::Text { text, .. } => Some(text),
            _ => None,
        }))
    }
}
