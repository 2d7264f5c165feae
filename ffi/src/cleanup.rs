//! The seed's `CleanupService`: removes what nobody uses, measures what runs, reports what is not well.

use std::sync::Arc;
use std::time::Duration;

use centralita::cleanup::{CleanupOptions, CleanupService};
use serde::Deserialize;

use crate::boundary::{call, get, guard, required, take};
use crate::error::{Outcome, centralita_error};
use crate::json::{self, Json};
use crate::operation::call::{Handle, flag, nothing, operate};
use crate::operation::{Target, centralita_async};
use crate::service::{Service, centralita_service};
use crate::text::{centralita_buf, centralita_str};

/// The cleanup of a service. Opaque, thread-safe. It ends when it is stopped or freed.
pub struct centralita_cleanup {
    service: Arc<Service>,
    cleanup: CleanupService,
}

impl Handle for centralita_cleanup {
    const NAME: &'static str = "cleanup";
    type Core = CleanupService;

    fn open(&self) -> Outcome<(&Arc<Service>, CleanupService)> {
        self.service.check()?;
        Ok((&self.service, self.cleanup.clone()))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    cleanup_interval_ms: Option<u64>,
    inactive_days: Option<u32>,
    health_check_interval_ms: Option<u64>,
    disconnected_alert_after_ms: Option<u64>,
    problematic_min_attempts: Option<u32>,
    report_limit: Option<u32>,
}

impl From<Options> for CleanupOptions {
    fn from(options: Options) -> Self {
        let default = Self::default();
        let duration = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        Self {
            cleanup_interval: duration(options.cleanup_interval_ms, default.cleanup_interval),
            inactive_days: options.inactive_days.unwrap_or(default.inactive_days),
            health_check_interval: duration(options.health_check_interval_ms, default.health_check_interval),
            disconnected_alert_after: duration(
                options.disconnected_alert_after_ms,
                default.disconnected_alert_after,
            ),
            problematic_min_attempts: options
                .problematic_min_attempts
                .unwrap_or(default.problematic_min_attempts),
            report_limit: options.report_limit.unwrap_or(default.report_limit),
        }
    }
}

/// `start`: starts the automatic cleanup and health checks. The first round of each kind comes after its interval.
/// `options_json`: `{"cleanupIntervalMs":21600000,"inactiveDays":30,"healthCheckIntervalMs":300000,
/// "disconnectedAlertAfterMs":300000,"problematicMinAttempts":5,"reportLimit":100}`, each optional; `{NULL, 0}` for the
/// defaults, which these are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_start(
    service: *const centralita_service,
    options_json: centralita_str,
    out: *mut *mut centralita_cleanup,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?.null();
            let (service, core) = get(service, "service")?.open()?;
            let options: Options = json::read(options_json, "options_json")?;
            let cleanup = core.start_cleanup(options.into())?;
            out.put_handle(centralita_cleanup { service: Arc::clone(service), cleanup });
            Ok(())
        })
    }
}

/// `stop`: ends the rounds and waits for one that is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_stop(
    cleanup: *const centralita_cleanup,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(cleanup, later, Target::Nothing, err, nothing, |cleanup, ()| async move {
            cleanup.stop().await;
            Ok(())
        })
    }
}

/// Whether the rounds run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_is_running(cleanup: *const centralita_cleanup) -> bool {
    guard(false, || {
        // SAFETY: see `centralita_config_new`.
        unsafe { cleanup.as_ref() }
            .and_then(|cleanup| cleanup.open().ok())
            .is_some_and(|(_, cleanup)| cleanup.is_running())
    })
}

/// `runManualCleanup`: as `centralita_manager_cleanup_inactive_sessions`, now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_run_manual_cleanup(
    cleanup: *const centralita_cleanup,
    days_inactive: u32,
    dry_run: i32,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || flag(dry_run, "dry_run");
        operate(cleanup, later, Target::Text(out), err, input, |cleanup, dry_run| async move {
            cleanup.run_manual_cleanup(days_inactive, dry_run).await.map(Json)
        })
    }
}

/// `getHealthReport`: gives the state of the system at this moment: `statistics`, `problematic`, `disconnected`,
/// `memory` and how the rounds do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_get_health_report(
    cleanup: *const centralita_cleanup,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(cleanup, later, Target::Text(out), err, nothing, |cleanup, ()| async move {
            cleanup.get_health_report().await.map(Json)
        })
    }
}

/// `resetProblematicSessions`: sets the count of failed attempts to zero in every session that has at least
/// `min_attempts`. Gives a number: in how many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_reset_problematic_sessions(
    cleanup: *const centralita_cleanup,
    min_attempts: u32,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(cleanup, later, Target::Text(out), err, nothing, |cleanup, ()| async move {
            cleanup.reset_problematic_sessions(min_attempts).await.map(Json)
        })
    }
}

/// Ends the rounds without waiting, frees the handle and sets `*cleanup` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_cleanup_free(cleanup: *mut *mut centralita_cleanup) {
    guard((), || {
        // SAFETY: see `centralita_config_new`.
        if let Some(cleanup) = unsafe { take(cleanup) }
            && !cleanup.service.birth().is_here()
        {
            // The parent's: what would end its rounds wakes threads that are not here.
            std::mem::forget(cleanup);
        }
    });
}
