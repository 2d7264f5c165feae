//! What goes out: stored first, written under a fixed id, then acknowledged, refused or honestly unknown; or, if it
//! may wait and cannot go now, put into the outbox.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};

use super::context::SessionContext;
use super::delivery::{Delivered, deliver};
use super::live::LiveSession;
use super::message_records::{MessageRecords, ToSend};
use super::outbox;
use super::outgoing::Body;
use crate::clock::Timestamp;
use crate::engine::connection::EngineConnection;
use crate::engine::jid::chat_id;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Direction, MessageKey, MessageStatus, StoredMessage};

pub use super::outgoing::{MAX_IDEMPOTENCY_KEY_BYTES, MAX_QUEUE_TIME, MAX_TEXT_BYTES, Outgoing, SentMessage};

/// A checked message with its id.
pub(super) struct Plan {
    pub(super) chat_id: String,
    pub(super) message_id: String,
    pub(super) body: Body,
    /// Whether the id follows from an idempotency key, so that the message may be known already.
    pub(super) may_be_known: bool,
    pub(super) timeout: Duration,
    /// Until when it may wait in the outbox; `None`: it may not.
    pub(super) expires_at: Option<Timestamp>,
    pub(super) timestamp: Timestamp,
}

impl Plan {
    fn new(context: &SessionContext, session: &str, outgoing: Outgoing) -> Result<Self> {
        outgoing.check()?;
        let now = context.clock.now();
        let expires_at = outgoing.expires_at(now)?;
        let most = context.options.outbox.max_text_bytes;
        if expires_at.is_some() && outgoing.text_bytes() > most {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "a text that waits may have {most} bytes (option outbox.max_text_bytes); send it in parts"
                ),
            ));
        }
        Ok(Self {
            chat_id: chat_id(&outgoing.to)?,
            message_id: message_id(context, session, outgoing.idempotency_key.as_deref()),
            may_be_known: outgoing.idempotency_key.is_some(),
            timeout: outgoing.timeout.unwrap_or(context.options.send_timeout),
            body: outgoing.body,
            expires_at,
            timestamp: Timestamp::from_unix_s(now.unix_s()),
        })
    }
}

/// WhatsApp Web's form: `3EB0` and 18 hex digits.
fn message_id(context: &SessionContext, session: &str, idempotency_key: Option<&str>) -> String {
    let mut digits = [0_u8; 9];
    match idempotency_key {
        Some(key) => {
            let mut hash = Sha256::new();
            hash.update((session.len() as u64).to_be_bytes());
            hash.update(session.as_bytes());
            hash.update(key.as_bytes());
            digits.copy_from_slice(&hash.finalize()[..9]);
        }
        None => context.clock.fill_random(&mut digits),
    }
    digits.iter().fold("3EB0".to_owned(), |mut id, byte| {
        use std::fmt::Write as _;
        // Writing to a String cannot fail.
        let _infallible = write!(id, "{byte:02X}");
        id
    })
}

/// Sends and waits for the server, or queues. It goes on even if the caller no longer waits.
pub(crate) async fn send(live: &Arc<LiveSession>, outgoing: Outgoing) -> Result<SentMessage> {
    let context = Arc::clone(&live.context);
    let plan =
        Plan::new(&context, &live.id, outgoing).map_err(|error| error.of_session(&live.id).during("send"))?;
    let sending = Arc::clone(live);
    detached(&context, &live.id, async move { send_or_queue(&sending, plan).await }).await
}

/// Queues for a session that does not run in this process.
pub(crate) async fn queue(
    context: &Arc<SessionContext>,
    session: &str,
    outgoing: Outgoing,
) -> Result<SentMessage> {
    let plan =
        Plan::new(context, session, outgoing).map_err(|error| error.of_session(session).during("send"))?;
    let (shared, id) = (Arc::clone(context), session.to_owned());
    detached(context, session, async move { outbox::accept(&shared, &id, None, plan, false).await }).await
}

