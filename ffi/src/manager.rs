//! The seed's `SessionManager`: what is known of sessions, whether they run here or not. Records are JSON with the
//! fields of the `sessions` collection.

use centralita::clock::Timestamp;
use centralita::session::status::Status;
use centralita::session_manager::{ConnectionMetadata, SessionData, SessionManager};
use centralita::store::{Direction, Page, PageRequest, SessionFilter, SessionRecord, StatusDetail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::boundary::{call, get};
use crate::error::{Outcome, centralita_error, invalid};
use crate::operation::{Later, Output, Target, centralita_async, flag, perform};
use crate::service::centralita_service;
use crate::text::{centralita_buf, centralita_str};

/// Reads JSON of a caller; none is the default.
pub(crate) fn parse<T: DeserializeOwned + Default>(what: &'static str, text: Option<&str>) -> Outcome<T> {
    let Some(text) = text else { return Ok(T::default()) };
    serde_json::from_str(text).map_err(|error| {
        // Where, not what: serde quotes values.
        let what_kind = match error.classify() {
            serde_json::error::Category::Data => "has a field that is unknown or of another type",
            _ => "is not JSON",
        };
        invalid(format!("{what} {what_kind} (line {}, column {})", error.line(), error.column()))
    })
}

pub(crate) fn as_json<T: Serialize>(page: Page<T>) -> String {
    json!({ "items": page.items, "next": page.next, "malformed": page.malformed }).to_string()
}

fn record_json(record: &SessionRecord) -> centralita::Result<Output> {
    Ok(Output::Text(json!(record).to_string()))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Data {
    name: Option<String>,
    phone: Option<String>,
    user_agent: Option<String>,
    platform: Option<String>,
    version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Query {
    is_active: Option<bool>,
    is_connected: Option<bool>,
    statuses: Vec<Status>,
    min_connection_attempts: Option<u32>,
    last_activity_before: Option<Timestamp>,
    session_ids: Vec<String>,
    limit: Option<u32>,
    after: Option<String>,
    most_recently_active_first: bool,
}

impl Query {
    fn split(self) -> (SessionFilter, PageRequest) {
        let filter = SessionFilter {
            is_active: self.is_active,
            is_connected: self.is_connected,
            statuses: self.statuses,
            min_connection_attempts: self.min_connection_attempts,
            last_activity_before: self.last_activity_before,
            session_ids: self.session_ids,
            ..SessionFilter::default()
        };
        let page = PageRequest {
            limit: self.limit.unwrap_or(PageRequest::default().limit),
            after: self.after,
            most_recently_active_first: self.most_recently_active_first,
        };
        (filter, page)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PageQuery {
    limit: Option<u32>,
    after: Option<String>,
    most_recently_active_first: bool,
}

impl From<PageQuery> for PageRequest {
    fn from(query: PageQuery) -> Self {
        Self {
            limit: query.limit.unwrap_or(Self::default().limit),
            after: query.after,
            most_recently_active_first: query.most_recently_active_first,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Metadata {
    phone: Option<String>,
    name: Option<String>,
    platform: Option<String>,
    version: Option<String>,
    user_agent: Option<String>,
    disconnect_reason: Option<String>,
    status_detail: Option<StatusDetail>,
}

impl From<Metadata> for ConnectionMetadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            phone: metadata.phone,
            name: metadata.name,
            platform: metadata.platform,
            version: metadata.version,
            user_agent: metadata.user_agent,
            disconnect_reason: metadata.disconnect_reason,
            status_detail: metadata.status_detail,
        }
    }
}

/// # Safety
/// As for [`centralita_str::read`].
unsafe fn page(query: centralita_str) -> Outcome<PageRequest> {
    // SAFETY: passed on.
    let text = unsafe { query.optional("page_json") }?;
    parse::<PageQuery>("page_json", text).map(Into::into)
}

/// Reads the input, which may fail the call, then runs the work.
///
/// # Safety
/// As the header says of the function that calls it.
unsafe fn ask<I, F: Future<Output = centralita::Result<Output>> + Send + 'static>(
    service: *const centralita_service,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
    input: impl FnOnce() -> Outcome<I>,
    work: impl FnOnce(SessionManager, I) -> F,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        call(err, || {
            let later = Later::read(later)?;
            let service = get(service, "service")?.open()?;
            let work = work(service.core().manager().clone(), input()?);
            perform(service, later, Target::Text(out), work)
        })
    }
}

/// `createOrUpdateSession`: creates a session (`pending`, active) or changes what is said of it; its status stays. It does
/// not start it. `data_json`: `{"name","phone","userAgent","platform","version"}`, each optional; `{NULL, 0}` for none.
/// Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_create_or_update_session(
    service: *const centralita_service,
    session_id: centralita_str,
    data_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let data: Data = parse("data_json", data_json.optional("data_json")?)?;
            Ok((session_id.read("session_id")?.to_owned(), data))
        };
        ask(service, later, out, err, input, |manager, (id, data)| async move {
            let Data { name, phone, user_agent, platform, version } = data;
            let data = SessionData { name, phone, user_agent, platform, version };
            record_json(&manager.create_or_update_session(&id, &data).await?)
        })
    }
}

