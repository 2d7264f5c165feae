//! The task that sends what waits. It runs while there are entries, and only in the process that runs the session.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::content::Content;
use super::ending::{OutboxOutcome, finish, open};
use super::queue::{Moment, Next, Queue, Waiting};
use crate::engine::connection::EngineConnection;
use crate::error::{ErrorKind, Result};
use crate::session::delivery::{Delivered, deliver};
use crate::session::live::LiveSession;
use crate::session::message_records::{MessageRecords, ToSend};
use crate::session::outbound::refused;
use crate::store::patience::until_available;
use crate::store::{MessageStatus, OutboxEntry, OutboxState, OutboxStep, Stepped};

const PAGE: u32 = 100;
/// The pause after the store has refused something for good.
const ERROR_PAUSE: Duration = Duration::from_secs(5);
/// Whether a contact has written is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Runs until the outbox is empty or the session ends.
pub(super) async fn run(live: Arc<LiveSession>) {
    let mut guard = Guard { live: &live, armed: true };
    let mut sender = Sender::new(&live);
    while !live.has_ended() {
        match sender.round().await {
            Ok(Round::Again) => {}
            Ok(Round::Empty { wakes }) => {
                if live.outbox.end_at(wakes) {
                    guard.armed = false;
                    return;
                }
            }
            Err(error) => {
                if error.kind() == ErrorKind::Closed {
                    // The session is being stopped, or the store is closed: wait for the end of it.
                    tracing::debug!(session = %live.id, %error, "the outbox waits for the session's end");
                } else {
                    tracing::warn!(session = %live.id, %error, "the outbox cannot go on; trying again");
                }
                sender.wait(ERROR_PAUSE, live.is_connected()).await;
                sender.forget();
            }
        }
    }
}

/// Leaves the outbox to another sender, also after a panic.
struct Guard<'a> {
    live: &'a LiveSession,
    armed: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.live.outbox.abandon();
        }
    }
}

enum Round {
    Again,
    Empty { wakes: u64 },
}

struct Sender<'a> {
    live: &'a Arc<LiveSession>,
    queue: Queue,
    /// Whether contacts have written, and when that was asked; only while new ones may not be written to.
    contacts: HashMap<String, (bool, Duration)>,
}

impl<'a> Sender<'a> {
    fn new(live: &'a Arc<LiveSession>) -> Self {
        Self { live, queue: Queue::default(), contacts: HashMap::new() }
    }

