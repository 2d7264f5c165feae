//! When sessions may connect: so many at the same time, so many per second, in turn, and none while WhatsApp refuses
//! the whole fleet.
//!
//! | file | what |
//! | --- | --- |
//! | `breaker` | many sessions refused at once: pause, probe, come back slowly |
//! | `line` | who waits, in what order |
//! | `status` | how it looks from outside |

mod breaker;
mod line;
mod status;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use breaker::{Breaker, BreakerRules, State};
use line::{Line, Place};

use crate::clock::SharedClock;
use crate::service::options::ServiceOptions;

pub use status::{BreakerState, PacingStatus};

/// Who goes first; among equals, who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// A user waits for it: an explicit start, a link, a send to a parked session.
    Asked,
    /// It comes back by itself.
    Returning,
    /// A restore, in its order.
    Restored { rank: u64 },
}

/// How WhatsApp, or the network, refused a session: what many at once make an outage of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 405.
    Outdated,
    /// 429.
    RateLimited,
    /// 503.
    Overloaded,
    /// No connection, or closed before it was logged in.
    Unreachable,
}

/// Lets connections of the whole service through.
pub(crate) struct Pacer {
    clock: SharedClock,
    concurrency: usize,
    /// The least time between two starts; zero if there is no limit per second.
    step: Duration,
    inner: Mutex<Inner>,
    state: watch::Sender<BreakerState>,
}

struct Inner {
    line: Line,
    breaker: Breaker,
    /// Connections on their way, and of them those let through since the breaker last opened.
    connecting: usize,
    connecting_in_epoch: usize,
    /// No start before this moment.
    next_start: Duration,
    admitted: u64,
    /// The breaker as it was last told.
    shown: State,
}

