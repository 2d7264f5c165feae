//! How the sessions of a service do, all together.

use centralita::service::ServiceHealth;
use centralita::session::pacing::BreakerState;
use serde_json::json;

use super::centralita_service;
use crate::boundary::{call, get, required};
use crate::error::centralita_error;
use crate::operation::call::Handle as _;
use crate::sized::{self, Sized_};
use crate::text::centralita_buf;

/// The health of the sessions that run in this process, as JSON: `{"running","connected","parked","unwell","restarts",
/// "pacing":{"breaker":"closed"|"open"|"half_open","pausedUntil":date,"waiting","connecting","admitted","timesOpened"}}`.
/// It never waits. The same without JSON: `centralita_service_get_figures`. Of one session:
/// `centralita_session_health`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_health(
    service: *const centralita_service,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?;
            let (_, core) = get(service, "service")?.open()?;
            out.put(centralita_buf::new(health_json(&core.health())));
            Ok(())
        })
    }
}

fn health_json(health: &ServiceHealth) -> String {
    let mut json = json!(health);
    json["pacing"]["pausedUntil"] = json!(health.pacing.breaker.until());
    json.to_string()
}

/// Sessions connect as they should.
pub const CENTRALITA_BREAKER_CLOSED: i32 = 1;
/// WhatsApp refused many sessions at once: nobody connects before `paused_until_ms`, then one tries.
pub const CENTRALITA_BREAKER_OPEN: i32 = 2;
/// One tries, or the others follow slowly.
pub const CENTRALITA_BREAKER_HALF_OPEN: i32 = 3;

/// How the sessions of this process do. Start from `CENTRALITA_SERVICE_FIGURES_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_service_figures {
    /// `sizeof(centralita_service_figures)`.
    pub struct_size: u32,
    /// `CENTRALITA_BREAKER_…`.
    pub breaker: i32,
    /// When the fleet's pause ends, in milliseconds since the Unix epoch; -1 if there is none.
    pub paused_until_ms: i64,
    /// Sessions that run here, connected or not.
    pub running: u64,
    /// Of them logged in at this moment.
    pub connected: u64,
    /// Of them parked: not connected on purpose.
    pub parked: u64,
    /// Of those connected, how many receive or send badly, or are suspected to, by the last look at them.
    pub unwell: u64,
    /// How often those that run were restarted because they were not well.
    pub restarts: u64,
    /// Sessions that wait for their turn to connect.
    pub waiting: u64,
    /// Sessions that are connecting.
    pub connecting: u64,
    /// Connections begun since the service was opened.
    pub admitted: u64,
    /// How often the breaker has opened since the service was opened.
    pub times_opened: u64,
}

// SAFETY: numbers.
unsafe impl Sized_ for centralita_service_figures {
    const NAME: &'static str = "centralita_service_figures";
    const FIRST_SIZE: usize = 88;
}

/// Fills in how the sessions of this process do. It never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_get_figures(
    service: *const centralita_service,
    out: *mut centralita_service_figures,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            sized::fill(out, |size| {
                let (_, core) = get(service, "service")?.open()?;
                Ok(figures(&core.health(), size))
            })
        })
    }
}

fn figures(health: &ServiceHealth, struct_size: u32) -> centralita_service_figures {
    let pacing = &health.pacing;
    centralita_service_figures {
        struct_size,
        breaker: match pacing.breaker {
            BreakerState::Closed => CENTRALITA_BREAKER_CLOSED,
            BreakerState::Open { .. } => CENTRALITA_BREAKER_OPEN,
            // Any other is on its way from one to the other.
            _ => CENTRALITA_BREAKER_HALF_OPEN,
        },
        paused_until_ms: pacing.breaker.until().map_or(-1, |until| until.unix_ms()),
        running: health.running,
        connected: health.connected,
        parked: health.parked,
        unwell: health.unwell,
        restarts: health.restarts,
        waiting: pacing.waiting,
        connecting: pacing.connecting,
        admitted: pacing.admitted,
        times_opened: pacing.times_opened,
    }
}
