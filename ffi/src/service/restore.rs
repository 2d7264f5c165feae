//! Starting what ran before, with progress.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use centralita::service::{RestoreProgress, RestoreReport, WhatsAppService};
use serde_json::json;

use super::{Job, centralita_service};
use crate::boundary::{call, get};
use crate::callback::{self, UserData};
use crate::error::{Outcome, centralita_error};
use crate::operation::call::{Handle as _, patience, refuse_inside_without};
use crate::operation::{Later, Output, Target, centralita_async, perform};
use crate::sized::{self, Sized_};
use crate::text::{centralita_buf, centralita_str};

/// How far a restore has come. It may grow at its end: read it through the pointer, do not copy it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_restore_step {
    /// Sessions to start in all.
    pub total: u64,
    /// Of them looked at so far.
    pub done: u64,
    /// Started and connected so far; only `centralita_service_restore_and_wait` counts them.
    pub connected: u64,
    /// Started and ended already: logged out, banned, outdated, owned elsewhere. Counted as `connected`.
    pub ended: u64,
    /// The one that the step is about.
    pub session_id: centralita_str,
}

/// How a restore goes on. Start from `CENTRALITA_PROGRESS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_progress {
    /// `sizeof(centralita_progress)`.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Given to the two functions below, which are called on the service's completion thread.
    pub user_data: *mut c_void,
    /// Called for each step, which is borrowed for the time of the call.
    pub on_progress:
        Option<unsafe extern "C" fn(user_data: *mut c_void, step: *const centralita_restore_step)>,
    /// Releases `user_data`: called exactly once, after the last progress, or at once if the call fails. May be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_progress {
    const NAME: &'static str = "centralita_progress";
    const FIRST_SIZE: usize = 32;
}

type OnProgress = unsafe extern "C" fn(user_data: *mut c_void, step: *const centralita_restore_step);

struct Progress {
    on_progress: Option<OnProgress>,
    user: UserData,
}

impl Progress {
    fn tell(&self, step: &RestoreProgress) {
        let Some(on_progress) = self.on_progress else { return };
        let step = centralita_restore_step {
            total: step.total,
            done: step.done,
            connected: step.connected,
            ended: step.ended,
            session_id: centralita_str::of(Some(&step.session_id)),
        };
        // SAFETY: a function of the caller's with his data; `step` lives during the call.
        callback::inside(|| unsafe { on_progress(self.user.ptr(), &raw const step) });
    }
}

/// Somebody to tell, and the thread to do it on.
struct Watch {
    progress: Arc<Progress>,
    jobs: Sender<Job>,
}

impl Watch {
    fn tell(&self, step: &RestoreProgress) {
        let (progress, step) = (Arc::clone(&self.progress), step.clone());
        // The thread ends with its last sender, so it is there.
        drop(self.jobs.send(Box::new(move || progress.tell(&step))));
    }

    /// Released where it was used, after the last use.
    fn release(self) {
        let Self { progress, jobs } = self;
        drop(jobs.send(Box::new(move || drop(progress))));
    }
}

/// Starts every stored session that is active and was linked, the most recently active first. Ends once all are
/// started; they connect a few at a time. One that cannot be started is in the report and holds up no other; one that
/// another instance runs stands by here.
///
/// Gives JSON `{"started":[ids],"connected":[],"notLinked":[ids],"malformed":[ids]}`. `progress`, `later` and `out` may
/// be NULL. With `progress` and without `later` it must not be called inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_restore(
    service: *const centralita_service,
    progress: *const centralita_progress,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe { restore(service, || Ok(None), progress, later, out, err) }
}

/// As `centralita_service_restore`, and then waits until every session that was started is connected or has ended, or
/// `patience_ms` is over. `progress` is told of each; those that wait for their turn, for WhatsApp or for another
/// instance go on after this has ended. `connected` in the report has those that are, in the order in which they were.
/// Inside a callback it must be given `later`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_restore_and_wait(
    service: *const centralita_service,
    patience_ms: i64,
    progress: *const centralita_progress,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    let patience = || {
        refuse_inside_without(later)?;
        patience(patience_ms).map(Some)
    };
    // SAFETY: see `centralita_config_new`.
    unsafe { restore(service, patience, progress, later, out, err) }
}

/// # Safety
/// As the header says of the two functions above.
unsafe fn restore(
    service: *const centralita_service,
    patience: impl FnOnce() -> Outcome<Option<Duration>>,
    progress: *const centralita_progress,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        call(err, || {
            // Both are read before either can fail the call, so that both are released.
            let progress = read_progress(progress);
            let later = Later::read(later)?;
            let progress = progress?;
            let (service, core) = get(service, "service")?.open()?;
            let patience = patience()?;
            let watch = match progress {
                Some(progress) => Some(Watch { progress, jobs: service.jobs()? }),
                None => None,
            };
            let tells_here = watch.is_some() && later.is_none();
            if tells_here {
                callback::refuse_inside()?;
            }
            perform(service, later, Target::Text(out), run(core, patience, watch))?;
            if tells_here {
                // What was told is told, and released, before this returns.
                let (done, flushed) = mpsc::channel::<()>();
                drop(service.jobs()?.send(Box::new(move || drop(done))));
                // Nothing is ever sent: the other end goes.
                let _gone = flushed.recv();
            }
            Ok(())
        })
    }
}

/// # Safety
/// As the header says of `centralita_progress`.
unsafe fn read_progress(progress: *const centralita_progress) -> Outcome<Option<Arc<Progress>>> {
    // SAFETY: passed on.
    let progress = unsafe { sized::read(progress) }?;
    Ok(progress.map(|it| {
        Arc::new(Progress { on_progress: it.on_progress, user: UserData::new(it.user_data, it.drop) })
    }))
}

async fn run(
    core: WhatsAppService,
    patience: Option<Duration>,
    watch: Option<Watch>,
) -> centralita::Result<Output> {
    let tell = |step: &RestoreProgress| {
        if let Some(watch) = &watch {
            watch.tell(step);
        }
    };
    let report = match patience {
        Some(patience) => core.restore_all_and_wait(patience, tell).await,
        None => core.restore_all(tell).await,
    };
    if let Some(watch) = watch {
        watch.release();
    }
    report.map(|report| Output::Text(report_json(&report)))
}

fn report_json(report: &RestoreReport) -> String {
    json!({
        "started": report.started,
        "connected": report.connected,
        "notLinked": report.not_linked,
        "malformed": report.malformed,
    })
    .to_string()
}
