//! Looks at all sessions of a service at intervals: one task for the fleet, not a timer a session.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::vitals::{Finding, Limits, Seen};
use super::{RestartReason, SessionHealth};
use crate::session::activity::Ping;
use crate::session::context::SessionContext;
use crate::session::live::LiveSession;
use crate::session::orders::Order;

/// The limits are looked at so often that none is overrun by more than this part of it.
const LOOKS_PER_LIMIT: u32 = 8;
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Watches until `stop`. `sessions` gives those that run; `None` once the service is gone.
pub(crate) async fn watch(
    context: Arc<SessionContext>,
    sessions: impl Fn() -> Option<Vec<Arc<LiveSession>>> + Send,
    stop: CancellationToken,
) {
    let options = &context.options;
    let shortest = [Some(options.silence_after), Some(options.send_stall_after), options.park_idle_after];
    let shortest = shortest.into_iter().flatten().chain([options.park_awake_for]).min();
    let pause = (shortest.unwrap_or(LONGEST_PAUSE) / LOOKS_PER_LIMIT).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let limits = Limits::of(options);
    while stop.run_until_cancelled(context.clock.sleep(pause)).await.is_some() {
        let Some(sessions) = sessions() else { return };
        for live in sessions {
            look_at(&live, limits);
        }
    }
}

fn look_at(live: &Arc<LiveSession>, limits: Limits) {
    let finding = observe(live, limits);
    match finding {
        Finding::Well if live.may_park() => live.orders.give(Order::Park),
        Finding::Well => {}
        Finding::Ping => ping(live),
        Finding::Restart(reason) => restart(live, reason),
    }
}

fn see(live: &LiveSession) -> Seen {
    let clock = &live.context.clock;
    let engine = live.connected_engine().ok();
    Seen {
        now: clock.monotonic(),
        wall: clock.now(),
        connected: engine.is_some(),
        parked: live.is_parked(),
        frames: engine.map_or(0, |engine| engine.frames_received()),
        unacked_since: live.activity.unacked_since(),
        ping_failed: live.activity.ping() == Ping::Failed,
    }
}

fn observe(live: &LiveSession, limits: Limits) -> Finding {
    let finding = live.vitals().observe(limits, &see(live));
    if finding == Finding::Well {
        live.activity.set_ping(Ping::None);
    }
    finding
}

fn ping(live: &Arc<LiveSession>) {
    if live.activity.ping() != Ping::None {
        return;
    }
    let Ok(engine) = live.connected_engine() else { return };
    live.activity.set_ping(Ping::UnderWay);
    let live = Arc::clone(live);
    let runtime = live.context.runtime.tokio().clone();
    runtime.spawn(async move {
        let answered = engine.answers_ping(live.context.options.ping_timeout).await;
        live.activity.set_ping(if answered { Ping::None } else { Ping::Failed });
    });
}

fn restart(live: &LiveSession, reason: RestartReason) {
    live.activity.set_ping(Ping::None);
    tracing::warn!(session = %live.id, ?reason, "a session is not well and is restarted");
    live.orders.give(Order::Restart(reason));
}

/// The health of a session as it is now.
pub(crate) async fn health(live: &LiveSession) -> SessionHealth {
    let limits = Limits::of(&live.context.options);
    let memory_bytes = match live.engine() {
        Ok(engine) => Some(engine.memory_bytes().await),
        Err(_) => None,
    };
    // Looked at afresh, but acted on by the monitor alone.
    let mut vitals = live.vitals().clone();
    let restarts = vitals.restarts;
    vitals.observe(limits, &see(live));
    SessionHealth {
        link: vitals.link,
        receive: vitals.receive,
        send: vitals.send,
        parked: live.is_parked(),
        restarts,
        memory_bytes,
    }
}
