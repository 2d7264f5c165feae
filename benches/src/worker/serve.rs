//! The worker's side: a service, and orders from standard input.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use centralita::service::{Session, WhatsAppService};
use centralita::session::{LinkStep, Outgoing};
use centralita::store::{MongoStore, SqliteStore, Store};
use centralita::vault::KeyRing;
use centralita::{Error, ErrorKind};
use futures::{StreamExt as _, TryStreamExt as _};

use super::protocol::{Answer, AnswerLine, Order, OrderLine, READY, Settings, ToLink};
use crate::Result;
use crate::stand_in::Admin;

/// A debug build on a loaded machine makes 812 pre-keys in seconds.
const LINK_PATIENCE: Duration = Duration::from_secs(300);
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(25);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The stand-in takes any; asking WhatsApp for its present one would leave this machine.
const SIMULATED_VERSION: (u32, u32, u32) = (2, 3000, 1_027_934_701);

/// Is a worker until it is shut down or standard input ends.
pub(crate) async fn serve(settings: &str) -> Result<()> {
    let settings: Settings = serde_json::from_str(settings)?;
    let service = match start(&settings).await {
        Ok(service) => service,
        Err(error) => {
            answer(READY, failed(&error));
            return Ok(());
        }
    };
    let worker = Arc::new(Serving { service, admin: Admin::new(&settings.admin_url) });
    answer(READY, Answer::Done);
    let mut lines = crate::standard_input::lines();
    while let Some(line) = lines.recv().await {
        let OrderLine { id, order } = serde_json::from_str(&line)?;
        if order == Order::Shutdown {
            answer(id, worker.shut_down().await);
            return Ok(());
        }
        let worker = Arc::clone(&worker);
        tokio::spawn(async move { answer(id, worker.obey(order).await) });
    }
    // Whoever gave the orders is gone.
    Ok(())
}

fn answer(id: u64, answer: Answer) {
    match serde_json::to_string(&AnswerLine { id, answer }) {
        Ok(line) => {
            // Nobody reads it any more if whoever asked is gone; the end of standard input tells.
            let _unread = writeln!(std::io::stdout().lock(), "{line}");
        }
        Err(error) => tracing::error!(%error, "an answer cannot be written"),
    }
}

fn failed(error: &Error) -> Answer {
    Answer::Failed { kind: error.kind().name().to_owned(), message: error.to_string() }
}

async fn start(settings: &Settings) -> centralita::Result<WhatsAppService> {
    let store: Arc<dyn Store> = if settings.store.starts_with("mongodb") {
        Arc::new(MongoStore::connect(&settings.store).await?)
    } else {
        Arc::new(SqliteStore::open(&settings.store)?)
    };
    WhatsAppService::builder()
        .shared_store(store)
        .keys(KeyRing::open_or_create(&settings.key_file)?)
        .configure(|options| {
            options.stand_in_url = Some(settings.web_socket_url.clone());
            options.whatsapp_version = Some(SIMULATED_VERSION);
            options.pre_key_count = settings.pre_keys;
            options.lease_duration = Duration::from_millis(settings.lease_ms);
            options.reconnect_min = Duration::from_millis(settings.reconnect_ms.0);
            options.reconnect_max = Duration::from_millis(settings.reconnect_ms.1);
            options.store_patience = Duration::from_millis(settings.store_patience_ms);
            options.send_timeout = Duration::from_millis(settings.send_timeout_ms);
            options.connect_concurrency = settings.connect_concurrency;
            // 0 is no limit.
            options.connects_per_s = settings.connects_per_s.unwrap_or(0);
        })
        .start()
        .await
}

struct Serving {
    service: WhatsAppService,
    admin: Admin,
}

impl Serving {
    async fn obey(&self, order: Order) -> Answer {
        let outcome = match order {
            Order::Link { sessions, at_once } => self.link_all(sessions, at_once).await,
            Order::Restore => self.service.restore_all(|_| {}).await.map(|_| Answer::Done),
            Order::WaitConnected { sessions, timeout_ms } => self.wait_connected(&sessions, timeout_ms).await,
            Order::Send { session, to, text } => self.send(&session, &to, &text).await,
            Order::Status => self.status().await,
            Order::WaitEnded { session, timeout_ms } => self.wait_ended(&session, timeout_ms).await,
            Order::Shutdown => Ok(self.shut_down().await),
        };
        outcome.unwrap_or_else(|error| failed(&error))
    }

    async fn link_all(&self, sessions: Vec<ToLink>, at_once: usize) -> centralita::Result<Answer> {
        let links = sessions.into_iter().map(|to_link| self.link(to_link));
        futures::stream::iter(links).buffer_unordered(at_once.max(1)).try_collect::<()>().await?;
        Ok(Answer::Done)
    }

    async fn link(&self, to_link: ToLink) -> centralita::Result<()> {
        let session = self.service.create_session(&to_link.session).await?;
        let mut steps = session.link()?;
        let mut scanned = false;
        while let Some(step) = steps.next().await {
            match step {
                LinkStep::Qr { code, .. } if !scanned => {
                    scanned = true;
                    self.admin
                        .scan(&to_link.phone, code.text())
                        .await
                        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
                }
                LinkStep::TimedOut => {
                    return Err(Error::new(ErrorKind::Timeout, "the phone's scan had no effect"));
                }
                LinkStep::Failed { kind, message } => return Err(Error::new(kind, message)),
                _ => {}
            }
        }
        session.wait_connected(LINK_PATIENCE).await
    }

    async fn wait_connected(&self, sessions: &[String], timeout_ms: u64) -> centralita::Result<Answer> {
        let patience = Duration::from_millis(timeout_ms);
        let waits = sessions.iter().map(|id| async move {
            let session: Session = self.service.session(id).await?;
            session.wait_connected(patience).await
        });
        // Each waits for itself; the first that fails is told.
        for outcome in futures::future::join_all(waits).await {
            outcome?;
        }
        Ok(Answer::Done)
    }

    async fn send(&self, session: &str, to: &str, text: &str) -> centralita::Result<Answer> {
        let outgoing = Outgoing::text(to, text).idempotency_key(text);
        self.service.session(session).await?.send(outgoing).await?;
        Ok(Answer::Done)
    }

    async fn status(&self) -> centralita::Result<Answer> {
        let running = self.service.running_sessions();
        let mut connected = 0;
        for id in &running {
            connected += usize::from(self.service.session(id).await?.is_connected());
        }
        Ok(Answer::Status { running: running.len(), connected })
    }

    async fn wait_ended(&self, session: &str, timeout_ms: u64) -> centralita::Result<Answer> {
        let ended = async {
            while self.service.running_sessions().iter().any(|id| id == session) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(timeout_ms), ended).await.is_err() {
            return Err(Error::new(ErrorKind::Timeout, "the session still runs"));
        }
        // A session that has ended says why to whoever waits for it.
        let kind = match self.service.session(session).await?.wait_connected(Duration::from_millis(1)).await {
            Ok(()) => "none".to_owned(),
            Err(error) => error.kind().name().to_owned(),
        };
        Ok(Answer::Ended { kind })
    }

    async fn shut_down(&self) -> Answer {
        let outcome = async {
            self.service.shutdown(SHUTDOWN_PATIENCE).await?;
            self.service.store().close().await
        };
        match outcome.await {
            Ok(()) => Answer::Done,
            Err(error) => failed(&error),
        }
    }
}
