//! Figures for Prometheus: the library has a recorder of its own, so that it meets no other of the process.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use centralita::{Error, ErrorKind};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;

use crate::boundary::{call, required};
use crate::error::{Outcome, centralita_error};
use crate::text::centralita_buf;

static RENDERED: OnceLock<PrometheusHandle> = OnceLock::new();
/// One thread at a time installs it.
static INSTALL: Mutex<()> = Mutex::new(());

/// How often histograms are folded together, rendered or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Gathers figures from now on, in all services of the process. `runtime` is of a service that asked for it.
pub(crate) fn gather(runtime: &Handle) -> Outcome<()> {
    let handle = handle()?;
    // One task a service does no harm, and it ends with its service.
    runtime.spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            handle.run_upkeep();
        }
    });
    Ok(())
}

fn handle() -> Outcome<PrometheusHandle> {
    let _installing = INSTALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = RENDERED.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| {
        let message = "the program that centralita is linked into takes its metrics already";
        Error::new(ErrorKind::InvalidState, message)
    })?;
    Ok(RENDERED.get_or_init(|| handle).clone())
}

/// The figures of all services of the process, in Prometheus' text format. `CENTRALITA_INVALID_STATE` unless a service
/// was opened with the option `metrics`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_metrics_text(
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?;
            let Some(handle) = RENDERED.get() else {
                let message = "no figures are gathered; open a service with the option metrics";
                return Err(Error::new(ErrorKind::InvalidState, message).into());
            };
            out.put(centralita_buf::new(handle.render()));
            Ok(())
        })
    }
}
