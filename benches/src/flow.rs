//! Messages out, as an application that loses none would send them: each under its own key, again until it is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::worker::{Answer, Order, Worker};

/// How long the last message of each session may take after the end was called.
const LAST_MESSAGE: Duration = Duration::from_secs(120);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A message that a session said was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The session.
    pub session: String,
    /// The contact's number.
    pub contact: String,
    /// The text.
    pub text: String,
}

/// What came of a flow.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Confirmed by the session.
    pub sent: Vec<Sent>,
    /// Tries beyond the first of a message.
    pub retries: u64,
    /// Errors that no repetition mends; the flow of that session ended there.
    pub refused: Vec<String>,
}

/// Where the worker of the moment is; `None` while there is none.
pub type Current = watch::Sender<Option<Arc<Worker>>>;

/// Sessions that write to contacts.
#[derive(Debug)]
pub struct Flow {
    stop: CancellationToken,
    tasks: JoinSet<Outcome>,
}

impl Flow {
    /// Each session writes to its contact every `pause`, `each` times or until stopped. The nth text of a session is
    /// `prefix`, its id, a dash and n.
    pub fn start(
        lines: impl IntoIterator<Item = (String, String)>,
        prefix: &str,
        pause: Duration,
        each: Option<u64>,
        current: &Current,
    ) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (session, contact) in lines {
            let writer = Writer {
                session,
                contact,
                prefix: prefix.to_owned(),
                pause,
                each: each.unwrap_or(u64::MAX),
                stop: stop.clone(),
                current: current.subscribe(),
            };
            tasks.spawn(writer.run());
        }
        Self { stop, tasks }
    }

    /// Lets each session finish the message it is at.
    pub async fn stop(self) -> Result<Outcome> {
        self.stop.cancel();
        self.finish().await
    }

    /// Waits until all is sent.
    pub async fn finish(mut self) -> Result<Outcome> {
        let mut all = Outcome::default();
        while let Some(one) = self.tasks.join_next().await {
            let one = one?;
            all.sent.extend(one.sent);
            all.retries += one.retries;
            all.refused.extend(one.refused);
        }
        Ok(all)
    }
}

struct Writer {
    session: String,
    contact: String,
    prefix: String,
    pause: Duration,
    each: u64,
    stop: CancellationToken,
    current: watch::Receiver<Option<Arc<Worker>>>,
}

impl Writer {
    async fn run(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for number in 0..self.each {
            if self.stop.is_cancelled() {
                break;
            }
            let text = format!("{}{}-{number}", self.prefix, self.session);
            match self.send(&text, &mut outcome.retries).await {
                Ok(()) => outcome.sent.push(Sent {
                    session: self.session.clone(),
                    contact: self.contact.clone(),
                    text,
                }),
                Err(refusal) => {
                    outcome.refused.push(refusal);
                    break;
                }
            }
            if self.stop.run_until_cancelled(tokio::time::sleep(self.pause)).await.is_none() {
                break;
            }
        }
        outcome
    }

    async fn send(&mut self, text: &str, retries: &mut u64) -> std::result::Result<(), String> {
        let mut last_try: Option<Instant> = None;
        loop {
            if self.stop.is_cancelled() {
                let deadline = *last_try.get_or_insert_with(|| Instant::now() + LAST_MESSAGE);
                if Instant::now() > deadline {
                    return Err("a message could not be sent after all was well again".to_owned());
                }
            }
            // The worker of the moment; if there is none, the next.
            let worker = match self.current.wait_for(Option::is_some).await {
                Ok(worker) => worker.clone(),
                Err(_) => return Err("no worker will come any more".to_owned()),
            };
            let Some(worker) = worker else { continue };
            let order = Order::Send {
                session: self.session.clone(),
                to: self.contact.clone(),
                text: text.to_owned(),
            };
            match worker.ask(order).await {
                Some(Answer::Done) => return Ok(()),
                Some(Answer::Failed { kind, message }) if !may_be_repeated(&kind) => {
                    return Err(format!("{kind}: {message}"));
                }
                _ => {
                    *retries += 1;
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }
}

/// Not connected yet, not running here (yet), away, or unknown: the same key makes a repetition safe.
fn may_be_repeated(kind: &str) -> bool {
    matches!(
        kind,
        "invalid_state" | "unavailable" | "timeout" | "rate_limited" | "closed" | "conflict" | "not_found"
    )
}
