//! What a received message costs, alone, under load, and from a backlog.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use benches::audit::Audit;
use benches::percentiles::p50_p99;
use benches::report::Report;
use benches::worker::Worker;
use benches::world::{World, WorldArgs};
use benches::{Result, progress};
use centralita_stand_in::{Accounting, TrafficOptions, TrafficPair};
use clap::Parser;

/// Sends messages to sessions: one at a time, as fast as they take them, and while they are away.
#[derive(Debug, Parser)]
#[command(name = "inbound")]
struct Args {
    #[command(flatten)]
    world: WorldArgs,
    /// Sessions in one process.
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// Messages to all sessions together, once under load and once as a backlog.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// Messages that come alone.
    #[arg(long, default_value_t = 20)]
    lone: u64,
    /// Under load, the most that a session has not answered.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

const PATIENCE: Duration = Duration::from_secs(900);
const AFTER_LOGIN: Duration = Duration::from_secs(16);
/// A lone message is over once the store has had no command for so long: counters may be written a second later.
const STORE_QUIET: Duration = Duration::from_millis(1_500);
/// Long enough for no heartbeat to fall among the commands of a message.
const LEASE_MS: u64 = 3_600_000;

fn main() -> ExitCode {
    benches::program::main(run)
}

async fn run(args: Args) -> Result<Report> {
    let mut world = World::new(&args.world, args.sessions, args.sessions).await?;
    world.settings.lease_ms = LEASE_MS;
    let each = args.messages.div_ceil(args.sessions.max(1) as u64);
    let mut report = Report::new("inbound");
    report
        .put("store", world.place.kind())
        .put("sessions", args.sessions)
        .put("messages", each * args.sessions as u64);

    let worker = world.worker().await?;
    world.link(&worker).await?;
    // The first message of a chat sets up its Signal session; that is not what is measured.
    send(&world, &TrafficOptions { prefix: "first-".into(), each: Some(1), ..all(&world) }).await?;
    let lone = lone(&world, args.lone).await?;
    progress(format_args!("under load: {} messages", each * args.sessions as u64));
    let load = Measure::start(&world, &worker)?;
    let options = TrafficOptions {
        prefix: "load-".into(),
        each: Some(each),
        in_flight: Some(args.in_flight),
        ..all(&world)
    };
    let since_ms = now_ms();
    send(&world, &options).await?;
    let load = load.end(&world, &worker, each * args.sessions as u64)?;
    let latencies = latencies(&world.stand_in.admin.accounting().await?, since_ms, |queued| queued as f64);
    let (p50, p99) = p50_p99(latencies);
    worker.shut_down().await?;

    progress("a backlog of as many");
    let options = TrafficOptions { prefix: "backlog-".into(), each: Some(each), ..all(&world) };
    let since_ms = now_ms();
    world.stand_in.admin.start_traffic(&options).await?.ended().await?;
    let worker = world.worker().await?;
    let backlog = Measure::start(&world, &worker)?;
    let restored_ms = now_ms() as f64;
    world.restore(&worker, PATIENCE).await?;
    world.stand_in.admin.wait_settled(PATIENCE).await?;
    let backlog = backlog.end(&world, &worker, each * args.sessions as u64)?;
    // From the moment at which the process was told to restore: a message cannot be taken before.
    let accounting = world.stand_in.admin.accounting().await?;
    let (backlog_p50, backlog_p99) = p50_p99(self::latencies(&accounting, since_ms, |_| restored_ms));
    worker.shut_down().await?;

    let audit = Audit::of(&world, &[]).await?;
    report
        .measured("store_commands_per_message", load.commands)
        .measured("store_commands_lone_message", lone.commands)
        .measured("cpu_ms_per_message", load.cpu_ms)
        .measured("msgs_per_s", load.per_s)
        .measured("p50_ms", p50)
        .measured("p99_ms", p99)
        .measured("lone_p50_ms", lone.p50_ms)
        .measured("lone_p99_ms", lone.p99_ms)
        .measured("backlog_store_commands_per_message", backlog.commands)
        .measured("backlog_cpu_ms_per_message", backlog.cpu_ms)
        .measured("backlog_msgs_per_s", backlog.per_s)
        .measured("backlog_p50_ms", backlog_p50)
        .measured("backlog_p99_ms", backlog_p99)
        .measured("stand_in_cpu_ms_per_message", load.stand_in_cpu_ms)
        .must_be_zero("lost", audit.lost)
        .must_be_zero("duplicated", audit.duplicated)
        .must_be_zero("counters_off", audit.counters_off)
        .must_be_zero("decrypt_failures", audit.decrypt_failures);
    world.remove().await?;
    Ok(report)
}

fn all(world: &World) -> TrafficOptions {
    TrafficOptions { pairs: world.inbound_pairs(), ..TrafficOptions::default() }
}

async fn send(world: &World, options: &TrafficOptions) -> Result<()> {
    world.stand_in.admin.start_traffic(options).await?.ended().await?;
    world.stand_in.admin.wait_settled(PATIENCE).await
}

/// Milliseconds since 1970, as the stand-in notes them.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Of messages that arose since then: from `start` (given when it arose) to its answer, ms.
fn latencies(accounting: &Accounting, since_ms: i64, start: impl Fn(i64) -> f64) -> Vec<f64> {
    let messages = accounting.to_companions.iter().filter(|message| !message.is_peer);
    messages
        .filter(|message| message.queued_at_ms >= since_ms)
        .filter_map(|message| Some(message.settled_at_ms? as f64 - start(message.queued_at_ms)))
        .collect()
}

struct Lone {
    commands: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Messages one at a time, each to the next session, each after the last has been written to the end.
async fn lone(world: &World, count: u64) -> Result<Lone> {
    progress(format_args!("{count} messages that come alone"));
    let pairs = world.inbound_pairs();
    // Nor is what the engine saves 15 s after a login a message's.
    tokio::time::sleep(AFTER_LOGIN).await;
    wait_store_quiet(world).await?;
    let before = world.place.commands()?;
    let since_ms = now_ms();
    for number in 0..count {
        let pair: TrafficPair = pairs[number as usize % pairs.len()].clone();
        let prefix = format!("lone-{number}-");
        send(world, &TrafficOptions { pairs: vec![pair], prefix, each: Some(1), ..Default::default() })
            .await?;
        wait_store_quiet(world).await?;
    }
    let commands = (world.place.commands()? - before) as f64 / count.max(1) as f64;
    progress(world.place.commands_by_name());
    let accounting = world.stand_in.admin.accounting().await?;
    let (p50_ms, p99_ms) = p50_p99(latencies(&accounting, since_ms, |queued| queued as f64));
    Ok(Lone { commands, p50_ms, p99_ms })
}

async fn wait_store_quiet(world: &World) -> Result<()> {
    let mut count = world.place.commands()?;
    loop {
        tokio::time::sleep(STORE_QUIET).await;
        let now = world.place.commands()?;
        if now == count {
            return Ok(());
        }
        count = now;
    }
}

/// Counters at the start of a phase.
struct Measure {
    start: Instant,
    cpu_s: f64,
    stand_in_cpu_s: f64,
    commands: u64,
}

/// What a message cost in a phase.
struct Cost {
    commands: f64,
    cpu_ms: f64,
    stand_in_cpu_ms: f64,
    per_s: f64,
}

impl Measure {
    fn start(world: &World, worker: &Arc<Worker>) -> Result<Self> {
        Ok(Self {
            start: Instant::now(),
            cpu_s: worker.process.cpu_s()?,
            stand_in_cpu_s: world.stand_in.process.cpu_s()?,
            commands: world.place.commands()?,
        })
    }

    fn end(self, world: &World, worker: &Arc<Worker>, messages: u64) -> Result<Cost> {
        let messages = messages.max(1) as f64;
        progress(world.place.commands_by_name());
        Ok(Cost {
            per_s: messages / self.start.elapsed().as_secs_f64(),
            commands: (world.place.commands()? - self.commands) as f64 / messages,
            cpu_ms: (worker.process.cpu_s()? - self.cpu_s) * 1000.0 / messages,
            stand_in_cpu_ms: (world.stand_in.process.cpu_s()? - self.stand_in_cpu_s) * 1000.0 / messages,
        })
    }
}
