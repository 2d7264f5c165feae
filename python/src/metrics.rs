//! Figures for Prometheus: the module has a recorder of its own, so that `metrics_text()` needs no set-up and meets no
//! other recorder of the process.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pyo3::prelude::*;
use tokio::runtime::Handle;

static RENDERED: OnceLock<PrometheusHandle> = OnceLock::new();

/// How often histograms are folded together, rendered or not.
const UPKEEP: Duration = Duration::from_secs(5);

pub(crate) fn install(runtime: &Handle) -> Result<(), String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    metrics::describe_counter!(
        "centralita_python_handler_errors_total",
        "Exceptions that handlers registered with Service.on let through"
    );
    metrics::describe_counter!("centralita_python_events_total", "Events handed to Python");
    let upkeep = handle.clone();
    runtime.spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    // Only one runtime is ever started.
    RENDERED.get_or_init(|| handle);
    Ok(())
}

/// All figures in Prometheus' text format; empty before the first service was started.
#[pyfunction]
pub(crate) fn metrics_text(py: Python<'_>) -> String {
    py.detach(|| RENDERED.get().map(PrometheusHandle::render).unwrap_or_default())
}

/// Counts an exception of a handler.
#[pyfunction]
pub(crate) fn count_handler_error() {
    metrics::counter!("centralita_python_handler_errors_total").increment(1);
}
