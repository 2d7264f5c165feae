//! Killed again and again at random moments: what is lost, doubled or off afterwards.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::audit::Audit;
use benches::flow::Current;
use benches::report::Report;
use benches::world::{World, WorldArgs};
use benches::{Result, progress};
use centralita_stand_in::TrafficOptions;
use clap::Parser;
use rand::{RngExt as _, SeedableRng as _};

/// SIGKILLs the process while messages flow in both directions, restarts it, and counts at the end.
#[derive(Debug, Parser)]
#[command(name = "crash")]
struct Args {
    #[command(flatten)]
    world: WorldArgs,
    /// How often it is killed.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Sessions in the process.
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// Messages a second to all sessions together; they write as fast as they are acknowledged, with a pause of
    /// 100 ms.
    #[arg(long, default_value_t = 100.0)]
    per_second: f64,
    /// What the moments are drawn from; a random one by default, told on standard error.
    #[arg(long)]
    seed: Option<u64>,
}

const PATIENCE: Duration = Duration::from_secs(180);
/// The longest time between two kills.
const LONGEST_LIFE_MS: u64 = 4_000;

fn main() -> ExitCode {
    benches::program::main(run)
}

async fn run(args: Args) -> Result<Report> {
    let mut world = World::new(&args.world, args.sessions, args.sessions).await?;
    // Where two processes share a database, a dead owner's lease must run out first.
    world.settings.lease_ms = 2_000;
    world.settings.send_timeout_ms = 5_000;
    let seed = args.seed.unwrap_or_else(rand::random);
    progress(format_args!("--seed {seed}"));
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);

    let worker = world.worker().await?;
    world.link(&worker).await?;
    let current = Current::new(Some(worker.clone()));
    let flow = world.outbound(Duration::from_millis(100), None, &current);
    let traffic = TrafficOptions {
        pairs: world.inbound_pairs(),
        per_second: Some(args.per_second),
        ..TrafficOptions::default()
    };
    let traffic = world.stand_in.admin.start_traffic(&traffic).await?;
    let mut worker = worker;
    let start = Instant::now();
    for kill in 1..=args.kills {
        // Half of them in the middle of work, half whenever, which is mostly in the middle of a start.
        if random.random_bool(0.5) {
            world.wait_connected(&worker, PATIENCE).await?;
        }
        let life = Duration::from_millis(random.random_range(0..LONGEST_LIFE_MS));
        tokio::time::sleep(life).await;
        current.send_replace(None);
        worker.kill().await?;
        progress(format_args!("kill {kill} after {:.1} s", start.elapsed().as_secs_f64()));
        worker = world.worker().await?;
        worker.must(benches::worker::Order::Restore).await?;
        current.send_replace(Some(worker.clone()));
    }
    world.wait_connected(&worker, PATIENCE).await?;
    let sent_in: u64 = traffic.stop().await?.sent.iter().sum();
    let out = flow.stop().await?;
    progress(format_args!("{sent_in} in, {} out, {} tries repeated", out.sent.len(), out.retries));
    world.stand_in.admin.wait_settled(PATIENCE).await?;
    worker.shut_down().await?;

    let audit = Audit::of(&world, &out.sent).await?;
    let mut report = Report::new("crash");
    report
        .put("store", world.place.kind())
        .put("sessions", args.sessions)
        .put("kills", args.kills)
        .put("seed", seed)
        .put("received", audit.sent_to_sessions)
        .put("sent", audit.sent_by_sessions)
        .put("send_retries", out.retries)
        .must_be_zero("lost", audit.lost)
        .must_be_zero("duplicated", audit.duplicated)
        .must_be_zero("counters_off", audit.counters_off)
        .must_be_zero("decrypt_failures", audit.decrypt_failures)
        .must_be_zero("relinked", audit.relinked)
        .must_be_zero("refused", out.refused.len() as u64);
    if let Some(refused) = out.refused.first() {
        report.fail(format!("a send was refused: {refused}"));
    }
    world.remove().await?;
    Ok(report)
}
