//! Puts a message in.

use std::sync::Arc;

use super::content::Content;
use super::turn::wake;
use crate::engine::jid::chat_id;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventKind;
use crate::session::context::SessionContext;
use crate::session::live::LiveSession;
use crate::session::message_records::MessageRecords;
use crate::session::outbound::{Plan, SentMessage, done_before};
use crate::store::patience::until_available;
use crate::store::{Direction, MessageKey, MessageStatus, OutboxEntry, Pushed, StoredMessage};

/// Stores a message in the outbox of a session, running or not; durable on `Ok`. `in_doubt`: it was written to a
/// socket already, with an unknown outcome.
pub(in crate::session) async fn accept(
    context: &Arc<SessionContext>,
    session: &str,
    live: Option<&Arc<LiveSession>>,
    plan: Plan,
    in_doubt: bool,
) -> Result<SentMessage> {
    let deadline = context.clock.sleep(plan.timeout);
    let accepted = tokio::select! {
        biased;
        accepted = store(context, session, live, plan, in_doubt) => accepted?,
        () = deadline => return Err(Error::new(
            ErrorKind::Timeout,
            "the store did not take the message in time; it may or may not be queued; repeat it with the same idempotency key",
        )),
    };
    context.outboxes.note(session);
    if let Some(live) = live {
        wake(live);
    }
    Ok(accepted)
}

async fn store(
    context: &Arc<SessionContext>,
    session: &str,
    live: Option<&Arc<LiveSession>>,
    plan: Plan,
    mut in_doubt: bool,
) -> Result<SentMessage> {
    let Some(expires_at) = plan.expires_at else {
        return Err(Error::new(ErrorKind::Internal, "a message that may not wait was queued; report it"));
    };
    let sender = own_jid(context, session, live).await?;
    plan.body.check_author(&sender)?;
    let key = MessageKey { chat_id: plan.chat_id, sender, message_id: plan.message_id };
    let records = MessageRecords { context, session, live: live.map(|live| &**live), stop: &context.stop };
    if plan.may_be_known
        && let Some(earlier) = records.stored(&key).await?
    {
        in_doubt |= earlier.status == MessageStatus::Indeterminate;
        if let Some(done) = done_before(earlier)? {
            return Ok(done);
        }
    }
    let content = Content {
        chat_id: key.chat_id.clone(),
        sender: key.sender.clone(),
        timestamp: plan.timestamp,
        body: plan.body.clone(),
    };
    let sealed = content.seal(&context.vault, session, &key.message_id).await?;
    let mut entry = OutboxEntry::new(&key.message_id, sealed, context.clock.now(), expires_at);
    if in_doubt {
        entry = entry.in_doubt();
    }
    let most = u64::from(context.options.outbox.max_entries);
    let pushed = until_available(
        &context.clock,
        &context.stop,
        |_| {},
        || context.store.push_outbox(session, &entry, most),
    )
    .await?;
    let repeated = match pushed {
        Pushed::New { .. } => false,
        Pushed::Known(_) => true,
        Pushed::Full => {
            return Err(Error::new(
                ErrorKind::RateLimited,
                format!(
                    "the outbox of the session is full ({most} messages); wait until some are sent, or cancel some"
                ),
            ));
        }
    };
    // After the entry: a message shown as queued always has one.
    if let Some(content) = plan.body.content() {
        let mut message = StoredMessage::new(key.clone(), Direction::Out, plan.timestamp, content);
        message.status = MessageStatus::Queued;
        if records.record(&message).await? {
            records.publish(EventKind::MessageChanged(Box::new(message)));
        } else if !repeated {
            records.mark(&key, MessageStatus::Queued).await?;
        }
    }
    Ok(SentMessage { key, status: MessageStatus::Queued, timestamp: plan.timestamp, repeated })
}

/// The account's JID: as the engine knows it, or, if none runs, from the number in the record.
async fn own_jid(context: &SessionContext, session: &str, live: Option<&Arc<LiveSession>>) -> Result<String> {
    if let Some(jid) = live.map(|live| live.own_jid()).filter(|jid| !jid.is_empty()) {
        return Ok(jid);
    }
    let phone = context.manager.get_session(session).await?.phone.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidState,
            "the session was never linked, so nothing can be queued; link it first",
        )
    })?;
    chat_id(&phone)
}
