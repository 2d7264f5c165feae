//! Load: phones that go on writing at a given rate, in the server's own process.
//!
//! A program that measures a client would otherwise spend its time on one HTTP request a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Account;
use crate::error::StandInError;
use crate::phone::{SendOptions, parse_chat, text_message};
use crate::state::Inner;

/// Longer than any run: a waiter that meets it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Who writes to whom, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficOptions {
    /// Writers and readers, by number or JID.
    pub pairs: Vec<TrafficPair>,
    /// The text of a message is this, the pair's index, a dash, and the message's number from 0.
    pub prefix: String,
    /// Messages of each pair; without it they go on until stopped.
    pub each: Option<u64>,
    /// Messages a second of all pairs together; without it as fast as it goes.
    pub per_second: Option<f64>,
    /// A pair waits while a device of its reader has so many unanswered stanzas.
    pub in_flight: Option<usize>,
}

/// One who writes and one who reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficPair {
    /// The phone that writes.
    pub from: String,
    /// The account that it writes to.
    pub to: String,
}

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// Messages sent by each pair.
    pub sent: Vec<u64>,
    /// Why a pair ended before its time.
    pub errors: Vec<String>,
    /// Nothing more will be sent.
    pub ended: bool,
}

/// Running traffic. Cheap to clone; it goes on when all handles are dropped.
#[derive(Clone, Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sent: Vec<AtomicU64>,
    errors: std::sync::Mutex<Vec<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Traffic {
    pub(crate) fn start(inner: &Arc<Inner>, options: &TrafficOptions) -> Result<Self, StandInError> {
        for pair in &options.pairs {
            for name in [&pair.from, &pair.to] {
                let known = inner.lock().account_of(&parse_chat(name)?).is_some();
                if !known {
                    return Err(StandInError::UnknownRecipient(name.clone()));
                }
            }
        }
        let shared = Arc::new(Shared {
            sent: options.pairs.iter().map(|_| AtomicU64::new(0)).collect(),
            errors: std::sync::Mutex::default(),
            stop: inner.stop.child_token(),
            tasks: TaskTracker::new(),
        });
        let pairs = options.pairs.len() as f64;
        let pause = options
            .per_second
            .filter(|rate| *rate > 0.0)
            .and_then(|rate| Duration::try_from_secs_f64(pairs / rate).ok());
        for (index, pair) in options.pairs.iter().enumerate() {
            let writer = Writer {
                inner: Arc::clone(inner),
                shared: Arc::clone(&shared),
                index,
                pair: pair.clone(),
                prefix: options.prefix.clone(),
                each: options.each.unwrap_or(u64::MAX),
                pause,
                in_flight: options.in_flight,
            };
            shared.tasks.spawn(writer.run(pairs));
        }
        shared.tasks.close();
        Ok(Self { shared })
    }

    /// Ends it. What was sent stays sent.
    pub fn stop(&self) {
        self.shared.stop.cancel();
    }

    /// Waits until all pairs are through or were stopped.
    pub async fn ended(&self) {
        self.shared.tasks.wait().await;
    }

    /// How far it has come.
    pub fn report(&self) -> TrafficReport {
        // Looked at first: if it has ended, the numbers are the last ones.
        let ended = self.shared.tasks.is_empty();
        TrafficReport {
            sent: self.shared.sent.iter().map(|sent| sent.load(Ordering::Relaxed)).collect(),
            errors: lock(&self.shared.errors).clone(),
            ended,
        }
    }
}

struct Writer {
    inner: Arc<Inner>,
    shared: Arc<Shared>,
    index: usize,
    pair: TrafficPair,
    prefix: String,
    each: u64,
    pause: Option<Duration>,
    in_flight: Option<usize>,
}

impl Writer {
    async fn run(self, pairs: f64) {
        let stop = self.shared.stop.clone();
        if let Some(Err(error)) = stop.run_until_cancelled(self.write(pairs)).await {
            lock(&self.shared.errors).push(error.to_string());
        }
    }

    async fn write(&self, pairs: f64) -> Result<(), StandInError> {
        let to = parse_chat(&self.pair.to)?;
        let from = parse_chat(&self.pair.from)?;
        // Spread over the first pause, so that the pairs do not all write in the same moment.
        let mut ticks = self.pause.map(|pause| {
            let start = tokio::time::Instant::now() + pause.mul_f64(self.index as f64 / pairs);
            tokio::time::interval_at(start, pause)
        });
        for number in 0..self.each {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            self.wait_for_room(&to).await?;
            let text = format!("{}{}-{number}", self.prefix, self.index);
            {
                let mut state = self.inner.lock();
                let Some(from) = state.account_of(&from).map(|account| account.phone_number.clone()) else {
                    return Err(StandInError::UnknownRecipient(self.pair.from.clone()));
                };
                state.phone_sends(&from, &to, text_message(&text), SendOptions::default())?;
            }
            self.shared.sent[self.index].fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn wait_for_room(&self, to: &wacore_binary::Jid) -> Result<(), StandInError> {
        let Some(room) = self.in_flight else { return Ok(()) };
        let changed = self.inner.lock().account_of(to).map(|account| Arc::clone(&account.changed));
        let Some(changed) = changed else { return Err(StandInError::UnknownRecipient(self.pair.to.clone())) };
        loop {
            let has_room = |state: &crate::state::State| {
                state.account_of(to).is_none_or(|account| longest_queue(account) < room).then_some(())
            };
            if self.inner.wait_for(Arc::clone(&changed), LOOK_AGAIN, "room", has_room).await.is_ok() {
                return Ok(());
            }
        }
    }
}

fn longest_queue(account: &Account) -> usize {
    account.companions.values().map(|companion| companion.queue.len()).max().unwrap_or(0)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PhoneOptions, StandIn};

    #[tokio::test]
    async fn phones_write_as_much_as_asked_and_stop_when_told() {
        let stand_in = StandIn::start().await.expect("a free port");
        let ana = stand_in.add_phone(PhoneOptions::default()).expect("a phone");
        let bob = stand_in.add_phone(PhoneOptions::default()).expect("a phone");
        let pairs = vec![TrafficPair { from: ana.phone_number(), to: bob.phone_number() }];
        let options =
            TrafficOptions { pairs: pairs.clone(), prefix: "a".into(), each: Some(5), ..Default::default() };
        let traffic = stand_in.start_traffic(&options).expect("both are known");
        traffic.ended().await;
        assert_eq!(traffic.report(), TrafficReport { sent: vec![5], errors: vec![], ended: true });
        let texts: Vec<_> = bob.received().into_iter().filter_map(|message| message.text).collect();
        assert_eq!(texts, ["a0-0", "a0-1", "a0-2", "a0-3", "a0-4"]);

        let options = TrafficOptions { pairs, per_second: Some(1000.0), ..Default::default() };
        let endless = stand_in.start_traffic(&options).expect("both are known");
        bob.wait_for_count(Duration::from_secs(20), 10).await.expect("it goes on");
        assert!(!endless.report().ended);
        endless.stop();
        endless.ended().await;
        assert_eq!(bob.received().len() as u64, 5 + endless.report().sent[0]);

        let nobody = TrafficPair { from: ana.phone_number(), to: "999999999".into() };
        let options = TrafficOptions { pairs: vec![nobody], ..Default::default() };
        assert!(stand_in.start_traffic(&options).is_err());
    }
}
