//! What direct sends and a session's sender know of each other, and how the sender is woken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::sender;
use crate::error::{Error, ErrorKind, Result};
use crate::session::live::LiveSession;
use crate::store::patience::until_available;

/// One live session's view of its outbox.
#[derive(Debug, Default)]
pub(crate) struct SessionOutbox {
    shared: Mutex<Shared>,
    /// Something for the sender to look at.
    woken: Notify,
    /// Changes whenever a direct send may have to look again.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    is_running: bool,
    /// Rises with each wake: what was read from the store before it is not all there is.
    wakes: u64,
    /// The last wake that the sender's view, or a look at an empty outbox, covers.
    covered: Option<u64>,
    /// Entries by chat, as the sender knows them.
    per_chat: HashMap<String, usize>,
    /// Cancelled in this process: the sender drops them.
    cancelled: Vec<String>,
}

/// Has the session's entries looked at: starts its sender unless one runs.
pub(crate) fn wake(live: &Arc<LiveSession>) {
    let starts = {
        let mut shared = live.outbox.shared();
        shared.wakes += 1;
        !std::mem::replace(&mut shared.is_running, true)
    };
    if starts {
        let session = Arc::clone(live);
        live.context.runtime.tokio().spawn(sender::run(session));
    } else {
        live.outbox.woken.notify_one();
    }
}

/// The session has connected: whatever waits can go.
pub(in crate::session) fn connected(live: &Arc<LiveSession>) {
    if live.outbox.shared().is_running || live.context.outboxes.has(&live.id) {
        wake(live);
    }
}

/// Whether nothing is queued for this chat.
pub(in crate::session) async fn is_clear_for(live: &Arc<LiveSession>, chat: &str) -> Result<bool> {
    let mut changed = live.outbox.changed.subscribe();
    loop {
        changed.borrow_and_update();
        if let Some(clear) = live.outbox.known(chat) {
            return Ok(clear);
        }
        look(live).await?;
        next_change(live, &mut changed, chat).await?;
    }
}

/// Waits until nothing is queued for this chat.
pub(in crate::session) async fn wait_until_clear_for(live: &Arc<LiveSession>, chat: &str) -> Result<()> {
    let mut changed = live.outbox.changed.subscribe();
    loop {
        changed.borrow_and_update();
        match live.outbox.known(chat) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None => look(live).await?,
        }
        if live.outbox.known(chat) != Some(true) {
            next_change_or_end(live, &mut changed).await?;
        }
    }
}

async fn next_change(live: &LiveSession, changed: &mut watch::Receiver<()>, chat: &str) -> Result<()> {
    if live.outbox.known(chat).is_none() { next_change_or_end(live, changed).await } else { Ok(()) }
}

async fn next_change_or_end(live: &LiveSession, changed: &mut watch::Receiver<()>) -> Result<()> {
    tokio::select! {
        biased;
        // The sender lives in the session.
        _ = changed.changed() => Ok(()),
        _ended = live.wait_ended() => Err(Error::new(ErrorKind::Closed, "the session was stopped")),
    }
}

/// Once in the life of a session: whether an earlier one, or another process, left something.
async fn look(live: &Arc<LiveSession>) -> Result<()> {
    let wakes = {
        let shared = live.outbox.shared();
        if shared.is_running {
            return Ok(());
        }
        shared.wakes
    };
    let context = &live.context;
    let found =
        until_available(&context.clock, &live.stop, |_| {}, || context.store.list_outbox(&live.id, 1, 0))
            .await?;
    if found.is_empty() {
        live.outbox.cover(wakes);
    } else {
        wake(live);
    }
    Ok(())
}

impl SessionOutbox {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is queued for the chat, if that is known.
    fn known(&self, chat: &str) -> Option<bool> {
        let shared = self.shared();
        (shared.covered == Some(shared.wakes)).then(|| !shared.per_chat.contains_key(chat))
    }

    /// What the sender (or a look) has read covers everything up to this wake.
    pub(super) fn cover(&self, wakes: u64) {
        self.shared().covered = Some(wakes);
        self.changed.send_replace(());
    }

    /// What was known is known no more.
    pub(super) fn uncover(&self) {
        self.shared().covered = None;
    }

    /// The wakes so far, and whether the sender has covered them.
    pub(super) fn wakes(&self) -> (u64, bool) {
        let shared = self.shared();
        (shared.wakes, shared.covered == Some(shared.wakes))
    }

    pub(super) fn added(&self, chat: &str) {
        *self.shared().per_chat.entry(chat.to_owned()).or_default() += 1;
    }

    pub(super) fn removed(&self, chat: &str) {
        let mut shared = self.shared();
        if let Some(count) = shared.per_chat.get_mut(chat) {
            *count -= 1;
            if *count == 0 {
                shared.per_chat.remove(chat);
            }
        }
        drop(shared);
        self.changed.send_replace(());
    }

    pub(super) fn note_cancelled(&self, message_id: &str) {
        let mut shared = self.shared();
        if shared.is_running {
            shared.cancelled.push(message_id.to_owned());
            drop(shared);
            self.woken.notify_one();
        }
    }

    pub(super) fn take_cancelled(&self) -> Vec<String> {
        std::mem::take(&mut self.shared().cancelled)
    }

    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// The sender's end. False if it was woken in the meantime and must go on.
    pub(super) fn end_at(&self, wakes: u64) -> bool {
        let mut shared = self.shared();
        if shared.wakes != wakes {
            return false;
        }
        shared.stop();
        drop(shared);
        self.changed.send_replace(());
        true
    }

    /// The sender is gone, in whatever way; what it knew is to be read anew.
    pub(super) fn abandon(&self) {
        let mut shared = self.shared();
        shared.stop();
        shared.covered = None;
        drop(shared);
        self.changed.send_replace(());
    }
}

impl Shared {
    fn stop(&mut self) {
        self.is_running = false;
        self.per_chat.clear();
        self.cancelled.clear();
    }
}
