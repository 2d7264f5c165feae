//! Records: making, reading, listing, counting them.

use centralita::session_manager::SessionData;
use serde::Deserialize;

use super::query::{Query, page};
use crate::error::centralita_error;
use crate::json::{self, Json};
use crate::operation::call::{nothing, operate};
use crate::operation::{Target, centralita_async};
use crate::service::centralita_service;
use crate::text::{centralita_buf, centralita_str};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Data {
    name: Option<String>,
    phone: Option<String>,
    user_agent: Option<String>,
    platform: Option<String>,
    version: Option<String>,
}

impl From<Data> for SessionData {
    fn from(Data { name, phone, user_agent, platform, version }: Data) -> Self {
        Self { name, phone, user_agent, platform, version }
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
            let data = json::read::<Data>(data_json, "data_json")?;
            Ok((session_id.owned("session_id")?, SessionData::from(data)))
        };
        operate(service, later, Target::Text(out), err, input, |service, (id, data)| async move {
            service.manager().create_or_update_session(&id, &data).await.map(Json)
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
        let input = || session_id.owned("session_id");
        operate(service, later, Target::Text(out), err, input, |service, id| async move {
            service.manager().get_session(&id).await.map(Json)
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
        let input = || json::read::<Query>(query_json, "query_json").map(Query::split);
        operate(service, later, Target::Text(out), err, input, |service, (filter, page)| async move {
            service.manager().list_sessions(&filter, &page).await.map(json::page)
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
        let input = || json::read::<Query>(query_json, "query_json").map(Query::split);
        operate(service, later, Target::Text(out), err, input, |service, (filter, _)| async move {
            service.manager().count_sessions(&filter).await.map(Json)
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
        operate(service, later, Target::Text(out), err, input, |service, page| async move {
            service.manager().get_active_sessions(&page).await.map(json::page)
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
        operate(service, later, Target::Text(out), err, input, |service, page| async move {
            service.manager().get_connected_sessions(&page).await.map(json::page)
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
        operate(service, later, Target::Text(out), err, input, |service, page| async move {
            service.manager().get_problematic_sessions(min_attempts, &page).await.map(json::page)
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
        operate(service, later, Target::Text(out), err, nothing, |service, ()| async move {
            service.manager().get_statistics().await.map(Json)
        })
    }
}
