//! What the C ABI costs: events through its callback and through `next`, beside the same in Rust, and a getter.
//!
//! The library is loaded as a C program loads it (`dlopen`). The events are real messages: they are sent, received and
//! decrypted first, while nobody takes them; what is timed is only their way out of a full queue.
//!
//!     cargo build --release --workspace --all-features
//!     target/release/ffi --events 20000

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use centralita::events::{EventKind, Filter, Overflow, Subscription, SubscriptionOptions};
use centralita::service::WhatsAppService;
use centralita::session::LinkStep;
use centralita::store::MemoryStore;
use centralita::vault::KeyRing;
use centralita_stand_in::{Phone, PhoneOptions, StandIn};
use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures what the C ABI costs.
#[derive(Parser)]
struct Args {
    /// Messages that are delivered in each of the three ways.
    #[arg(long, default_value_t = 20_000)]
    events: u64,
    /// How often each way is measured; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The shared library; default: beside this program.
    #[arg(long)]
    library: Option<PathBuf>,
}

const KEYS: &str = "bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PATIENCE: Duration = Duration::from_secs(600);
const EVENT_MESSAGE: i32 = 3;
const LINK_QR: i32 = 1;
const OVERFLOW_WAIT: i32 = 1;

fn main() -> Result<()> {
    let args = Args::parse();
    let library = match args.library {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("libcentralita_ffi.so"),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let api = Api::load(&library)?;
    let (mut rust, mut next, mut callback) = (f64::MAX, f64::MAX, f64::MAX);
    let mut getter = f64::MAX;
    for _ in 0..args.rounds {
        rust = rust.min(runtime.block_on(in_rust(args.events))?);
        let c = in_c(&runtime, &api, args.events)?;
        next = next.min(c.next_ns);
        callback = callback.min(c.callback_ns);
        getter = getter.min(c.getter_ns);
    }
    let report = serde_json::json!({
        "bench": "ffi",
        "events": args.events,
        "rust_events_per_s": per_second(rust),
        "callback_events_per_s": per_second(callback),
        "next_events_per_s": per_second(next),
        "callback_overhead_ns_per_event": (callback - rust).round(),
        "next_overhead_ns_per_event": (next - rust).round(),
        "getter_ns": (getter * 10.0).round() / 10.0,
    });
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn per_second(ns: f64) -> u64 {
    (1e9 / ns) as u64
}

/// Nanoseconds an event, once `done` of them were taken.
fn ns_each(started: Instant, done: u64) -> f64 {
    started.elapsed().as_nanos() as f64 / done as f64
}

struct World {
    stand_in: StandIn,
    phone: Phone,
    contact: Phone,
}

impl World {
    async fn new() -> Result<Self> {
        let stand_in = StandIn::start().await?;
        let phone = stand_in.add_phone(PhoneOptions::default())?;
        let contact = stand_in.add_phone(PhoneOptions::default())?;
        Ok(Self { stand_in, phone, contact })
    }

    async fn send(&self, events: u64) -> Result<()> {
        for _ in 0..events {
            self.contact.send_text(&self.phone.phone_number(), "hola").await?;
        }
        Ok(())
    }
}

/// Room for all events and what comes beside them.
fn capacity(events: u64) -> usize {
    usize::try_from(events).unwrap_or(usize::MAX / 2) * 2 + 1_000
}

async fn take_messages(subscription: &mut Subscription, events: u64) -> Result<()> {
    let mut seen = 0;
    while seen < events {
        match subscription.next().await? {
            Some(event) => seen += u64::from(matches!(event.kind, EventKind::Message(_))),
            None => return Err("the events ended".into()),
        }
    }
    Ok(())
}

async fn in_rust(events: u64) -> Result<f64> {
    let world = World::new().await?;
    let service = WhatsAppService::builder()
        .store(MemoryStore::new())
        .keys(KeyRing::parse(KEYS)?)
        .configure(|options| {
            options.stand_in_url = Some(world.stand_in.web_socket_url());
            options.whatsapp_version = Some((2, 3000, 1_027_934_701));
            options.pre_key_count = 30;
        })
        .start()
        .await?;
    let options =
        || SubscriptionOptions::from(Filter::all()).capacity(capacity(events)).overflow(Overflow::Wait);
    let mut measured = service.subscribe(options())?;
    let mut watching = service.subscribe(options())?;
    let session = service.create_session("bench").await?;
    let mut link = session.link()?;
    while let Some(step) = link.next().await {
        if let LinkStep::Qr { code, .. } = step {
            world.phone.scan_qr(code.text())?;
        }
    }
    session.wait_connected(PATIENCE).await?;
    world.send(events).await?;
    // Once it has the last one the other queue has it, too: they are served in order.
    take_messages(&mut watching, events).await?;
    let started = Instant::now();
    take_messages(&mut measured, events).await?;
    let ns = ns_each(started, events);
    service.shutdown(PATIENCE).await?;
    world.stand_in.shutdown().await;
    Ok(ns)
}

struct Measured {
    callback_ns: f64,
    next_ns: f64,
    getter_ns: f64,
}

/// What a sink counts.
struct Counted {
    event_type: unsafe extern "C" fn(*const c_void) -> i32,
    messages: AtomicU64,
    held: Mutex<bool>,
    changed: Condvar,
    waits_for_release: AtomicBool,
}

impl Counted {
    fn new(api: &Api) -> Self {
        Self {
            event_type: api.event_type,
            messages: AtomicU64::new(0),
            held: Mutex::new(false),
            changed: Condvar::new(),
            waits_for_release: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, messages: u64) {
        while self.messages.load(Ordering::Acquire) < messages {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

fn in_c(runtime: &tokio::runtime::Runtime, api: &Api, events: u64) -> Result<Measured> {
    let world = runtime.block_on(World::new())?;
    // SAFETY: calls as the header says; every pointer lives as long as the call, the counters until the end.
    unsafe {
        let config = api.out(|out, err| (api.config_new)(out, err))?;
        for (name, value) in [
            ("stand_in_url", world.stand_in.web_socket_url().as_str()),
            ("keys", KEYS),
            ("whatsapp_version", "2.3000.1027934701"),
            ("pre_key_count", "30"),
        ] {
            api.check(|err| (api.config_set)(config, Str::new(name), Str::new(value), err))?;
        }
        let mut service = api.out(|out, err| (api.service_open)(Str::new("memory:"), config, out, err))?;
        let (held, watching) = (Counted::new(api), Counted::new(api));
        held.waits_for_release.store(true, Ordering::Release);
        *held.lock() = true;
        let sink = |counted: Option<&Counted>| Sink {
            struct_size: u32::try_from(size_of::<Sink>()).unwrap_or(0),
            capacity: u32::try_from(capacity(events)).unwrap_or(u32::MAX),
            overflow: OVERFLOW_WAIT,
            reserved: 0,
            user_data: counted.map_or(std::ptr::null(), std::ptr::from_ref).cast_mut().cast(),
            on_event: counted.map(|_| on_event as OnEvent),
            on_end: std::ptr::null(),
            drop: std::ptr::null(),
            session_ids: std::ptr::null(),
            session_count: 0,
        };
        let subscribe = |counted: Option<&Counted>| {
            let sink = sink(counted);
            api.out(|out, err| (api.subscribe)(service, &raw const sink, out, err))
        };
        let mut pulled = subscribe(None)?;
        let mut pushed = subscribe(Some(&held))?;
        let mut watched = subscribe(Some(&watching))?;
        let session =
            api.out(|out, err| (api.session_create)(service, Str::new("bench"), std::ptr::null(), out, err))?;
        let link = api.out(|out, err| (api.session_link)(session, out, err))?;
        loop {
            let mut step = std::ptr::null_mut();
            if api.check(|err| (api.link_next)(link, -1, &raw mut step, err))? != 0 {
                break;
            }
            if (api.link_step_type)(step) == LINK_QR {
                let text = (api.link_step_text)(step);
                let code = std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len);
                world.phone.scan_qr(std::str::from_utf8(code)?)?;
            }
        }
        let patience = i64::try_from(PATIENCE.as_millis())?;
        api.check(|err| (api.wait_connected)(session, patience, std::ptr::null(), err))?;
        runtime.block_on(world.send(events))?;
        watching.wait_for(events);

        let started = Instant::now();
        let (mut seen, mut last) = (0, std::ptr::null_mut());
        while seen < events {
            let mut event = std::ptr::null_mut();
            api.check(|err| (api.subscription_next)(pulled, -1, &raw mut event, err))?;
            seen += u64::from((api.event_type)(event) == EVENT_MESSAGE);
            if seen == events {
                last = event;
            } else {
                (api.event_free)(&raw mut event);
            }
        }
        let next_ns = ns_each(started, events);

        let started = Instant::now();
        *held.lock() = false;
        held.changed.notify_all();
        held.wait_for(events);
        let callback_ns = ns_each(started, events);

        const CALLS: u64 = 20_000_000;
        let started = Instant::now();
        let mut sum = 0_u64;
        for _ in 0..CALLS {
            sum = sum.wrapping_add((api.event_seq)(std::hint::black_box(last)));
        }
        std::hint::black_box(sum);
        let getter_ns = ns_each(started, CALLS);

        (api.event_free)(&raw mut last);
        api.check(|err| (api.service_shutdown)(service, patience, std::ptr::null(), err))?;
        for subscription in [&mut pulled, &mut pushed, &mut watched] {
            (api.subscription_free)(std::ptr::from_mut(subscription));
        }
        (api.service_free)(&raw mut service);
        runtime.block_on(world.stand_in.shutdown());
        Ok(Measured { callback_ns, next_ns, getter_ns })
    }
}

/// The sink's function, as a C program would write it.
unsafe extern "C" fn on_event(user_data: *mut c_void, event: *const c_void) {
    // SAFETY: the counter that the sink was given, which outlives it; the event is the library's.
    let counted = unsafe { &*user_data.cast::<Counted>() };
    // SAFETY: as above.
    let kind = unsafe { (counted.event_type)(event) };
    if counted.waits_for_release.load(Ordering::Acquire) {
        let mut held = counted.lock();
        while *held {
            held = counted.changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        counted.waits_for_release.store(false, Ordering::Release);
    }
    if kind == EVENT_MESSAGE {
        counted.messages.fetch_add(1, Ordering::Release);
    }
}

type Handle = *mut c_void;
type OnEvent = unsafe extern "C" fn(*mut c_void, *const c_void);

#[repr(C)]
#[derive(Clone, Copy)]
struct Str {
    ptr: *const c_char,
    len: usize,
}

impl Str {
    fn new(text: &str) -> Self {
        Self { ptr: text.as_ptr().cast(), len: text.len() }
    }
}

#[repr(C)]
struct Sink {
    struct_size: u32,
    capacity: u32,
    overflow: i32,
    reserved: u32,
    user_data: *mut c_void,
    on_event: Option<OnEvent>,
    on_end: *const c_void,
    drop: *const c_void,
    session_ids: *const Str,
    session_count: usize,
}

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> Handle;
    fn dlsym(library: Handle, name: *const c_char) -> *mut c_void;
}

/// The functions of the header that are used here.
macro_rules! api {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct Api {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Api {
            fn load(path: &std::path::Path) -> Result<Self> {
                const RTLD_NOW: c_int = 2;
                let name = CString::new(path.to_str().ok_or("the path is not UTF-8")?)?;
                // SAFETY: a C string.
                let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
                if library.is_null() {
                    return Err(format!(
                        "cannot load {}; cargo build --release --workspace --all-features makes it",
                        path.display()
                    )
                    .into());
                }
                $(
                    // SAFETY: a C string, and a library that is never closed.
                    let $name = unsafe { dlsym(library, concat!($symbol, "\0").as_ptr().cast()) };
                    if $name.is_null() {
                        return Err(concat!("the library lacks ", $symbol).into());
                    }
                )*
                Ok(Self {
                    // SAFETY: the header declares it with this type.
                    $($name: unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>($name) },)*
                })
            }
        }
    };
}

api! {
    config_new = "centralita_config_new": fn(*mut Handle, *mut Handle) -> i32;
    config_set = "centralita_config_set": fn(Handle, Str, Str, *mut Handle) -> i32;
    service_open = "centralita_service_open": fn(Str, Handle, *mut Handle, *mut Handle) -> i32;
    service_shutdown = "centralita_service_shutdown": fn(Handle, i64, *const c_void, *mut Handle) -> i32;
    service_free = "centralita_service_free": fn(*mut Handle);
    session_create = "centralita_session_create": fn(Handle, Str, *const c_void, *mut Handle, *mut Handle) -> i32;
    session_link = "centralita_session_link": fn(Handle, *mut Handle, *mut Handle) -> i32;
    wait_connected = "centralita_session_wait_connected": fn(Handle, i64, *const c_void, *mut Handle) -> i32;
    link_next = "centralita_link_next": fn(Handle, i64, *mut Handle, *mut Handle) -> i32;
    link_step_type = "centralita_link_step_type": fn(Handle) -> i32;
    link_step_text = "centralita_link_step_text": fn(Handle) -> Str;
    subscribe = "centralita_subscribe": fn(Handle, *const Sink, *mut Handle, *mut Handle) -> i32;
    subscription_next = "centralita_subscription_next": fn(Handle, i64, *mut Handle, *mut Handle) -> i32;
    subscription_free = "centralita_subscription_free": fn(*mut Handle);
    event_type = "centralita_event_type": fn(*const c_void) -> i32;
    event_seq = "centralita_event_seq": fn(*const c_void) -> u64;
    event_free = "centralita_event_free": fn(*mut Handle);
    error_message = "centralita_error_message": fn(Handle) -> Str;
}

impl Api {
    /// The status if it is no error.
    fn check(&self, call: impl FnOnce(*mut Handle) -> i32) -> Result<i32> {
        let mut error = std::ptr::null_mut();
        let status = call(&raw mut error);
        if status <= 2 {
            return Ok(status);
        }
        // SAFETY: the error that came with the status, and its text.
        let message = unsafe {
            let text = (self.error_message)(error);
            std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len)
        };
        Err(format!("status {status}: {}", String::from_utf8_lossy(message)).into())
    }

    fn out(&self, call: impl FnOnce(*mut Handle, *mut Handle) -> i32) -> Result<Handle> {
        let mut handle = std::ptr::null_mut();
        self.check(|error| call(&raw mut handle, error))?;
        Ok(handle)
    }
}
