//! Tools for tests, this crate's and yours (feature `testing`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use crate::clock::{Clock, SharedClock, Timestamp};

/// A clock that stands still until a test moves it, with random numbers that are the same in every run.
///
/// Clones share the same time. Whoever sleeps on it wakes when [`advance`](ManualClock::advance) passes the
/// end of the sleep, never by real time.
#[derive(Clone)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
    sleeps: watch::Sender<u64>,
}

struct State {
    now: Timestamp,
    monotonic: Duration,
    random: u64,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl ManualClock {
    /// A clock that shows `start`.
    pub fn at(start: Timestamp) -> Self {
        let state = State { now: start, monotonic: Duration::ZERO, random: 1, sleepers: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), sleeps: watch::Sender::new(0) }
    }

    /// A clock that shows 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::at(Timestamp::from_unix_s(1_767_225_600))
    }

    /// This clock, as the crate takes it.
    pub fn shared(&self) -> SharedClock {
        Arc::new(self.clone())
    }

    /// Moves both times forward and wakes everybody whose sleep has ended, the earliest first.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.lock();
            state.now = state.now.plus(by);
            state.monotonic += by;
            let monotonic = state.monotonic;
            state.sleepers.sort_by_key(|(until, _)| *until);
            let awake = state.sleepers.partition_point(|(until, _)| *until <= monotonic);
            state.sleepers.drain(..awake).collect::<Vec<_>>()
        };
        for (_, sleeper) in due {
            // Whoever dropped the sleep does not want to be woken.
            let _ = sleeper.send(());
        }
    }

    /// Sets the wall clock alone, as an operator or NTP would. Nobody wakes.
    pub fn set_now(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// How many sleep at this moment.
    pub fn sleepers(&self) -> usize {
        self.lock().sleepers.iter().filter(|(_, sleeper)| !sleeper.is_closed()).count()
    }

    /// Waits until at least `count` sleep: the task under test has then done what it had to do.
    pub async fn wait_for_sleepers(&self, count: usize) {
        let mut sleeps = self.sleeps.subscribe();
        // The sender lives in `self`, so the wait can only end by the condition.
        let _ = sleeps.wait_for(|_| self.sleepers() >= count).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now().to_string()).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        if wait.is_zero() {
            return Box::pin(tokio::task::yield_now());
        }
        let (sleeper, woken) = oneshot::channel();
        {
            let mut state = self.lock();
            let until = state.monotonic.saturating_add(wait);
            state.sleepers.retain(|(_, sleeper)| !sleeper.is_closed());
            state.sleepers.push((until, sleeper));
        }
        self.sleeps.send_modify(|count| *count += 1);
        let clock = self.clone();
        Box::pin(async move {
            // The clone keeps the senders alive: a sleep never ends because the test dropped its clock.
            let _clock = clock;
            let _ = woken.await;
        })
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut state = self.lock();
        for chunk in bytes.chunks_mut(8) {
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state.random;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleep_ends_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::new();
        let start = clock.now();
        let mut sleep = clock.sleep(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!(futures::poll!(&mut sleep).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(futures::poll!(&mut sleep).is_ready());
        assert_eq!(clock.now().since(start), Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_no_sleeper() {
        let clock = ManualClock::new();
        let first = clock.sleep(Duration::from_secs(1));
        let _second = clock.sleep(Duration::from_secs(1));
        clock.wait_for_sleepers(2).await;
        drop(first);
        assert_eq!(clock.sleepers(), 1);
    }

    #[test]
    fn random_bytes_differ_from_call_to_call_and_repeat_from_run_to_run() {
        let draw = |clock: &ManualClock| {
            let mut bytes = [0; 20];
            clock.fill_random(&mut bytes);
            bytes
        };
        let (one, other) = (ManualClock::new(), ManualClock::new());
        let first = draw(&one);
        assert_eq!(first, draw(&other));
        assert_ne!(first, draw(&one));
    }
}