    fn records(&self) -> MessageRecords<'_> {
        MessageRecords::of(self.live)
    }

    /// What was known is read anew.
    fn forget(&mut self) {
        self.live.outbox.uncover();
        let chats: Vec<String> = std::mem::take(&mut self.queue).into_chats();
        for chat in chats {
            self.live.outbox.removed(&chat);
        }
    }

    async fn round(&mut self) -> Result<Round> {
        for message_id in self.live.outbox.take_cancelled() {
            self.drop_entry(&message_id);
        }
        let (wakes, covered) = self.live.outbox.wakes();
        if !covered || self.queue.is_empty() {
            // From the start if nothing is known: it is also the last look before the end.
            self.read_on().await?;
            self.live.outbox.cover(wakes);
        }
        let is_up = self.live.is_connected();
        if is_up && self.live.limits.is_closed_to_new_contacts() {
            self.ask_who_has_written().await?;
        }
        let clock = &self.live.context.clock;
        let moment = Moment { now: clock.now(), monotonic: clock.monotonic() };
        let owns = self.live.engine().is_ok();
        let next = self.queue.next(moment, owns, is_up, |chat| {
            let has_written = || self.contacts.get(chat).is_some_and(|(has_written, _)| *has_written);
            self.live.limits.acquire(chat, has_written)
        });
        match next {
            Next::Empty => return Ok(Round::Empty { wakes }),
            Next::Wait(wait) => self.wait(wait, is_up).await,
            Next::End { message_id, outcome } => self.end_by_itself(&message_id, outcome).await?,
            Next::Send { message_id } => self.send(&message_id).await?,
        }
        Ok(Round::Again)
    }

    /// Waits for time, a wake, a change of the connection, or the session's end.
    async fn wait(&self, wait: Duration, was_up: bool) {
        let mut connected = self.live.connected_changes();
        if *connected.borrow_and_update() != was_up {
            return;
        }
        tokio::select! {
            biased;
            _ended = self.live.wait_ended() => {}
            () = self.live.outbox.woken() => {}
            // The sender of it lives in the session.
            _ = connected.changed() => {}
            () = self.live.context.clock.sleep(wait) => {}
        }
    }

    async fn read_on(&mut self) -> Result<()> {
        let context = &self.live.context;
        loop {
            let after = self.queue.last_position();
            let page = until_available(
                &context.clock,
                &self.live.stop,
                |_| {},
                || context.store.list_outbox(&self.live.id, PAGE, after),
            )
            .await?;
            let is_last = page.len() < PAGE as usize;
            for entry in page {
                let chat = open(self.records(), &entry).await?.map(|content| content.chat_id);
                let waiting = Waiting {
                    message_id: entry.message_id,
                    chat: chat.clone(),
                    expires_at: entry.expires_at,
                    state: entry.state,
                    doubtful: if entry.state == OutboxState::Sending { entry.attempts } else { 0 },
                    not_before: Duration::ZERO,
                };
                if self.queue.add(entry.position, waiting)
                    && let Some(chat) = chat
                {
                    self.live.outbox.added(&chat);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn drop_entry(&mut self, message_id: &str) {
        if let Some(chat) = self.queue.remove(message_id).and_then(|waiting| waiting.chat) {
            self.live.outbox.removed(&chat);
        }
    }

    async fn ask_who_has_written(&mut self) -> Result<()> {
        let now = self.live.context.clock.monotonic();
        let unknown: Vec<String> = self
            .queue
            .chats()
            .into_iter()
            .filter(|chat| {
                self.contacts.get(*chat).is_none_or(|(yes, asked)| !yes && now >= *asked + ASK_AGAIN)
            })
            .map(str::to_owned)
            .collect();
        for chat in unknown {
            let has_written = self.records().has_written(&chat).await?;
            self.contacts.insert(chat, (has_written, now));
        }
        Ok(())
    }

    async fn step(&self, message_id: &str, step: OutboxStep) -> Result<Stepped> {
        let context = &self.live.context;
        until_available(
            &context.clock,
            &self.live.stop,
            |_| {},
            || context.store.step_outbox(&self.live.id, message_id, step),
        )
        .await
    }

    /// One that was cancelled, has expired, or is in doubt beyond its expiry.
    async fn end_by_itself(&mut self, message_id: &str, outcome: OutboxOutcome) -> Result<()> {
        let context = &self.live.context;
        let entry = match outcome {
            OutboxOutcome::Expired => match self.step(message_id, OutboxStep::Expire).await? {
                Stepped::Done { entry, .. } => Some(entry),
                Stepped::NotPossible(entry) => {
                    self.queue.set_state(message_id, entry.state);
                    return Ok(());
                }
                Stepped::Absent => None,
            },
            _ => {
                until_available(
                    &context.clock,
                    &self.live.stop,
                    |_| {},
                    || context.store.get_outbox(&self.live.id, message_id),
                )
                .await?
            }
        };
        if let Some(entry) = entry {
            let content = open(self.records(), &entry).await?;
            let (outcome, generation) = match outcome {
                OutboxOutcome::Indeterminate => {
                    let engine = self.live.engine()?;
                    (
                        self.known_outcome(&entry, content.as_ref()).await?.unwrap_or(outcome),
                        Some(engine.generation()),
                    )
                }
                outcome => (outcome, None),
            };
            finish(self.records(), &entry, content.as_ref(), outcome, None, generation).await?;
        }
        self.drop_entry(message_id);
        Ok(())
    }

    /// What the message's status says of an entry in doubt: an acknowledgement or receipt may have come late.
    async fn known_outcome(
        &self,
        entry: &OutboxEntry,
        content: Option<&Content>,
    ) -> Result<Option<OutboxOutcome>> {
        let Some(content) = content else { return Ok(None) };
        let message = self.records().stored(&content.key(&entry.message_id)).await?;
        Ok(message.and_then(|message| match message.status {
            MessageStatus::Failed => Some(OutboxOutcome::Failed),
            status if status >= MessageStatus::Sent => Some(OutboxOutcome::Sent),
            _ => None,
        }))
    }

    async fn send(&mut self, message_id: &str) -> Result<()> {
        // Between two connections: the next round waits.
        let Ok(engine) = self.live.connected_engine() else { return Ok(()) };
        let generation = engine.generation();
        let (was, entry) = match self.step(message_id, OutboxStep::Claim { generation }).await? {
            Stepped::Done { was, entry } => (was, entry),
            Stepped::NotPossible(entry) => {
                self.queue.set_state(message_id, entry.state);
                return Ok(());
            }
            Stepped::Absent => {
                self.drop_entry(message_id);
                return Ok(());
            }
        };
        let Some(content) = open(self.records(), &entry).await? else {
            self.give_back(was, message_id, generation).await?;
            if let Some(chat) = self.queue.unreadable(message_id) {
                self.live.outbox.removed(&chat);
            }
            return Ok(());
        };
        if was == OutboxState::Sending
            && let Some(outcome) = self.known_outcome(&entry, Some(&content)).await?
        {
            return self.end(&entry, &content, outcome, None, generation).await;
        }
        if content.sender != self.live.own_jid() {
            let reason = "the session has been linked to another account since".to_owned();
            return self.end(&entry, &content, OutboxOutcome::Failed, Some(reason), generation).await;
        }
        let to_send = match self.records().wire_form(content.body.clone(), &content.sender).await {
            Ok(to_send) => to_send,
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let reason = Some(error.message().to_owned());
                return self.end(&entry, &content, OutboxOutcome::Failed, reason, generation).await;
            }
            Err(error) => return Err(error),
        };
        self.write(&engine, was, &entry, &content, to_send).await
    }

    async fn write(
        &mut self,
        engine: &EngineConnection,
        was: OutboxState,
        entry: &OutboxEntry,
        content: &Content,
        to_send: ToSend,
    ) -> Result<()> {
        let live = self.live;
        let generation = engine.generation();
        let key = content.key(&entry.message_id);
        let deadline = std::pin::pin!(live.context.clock.sleep(live.context.options.send_timeout));
        match deliver(live, engine, &key, &to_send.outbound, deadline).await {
            Delivered::Accepted => {
                if let Some(change) = to_send.change {
                    self.records().change(change).await?;
                }
                self.end(entry, content, OutboxOutcome::Sent, None, generation).await
            }
            Delivered::Refused(code) => match live.limits.refused(&content.chat_id, &code) {
                Some(denied) => {
                    tracing::info!(session = %live.id, code, wait_s = denied.wait.as_secs(), "WhatsApp holds the outbox up");
                    self.give_back(was, &entry.message_id, generation).await
                }
                None => {
                    let reason = Some(refused(&code).message().to_owned());
                    self.end(entry, content, OutboxOutcome::Failed, reason, generation).await
                }
            },
            Delivered::Unknown(error) => {
                tracing::debug!(session = %live.id, %error, "a queued message was not acknowledged");
                self.records().mark(&key, MessageStatus::Indeterminate).await?;
                if self.queue.in_doubt(&entry.message_id, live.context.clock.monotonic()) {
                    let reason =
                        Some("WhatsApp has not acknowledged it, however often it was written".to_owned());
                    return self.end(entry, content, OutboxOutcome::Indeterminate, reason, generation).await;
                }
                Ok(())
            }
        }
    }

    /// It was not sent by this claim. If an earlier one is in doubt it stays so.
    async fn give_back(&mut self, was: OutboxState, message_id: &str, generation: u64) -> Result<()> {
        if was == OutboxState::Queued {
            self.step(message_id, OutboxStep::GiveBack { generation }).await?;
        }
        self.queue.refused_for_now(message_id);
        Ok(())
    }

    async fn end(
        &mut self,
        entry: &OutboxEntry,
        content: &Content,
        outcome: OutboxOutcome,
        reason: Option<String>,
        generation: u64,
    ) -> Result<()> {
        finish(self.records(), entry, Some(content), outcome, reason, Some(generation)).await?;
        self.drop_entry(&entry.message_id);
        Ok(())
    }
}