impl std::fmt::Debug for Pacer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pacer").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Pacer {
    pub(crate) fn new(options: &ServiceOptions, clock: SharedClock) -> Arc<Self> {
        let rules = BreakerRules {
            threshold: options.breaker_threshold,
            window: options.breaker_window,
            pause_min: options.breaker_pause_min,
            pause_max: options.breaker_pause_max,
            stable_after: options.stable_after,
            all: options.connect_concurrency.max(2),
        };
        let step = match options.connects_per_s {
            0 => Duration::ZERO,
            per_s => Duration::from_secs(1) / per_s,
        };
        Arc::new(Self {
            clock,
            concurrency: options.connect_concurrency,
            step,
            inner: Mutex::new(Inner {
                line: Line::default(),
                breaker: Breaker::new(rules),
                connecting: 0,
                connecting_in_epoch: 0,
                next_start: Duration::ZERO,
                admitted: 0,
                shown: State::Closed,
            }),
            state: watch::Sender::new(BreakerState::Closed),
        })
    }

    /// Waits for `session`'s turn. Dropping the future leaves the line.
    pub(crate) async fn admit(self: &Arc<Self>, session: &str, priority: Priority) -> ConnectPermit {
        let place = Place::take(self, priority);
        loop {
            match self.try_admit(&place) {
                Ok(epoch) => {
                    return ConnectPermit { pacer: Arc::clone(self), session: session.into(), epoch };
                }
                Err(None) => place.woken().await,
                Err(Some(wait)) => tokio::select! {
                    () = place.woken() => {}
                    () = self.clock.sleep(wait) => {}
                },
            }
        }
    }

    /// The epoch in which it was let through, or after what time to ask again; `None`: when woken.
    fn try_admit(&self, place: &Place) -> Result<u64, Option<Duration>> {
        let now = self.clock.monotonic();
        let mut inner = self.inner();
        if !inner.line.is_first(place) {
            return Err(None);
        }
        let state = inner.breaker.at(now);
        self.show(&mut inner, state, now);
        let (under_way, at_most) = match state {
            State::Open { until } => return Err(Some(until.saturating_sub(now))),
            State::HalfOpen { allowed } => (inner.connecting_in_epoch, allowed.min(self.concurrency)),
            State::Closed => (inner.connecting, self.concurrency),
        };
        if under_way >= at_most {
            return Err(None);
        }
        if now < inner.next_start {
            return Err(Some(inner.next_start - now));
        }
        // From now, not from when it was due: what was missed is not caught up in a burst.
        inner.next_start = now + self.step;
        inner.connecting += 1;
        inner.connecting_in_epoch += 1;
        inner.admitted += 1;
        inner.line.leave(place);
        Ok(inner.breaker.epoch())
    }

    /// A connected session was refused: only many at once matter. True if the fleet pauses now.
    pub(crate) fn refused(&self, session: &str, refusal: Refusal) -> bool {
        self.note_refusal(&Arc::from(session), None, refusal)
    }

    fn note_refusal(&self, session: &Arc<str>, attempt: Option<u64>, refusal: Refusal) -> bool {
        let now = self.clock.monotonic();
        let random = self.clock.random_unit();
        let mut inner = self.inner();
        let opened = inner.breaker.refused(now, session, attempt, random);
        if opened {
            inner.connecting_in_epoch = 0;
        }
        let state = inner.breaker.at(now);
        self.show(&mut inner, state, now);
        inner.line.wake_first();
        if let State::Open { until } = state
            && opened
        {
            tracing::warn!(
                ?refusal,
                pause_s = until.saturating_sub(now).as_secs_f64(),
                waiting = inner.line.len(),
                "WhatsApp refuses many sessions at once; all wait, then one tries"
            );
        }
        matches!(state, State::Open { .. })
    }

    fn succeeded(&self, epoch: u64) {
        let now = self.clock.monotonic();
        let mut inner = self.inner();
        let before = inner.breaker.at(now);
        inner.breaker.succeeded(now, epoch);
        // Nobody else waits to be let through slowly.
        if epoch == inner.breaker.epoch() && inner.line.len() == 0 && inner.connecting_in_epoch <= 1 {
            inner.breaker.close(now);
        }
        let after = inner.breaker.at(now);
        self.show(&mut inner, after, now);
        if before != State::Closed && after == State::Closed {
            tracing::info!("WhatsApp takes connections again");
        }
        inner.line.wake_first();
    }

    fn release(&self, epoch: u64) {
        let mut inner = self.inner();
        inner.connecting -= 1;
        if epoch == inner.breaker.epoch() {
            inner.connecting_in_epoch -= 1;
        }
        inner.line.wake_first();
    }

    /// The breaker as it changes, for those who wait to say why they wait.
    pub(crate) fn breaker(&self) -> watch::Receiver<BreakerState> {
        self.state.subscribe()
    }

    pub(crate) fn status(&self) -> PacingStatus {
        let now = self.clock.monotonic();
        let mut inner = self.inner();
        let state = inner.breaker.at(now);
        self.show(&mut inner, state, now);
        PacingStatus {
            breaker: *self.state.borrow(),
            waiting: inner.line.len() as u64,
            connecting: inner.connecting as u64,
            admitted: inner.admitted,
            times_opened: inner.breaker.opened(),
        }
    }

    /// Tells those who watch, if it changed.
    fn show(&self, inner: &mut Inner, state: State, now: Duration) {
        if std::mem::replace(&mut inner.shown, state) == state {
            return;
        }
        let shown = match state {
            State::Closed => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { until } => {
                BreakerState::Open { until: self.clock.now().plus(until.saturating_sub(now)) }
            }
        };
        self.state.send_if_modified(|last| std::mem::replace(last, shown) != shown);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on its way. Dropped without a word it says nothing about WhatsApp.
#[derive(Debug)]
pub(crate) struct ConnectPermit {
    pacer: Arc<Pacer>,
    session: Arc<str>,
    epoch: u64,
}

impl ConnectPermit {
    /// WhatsApp answered: logged in, gave a code, or refused this session alone.
    pub(crate) fn answered(self) {
        self.pacer.succeeded(self.epoch);
    }

    /// WhatsApp refused, or was not to be reached. True if the whole fleet pauses.
    pub(crate) fn refused(self, refusal: Refusal) -> bool {
        self.pacer.note_refusal(&self.session, Some(self.epoch), refusal)
    }
}

impl Drop for ConnectPermit {
    fn drop(&mut self) {
        self.pacer.release(self.epoch);
    }
}