async fn detached(
    context: &SessionContext,
    session: &str,
    work: impl Future<Output = Result<SentMessage>> + Send + 'static,
) -> Result<SentMessage> {
    let outcome = context.runtime.tokio().spawn(work).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Panic, "a send panicked; its outcome is unknown; report it"))
    });
    outcome.map_err(|error| error.of_session(session).during("send"))
}

async fn send_or_queue(live: &Arc<LiveSession>, plan: Plan) -> Result<SentMessage> {
    match send_now(live, &plan).await {
        Ok(sent) => Ok(sent),
        Err(unsent) => match unsent.queue {
            Some(in_doubt) if plan.expires_at.is_some() => {
                outbox::accept(&live.context, &live.id, Some(live), plan, in_doubt).await
            }
            _ => Err(unsent.error),
        },
    }
}

/// Why a message was not sent, or perhaps not.
struct Unsent {
    error: Error,
    /// Whether it may go into the outbox, and if so whether it may have been sent all the same.
    queue: Option<bool>,
}

impl Unsent {
    fn for_now(error: Error) -> Self {
        Self { error, queue: Some(false) }
    }

    fn in_doubt(error: Error) -> Self {
        Self { error, queue: Some(true) }
    }
}

impl From<Error> for Unsent {
    fn from(error: Error) -> Self {
        Self { error, queue: None }
    }
}

async fn send_now(live: &Arc<LiveSession>, plan: &Plan) -> std::result::Result<SentMessage, Unsent> {
    if let Some(ban) = live.limits.ban() {
        return Err(Unsent::for_now(ban.into_error()));
    }
    let engine = if plan.expires_at.is_some() {
        // It may wait in the outbox until the session is up again.
        live.wake_if_parked();
        live.connected_engine()
    } else {
        live.awake_engine(plan.timeout).await
    };
    let engine = engine.map_err(Unsent::for_now)?;
    let mut deadline = live.context.clock.sleep(plan.timeout);
    take_turn(live, plan, &mut deadline).await?;
    let key = MessageKey {
        chat_id: plan.chat_id.clone(),
        sender: live.own_jid(),
        message_id: plan.message_id.clone(),
    };
    Sending { live, engine: &engine, records: MessageRecords::of(live) }.run(plan, key, deadline).await
}

/// Waits for what is queued for the same recipient, and takes leave from the limits.
async fn take_turn(
    live: &Arc<LiveSession>,
    plan: &Plan,
    deadline: &mut BoxFuture<'static, ()>,
) -> std::result::Result<(), Unsent> {
    let turn = async {
        let has_written = if live.limits.is_closed_to_new_contacts() {
            MessageRecords::of(live).has_written(&plan.chat_id).await?
        } else {
            true
        };
        live.limits
            .penalty(&plan.chat_id, || has_written)
            .map_err(|denied| Unsent::for_now(denied.into_error()))?;
        if plan.expires_at.is_some() {
            if !outbox::is_clear_for(live, &plan.chat_id).await? {
                return Err(Unsent::for_now(queued_before()));
            }
        } else {
            outbox::wait_until_clear_for(live, &plan.chat_id).await?;
        }
        live.limits
            .acquire(&plan.chat_id, || has_written)
            .map_err(|denied| Unsent::for_now(denied.into_error()))
    };
    tokio::select! {
        biased;
        turn = turn => turn,
        () = deadline => Err(Unsent::for_now(queued_before())),
    }
}

struct Sending<'a> {
    live: &'a LiveSession,
    engine: &'a EngineConnection,
    records: MessageRecords<'a>,
}

enum Prepared {
    /// An earlier send with the same key has done it.
    Done(SentMessage),
    ToSend(Box<ToSend>),
}

