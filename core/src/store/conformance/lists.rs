//! Rules of the [`SessionStore`](crate::store::SessionStore): filters, pages, statistics.

use super::samples::{NOW, assert_kind};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::session::status::Status;
use crate::store::{PageRequest, SessionFilter, SessionPatch, SessionRecord, Store};

/// Twelve sessions of every status, in a jumble.
async fn fill(store: &dyn Store) -> Vec<SessionRecord> {
    let mut records = Vec::new();
    for index in 0..12_u32 {
        let mut record = SessionRecord::new(format!("s{:02}", index * 7 % 12), NOW);
        record.status = Status::ALL[index as usize % 6];
        record.is_connected = record.status == Status::Connected;
        record.is_active = index % 3 != 0;
        record.connection_attempts = index;
        // Ties on purpose.
        record.last_activity = Timestamp::from_unix_s(NOW.unix_s() + i64::from(index / 3));
        record.messages_sent = u64::from(index);
        record.messages_received = u64::from(index) * 10;
        record.total_chats = 2;
        records.push(store.upsert_session(&record, &SessionPatch::default()).await.unwrap());
    }
    records.sort_by(|one, other| one.session_id.cmp(&other.session_id));
    records
}

/// Alone and together, in lists and in counts.
pub async fn filters_match_what_they_say(store: &dyn Store) {
    let records = fill(store).await;
    let cut = Timestamp::from_unix_s(NOW.unix_s() + 2);
    type Matches = fn(&SessionRecord) -> bool;
    let all = SessionFilter::default;
    let filters: Vec<(SessionFilter, Matches)> = vec![
        (all(), |_| true),
        (SessionFilter { is_active: Some(true), ..all() }, |record| record.is_active),
        (SessionFilter { is_active: Some(false), ..all() }, |record| !record.is_active),
        (SessionFilter { is_connected: Some(true), ..all() }, |record| record.is_connected),
        (SessionFilter { statuses: vec![Status::Error, Status::QrReady], ..all() }, |record| {
            matches!(record.status, Status::Error | Status::QrReady)
        }),
        (SessionFilter { min_connection_attempts: Some(7), ..all() }, |record| {
            record.connection_attempts >= 7
        }),
        (SessionFilter { last_activity_before: Some(cut), ..all() }, |record| {
            record.last_activity < Timestamp::from_unix_s(NOW.unix_s() + 2)
        }),
        (SessionFilter { session_ids: vec!["s03".into(), "s08".into(), "no".into()], ..all() }, |record| {
            record.session_id == "s03" || record.session_id == "s08"
        }),
        (SessionFilter { problematic_from_attempts: Some(9), ..all() }, |record| {
            record.status == Status::Error || record.connection_attempts >= 9
        }),
        (
            SessionFilter {
                is_active: Some(true),
                statuses: vec![Status::Error, Status::Pending, Status::Inactive],
                min_connection_attempts: Some(2),
                problematic_from_attempts: Some(6),
                last_activity_before: Some(cut.plus(std::time::Duration::from_secs(1))),
                ..all()
            },
            |record| {
                record.is_active
                    && matches!(record.status, Status::Error | Status::Pending | Status::Inactive)
                    && record.connection_attempts >= 2
                    && (record.status == Status::Error || record.connection_attempts >= 6)
                    && record.last_activity < Timestamp::from_unix_s(NOW.unix_s() + 3)
            },
        ),
    ];
    for (filter, matches) in filters {
        let expected: Vec<_> = records.iter().filter(|record| matches(record)).cloned().collect();
        let page = store.list_sessions(&filter, &PageRequest::default()).await.unwrap();
        assert_eq!(page.items, expected, "{filter:?}");
        assert_eq!((page.next, page.malformed), (None, vec![]));
        assert_eq!(store.count_sessions(&filter).await.unwrap(), expected.len() as u64, "{filter:?}");
    }
}

/// By id, or by activity with ties by id; whatever the size of a page.
pub async fn pages_are_complete_and_ordered(store: &dyn Store) {
    let by_id = fill(store).await;
    let mut by_activity = by_id.clone();
    by_activity.sort_by_key(|record| (std::cmp::Reverse(record.last_activity), record.session_id.clone()));
    for (most_recently_active_first, expected) in [(false, by_id), (true, by_activity)] {
        for limit in [1, 3, 5, 12, 13] {
            let mut page = PageRequest { limit, after: None, most_recently_active_first };
            let mut seen = Vec::new();
            loop {
                let answer = store.list_sessions(&SessionFilter::default(), &page).await.unwrap();
                assert!(answer.items.len() <= limit as usize);
                seen.extend(answer.items);
                assert!(seen.len() <= 12, "a page comes again");
                page.after = answer.next;
                if page.after.is_none() {
                    break;
                }
            }
            assert_eq!(seen, expected, "limit {limit}");
        }
    }
}

/// Before anything is read.
pub async fn a_bad_page_request_is_refused(store: &dyn Store) {
    let all = SessionFilter::default();
    for limit in [0, PageRequest::MAX_LIMIT + 1] {
        let page = PageRequest { limit, ..Default::default() };
        assert_kind(store.list_sessions(&all, &page).await, ErrorKind::Invalid);
    }
    for most_recently_active_first in [false, true] {
        let page = PageRequest { after: Some("{not a token".into()), most_recently_active_first, limit: 5 };
        assert_kind(store.list_sessions(&all, &page).await, ErrorKind::Invalid);
    }
    let page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
    assert!(store.list_sessions(&all, &page).await.unwrap().items.is_empty());
}

/// Over all sessions, and zero over none.
pub async fn statistics_add_up(store: &dyn Store) {
    assert_eq!(store.statistics().await.unwrap(), Default::default());
    fill(store).await;
    let figures = store.statistics().await.unwrap();
    assert_eq!(figures.total_sessions, 12);
    assert_eq!(figures.active_sessions, 8);
    assert_eq!(figures.connected_sessions, 2);
    assert_eq!(figures.disconnected_sessions, 2);
    assert_eq!(figures.pending_sessions, 4);
    assert_eq!(figures.error_sessions, 2);
    assert_eq!(figures.inactive_sessions, 2);
    assert_eq!(figures.messages_sent, 66);
    assert_eq!(figures.messages_received, 660);
    assert_eq!(figures.total_messages, 726);
    assert_eq!(figures.total_chats, 24);
}
