//! The database goes away while messages flow, and comes back.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::audit::Audit;
use benches::flow::Current;
use benches::report::Report;
use benches::world::{World, WorldArgs};
use benches::{Result, progress};
use centralita_stand_in::TrafficOptions;
use clap::{Parser, ValueEnum};

/// Cuts the database off while messages flow in both directions, gives it back, and counts at the end.
#[derive(Debug, Parser)]
#[command(name = "outage")]
struct Args {
    #[command(flatten)]
    world: WorldArgs,
    /// How long the database is away.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// In which way.
    #[arg(long, value_enum, default_value_t = Mode::Cut)]
    mode: Mode,
    /// Sessions in the process.
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// Messages a second to all sessions together; they write as fast as they are acknowledged, with a pause of
    /// 200 ms.
    #[arg(long, default_value_t = 100.0)]
    per_second: f64,
    /// How long sockets stay open while the database is away, in seconds; then WhatsApp queues.
    #[arg(long, default_value_t = 10)]
    store_patience_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Connections are closed, in the middle of a command if need be, and refused. SQLite: another program holds
    /// the write lock.
    Cut,
    /// Connections stay open and nothing comes back.
    Freeze,
    /// Each command takes two seconds more. MongoDB only.
    Slow,
}

const PATIENCE: Duration = Duration::from_secs(300);
/// Before and after: time for messages to flow.
const FLOW: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    benches::program::main(run)
}

async fn run(args: Args) -> Result<Report> {
    let mut world = World::new(&args.world, args.sessions, args.sessions).await?;
    world.settings.store_patience_ms = args.store_patience_s * 1000;
    world.settings.send_timeout_ms = 5_000;
    let worker = world.worker().await?;
    world.link(&worker).await?;
    let current = Current::new(Some(worker.clone()));
    let flow = world.outbound(Duration::from_millis(200), None, &current);
    let traffic = TrafficOptions {
        pairs: world.inbound_pairs(),
        per_second: Some(args.per_second),
        ..TrafficOptions::default()
    };
    let traffic = world.stand_in.admin.start_traffic(&traffic).await?;
    tokio::time::sleep(FLOW).await;
    let before_kib = worker.process.rss_kib()?;
    let before = world.stand_in.admin.arrivals().await?;
    let rss = worker.process.watch_rss();

    progress(format_args!("the database is away for {} s", args.seconds));
    match args.mode {
        Mode::Cut => world.place.cut()?,
        Mode::Freeze => world.place.freeze()?,
        Mode::Slow => world.place.slow(Duration::from_secs(2))?,
    }
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let lost_sockets =
        world.sessions.len() - world.stand_in.admin.wait_live(args.sessions, Duration::ZERO).await?;
    world.place.restore()?;
    let back = Instant::now();
    progress(format_args!("it is back; {lost_sockets} sockets were closed at that moment"));
    let live = world.stand_in.admin.wait_live(args.sessions, PATIENCE).await?;
    let connected_s = back.elapsed().as_secs_f64();
    tokio::time::sleep(FLOW).await;
    let sent_in: u64 = traffic.stop().await?.sent.iter().sum();
    let out = flow.stop().await?;
    world.stand_in.admin.wait_settled(PATIENCE).await?;
    let settled_s = back.elapsed().as_secs_f64();
    let growth = rss.peak_kib().saturating_sub(before_kib) as f64 / 1024.0;
    progress(format_args!("{sent_in} in, {} out, {} tries repeated", out.sent.len(), out.retries));
    let after = world.stand_in.admin.arrivals().await?;
    worker.shut_down().await?;

    let audit = Audit::of(&world, &out.sent).await?;
    let mut report = Report::new("outage");
    report
        .put("store", world.place.kind())
        .put("sessions", args.sessions)
        .put("mode", format!("{:?}", args.mode).to_lowercase())
        .put("seconds", args.seconds)
        .put("received", audit.sent_to_sessions)
        .put("sent", audit.sent_by_sessions)
        .put("send_retries", out.retries)
        .put("sockets_lost", after.logins - before.logins)
        .must_be("connected", live as u64, args.sessions as u64)
        .must_be_zero("lost", audit.lost)
        .must_be_zero("duplicated", audit.duplicated)
        .must_be_zero("counters_off", audit.counters_off)
        .must_be_zero("decrypt_failures", audit.decrypt_failures)
        .must_be_zero("new_credentials", audit.relinked.max(after.unlinked - before.unlinked))
        .must_be_zero("refused", out.refused.len() as u64)
        .measured("connected_again_s", connected_s)
        .measured("drained_s", settled_s)
        .measured("peak_rss_growth_mib", growth);
    if let Some(refused) = out.refused.first() {
        report.fail(format!("a send was refused: {refused}"));
    }
    world.remove().await?;
    Ok(report)
}
