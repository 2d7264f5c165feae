//! `centralita_service`: opening, restoring, shutting down.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use centralita::runtime::RuntimeHandle;
use centralita::service::WhatsAppService;
use centralita::{Error, ErrorKind};
use serde_json::json;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::boundary::{call, get, guard, required, take};
use crate::callback::{self, UserData};
use crate::config::centralita_config;
use crate::error::{Outcome, centralita_error, invalid};
use crate::fork::Birth;
use crate::operation::{Later, Output, Target, centralita_async, perform};
use crate::sized::{self, Sized_};
use crate::text::{centralita_buf, centralita_str};
use crate::{store, wait};

/// Holds sessions. Opaque, thread-safe, shared by the handles that are made from it.
pub struct centralita_service(Arc<Service>);

/// What the handles of one service share.
pub(crate) struct Service {
    core: Option<WhatsAppService>,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    jobs: Mutex<Option<Sender<Job>>>,
    closed: AtomicBool,
    birth: Birth,
}

/// Something to do on the completion thread.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// How long the threads of a service may take to end once it is shut down or freed.
const THREADS_PATIENCE: Duration = Duration::from_secs(2);

impl centralita_service {
    /// The service, unless it was shut down or belongs to the parent of a fork.
    pub(crate) fn open(&self) -> Outcome<&Arc<Service>> {
        self.0.check()?;
        Ok(&self.0)
    }
}

impl Service {
    pub(crate) fn core(&self) -> &WhatsAppService {
        self.core.as_ref().expect("taken only when the last handle is dropped")
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn birth(&self) -> Birth {
        self.birth
    }

    pub(crate) fn check(&self) -> Outcome<()> {
        self.birth.check()?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the service was shut down; open a new one").into());
        }
        Ok(())
    }

    /// The completion thread, started when it is first needed. It ends with its last sender.
    pub(crate) fn jobs(&self) -> Outcome<Sender<Job>> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = &*jobs {
            return Ok(jobs.clone());
        }
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("centralita-done".to_owned())
            .spawn(move || receiver.iter().for_each(|job| guard((), job)))
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "the operating system gave no thread for completions")
                    .caused_by(error)
            })?;
        Ok(jobs.insert(sender).clone())
    }
}

impl Drop for Service {
    /// The last handle may be freed on any thread, in a callback too: what takes time is done on a thread of its own.
    fn drop(&mut self) {
        let core = self.core.take();
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if !self.birth.is_here() {
            // The parent's: its threads are not here, and its locks may be held for ever.
            std::mem::forget((core, runtime, self.jobs.get_mut().map(Option::take)));
            return;
        }
        let reap = move || {
            drop(core);
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(THREADS_PATIENCE);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("centralita-end".to_owned()).spawn(reap) {
            // The closure is dropped here and now, which shuts down as well, only slower.
            tracing::warn!(%error, "no thread to end a service on");
        }
    }
}

/// Opens a service: connects to the store, checks the keys, starts the threads. No session is started: see
/// `centralita_service_restore` and `centralita_session_create`.
///
/// `store` is a path of an SQLite file (made if absent), a URI `mongodb://…`, or `memory:` (gone at the end, for
/// tests). `config` may be NULL. Keys: see the options `keys` and `key_file`. Blocks until the store answers.
///
/// Errors: `CENTRALITA_INVALID` (an option), `CENTRALITA_CRYPTO` (no key), `CENTRALITA_CONFLICT` (the file is open
/// elsewhere), `CENTRALITA_UNAVAILABLE`, `CENTRALITA_STORE`, `CENTRALITA_CORRUPT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_open(
    store: centralita_str,
    config: *mut centralita_config,
    out: *mut *mut centralita_service,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?.null();
            let address = store.read("store")?;
            // Used up: keys are not copied.
            let config = config.as_mut().map(std::mem::take).unwrap_or_default();
            out.put_handle(centralita_service(Arc::new(open_service(address, config)?)));
            Ok(())
        })
    }
}

fn open_service(address: &str, config: centralita_config) -> Outcome<Service> {
    let birth = Birth::now();
    let mut threads = Builder::new_multi_thread();
    threads.enable_all().thread_name("centralita");
    if config.worker_threads > 0 {
        threads.worker_threads(config.worker_threads);
    }
    let runtime = threads.build().map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the operating system gave no threads for a runtime")
            .caused_by(error)
    })?;
    // An early return must not drop the runtime here: this thread may be one of a runtime of the host's.
    let runtime = Runtimes(Some(runtime));
    let handle = runtime.handle();
    let keys = store::keys(config.keys, address)?;
    let store = store::open(address, &handle)?;
    let builder = WhatsAppService::builder()
        .shared_store(store)
        .runtime(RuntimeHandle::from_tokio(handle.clone()))
        .options(config.options);
    let builder = match keys {
        Some(keys) => builder.keys(keys),
        None => builder.dangerously_store_credentials_in_plaintext(),
    };
    let builder = match config.instance_id {
        Some(id) => builder.instance_id(id),
        None => builder,
    };
    let core = wait::run(&handle, builder.start())?;
    Ok(Service {
        core: Some(core),
        handle,
        runtime: Mutex::new(runtime.keep()),
        jobs: Mutex::new(None),
        closed: AtomicBool::new(false),
        birth,
    })
}

/// A runtime that is ended without waiting for it unless it is kept.
struct Runtimes(Option<Runtime>);

impl Runtimes {
    fn handle(&self) -> Handle {
        self.0.as_ref().expect("there until kept").handle().clone()
    }