/// `getSession`: gives the record, its QR code opened. `CENTRALITA_NOT_FOUND` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_get_session(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok(session_id.read("session_id")?.to_owned());
        ask(service, later, out, err, input, |manager, id: String| async move {
            record_json(&manager.get_session(&id).await?)
        })
    }
}

/// A page of sessions. `query_json`: `{"isActive","isConnected","statuses":[…],"minConnectionAttempts",
/// "lastActivityBefore":date,"sessionIds":[…],"limit":100,"after","mostRecentlyActiveFirst":false}`, each optional;
/// `{NULL, 0}` for all. Gives `{"items":[records],"next":…,"malformed":[ids]}`; pass `next` as `after` for the rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_list_sessions(
    service: *const centralita_service,
    query_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || parse::<Query>("query_json", query_json.optional("query_json")?).map(Query::split);
        ask(service, later, out, err, input, |manager, (filter, page)| async move {
            Ok(Output::Text(as_json(manager.list_sessions(&filter, &page).await?)))
        })
    }
}

/// Counts the sessions that `query_json` (as in `centralita_manager_list_sessions`) names. Gives a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_count_sessions(
    service: *const centralita_service,
    query_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || parse::<Query>("query_json", query_json.optional("query_json")?).map(Query::split);
        ask(service, later, out, err, input, |manager, (filter, _)| async move {
            Ok(Output::Text(manager.count_sessions(&filter).await?.to_string()))
        })
    }
}

/// `getActiveSessions`: sessions that were not put away. `page_json`: `{"limit":100,"after","mostRecentlyActiveFirst":false}`, each
/// optional; `{NULL, 0}` for the first page. Gives a page as `centralita_manager_list_sessions` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_get_active_sessions(
    service: *const centralita_service,
    page_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || page(page_json);
        ask(service, later, out, err, input, |manager, page| async move {
            Ok(Output::Text(as_json(manager.get_active_sessions(&page).await?)))
        })
    }
}

/// `getConnectedSessions`: sessions that are logged in. `page_json`: `{"limit":100,"after","mostRecentlyActiveFirst":false}`, each
/// optional; `{NULL, 0}` for the first page. Gives a page as `centralita_manager_list_sessions` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_get_connected_sessions(
    service: *const centralita_service,
    page_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || page(page_json);
        ask(service, later, out, err, input, |manager, page| async move {
            Ok(Output::Text(as_json(manager.get_connected_sessions(&page).await?)))
        })
    }
}

/// `getProblematicSessions`: sessions in status `error` or with at least `min_attempts` failed attempts.
/// `page_json`: `{"limit":100,"after","mostRecentlyActiveFirst":false}`, each
/// optional; `{NULL, 0}` for the first page. Gives a page as `centralita_manager_list_sessions` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_get_problematic_sessions(
    service: *const centralita_service,
    min_attempts: u32,
    page_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || page(page_json);
        ask(service, later, out, err, input, |manager, page| async move {
            Ok(Output::Text(as_json(manager.get_problematic_sessions(min_attempts, &page).await?)))
        })
    }
}

/// `updateConnectionStatus`: sets the status that `status` names (`pending`, `qr_ready`, `connected`, …) if the transition
/// table leads to it. `CENTRALITA_INVALID` unless `is_connected` is 1 exactly for `connected`. `metadata_json`:
/// `{"phone","name","platform","version","userAgent","disconnectReason",
/// "statusDetail"}`, each optional. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_connection_status(
    service: *const centralita_service,
    session_id: centralita_str,
    is_connected: i32,
    status: centralita_str,
    metadata_json: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let metadata: Metadata = parse("metadata_json", metadata_json.optional("metadata_json")?)?;
            let status: Status = status.read("status")?.parse()?;
            let is_connected = flag(is_connected, "is_connected")?;
            Ok((session_id.read("session_id")?.to_owned(), is_connected, status, metadata))
        };
        ask(service, later, out, err, input, |manager, (id, is_connected, status, metadata)| async move {
            let metadata = metadata.into();
            record_json(&manager.update_connection_status(&id, is_connected, status, metadata).await?)
        })
    }
}

