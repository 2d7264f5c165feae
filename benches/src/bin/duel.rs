//! Two processes on one database: the owner is killed, paused, or hands over, and the other takes its sessions.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::audit::Audit;
use benches::flow::Current;
use benches::percentiles::p50_p99;
use benches::place::SessionRow;
use benches::report::Report;
use benches::worker::{Answer, Order, Worker};
use benches::world::{World, WorldArgs};
use benches::{Result, progress};
use centralita_stand_in::TrafficOptions;
use clap::Parser;
use rand::RngExt as _;

/// Kills (SIGKILL), pauses (SIGSTOP, SIGCONT) and shuts down the owner in turn, while messages flow.
///
/// An SQLite file is open in one process at a time: there the other must be refused while the owner lives, paused or
/// not, and takes over at its start.
#[derive(Debug, Parser)]
#[command(name = "duel")]
struct Args {
    #[command(flatten)]
    world: WorldArgs,
    /// How often the owner goes away.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Sessions that both want.
    #[arg(long, default_value_t = 3)]
    sessions: usize,
    /// The lease time, in seconds.
    #[arg(long, default_value_t = 3)]
    lease_s: u64,
    /// Messages a second to all sessions together.
    #[arg(long, default_value_t = 20.0)]
    per_second: f64,
}

const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    benches::program::main(run)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Departure {
    Kill,
    Pause,
    HandOver,
}

#[derive(Debug, Default)]
struct Tally {
    /// Seconds from a kill or pause until the other had all sessions.
    takeovers: Vec<f64>,
    /// The same from the call of a shutdown that hands over.
    handovers: Vec<f64>,
    /// Rows that a paused owner changed after another had taken over, and that are read.
    stale_accepted: u64,
    /// Rows that it inserted below the fence, which are not read.
    stale_fenced: u64,
    /// Sessions that two processes ran, or logins that nobody should have made.
    both_running: u64,
}

struct Duel {
    world: World,
    current: Current,
    owner: Arc<Worker>,
    /// Waits for the owner's end; on SQLite it cannot even open the file.
    standby: Option<Arc<Worker>>,
    tally: Tally,
}

