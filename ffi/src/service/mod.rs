//! `centralita_service`: opening, restoring, shutting down.
//!
//! | file | what |
//! | --- | --- |
//! | `open` | which store, which keys, which threads |
//! | `restore` | starting what ran before, with progress |
//! | `rotation` | new master keys |
//! | `health` | how its sessions do |

pub mod health;
mod open;
pub mod restore;
pub mod rotation;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use centralita::service::WhatsAppService;
use centralita::{Error, ErrorKind};
use tokio::runtime::{Handle, Runtime};

use crate::boundary::{call, get, guard, required, take};
use crate::config::centralita_config;
use crate::error::{Outcome, centralita_error};
use crate::fork::Birth;
use crate::json::to_text;
use crate::operation::call::{Handle as _, patience};
use crate::operation::{Later, Output, Target, centralita_async, perform};
use crate::text::{centralita_buf, centralita_str};

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

impl crate::operation::call::Handle for centralita_service {
    const NAME: &'static str = "service";
    type Core = WhatsAppService;

    fn open(&self) -> Outcome<(&Arc<Service>, WhatsAppService)> {
        self.0.check()?;
        Ok((&self.0, self.0.core().clone()))
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
            out.put_handle(centralita_service(Arc::new(open::open(address, config)?)));
            Ok(())
        })
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
            let (service, core) = get(service, "service")?.open()?;
            let patience = patience(patience_ms)?;
            // Of two that shut down at once one does it.
            if service.closed.swap(true, Ordering::AcqRel) {
                service.check()?;
            }
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
            let (_, core) = get(service, "service")?.open()?;
            out.put(centralita_buf::new(to_text(&core.running_sessions())));
            Ok(())
        })
    }
}