/// `recordConnectionAttempt`: a failure (`success` 0) counts, a success (1) sets the count to zero. `reason`: `{NULL, 0}` for
/// none. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_record_connection_attempt(
    service: *const centralita_service,
    session_id: centralita_str,
    success: i32,
    reason: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let reason = reason.optional("reason")?.map(str::to_owned);
            Ok((session_id.read("session_id")?.to_owned(), flag(success, "success")?, reason))
        };
        ask(service, later, out, err, input, |manager, (id, success, reason)| async move {
            record_json(&manager.record_connection_attempt(&id, success, reason.as_deref()).await?)
        })
    }
}

/// `updateQRCode`: stores a QR code, which makes the session `qr_ready`; `{NULL, 0}` removes it. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_qr_code(
    service: *const centralita_service,
    session_id: centralita_str,
    qr_code: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let code = qr_code.optional("qr_code")?.map(str::to_owned);
            Ok((session_id.read("session_id")?.to_owned(), code))
        };
        ask(service, later, out, err, input, |manager, (id, code): (String, Option<String>)| async move {
            record_json(&manager.update_qr_code(&id, code.as_deref()).await?)
        })
    }
}

/// `incrementMessageCount`: counts one message of `direction` `received` or `sent`. Messages that are stored are counted
/// already: this is for those that are not. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_increment_message_count(
    service: *const centralita_service,
    session_id: centralita_str,
    direction: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || {
            let direction = match direction.read("direction")? {
                "received" => Direction::In,
                "sent" => Direction::Out,
                _ => return Err(invalid("direction must be received or sent")),
            };
            Ok((session_id.read("session_id")?.to_owned(), direction))
        };
        ask(service, later, out, err, input, |manager, (id, direction)| async move {
            record_json(&manager.increment_message_count(&id, direction).await?)
        })
    }
}

/// `updateChatCount`: counts the stored chats anew and sets `totalChats`. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_chat_count(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok(session_id.read("session_id")?.to_owned());
        ask(service, later, out, err, input, |manager, id: String| async move {
            record_json(&manager.update_chat_count(&id).await?)
        })
    }
}

/// `updateHealthCheck`: notes a health check and the memory that the session takes, in MB (2^20 bytes). Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_update_health_check(
    service: *const centralita_service,
    session_id: centralita_str,
    memory_mb: f64,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok(session_id.read("session_id")?.to_owned());
        ask(service, later, out, err, input, |manager, id: String| async move {
            record_json(&manager.update_health_check(&id, memory_mb).await?)
        })
    }
}

/// `markAsInactive`: puts a session away: it is not restored at start, and cleanup removes it in time. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_mark_as_inactive(
    service: *const centralita_service,
    session_id: centralita_str,
    reason: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok((session_id.read("session_id")?.to_owned(), reason.read("reason")?.to_owned()));
        ask(service, later, out, err, input, |manager, (id, reason): (String, String)| async move {
            record_json(&manager.mark_as_inactive(&id, &reason).await?)
        })
    }
}

/// `deleteSession`: deletes a session that runs nowhere, with all that is its. Gives `{"auth","messages","chats"}`: how many
/// documents went with it. `CENTRALITA_CONFLICT` if an instance holds it: see `centralita_session_delete`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_delete_session(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok(session_id.read("session_id")?.to_owned());
        ask(service, later, out, err, input, |manager, id: String| async move {
            Ok(Output::Text(json!(manager.delete_session(&id, None).await?).to_string()))
        })
    }
}

/// `cleanupInactiveSessions`: deletes the sessions without activity for `days_inactive` days, or with `dry_run` 1 says which
/// it would. Gives `{"dryRun","removed":[ids],"held":[ids],"failed":[{"sessionId","kind","message"}]}`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_cleanup_inactive_sessions(
    service: *const centralita_service,
    days_inactive: u32,
    dry_run: i32,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || flag(dry_run, "dry_run");
        ask(service, later, out, err, input, |manager, dry_run| async move {
            let report = manager.cleanup_inactive_sessions(days_inactive, dry_run).await?;
            Ok(Output::Text(json!(report).to_string()))
        })
    }
}

/// `getStatistics`: gives the figures of the whole system (`totalSessions`, `connectedSessions`, `totalMessages`, …).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_get_statistics(
    service: *const centralita_service,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok(());
        ask(service, later, out, err, input, |manager, ()| async move {
            Ok(Output::Text(json!(manager.get_statistics().await?).to_string()))
        })
    }
}

/// `resetConnectionAttempts`: sets the count of failed attempts to zero. Gives the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_manager_reset_connection_attempts(
    service: *const centralita_service,
    session_id: centralita_str,
    later: *const centralita_async,
    out: *mut centralita_buf,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        let input = || Ok(session_id.read("session_id")?.to_owned());
        ask(service, later, out, err, input, |manager, id: String| async move {
            record_json(&manager.reset_connection_attempts(&id).await?)
        })
    }
}
