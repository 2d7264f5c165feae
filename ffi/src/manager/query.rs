//! Which sessions, and which part of a list of them.

use centralita::clock::Timestamp;
use centralita::session::status::Status;
use centralita::store::{PageRequest, SessionFilter};
use serde::Deserialize;

use crate::error::Outcome;
use crate::json;
use crate::text::centralita_str;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Query {
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
    pub(super) fn split(self) -> (SessionFilter, PageRequest) {
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
struct Paging {
    limit: Option<u32>,
    after: Option<String>,
    most_recently_active_first: bool,
}

impl From<Paging> for PageRequest {
    fn from(query: Paging) -> Self {
        Self {
            limit: query.limit.unwrap_or(Self::default().limit),
            after: query.after,
            most_recently_active_first: query.most_recently_active_first,
        }
    }
}

/// # Safety
/// As for [`centralita_str::read`].
pub(super) unsafe fn page(page_json: centralita_str) -> Outcome<PageRequest> {
    // SAFETY: passed on.
    unsafe { json::read::<Paging>(page_json, "page_json") }.map(Into::into)
}