async fn run(args: Args) -> Result<Report> {
    let mut world = World::new(&args.world, args.sessions, args.sessions).await?;
    world.settings.lease_ms = args.lease_s * 1000;
    world.settings.send_timeout_ms = 5_000;
    let owner = world.worker().await?;
    world.link(&owner).await?;
    let current = Current::new(Some(owner.clone()));
    let flow = world.outbound(Duration::from_millis(200), None, &current);
    let traffic = TrafficOptions {
        pairs: world.inbound_pairs(),
        per_second: Some(args.per_second),
        ..TrafficOptions::default()
    };
    let traffic = world.stand_in.admin.start_traffic(&traffic).await?;
    let mut duel = Duel { world, current, owner, standby: None, tally: Tally::default() };
    for round in 0..args.rounds {
        let departure = [Departure::Kill, Departure::Pause, Departure::HandOver][round as usize % 3];
        duel.stand_by().await?;
        // Some heartbeats and messages, and another moment of the heartbeat in each round.
        let pause = rand::rng().random_range(args.lease_s * 300..args.lease_s * 1000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        progress(format_args!("round {}: {departure:?}", round + 1));
        if duel.world.place.is_shared() {
            duel.round(departure).await?;
        } else {
            duel.round_of_one_file(departure).await?;
        }
    }
    let Duel { world, current, owner, standby, tally } = duel;
    traffic.stop().await?;
    let out = flow.stop().await?;
    world.stand_in.admin.wait_settled(PATIENCE).await?;
    drop(standby);
    owner.shut_down().await?;
    drop(current);

    let audit = Audit::of(&world, &out.sent).await?;
    let (takeover_s, _) = p50_p99(tally.takeovers.clone());
    let longest = |values: &[f64]| values.iter().copied().reduce(f64::max);
    let mut report = Report::new("duel");
    report
        .put("store", world.place.kind())
        .put("sessions", args.sessions)
        .put("rounds", args.rounds)
        .put("lease_s", args.lease_s)
        .put("received", audit.sent_to_sessions)
        .put("sent", audit.sent_by_sessions)
        .must_be_zero("stale_writes_accepted", tally.stale_accepted)
        .put("stale_rows_fenced", tally.stale_fenced)
        .must_be_zero("both_running", tally.both_running)
        .must_be_zero("relinked", audit.relinked)
        .must_be_zero("lost", audit.lost)
        .must_be_zero("duplicated", audit.duplicated)
        .must_be_zero("counters_off", audit.counters_off)
        .must_be_zero("decrypt_failures", audit.decrypt_failures)
        .must_be_zero("refused", out.refused.len() as u64)
        .measured("takeover_s", takeover_s)
        .measured_if("takeover_max_s", longest(&tally.takeovers))
        .measured_if("handover_max_s", longest(&tally.handovers));
    if let Some(refused) = out.refused.first() {
        report.fail(format!("a send was refused: {refused}"));
    }
    world.remove().await?;
    Ok(report)
}

impl Duel {
    /// A second process that waits for the first one's end.
    async fn stand_by(&mut self) -> Result<()> {
        if self.standby.is_none() && self.world.place.is_shared() {
            let standby = self.world.worker().await?;
            standby.must(Order::Restore).await?;
            self.standby = Some(standby);
        }
        Ok(())
    }

    async fn round(&mut self, departure: Departure) -> Result<()> {
        let before = self.logins().await?;
        let Some(successor) = self.standby.take() else { return Err("nobody stands by".into()) };
        let left = Instant::now();
        let shutting_down = self.depart(departure).await?;
        self.current.send_replace(Some(successor.clone()));
        self.wait_taken_over(&before).await?;
        let took = left.elapsed().as_secs_f64();
        if let Some(shutting_down) = shutting_down {
            shutting_down.await??;
        }
        let gone = std::mem::replace(&mut self.owner, successor);
        if departure == Departure::HandOver {
            self.tally.handovers.push(took);
        } else {
            self.tally.takeovers.push(took);
        }
        if departure == Departure::Pause {
            self.wake(&gone).await?;
            // From now on it waits for its turn.
            gone.must(Order::Restore).await?;
            self.standby = Some(gone);
        }
        // One login a session: the successor's. A second one is somebody who had no right to it.
        let after = self.logins().await?;
        for (number, logins) in after {
            let expected = before.get(&number).copied().unwrap_or(0) + 1;
            self.tally.both_running += logins.saturating_sub(expected);
        }
        Ok(())
    }

    /// The owner goes. A shutdown goes on while the other takes over session by session.
    async fn depart(&self, departure: Departure) -> Result<Option<tokio::task::JoinHandle<Result<()>>>> {
        match departure {
            Departure::Kill => self.owner.kill().await.map(|()| None),
            Departure::Pause => self.owner.process.signal("STOP").await.map(|()| None),
            Departure::HandOver => {
                let owner = Arc::clone(&self.owner);
                Ok(Some(tokio::spawn(async move { owner.shut_down().await })))
            }
        }
    }

    /// A paused owner wakes up after another has taken over: it must write nothing and stop with `Conflict`.
    async fn wake(&mut self, gone: &Worker) -> Result<()> {
        // The successor writes `connected` a moment after WhatsApp has it live. What changes from then on, nobody
        // but the one that wakes up has changed.
        self.wait_recorded_as_connected().await?;
        let before = self.world.place.auth().await?;
        let leases = self.world.place.leases().await?;
        gone.process.signal("CONT").await?;
        let timeout_ms = self.world.settings.lease_ms;
        for session in self.world.ids() {
            match gone.ask(Order::WaitEnded { session, timeout_ms }).await {
                Some(Answer::Ended { kind }) if kind == "conflict" => {}
                other => {
                    progress(format_args!(
                        "a session of the paused owner did not end with a conflict: {other:?}"
                    ));
                    self.tally.both_running += 1;
                }
            }
        }
        let known: HashMap<(&str, &str), i64> =
            before.iter().map(|row| ((row.session.as_str(), row.key.as_str()), row.generation)).collect();
        let of_session: HashMap<&str, (i64, i64)> =
            leases.iter().map(|lease| (lease.session.as_str(), (lease.generation, lease.fence))).collect();
        for row in self.world.place.auth().await? {
            let Some((generation, fence)) = of_session.get(row.session.as_str()) else { continue };
            if row.generation >= *generation {
                continue;
            }
            // All rows were raised to the new generation at the steal, so a lower one was written afterwards. Below the
            // fence it is not read, unless it has overwritten one that was.
            let was = known.get(&(row.session.as_str(), row.key.as_str()));
            progress(format_args!(
                "a row of generation {} under a lease of {generation} (fence {fence}); before the wake: {was:?}",
                row.generation
            ));
            if row.generation >= *fence || was.is_some_and(|was| was >= generation) {
                self.tally.stale_accepted += 1;
            } else {
                self.tally.stale_fenced += 1;
            }
        }
        for lease in self.world.place.leases().await? {
            let same = leases.iter().any(|before| {
                before.session == lease.session
                    && before.owner == lease.owner
                    && before.generation == lease.generation
            });
            self.tally.stale_accepted += u64::from(!same);
        }
        for row in self.world.place.sessions().await? {
            if !is_connected(&row) {
                progress(format_args!("the record of a taken-over session says {:?}", row.status));
                self.tally.stale_accepted += 1;
            }
        }
        Ok(())
    }

    /// SQLite: while the owner lives nobody else gets in; once it is gone, the next one does at once.
    async fn round_of_one_file(&mut self, departure: Departure) -> Result<()> {
        let before = self.logins().await?;
        let left = Instant::now();
        if departure == Departure::Pause {
            self.owner.process.signal("STOP").await?;
            if let Ok(intruder) = self.world.worker().await {
                self.tally.both_running += 1;
                intruder.kill().await?;
            }
            return self.owner.process.signal("CONT").await;
        }
        if let Some(shutting_down) = self.depart(departure).await? {
            shutting_down.await??;
        }
        self.current.send_replace(None);
        let successor = self.world.worker().await?;
        successor.must(Order::Restore).await?;
        self.current.send_replace(Some(successor.clone()));
        self.owner = successor;
        self.wait_taken_over(&before).await?;
        let took = left.elapsed().as_secs_f64();
        if departure == Departure::HandOver {
            self.tally.handovers.push(took);
        } else {
            self.tally.takeovers.push(took);
        }
        Ok(())
    }

    async fn logins(&self) -> Result<HashMap<String, u64>> {
        let devices = self.world.stand_in.admin.devices().await?;
        Ok(devices.into_iter().map(|device| (device.phone_number, device.logins)).collect())
    }

    /// Waits until the record of every session says `connected`.
    async fn wait_recorded_as_connected(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let records = self.world.place.sessions().await?;
            if records.iter().filter(|row| is_connected(row)).count() >= self.world.sessions.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("no record says connected after {} s", PATIENCE.as_secs()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every session has logged in once more and is live.
    async fn wait_taken_over(&self, before: &HashMap<String, u64>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let devices = self.world.stand_in.admin.devices().await?;
            let taken = devices.iter().filter(|device| {
                device.live && device.logins > before.get(&device.phone_number).copied().unwrap_or(0)
            });
            if taken.count() >= self.world.sessions.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("nobody took the sessions over in {} s", PATIENCE.as_secs()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn is_connected(record: &SessionRow) -> bool {
    record.connected && record.status == "connected"
}
