//! What a session costs: memory, idle CPU, store commands, and the time to restore them all.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::audit::Audit;
use benches::flow::Current;
use benches::process::Process;
use benches::report::Report;
use benches::world::{World, WorldArgs};
use benches::{Result, progress};
use centralita_stand_in::TrafficOptions;
use clap::Parser;

/// Links sessions, has each exchange messages, measures the process that holds them, restarts it, measures again.
#[derive(Debug, Parser)]
#[command(name = "capacity")]
struct Args {
    #[command(flatten)]
    world: WorldArgs,
    /// Sessions in one process.
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// Messages that each session gets and sends.
    #[arg(long, default_value_t = 3)]
    each: u64,
    /// Seconds of quiet before memory is read: the engine saves its devices 15 s after the last change.
    #[arg(long, default_value_t = 20)]
    settle_s: u64,
    /// Seconds over which idle CPU is measured.
    #[arg(long, default_value_t = 30)]
    idle_s: u64,
}

/// For as many sessions as fit, in a debug build, on a slow database.
const CONNECT_PATIENCE: Duration = Duration::from_secs(600);
const TRAFFIC_PATIENCE: Duration = Duration::from_secs(600);
const CONTACTS: usize = 20;

fn main() -> ExitCode {
    benches::program::main(run)
}

async fn run(args: Args) -> Result<Report> {
    let mut world = World::new(&args.world, args.sessions, CONTACTS).await?;
    // Pacing off: what is measured is the machine, not the politeness.
    world.settings.connect_concurrency = 512;
    let sessions = args.sessions as f64;
    let mut report = Report::new("capacity");
    report
        .put("store", world.place.kind())
        .put("sessions", args.sessions)
        .put("pre_keys", args.world.pre_keys);

    let worker = world.worker().await?;
    let empty_kib = worker.process.rss_kib()?;
    let start = Instant::now();
    world.link(&worker).await?;
    let connect_s = start.elapsed().as_secs_f64();
    progress(format_args!("linked in {connect_s:.1} s; {} messages each way", args.each));
    let current = Current::new(Some(worker.clone()));
    let flow = world.outbound(Duration::ZERO, Some(args.each), &current);
    let traffic =
        TrafficOptions { pairs: world.inbound_pairs(), each: Some(args.each), ..TrafficOptions::default() };
    world.stand_in.admin.start_traffic(&traffic).await?.ended().await?;
    let sent = flow.finish().await?;
    world.stand_in.admin.wait_settled(TRAFFIC_PATIENCE).await?;
    let linked = Quiet::measure(worker.process, &args).await?;
    let live = world.stand_in.admin.wait_live(args.sessions, Duration::ZERO).await?;
    worker.shut_down().await?;
    current.send_replace(None);

    progress("restarting");
    let worker = world.worker().await?;
    let empty_restored_kib = worker.process.rss_kib()?;
    let commands = world.place.commands()?;
    let cpu = worker.process.cpu_s()?;
    let start = Instant::now();
    world.restore(&worker, CONNECT_PATIENCE).await?;
    let restore_s = start.elapsed().as_secs_f64();
    let restore_cpu_s = worker.process.cpu_s()? - cpu;
    let live_again = world.stand_in.admin.wait_live(args.sessions, CONNECT_PATIENCE).await?;
    // What a connect still writes a moment later belongs to it.
    tokio::time::sleep(AFTER_CONNECT).await;
    let commands_per_connect = (world.place.commands()? - commands) as f64 / sessions;
    progress(format_args!("restored in {restore_s:.2} s {}", world.place.commands_by_name()));
    let restored = Quiet::measure(worker.process, &args).await?;
    let stand_in_kib = world.stand_in.process.rss_kib()?;
    worker.shut_down().await?;

    let audit = Audit::of(&world, &sent.sent).await?;
    report
        .must_be("connected", live.min(live_again) as u64, args.sessions as u64)
        .measured("rss_kib_per_session", (linked.rss_kib - empty_kib as f64) / sessions)
        .measured("rss_kib_per_session_restored", (restored.rss_kib - empty_restored_kib as f64) / sessions)
        .measured("rss_mib", linked.rss_kib / 1024.0)
        .measured("idle_cpu_pct", linked.cpu_pct)
        .measured("idle_cpu_pct_restored", restored.cpu_pct)
        .measured("store_commands_per_connect", commands_per_connect)
        .measured("connect_s", connect_s)
        .measured("restore_s", restore_s)
        .measured("restore_cpu_s", restore_cpu_s)
        .measured("stand_in_rss_mib", stand_in_kib as f64 / 1024.0)
        .must_be_zero("lost", audit.lost)
        .must_be_zero("duplicated", audit.duplicated)
        .must_be_zero("relinked", audit.relinked)
        .must_be_zero("refused", sent.refused.len() as u64);
    world.remove().await?;
    Ok(report)
}

const AFTER_CONNECT: Duration = Duration::from_secs(2);

/// A process at rest.
struct Quiet {
    rss_kib: f64,
    cpu_pct: f64,
}

impl Quiet {
    async fn measure(process: Process, args: &Args) -> Result<Self> {
        progress(format_args!("{} s of quiet, then {} s of idling", args.settle_s, args.idle_s));
        tokio::time::sleep(Duration::from_secs(args.settle_s)).await;
        let (cpu, start) = (process.cpu_s()?, Instant::now());
        tokio::time::sleep(Duration::from_secs(args.idle_s)).await;
        let cpu_pct = (process.cpu_s()? - cpu) / start.elapsed().as_secs_f64() * 100.0;
        Ok(Self { rss_kib: process.rss_kib()? as f64, cpu_pct })
    }
}
