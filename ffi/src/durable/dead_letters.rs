//! What handlers failed on: to look at, to replay, to discard, from whichever process.

use crate::error::{Outcome, centralita_error};
use crate::json::{self, Json, PageQuery};
use crate::operation::call::operate;
use crate::operation::{Target, centralita_async};
use crate::service::centralita_service;
use crate::text::{centralita_buf, centralita_str};

/// A page of the events that a consumer's handler failed on. `page_json`: `{"limit":100,"after":…}`, `{NULL, 0}` for the
/// first. Gives `{"items":[{"event","attempts","error","failedAt","replay"}],"next","malformed"}`.
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
        let input = || {
            let query: PageQuery = json::read(page_json, "page_json")?;
            Ok((consumer_name.owned("consumer_name")?, query))
        };
        operate(service, later, Target::Text(out), err, input, |service, (name, query)| async move {
            let name: String = name;
            let letters = service.dead_letters(&name).await?;
            letters.list(query.limit(), query.after.as_deref()).await.map(json::page)
        })
    }
}

/// One dead letter, or all of a consumer.
struct Choice {
    consumer: String,
    session: Option<String>,
}

/// # Safety
/// As for [`centralita_str::read`].
unsafe fn choice(consumer_name: centralita_str, session_id: centralita_str) -> Outcome<Choice> {
    // SAFETY: passed on.
    unsafe {
        Ok(Choice {
            consumer: consumer_name.owned("consumer_name")?,
            session: session_id.optional("session_id")?.map(str::to_owned),
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
        let input = || choice(consumer_name, session_id);
        operate(service, later, Target::Text(out), err, input, |service, choice| async move {
            let letters = service.dead_letters(&choice.consumer).await?;
            match choice.session {
                Some(session) => letters.replay(&session, seq).await.map(|()| Json(1)),
                None => letters.replay_all().await.map(Json),
            }
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
        let input = || choice(consumer_name, session_id);
        operate(service, later, Target::Text(out), err, input, |service, choice| async move {
            let letters = service.dead_letters(&choice.consumer).await?;
            match choice.session {
                Some(session) => letters.discard(&session, seq).await.map(|()| Json(1)),
                None => letters.discard_all().await.map(Json),
            }
        })
    }
}
