//! A stand-in, a database, phones, and the settings of the workers.

use std::sync::Arc;
use std::time::Duration;

use centralita_stand_in::TrafficPair;
use clap::Args;

use crate::flow::{Current, Flow};
use crate::limits::room_for_sockets;
use crate::place::Place;
use crate::stand_in::StandInProcess;
use crate::worker::{Order, Settings, ToLink, Worker};
use crate::{Result, progress};

/// Sessions that are linked at the same time: more than cores, since each waits for the other side.
const LINK_AT_ONCE: usize = 16;

/// Options that all programs have.
#[derive(Debug, Clone, Args)]
pub struct WorldArgs {
    /// mongodb://SERVER (a database of its own there, dropped at the end), `sqlite` (a file in a temporary folder), or
    /// a folder for that file.
    #[arg(long, env = "TEST_MONGODB_URI", hide_env_values = true, default_value = "sqlite")]
    pub store: String,
    /// One-time pre-keys that each session keeps ready on the server.
    #[arg(long, default_value_t = 812)]
    pub pre_keys: usize,
}

/// What a program runs in.
#[derive(Debug)]
pub struct World {
    /// WhatsApp.
    pub stand_in: StandInProcess,
    /// The database.
    pub place: Place,
    /// The sessions, each with its phone.
    pub sessions: Vec<ToLink>,
    /// Phones that the sessions write with.
    pub contacts: Vec<String>,
    /// How workers are started.
    pub settings: Settings,
}

impl World {
    /// A stand-in with a phone for each of so many sessions, and contacts that they share.
    pub async fn new(args: &WorldArgs, sessions: usize, contacts: usize) -> Result<Self> {
        room_for_sockets(sessions)?;
        let stand_in = StandInProcess::start().await?;
        let place = Place::new(Some(&args.store)).await?;
        let settings = Settings {
            store: place.for_workers(),
            key_file: place.key_file(),
            web_socket_url: stand_in.web_socket_url.clone(),
            admin_url: stand_in.admin.url().to_owned(),
            pre_keys: args.pre_keys,
            lease_ms: 30_000,
            reconnect_ms: (200, 5_000),
            store_patience_ms: 20_000,
            send_timeout_ms: 30_000,
            connect_concurrency: 32,
            connects_per_s: None,
        };
        let mut world = Self { stand_in, place, sessions: Vec::new(), contacts: Vec::new(), settings };
        for number in 0..sessions {
            let phone = world.stand_in.admin.add_phone().await?;
            world.sessions.push(ToLink { session: format!("s{number:05}"), phone });
        }
        for _ in 0..contacts.max(1) {
            world.contacts.push(world.stand_in.admin.add_phone().await?);
        }
        Ok(world)
    }

    /// A new worker.
    pub async fn worker(&self) -> Result<Arc<Worker>> {
        Worker::start(&self.settings).await
    }

    /// Links all sessions in this worker.
    pub async fn link(&self, worker: &Worker) -> Result<()> {
        progress(format_args!("linking {} sessions", self.sessions.len()));
        worker.must(Order::Link { sessions: self.sessions.clone(), at_once: LINK_AT_ONCE }).await?;
        Ok(())
    }

    /// Starts the stored sessions and waits until all are connected.
    pub async fn restore(&self, worker: &Worker, limit: Duration) -> Result<()> {
        worker.must(Order::Restore).await?;
        self.wait_connected(worker, limit).await
    }

    /// Waits until all sessions are connected in this worker.
    pub async fn wait_connected(&self, worker: &Worker, limit: Duration) -> Result<()> {
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        worker.must(Order::WaitConnected { sessions: self.ids(), timeout_ms }).await?;
        Ok(())
    }

    /// The ids of the sessions.
    pub fn ids(&self) -> Vec<String> {
        self.sessions.iter().map(|known| known.session.clone()).collect()
    }

    fn contact_of(&self, index: usize) -> &str {
        &self.contacts[index % self.contacts.len()]
    }

    /// For traffic in: each session's contact writes to it.
    pub fn inbound_pairs(&self) -> Vec<TrafficPair> {
        let sessions = self.sessions.iter().enumerate();
        sessions
            .map(|(index, known)| TrafficPair {
                from: self.contact_of(index).to_owned(),
                to: known.phone.clone(),
            })
            .collect()
    }

    /// Traffic out: each session writes to its contact.
    pub fn outbound(&self, pause: Duration, each: Option<u64>, current: &Current) -> Flow {
        let lines = self.sessions.iter().enumerate();
        let lines = lines.map(|(index, known)| (known.session.clone(), self.contact_of(index).to_owned()));
        Flow::start(lines.collect::<Vec<_>>(), "out-", pause, each, current)
    }

    /// Devices beyond the first of an account, and sessions that asked for a code though they were linked.
    pub async fn relinked(&self) -> Result<u64> {
        let devices = self.stand_in.admin.devices().await?.len().saturating_sub(self.sessions.len());
        let unlinked = self.stand_in.admin.arrivals().await?.unlinked;
        Ok((devices as u64).max(unlinked.saturating_sub(self.sessions.len() as u64)))
    }

    /// Drops the database.
    pub async fn remove(self) -> Result<()> {
        self.place.remove().await
    }
}
