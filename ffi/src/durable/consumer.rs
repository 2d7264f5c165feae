//! `centralita_consumer`: a named reader of the log of events.

use std::sync::Arc;
use std::time::Duration;

use centralita::events::durable::{ConsumerInfo, ConsumerOptions, DurableConsumer, LoggedEvent, StartFrom};
use serde::Deserialize;
use serde_json::json;

use crate::boundary::{guard, take};
use crate::error::{Outcome, centralita_error, invalid};
use crate::json::{self, Json};
use crate::operation::call::{Handle, nothing, operate, patience, refuse_inside_without};
use crate::operation::{Target, centralita_async};
use crate::service::{Service, centralita_service};
use crate::text::{centralita_buf, centralita_str};

/// A consumer of durable events that is open here, and nowhere else. Opaque, thread-safe.
pub struct centralita_consumer {
    service: Arc<Service>,
    consumer: DurableConsumer,
}

impl centralita_consumer {
    pub(crate) fn new(service: &Arc<Service>, consumer: DurableConsumer) -> Self {
        Self { service: Arc::clone(service), consumer }
    }
}

impl Handle for centralita_consumer {
    const NAME: &'static str = "consumer";
    type Core = DurableConsumer;

    fn open(&self) -> Outcome<(&Arc<Service>, DurableConsumer)> {
        self.service.check()?;
        Ok((&self.service, self.consumer.clone()))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    start: Option<Start>,
    stand_by: bool,
    poll_interval_ms: Option<u64>,
    max_attempts: Option<u32>,
    min_pause_ms: Option<u64>,
    max_pause_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Start {
    Oldest,
    Newest,
}

impl From<Options> for ConsumerOptions {
    fn from(options: Options) -> Self {
        let mut core = Self::default();
        let ms = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        if let Some(Start::Newest) = options.start {
            core.start = StartFrom::Newest;
        }
        core.stand_by = options.stand_by;
        core.poll_interval = ms(options.poll_interval_ms, core.poll_interval);
        // A handler is one function on one thread.
        core.concurrency = 1;
        core.retry.max_attempts = options.max_attempts.unwrap_or(core.retry.max_attempts);
        core.retry.min_pause = ms(options.min_pause_ms, core.retry.min_pause);
        core.retry.max_pause = ms(options.max_pause_ms, core.retry.max_pause);
        core
    }
}

/// Opens a consumer of durable events: it goes on where it was, in whichever process. The option `durable_events` must
/// be on. `options_json`: `{"start":"oldest"|"newest","standBy":false,"pollIntervalMs":1000,"maxAttempts":10,
/// "minPauseMs":1000,"maxPauseMs":300000}`, each optional; `{NULL, 0}` for none. `start` counts the first time only; with
/// `standBy` it waits until no other process has it open, which inside a callback only goes with `later`; the last three
/// are for `centralita_consumer_run`.
///
/// `CENTRALITA_INVALID_STATE` if durable events are off, `CENTRALITA_CONFLICT` if it is open elsewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_open(
    service: *const centralita_service,
    name: centralita_str,
    options_json: centralita_str,
    later: *const centralita_async,
    out: *mut *mut centralita_consumer,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let options: Options = json::read(options_json, "options_json")?;
            if later.is_null() && out.is_null() {
                return Err(invalid(
                    "out is NULL, and there is no later that the consumer could be taken from",
                ));
            }
            if options.stand_by {
                refuse_inside_without(later)?;
            }
            Ok((name.owned("name")?, options.into()))
        };
        operate(service, later, Target::Consumer(out), err, input, |service, (name, options)| async move {
            let name: String = name;
            service.consumer(&name, options).await
        })
    }
}

fn logged_json(logged: &LoggedEvent) -> serde_json::Value {
    json!({
        "cursor": logged.cursor.to_string(),
        "attempt": logged.attempt,
        "replayed": logged.replayed,
        "event": &*logged.event,
    })
}

