//! The seed's `CleanupService`.

use centralita::Result;
use centralita::cleanup::{CleanupOptions, CleanupService};
use centralita::runtime::RuntimeHandle;
use pyo3::prelude::*;
use serde::Deserialize;

use crate::bridge::{Done, Operation, spawn};
use crate::errors;
use crate::options::{seconds, set};
use crate::runtime::{ProcessBound, Runtime};
use crate::session::to_json;

/// Cleans up and checks health at intervals.
#[pyclass(frozen)]
pub(crate) struct Cleanup(ProcessBound<CleanupService>);

impl Cleanup {
    pub(crate) fn new(handle: &tokio::runtime::Handle, cleanup: CleanupService) -> Self {
        Self(ProcessBound::new(handle, cleanup))
    }

    fn call<T, W>(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        work: impl FnOnce(CleanupService) -> W,
    ) -> PyResult<Operation>
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let cleanup = self.0.get(py)?.clone();
        spawn(py, future, work(cleanup))
    }
}

#[pymethods]
impl Cleanup {
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let runtime = Runtime::current(py)?;
        self.0.get(py)?.start(&RuntimeHandle::from_tokio(runtime.handle.clone()));
        Ok(())
    }

    fn stop(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |cleanup| async move {
            cleanup.stop().await;
            Ok(Done)
        })
    }

    fn is_running(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.get(py)?.is_running())
    }

    fn run_manual_cleanup(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        days_inactive: u32,
        dry_run: bool,
    ) -> PyResult<Operation> {
        self.call(py, future, move |cleanup| async move {
            to_json(&cleanup.run_manual_cleanup(days_inactive, dry_run).await?)
        })
    }

    fn get_health_report(&self, py: Python<'_>, future: Py<PyAny>) -> PyResult<Operation> {
        self.call(py, future, |cleanup| async move { to_json(&cleanup.get_health_report().await?) })
    }

    fn reset_problematic_sessions(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        min_attempts: u32,
    ) -> PyResult<Operation> {
        self.call(
            py,
            future,
            move |cleanup| async move { cleanup.reset_problematic_sessions(min_attempts).await },
        )
    }
}

/// As the package writes them: durations in seconds.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    cleanup_interval_s: Option<f64>,
    inactive_days: Option<u32>,
    health_check_interval_s: Option<f64>,
    disconnected_alert_after_s: Option<f64>,
    problematic_min_attempts: Option<u32>,
    report_limit: Option<u32>,
}

pub(crate) fn options(text: &str) -> Result<CleanupOptions> {
    let settings: Settings =
        serde_json::from_str(text).map_err(|error| errors::invalid("the cleanup options", &error))?;
    let mut options = CleanupOptions::default();
    set(&mut options.cleanup_interval, seconds("cleanup_interval", settings.cleanup_interval_s)?);
    set(&mut options.inactive_days, settings.inactive_days);
    set(
        &mut options.health_check_interval,
        seconds("health_check_interval", settings.health_check_interval_s)?,
    );
    set(
        &mut options.disconnected_alert_after,
        seconds("disconnected_alert_after", settings.disconnected_alert_after_s)?,
    );
    set(&mut options.problematic_min_attempts, settings.problematic_min_attempts);
    set(&mut options.report_limit, settings.report_limit);
    Ok(options)
}
