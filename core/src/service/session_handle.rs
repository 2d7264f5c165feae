//! A handle on one session.

use std::sync::Arc;
use std::time::Duration;

use super::handle::WhatsAppService;
use crate::engine::jid::chat_id;
use crate::error::{Error, ErrorKind, Result};
use crate::session::health::{SessionHealth, health};
use crate::session::link::{LinkStep, LinkStream};
use crate::session::live::LiveSession;
use crate::session::outbound::{self, Outgoing, SentMessage};
use crate::session::status::Status;
use crate::session::{QueuedMessage, outbox};
use crate::store::patience::until_available;
use crate::store::session::Page;
use crate::store::{ChatPatch, MessageKey, SessionRecord};

/// One session of a [`WhatsAppService`]. Cheap to clone; it holds nothing open.
#[derive(Debug, Clone)]
pub struct Session {
    service: WhatsAppService,
    id: String,
}

impl Session {
    pub(super) fn new(service: WhatsAppService, id: String) -> Self {
        Self { service, id }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The service that it is of.
    pub fn service(&self) -> &WhatsAppService {
        &self.service
    }

    fn live(&self) -> Result<Arc<LiveSession>> {
        self.service.live(&self.id).filter(|live| !live.has_ended()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidState, "the session does not run in this process; start it first")
                .of_session(&self.id)
        })
    }

    /// Its record as stored.
    pub async fn record(&self) -> Result<SessionRecord> {
        self.service.manager().get_session(&self.id).await
    }

    /// Its status in this process; `InvalidState` if it does not run here.
    pub fn status(&self) -> Result<Status> {
        Ok(self.live()?.status())
    }

    /// Whether it is logged in at this moment.
    pub fn is_connected(&self) -> bool {
        self.live().is_ok_and(|live| live.is_connected())
    }

    /// The codes to link it with, as they come, and then one last step. A session that is linked already ends the
    /// stream with `Linked` once it is connected.
    pub fn link(&self) -> Result<LinkStream> {
        match self.service.live(&self.id) {
            // Also one that has ended: its stream tells how.
            Some(live) => Ok(live.link()),
            None => Err(Error::new(
                ErrorKind::InvalidState,
                "the session does not run in this process; start it first",
            )
            .of_session(&self.id)
            .during("link")),
        }
    }

    /// Asks WhatsApp for a code to type on the phone with this number, instead of the QR code. It is also a step of
    /// [`link`](Self::link).
    pub async fn request_pair_code(&self, phone_number: &str) -> Result<String> {
        const OP: &str = "request_pair_code";
        let chat = chat_id(phone_number).map_err(|error| error.of_session(&self.id).during(OP))?;
        let digits = chat.trim_end_matches("@s.whatsapp.net");
        let live = self.live().map_err(|error| error.during(OP))?;
        let engine = live.engine_soon(ENGINE_PATIENCE).await.map_err(|error| error.during(OP))?;
        engine.request_pair_code(digits).await.map_err(|error| error.of_session(&self.id).during(OP))
    }

    /// Answers a passkey challenge with what the authenticator gave: WebAuthn's assertion as JSON, and the raw id of
    /// the credential. `InvalidState` if no challenge waits.
    pub async fn answer_passkey(&self, assertion_json: Vec<u8>, credential_id: Vec<u8>) -> Result<()> {
        let live = self.live()?;
        if !matches!(live.link_step(), Some(LinkStep::PasskeyChallenge { .. })) {
            return Err(
                self.no_such_step("no passkey challenge waits for an answer; see the steps of the link")
            );
        }
        let engine = live.engine()?;
        engine
            .answer_passkey(assertion_json, credential_id)
            .await
            .map_err(|error| error.of_session(&self.id).during("answer_passkey"))
    }

    /// Says that the code of the phone and of this device are the same. `InvalidState` if there is none to compare.
    pub async fn confirm_passkey(&self) -> Result<()> {
        let live = self.live()?;
        if !matches!(live.link_step(), Some(LinkStep::PasskeyConfirmation { .. })) {
            return Err(self.no_such_step("no passkey code waits to be confirmed; see the steps of the link"));
        }
        let engine = live.engine()?;
        engine.confirm_passkey().await.map_err(|error| error.of_session(&self.id).during("confirm_passkey"))
    }

    fn no_such_step(&self, message: &'static str) -> Error {
        Error::new(ErrorKind::InvalidState, message).of_session(&self.id)
    }

    /// Waits until it is connected; an end of the session is an error.
    pub async fn wait_connected(&self, patience: Duration) -> Result<()> {
        let live = self.service.live(&self.id).ok_or_else(|| {
            Error::new(ErrorKind::InvalidState, "the session does not run in this process; start it first")
                .of_session(&self.id)
        })?;
        live.wait_connected(patience).await
    }

    /// Its link, what comes in and what goes out, and its memory. `InvalidState` if it does not run here.
    pub async fn health(&self) -> Result<SessionHealth> {
        let live = self.live().map_err(|error| error.during("health"))?;
        Ok(health(&live).await)
    }

    /// Whether it is parked, or on its way back from that.
    pub fn is_parked(&self) -> bool {
        self.live().is_ok_and(|live| live.is_parked())
    }

    /// See [`WhatsAppService::park_session`].
    pub async fn park(&self) -> Result<()> {
        self.service.park_session(&self.id).await
    }

    /// Ends a pause between two connections, or wakes a parked session: the next attempt is made now.
    pub fn reconnect_now(&self) -> Result<()> {
        self.live()?.wake.notify_one();
        Ok(())
    }

    /// Sends a message and waits until WhatsApp's server has it.
    ///
    /// `InvalidState` if the session is not connected (nothing is stored then), `Protocol` or `RateLimited` if
    /// WhatsApp refused, `Timeout` if it said nothing in time: then the message may or may not arrive, and sending it
    /// again with the same idempotency key makes sure. The message is stored with its status in each case.
    /// `RateLimited` or `Banned` with a `retry_after` also come from the service's own limits and from what WhatsApp
    /// said before; then nothing is stored or sent.
    ///
    /// A message made with [`Outgoing::queue_for`] or [`queue_until`](Outgoing::queue_until) that cannot be sent now
    /// waits in the session's outbox instead: because the session is not connected or does not run here, because it
    /// must not send at present, because WhatsApp has not acknowledged it, or because others to the same recipient
    /// wait already. Then this returns once it is stored, with status `Queued`. It is sent once it can be, in order for each recipient, under its fixed id, by
    /// whichever process runs the session then, and ends as an
    /// [`OutboxEnded`](crate::events::EventKind::OutboxEnded) event and in the stored message's status. `RateLimited`
    /// if the outbox is full, `Invalid` if it has expired already, `InvalidState` if the session was never linked.
    ///
    /// A message that may not wait is not sent before those to the same recipient that do: it waits for them up to
    /// its own time-out.
    pub async fn send(&self, outgoing: Outgoing) -> Result<SentMessage> {
        match self.live() {
            Ok(live) => outbound::send(&live, outgoing).await,
            Err(_) if outgoing.may_wait() => {
                outbound::queue(self.service.context(), &self.id, outgoing).await
            }
            Err(error) => Err(error.during("send")),
        }
    }

    /// What waits in its outbox, in the order in which it is sent: a page of 1 to 1,000 entries; `after` is the
    /// `next` of the page before. `malformed` has the message ids of entries that cannot be decrypted.
    pub async fn outbox(&self, limit: u32, after: Option<&str>) -> Result<Page<QueuedMessage>> {
        outbox::list(self.service.context(), &self.id, limit, after)
            .await
            .map_err(|error| error.of_session(&self.id).during("outbox"))
    }

    /// Takes a message out of the outbox, whether the session runs or not. `InvalidState` if it is being sent or may
    /// have been sent already, `NotFound` if it does not wait (any more). A session that runs publishes `OutboxEnded`;
    /// one that does not publishes nothing, since its events have no number.
    pub async fn cancel_queued(&self, message_id: &str) -> Result<()> {
        let live = self.service.live(&self.id);
        outbox::cancel(self.service.context(), &self.id, live.as_ref(), message_id)
            .await
            .map_err(|error| error.of_session(&self.id).during("cancel_queued"))
    }

    /// Tells the author of received messages that they were read, and sets the chat's unread count to 0. All keys must
    /// be of one chat and author.
    pub async fn mark_read(&self, keys: &[MessageKey]) -> Result<()> {
        const OP: &str = "mark_read";
        let Some(first) = keys.first() else { return Ok(()) };
        if keys.iter().any(|key| key.chat_id != first.chat_id || key.sender != first.sender) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "messages of several chats or authors; call it once for each",
            )
            .of_session(&self.id)
            .during(OP));
        }
        let live = self.live().map_err(|error| error.during(OP))?;
        let ids: Vec<&str> = keys.iter().map(|key| key.message_id.as_str()).collect();
        let patience = live.context.options.send_timeout;
        let engine = live.awake_engine(patience).await.map_err(|error| error.during(OP))?;
        engine
            .mark_read(&first.chat_id, &first.sender, &ids)
            .await
            .map_err(|error| error.of_session(&self.id).during(OP))?;
        let patch = ChatPatch {
            chat_id: first.chat_id.clone(),
            name: None,
            last_message_at: None,
            unread_count: Some(0),
        };
        let context = &live.context;
        until_available(
            &context.clock,
            &live.stop,
            |_| {},
            || context.store.patch_chats(&live.id, std::slice::from_ref(&patch), context.clock.now()),
        )
        .await
        .map_err(|error| error.of_session(&self.id).during(OP))?;
        Ok(())
    }

    /// Shows "typing…" in a chat, or stops showing it.
    pub async fn set_typing(&self, to: &str, composing: bool) -> Result<()> {
        const OP: &str = "set_typing";
        let chat = chat_id(to).map_err(|error| error.of_session(&self.id).during(OP))?;
        let engine = self.live()?.connected_engine().map_err(|error| error.during(OP))?;
        engine.set_typing(&chat, composing).await.map_err(|error| error.of_session(&self.id).during(OP))
    }

    /// See [`WhatsAppService::stop_session`].
    pub async fn stop(&self) -> Result<()> {
        self.service.stop_session(&self.id).await
    }

    /// See [`WhatsAppService::log_out_session`].
    pub async fn log_out(&self) -> Result<()> {
        self.service.log_out_session(&self.id).await
    }

    /// See [`WhatsAppService::delete_session`].
    pub async fn delete(&self) -> Result<()> {
        self.service.delete_session(&self.id).await
    }
}

const ENGINE_PATIENCE: Duration = Duration::from_secs(30);