impl Sending<'_> {
    async fn run(
        self,
        plan: &Plan,
        key: MessageKey,
        mut deadline: BoxFuture<'static, ()>,
    ) -> std::result::Result<SentMessage, Unsent> {
        // The deadline is the caller's: it covers a store that is away, too.
        let prepared = tokio::select! {
            biased;
            prepared = self.prepare(plan, &key) => prepared?,
            () = &mut deadline => return Err(Unsent::for_now(Error::new(ErrorKind::Timeout, "the store did not take the message in time; nothing was sent; try again"))),
        };
        let ToSend { outbound, change } = match prepared {
            Prepared::Done(sent) => return Ok(sent),
            Prepared::ToSend(to_send) => *to_send,
        };
        match deliver(self.live, self.engine, &key, &outbound, Pin::new(&mut deadline)).await {
            Delivered::Accepted => {
                let status = match change {
                    None => self
                        .records
                        .mark(&key, MessageStatus::Sent)
                        .await?
                        .map_or(MessageStatus::Sent, |message| message.status),
                    Some(change) => {
                        self.records.change(change).await?;
                        MessageStatus::Sent
                    }
                };
                Ok(SentMessage { key, status, timestamp: plan.timestamp, repeated: false })
            }
            Delivered::Refused(code) => {
                let denied = self.live.limits.refused(&plan.chat_id, &code);
                let error = refused(&code);
                match denied {
                    Some(denied) => {
                        // What may wait is tried again, and has not failed.
                        if plan.expires_at.is_none() {
                            self.records.mark(&key, MessageStatus::Failed).await?;
                        }
                        Err(Unsent::for_now(error.retry_after(denied.wait)))
                    }
                    None => {
                        self.records.mark(&key, MessageStatus::Failed).await?;
                        Err(error.into())
                    }
                }
            }
            Delivered::Unknown(error) => {
                self.records.mark(&key, MessageStatus::Indeterminate).await?;
                Err(Unsent::in_doubt(error))
            }
        }
    }

    /// Stores what is a message of its own; an earlier send with the same key decides what is left to do.
    async fn prepare(&self, plan: &Plan, key: &MessageKey) -> Result<Prepared> {
        let to_send = Box::new(self.records.wire_form(plan.body.clone(), &key.sender).await?);
        let Some(content) = plan.body.content() else { return Ok(Prepared::ToSend(to_send)) };
        let message = StoredMessage::new(key.clone(), Direction::Out, plan.timestamp, content);
        if !self.records.record(&message).await?
            && let Some(earlier) = self.records.stored(key).await?
            && let Some(done) = done_before(earlier)?
        {
            return Ok(Prepared::Done(done));
        }
        Ok(Prepared::ToSend(to_send))
    }
}

/// What a message that is stored already means for a send with the same key: `None` if it is still to be sent.
pub(super) fn done_before(earlier: StoredMessage) -> Result<Option<SentMessage>> {
    match earlier.status {
        MessageStatus::Pending | MessageStatus::Indeterminate => Ok(None),
        MessageStatus::Failed | MessageStatus::Cancelled | MessageStatus::Expired => Err(Error::new(
            ErrorKind::Protocol,
            "WhatsApp refused this message before, or it was cancelled or expired; to try once more use another idempotency key",
        )),
        status => {
            Ok(Some(SentMessage { key: earlier.key, status, timestamp: earlier.timestamp, repeated: true }))
        }
    }
}

/// What a refusal by WhatsApp means.
pub(super) fn refused(code: &str) -> Error {
    match code {
        "463" => Error::new(
            ErrorKind::RateLimited,
            "WhatsApp refused the message (463): the account may not write to new contacts at present; wait, and let contacts write first",
        ),
        "429" => {
            Error::new(ErrorKind::RateLimited, "WhatsApp refused the message (429): too many; slow down")
        }
        code => Error::new(
            ErrorKind::Protocol,
            format!("WhatsApp refused the message with code {code}; it was not sent"),
        ),
    }
}

fn queued_before() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "messages to this recipient were still queued before it; nothing was sent; try again, or queue it behind them",
    )
}
