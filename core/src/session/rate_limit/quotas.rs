//! The operator's limits, counted by `governor` on our clock.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter as Governor};

use super::denied::{Denied, Why};
use super::options::{Rate, RateLimits};
use crate::clock::SharedClock;

/// Recipients remembered before those that are long idle are forgotten.
const RECIPIENTS: usize = 1_024;

/// Our clock as `governor` wants it.
#[derive(Clone)]
struct Monotonic(SharedClock);

impl GovernorClock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

type SessionLimit = Governor<NotKeyed, InMemoryState, Monotonic, NoOpMiddleware<Duration>>;
type RecipientLimit = Governor<String, HashMapStateStore<String>, Monotonic, NoOpMiddleware<Duration>>;

/// Made at the first message that they count: most sessions of a fleet are silent.
#[derive(Default)]
pub(super) struct Quotas {
    session: Option<(Rate, SessionLimit)>,
    recipients: Option<RecipientLimit>,
    /// The session's leave was taken for a message whose recipient had none.
    spare: bool,
}

impl Quotas {
    /// Takes leave from both limits, or from neither.
    pub(super) fn acquire(
        &mut self,
        options: &RateLimits,
        reduced: bool,
        chat: &str,
        clock: &SharedClock,
    ) -> Result<(), Denied> {
        if let Some(rate) = options.per_session {
            self.acquire_session(if reduced { rate.halved() } else { rate }, clock)?;
        }
        if let Some(rate) = options.per_recipient {
            let limit = self.recipients.get_or_insert_with(|| {
                Governor::new(
                    quota(rate),
                    HashMapStateStore::new(HashMap::default()),
                    Monotonic(clock.clone()),
                )
            });
            if limit.len() > RECIPIENTS {
                limit.retain_recent();
            }
            if let Err(not_yet) = limit.check_key(&chat.to_owned()) {
                self.spare = options.per_session.is_some();
                let wait = not_yet.earliest_possible().duration_since(clock.monotonic());
                return Err(Denied { why: Why::Recipient, wait: wait.into() });
            }
        }
        Ok(())
    }

    fn acquire_session(&mut self, rate: Rate, clock: &SharedClock) -> Result<(), Denied> {
        if self.session.as_ref().is_none_or(|(present, _)| *present != rate) {
            let limit = Governor::direct_with_clock(quota(rate), Monotonic(clock.clone()));
            self.session = Some((rate, limit));
            self.spare = false;
        }
        if std::mem::take(&mut self.spare) {
            return Ok(());
        }
        let Some((_, limit)) = &self.session else { return Ok(()) };
        limit.check().map_err(|not_yet| {
            let wait = not_yet.earliest_possible().duration_since(clock.monotonic());
            Denied { why: Why::Session, wait: wait.into() }
        })
    }
}

fn quota(rate: Rate) -> Quota {
    // The options were validated; 1 is what a zero would mean at the least.
    let at_least_one = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(at_least_one(rate.per_minute)).allow_burst(at_least_one(rate.burst))
}