    fn keep(mut self) -> Option<Runtime> {
        self.0.take()
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends the service: stops all sessions within `patience_ms`, releases them, closes the store. What was received is
/// stored and acknowledged; what was not, WhatsApp delivers again. From then on every call on the service and its
/// sessions answers `CENTRALITA_CLOSED`, and subscriptions end once what is queued was taken. Free the handles too.
///
/// `CENTRALITA_TIMEOUT` if some sessions did not end in time: they were cut off, and the service is closed all the same.
/// Blocks, unless `later` is given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_shutdown(
    service: *const centralita_service,
    patience_ms: i64,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let waits_here = later.is_none();
            let service = get(service, "service")?.open()?;
            let patience = u64::try_from(patience_ms)
                .map(Duration::from_millis)
                .map_err(|_| invalid("patience_ms must not be negative"))?;
            // Of two that shut down at once one does it.
            if service.closed.swap(true, Ordering::AcqRel) {
                service.check()?;
            }
            let core = service.core().clone();
            let ended = perform(service, later, Target::Nothing, async move {
                let ended = core.shutdown(patience).await;
                core.store().close().await?;
                ended.map(|()| Output::Nothing)
            });
            if waits_here {
                let runtime = service.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(runtime) = runtime {
                    runtime.shutdown_timeout(THREADS_PATIENCE);
                }
            }
            ended
        })
    }
}

/// Drops this handle and sets `*service` to NULL. Never blocks; allowed in callbacks. The service ends when its last
/// handle is freed and its last operation has ended; without a shutdown before, its sessions are cut off, and other
/// instances wait until their leases have run out. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_free(service: *mut *mut centralita_service) {
    // SAFETY: see `centralita_config_new`.
    guard((), || drop(unsafe { take(service) }));
}

/// The name of this instance in the leases. Borrowed from `service`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_instance_id(
    service: *const centralita_service,
) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { service.as_ref() }.map(|service| service.0.core().instance_id()))
    })
}

/// The kind of store, such as `sqlite` or `mongodb`. Static.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_store_name(service: *const centralita_service) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { service.as_ref() }.map(|service| service.0.core().store().name()))
    })
}

/// The ids of the sessions that run in this process, connected or not, as a JSON array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_running_sessions(
    service: *const centralita_service,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?;
            let service = get(service, "service")?.open()?;
            out.put(centralita_buf::new(json!(service.core().running_sessions()).to_string()));
            Ok(())
        })
    }
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
    /// Called for each session: how many there are, how many were looked at, and the one just looked at.
    pub on_progress: Option<
        unsafe extern "C" fn(user_data: *mut c_void, total: u64, done: u64, session_id: centralita_str),
    >,
    /// Releases `user_data`: called exactly once, after the last progress, or at once if the call fails. May be NULL.
    pub drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: numbers, pointers and nullable functions; all zero is valid.
unsafe impl Sized_ for centralita_progress {
    const NAME: &'static str = "centralita_progress";
    const FIRST_SIZE: usize = 32;
}

type OnProgress =
    unsafe extern "C" fn(user_data: *mut c_void, total: u64, done: u64, session_id: centralita_str);

struct Progress {
    on_progress: Option<OnProgress>,
    user: UserData,
}

/// Starts every stored session that is active and was linked, the most recently active first. Ends once all are
/// started; they connect a few at a time. One that cannot be started is in the report and holds up no other; one that
/// another instance runs stands by here.
///
/// Gives JSON `{"started":[ids],"notLinked":[ids],"malformed":[ids]}`. `progress`, `later` and `out` may be NULL. With
/// `progress` and without `later` it must not be called inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_service_restore(
    service: *const centralita_service,
    progress: *const centralita_progress,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            // Both are read before either can fail the call, so that both are released.
            let progress = sized::read(progress).map(|progress| {
                progress.map(|it| {
                    Arc::new(Progress {
                        on_progress: it.on_progress,
                        user: UserData::new(it.user_data, it.drop),
                    })
                })
            });
            let later = Later::read(later)?;
            let progress = progress?;
            let service = get(service, "service")?.open()?;
            let watch = progress.map(|progress| service.jobs().map(|jobs| (progress, jobs))).transpose()?;
            let waits_here = watch.is_some() && later.is_none();
            if waits_here {
                callback::refuse_inside()?;
            }
            let core = service.core().clone();
            perform(service, later, Target::Text(out), restore(core, watch))?;
            if waits_here {
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

async fn restore(
    core: WhatsAppService,
    watch: Option<(Arc<Progress>, Sender<Job>)>,
) -> centralita::Result<Output> {
    let report = core
        .restore_all(|step| {
            if let Some((progress, jobs)) = &watch {
                let progress = Arc::clone(progress);
                let (total, done, id) = (step.total, step.done, step.session_id.clone());
                drop(jobs.send(Box::new(move || {
                    if let Some(on_progress) = progress.on_progress {
                        let id = centralita_str::of(Some(&id));
                        // SAFETY: a function of the caller's with his data; `id` lives during the call.
                        callback::inside(|| unsafe { on_progress(progress.user.ptr(), total, done, id) });
                    }
                })));
            }
        })
        .await?;
    if let Some((progress, jobs)) = watch {
        // Released where it was used, after the last use.
        drop(jobs.send(Box::new(move || drop(progress))));
    }
    let report = json!({
        "started": report.started,
        "notLinked": report.not_linked,
        "malformed": report.malformed,
    });
    Ok(Output::Text(report.to_string()))
}
