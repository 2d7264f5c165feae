//! Events that survive a restart: consumers with a name, by batch and acknowledgement, and what their handlers failed on.

use std::sync::Arc;
use std::time::Duration;

use centralita::events::durable::{ConsumerOptions, DurableConsumer, LoggedEvent, StartFrom};
use serde::Deserialize;
use serde_json::json;

use crate::boundary::{call, get, guard, required, take};
use crate::callback;
use crate::error::{Outcome, centralita_error, invalid};
use crate::manager::{as_json, parse};
use crate::operation::{Later, Output, Target, centralita_async, perform};
use crate::service::{Service, centralita_service};
use crate::text::{centralita_buf, centralita_str};
use crate::wait;

/// A consumer of durable events that is open here, and nowhere else. Opaque, thread-safe.
pub struct centralita_consumer {
    service: Arc<Service>,
    consumer: Arc<DurableConsumer>,
}

impl centralita_consumer {
    fn open(&self) -> Outcome<(&Arc<Service>, Arc<DurableConsumer>)> {
        self.service.check()?;
        Ok((&self.service, Arc::clone(&self.consumer)))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    start: Option<Start>,
    stand_by: bool,
    poll_interval_ms: Option<u64>,
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
        if let Some(Start::Newest) = options.start {
            core.start = StartFrom::Newest;
        }
        core.stand_by = options.stand_by;
        if let Some(ms) = options.poll_interval_ms {
            core.poll_interval = Duration::from_millis(ms);
        }
        core
    }
}

/// Opens a consumer of durable events: it goes on where it was, in whichever process. The option `durable_events` must
/// be on. `options_json`: `{"start":"oldest"|"newest","standBy":false,"pollIntervalMs":1000}`, each optional;
/// `{NULL, 0}` for none. Blocks until the store answers; with `standBy` until no other process has it open.
///
/// `CENTRALITA_INVALID_STATE` if durable events are off, `CENTRALITA_CONFLICT` if it is open elsewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_open(
    service: *const centralita_service,
    name: centralita_str,
    options_json: centralita_str,
    out: *mut *mut centralita_consumer,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let out = required(out, "out")?.null();
            let service = get(service, "service")?.open()?;
            let name = name.read("name")?.to_owned();
            let options: Options = parse("options_json", options_json.optional("options_json")?)?;
            let core = service.core().clone();
            let consumer =
                wait::run(service.runtime(), async move { core.consumer(&name, options.into()).await })?;
            out.put_handle(centralita_consumer {
                service: Arc::clone(service),
                consumer: Arc::new(consumer),
            });
            Ok(())
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
/// opened. Inside a callback it must be given `later`.
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, consumer) = get(consumer, "consumer")?.open()?;
            let patience = u64::try_from(patience_ms)
                .map(Duration::from_millis)
                .map_err(|_| invalid("patience_ms must not be negative"))?;
            if later.is_none() && patience_ms > 0 {
                callback::refuse_inside()?;
            }
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            perform(service, later, Target::Text(out), async move {
                let events = consumer.next_batch(max, patience).await?;
                let events: Vec<_> = events.iter().map(logged_json).collect();
                Ok(Output::Text(json!(events).to_string()))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let (service, consumer) = get(consumer, "consumer")?.open()?;
            let cursor = cursor.read("cursor")?.to_owned();
            perform(service, later, Target::Nothing, async move {
                consumer.ack_cursor(&cursor).await.map(|()| Output::Nothing)
            })
        })
    }
}

/// Ends it: another process may open it at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_consumer_close(
    consumer: *const centralita_consumer,
    later: *const centralita_async,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let (service, consumer) = get(consumer, "consumer")?.open()?;
            perform(service, later, Target::Nothing, async move {
                consumer.close().await;
                Ok(Output::Nothing)
            })
        })
    }
}

/// Frees the handle and sets `*consumer` to NULL. Without a close before, others wait until its lease has run out. NULL
/// is fine, twice is fine.
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
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let core = service.core().clone();
            perform(service, later, Target::Text(out), async move {
                let consumers = core.consumers().await?;
                let consumers: Vec<_> = consumers
                    .iter()
                    .map(|it| json!({ "name": it.name, "createdAt": it.created_at, "behind": it.behind }))
                    .collect();
                Ok(Output::Text(json!(consumers).to_string()))
            })
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
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let core = service.core().clone();
            let name = name.read("name")?.to_owned();
            perform(service, later, Target::Nothing, async move {
                core.delete_consumer(&name).await.map(|()| Output::Nothing)
            })
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Page {
    limit: Option<u32>,
    after: Option<String>,
}

/// A page of the events that a consumer's handler failed on. `page_json`: `{"limit":100,"after":…}`. Gives
/// `{"items":[{"event","attempts","error","failedAt","replay"}],"next","malformed"}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_dead_letters(
    service: *const centralita_service,
    consumer_name: centralita_str,
    page_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let core = service.core().clone();
            let name = consumer_name.read("consumer_name")?.to_owned();
            let page: Page = parse("page_json", page_json.optional("page_json")?)?;
            perform(service, later, Target::Text(out), async move {
                let letters = core.dead_letters(&name).await?;
                let page = letters.list(page.limit.unwrap_or(100), page.after.as_deref()).await?;
                Ok(Output::Text(as_json(page)))
            })
        })
    }
}

/// Has a dead letter handled once more, by whichever process runs the consumer. `session_id` `{NULL, 0}`: all of them,
/// whatever `seq`. Gives a number: how many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_dead_letters_replay(
    service: *const centralita_service,
    consumer_name: centralita_str,
    session_id: centralita_str,
    seq: u64,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let core = service.core().clone();
            let name = consumer_name.read("consumer_name")?.to_owned();
            let session = session_id.optional("session_id")?.map(str::to_owned);
            perform(service, later, Target::Text(out), async move {
                let letters = core.dead_letters(&name).await?;
                let count = match session {
                    Some(session) => letters.replay(&session, seq).await.map(|()| 1)?,
                    None => letters.replay_all().await?,
                };
                Ok(Output::Text(count.to_string()))
            })
        })
    }
}

/// Removes a dead letter for good. `session_id` `{NULL, 0}`: all of them, whatever `seq`. Gives a number: how many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_dead_letters_discard(
    service: *const centralita_service,
    consumer_name: centralita_str,
    session_id: centralita_str,
    seq: u64,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let core = service.core().clone();
            let name = consumer_name.read("consumer_name")?.to_owned();
            let session = session_id.optional("session_id")?.map(str::to_owned);
            perform(service, later, Target::Text(out), async move {
                let letters = core.dead_letters(&name).await?;
                let count = match session {
                    Some(session) => letters.discard(&session, seq).await.map(|()| 1)?,
                    None => letters.discard_all().await?,
                };
                Ok(Output::Text(count.to_string()))
            })
        })
    }
}