/// The next events of all sessions, in order within each: at most `max` (1 to 10,000), as soon as there is one; none
/// if nothing came within `patience_ms`. Gives an array of `{"cursor","attempt","replayed","event":{…}}`. What was
/// given is not given again while this consumer is open; what was not acknowledged comes again once it was closed and
/// opened. Inside a callback it must be given `later`, unless `patience_ms` is 0.
///
/// An operation that is cancelled or abandoned may have taken events along: they too come again after a close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_next(
    consumer: *const centralita_consumer,
    max: u32,
    patience_ms: i64,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            if patience_ms > 0 {
                refuse_inside_without(later)?;
            }
            patience(patience_ms)
        };
        operate(consumer, later, Target::Text(out), err, input, |consumer, patience| async move {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            let events = consumer.next_batch(max, patience).await?;
            Ok(Json(events.iter().map(logged_json).collect::<Vec<_>>()))
        })
    }
}

/// Says that the event with this cursor and all before it of its session are done with: they do not come again.
/// `CENTRALITA_INVALID` if it is no cursor, another consumer's, or beyond the end of the log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_ack(
    consumer: *const centralita_consumer,
    cursor: centralita_str,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || cursor.owned("cursor");
        operate(consumer, later, Target::Nothing, err, input, |consumer, cursor| async move {
            consumer.ack_cursor(&cursor).await
        })
    }
}

/// Puts the event with this cursor aside as a dead letter, and acknowledges it and all before it of its session.
/// `reason` is kept, up to 2,000 bytes. `CENTRALITA_NOT_FOUND` if the event is not in the log any more: acknowledge it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_reject(
    consumer: *const centralita_consumer,
    cursor: centralita_str,
    reason: centralita_str,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok((cursor.owned("cursor")?, reason.owned("reason")?));
        operate(consumer, later, Target::Nothing, err, input, |consumer, (cursor, reason)| async move {
            let (cursor, reason): (String, String) = (cursor, reason);
            consumer.reject_cursor(&cursor, &reason).await
        })
    }
}

/// Its name. Borrowed from `consumer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_name(consumer: *const centralita_consumer) -> centralita_str {
    guard(centralita_str::NONE, || {
        // SAFETY: see `centralita_config_new`.
        centralita_str::of(unsafe { consumer.as_ref() }.map(|consumer| consumer.consumer.name()))
    })
}

/// Ends it: another process may open it at once. A handler that runs on it ends first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_close(
    consumer: *const centralita_consumer,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        // It waits for whoever reads or handles, which may be this very callback.
        let input = || refuse_inside_without(later);
        operate(consumer, later, Target::Nothing, err, input, |consumer, ()| async move {
            consumer.close().await;
            Ok(())
        })
    }
}

/// Frees the handle and sets `*consumer` to NULL. With its last handle, that of an operation included, a consumer that
/// was not closed is closed by itself, soon. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_free(consumer: *mut *mut centralita_consumer) {
    guard((), || {
        // SAFETY: see `centralita_config_new`.
        if let Some(consumer) = unsafe { take(consumer) }
            && !consumer.service.birth().is_here()
        {
            std::mem::forget(consumer);
        }
    });
}

fn info_json(info: &ConsumerInfo) -> serde_json::Value {
    json!({ "name": info.name, "createdAt": info.created_at, "behind": info.behind })
}

/// The consumers that were ever opened and not deleted: an array of `{"name","createdAt","behind"}`, `behind` in events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumers(
    service: *const centralita_service,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        operate(service, later, Target::Text(out), err, nothing, |service, ()| async move {
            let consumers = service.consumers().await?;
            Ok(Json(consumers.iter().map(info_json).collect::<Vec<_>>()))
        })
    }
}

/// Forgets a consumer: its place in the log and its dead letters. `CENTRALITA_CONFLICT` if it is open somewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_delete(
    service: *const centralita_service,
    name: centralita_str,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || name.owned("name");
        operate(service, later, Target::Nothing, err, input, |service, name| async move {
            service.delete_consumer(&name).await
        })
    }
}
