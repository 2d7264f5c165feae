//! WhatsApp drops everybody and lets nobody in for a while.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use benches::audit::Audit;
use benches::report::Report;
use benches::worker::Answer;
use benches::worker::Order;
use benches::world::{World, WorldArgs};
use benches::{Result, progress};
use centralita_stand_in::TrafficOptions;
use clap::{Parser, ValueEnum};
use serde_json::json;

/// Drops all sessions, refuses them for a while, and watches how they come back.
#[derive(Debug, Parser)]
#[command(name = "storm")]
struct Args {
    #[command(flatten)]
    world: WorldArgs,
    /// Sessions in one process.
    #[arg(long, default_value_t = 500)]
    sessions: usize,
    /// How long nobody is let in.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How they are refused.
    #[arg(long, value_enum, default_value_t = Refusal::Http503)]
    refusal: Refusal,
    /// The fleet's limit of connects a second.
    #[arg(long, default_value_t = 50)]
    connects_per_s: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Refusal {
    /// The WebSocket upgrade is answered with HTTP 503.
    Http503,
    /// The connection is closed after the handshake.
    Login,
}

const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    benches::program::main(run)
}

async fn run(args: Args) -> Result<Report> {
    let mut world = World::new(&args.world, args.sessions, args.sessions.min(20)).await?;
    world.settings.reconnect_ms = (1_000, 30_000);
    world.settings.connects_per_s = Some(args.connects_per_s);
    let worker = world.worker().await?;
    world.link(&worker).await?;
    let admin = world.stand_in.admin.clone();
    admin.wait_settled(PATIENCE).await?;
    let before = admin.arrivals().await?.sockets_ms.len();

    progress(format_args!("all are dropped and refused for {} s", args.seconds));
    let fault = match args.refusal {
        Refusal::Http503 => "http-503",
        Refusal::Login => "refuse-logins",
    };
    admin.fault(fault, &json!({ "on": true })).await?;
    admin.fault("drop", &json!({})).await?;
    // They must have these once they are back.
    let traffic = TrafficOptions { pairs: world.inbound_pairs(), each: Some(1), ..TrafficOptions::default() };
    admin.start_traffic(&traffic).await?.ended().await?;
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    admin.fault(fault, &json!({ "on": false })).await?;
    let refused = admin.arrivals().await?.sockets_ms.len() - before;
    let over = Instant::now();
    progress(format_args!("over, after {refused} tries"));
    let live = admin.wait_live(args.sessions, PATIENCE).await?;
    let back_s = over.elapsed().as_secs_f64();
    admin.wait_settled(PATIENCE).await?;
    let running = match worker.must(Order::Status).await? {
        Answer::Status { running, .. } => running,
        other => return Err(format!("unexpected answer: {other:?}").into()),
    };
    let in_error = world.place.sessions().await?.iter().filter(|row| row.status == "error").count();
    let mut arrivals = admin.arrivals().await?;
    arrivals.sockets_ms.drain(..before);
    worker.shut_down().await?;

    let audit = Audit::of(&world, &[]).await?;
    let mut report = Report::new("storm");
    report
        .put("store", world.place.kind())
        .put("sessions", args.sessions)
        .put("seconds", args.seconds)
        .must_be("connected", live as u64, args.sessions as u64)
        .must_be_zero("errors", (in_error + (args.sessions - running)) as u64)
        .put("tries_while_refused", refused)
        .put("peak_connects_per_s", arrivals.peak_sockets_per_s())
        .put("limit_connects_per_s", args.connects_per_s)
        .measured("back_s", back_s)
        .must_be_zero("lost", audit.lost)
        .must_be_zero("duplicated", audit.duplicated)
        .must_be_zero("relinked", audit.relinked);
    world.remove().await?;
    Ok(report)
}
