//! Rules of the [`SessionStore`](crate::store::SessionStore): single records.

use futures::future::join_all;

use super::samples::{NOW, hostile_ids, session, stored_session};
use crate::clock::Timestamp;
use crate::session::status::Status;
use crate::store::session::Counter;
use crate::store::{SessionPatch, SessionRecord, StatusCase, StatusChange, StatusDetail, Store};

const LATER: Timestamp = Timestamp::from_unix_ms(1_700_000_001_234);

/// The second time it is only patched.
pub async fn a_fresh_record_is_inserted_once(store: &dyn Store) {
    assert_eq!(store.get_session("s").await.unwrap(), None);
    let fresh = SessionRecord::new("s", NOW);
    let patch = SessionPatch { name: Some("Ventas".into()), ..Default::default() };
    let inserted = store.upsert_session(&fresh, &patch).await.unwrap();
    assert_eq!(inserted, SessionRecord { name: "Ventas".into(), ..fresh.clone() });
    assert_eq!(stored_session(store, "s").await, inserted);

    let mut second = SessionRecord::new("s", LATER);
    second.messages_sent = 99;
    let patch = SessionPatch { is_active: Some(false), ..Default::default() };
    let updated = store.upsert_session(&second, &patch).await.unwrap();
    assert_eq!(updated, SessionRecord { is_active: false, updated_at: LATER, ..inserted });
    assert_eq!(stored_session(store, "s").await, updated);
}

/// Every one, to a value and back to none.
pub async fn a_patch_sets_every_field(store: &dyn Store) {
    session(store, "s").await;
    let detail = StatusDetail::BackOff { until: LATER, attempt: 3 };
    let patch = SessionPatch {
        name: Some("Ñandú 🦀 $a.b".into()),
        phone: Some(Some("5491155550000".into())),
        is_connected: Some(true),
        last_activity: Some(LATER),
        qr_code: Some(Some("sealed".into())),
        status: Some(Status::Connected),
        status_detail: Some(Some(detail.clone())),
        connection_attempts: Some(Counter::Set(4)),
        last_connection_attempt: Some(LATER),
        last_disconnect_reason: Some(Some("stream error".into())),
        messages_sent: Some(Counter::Set(5)),
        messages_received: Some(Counter::Set(6)),
        total_chats: Some(7),
        memory_usage: Some(1.5),
        last_health_check: Some(LATER),
        is_active: Some(false),
        user_agent: Some(Some("agent".into())),
        platform: Some(Some("android".into())),
        version: Some(Some("2.3000.1".into())),
    };
    let patched = store.patch_session("s", &patch, LATER).await.unwrap().unwrap();
    let expected = SessionRecord {
        session_id: "s".into(),
        name: "Ñandú 🦀 $a.b".into(),
        phone: Some("5491155550000".into()),
        is_connected: true,
        last_activity: LATER,
        qr_code: Some("sealed".into()),
        status: Status::Connected,
        status_detail: Some(detail),
        connection_attempts: 4,
        last_connection_attempt: Some(LATER),
        last_disconnect_reason: Some("stream error".into()),
        messages_sent: 5,
        messages_received: 6,
        total_chats: 7,
        memory_usage: 1.5,
        last_health_check: LATER,
        is_active: false,
        user_agent: Some("agent".into()),
        platform: Some("android".into()),
        version: Some("2.3000.1".into()),
        created_at: NOW,
        updated_at: LATER,
    };
    assert_eq!(patched, expected);
    assert_eq!(stored_session(store, "s").await, expected);

    let clear = SessionPatch {
        phone: Some(None),
        qr_code: Some(None),
        status_detail: Some(None),
        last_disconnect_reason: Some(None),
        user_agent: Some(None),
        platform: Some(None),
        version: Some(None),
        connection_attempts: Some(Counter::Add(2)),
        messages_sent: Some(Counter::Add(2)),
        messages_received: Some(Counter::Add(2)),
        ..Default::default()
    };
    store.patch_session("s", &clear, LATER).await.unwrap().unwrap();
    let cleared = SessionRecord {
        phone: None,
        qr_code: None,
        status_detail: None,
        last_disconnect_reason: None,
        user_agent: None,
        platform: None,
        version: None,
        connection_attempts: 6,
        messages_sent: 7,
        messages_received: 8,
        ..expected
    };
    assert_eq!(stored_session(store, "s").await, cleared);
}

/// `updatedAt` alone.
pub async fn an_empty_patch_changes_nothing_but_the_time(store: &dyn Store) {
    let before = session(store, "s").await;
    let after = store.patch_session("s", &SessionPatch::default(), LATER).await.unwrap().unwrap();
    assert_eq!(after, SessionRecord { updated_at: LATER, ..before });
}

/// An older moment is ignored.
pub async fn activity_only_rises(store: &dyn Store) {
    session(store, "s").await;
    for (given, stands) in [(Timestamp::from_unix_ms(5), NOW), (LATER, LATER), (NOW, LATER)] {
        let patch = SessionPatch { last_activity: Some(given), ..Default::default() };
        let record = store.patch_session("s", &patch, LATER).await.unwrap().unwrap();
        assert_eq!(record.last_activity, stands);
    }
    let mut fresh = SessionRecord::new("t", NOW);
    fresh.last_activity = LATER;
    let patch = SessionPatch { last_activity: Some(NOW), ..Default::default() };
    assert_eq!(store.upsert_session(&fresh, &patch).await.unwrap().last_activity, LATER);
}

/// Additions from everywhere, none lost.
pub async fn counters_are_exact_under_concurrency(store: &dyn Store) {
    let patch = SessionPatch {
        messages_sent: Some(Counter::Add(1)),
        messages_received: Some(Counter::Add(3)),
        connection_attempts: Some(Counter::Add(1)),
        ..Default::default()
    };
    let fresh = SessionRecord::new("s", NOW);
    // Half of them race to insert the record.
    let upserts = join_all((0..20).map(|_| store.upsert_session(&fresh, &patch)));
    for result in upserts.await {
        result.unwrap();
    }
    for result in join_all((0..20).map(|_| store.patch_session("s", &patch, LATER))).await {
        result.unwrap().unwrap();
    }
    let record = stored_session(store, "s").await;
    assert_eq!((record.messages_sent, record.messages_received, record.connection_attempts), (40, 120, 40));
}

/// And makes none.
pub async fn a_patch_of_nothing_is_none(store: &dyn Store) {
    let patch = SessionPatch { name: Some("x".into()), ..Default::default() };
    assert_eq!(store.patch_session("s", &patch, NOW).await.unwrap(), None);
    assert_eq!(store.patch_session_if("s", &Status::ALL, &patch, NOW).await.unwrap(), None);
    assert_eq!(store.get_session("s").await.unwrap(), None);
    assert!(!store.delete_session_record("s").await.unwrap());
}

/// Any of those named; of none, never.
pub async fn a_conditional_patch_needs_the_status(store: &dyn Store) {
    let before = session(store, "s").await;
    let patch = SessionPatch { status: Some(Status::Connected), ..Default::default() };
    for from in [&[][..], &[Status::Connected], &[Status::QrReady, Status::Error]] {
        assert_eq!(store.patch_session_if("s", from, &patch, LATER).await.unwrap(), None);
        assert_eq!(stored_session(store, "s").await, before);
    }
    let from = [Status::Error, Status::Pending];
    let after = store.patch_session_if("s", &from, &patch, LATER).await.unwrap().unwrap();
    assert_eq!(after.status, Status::Connected);
    assert_eq!(stored_session(store, "s").await, after);
}

/// Compare and set.
pub async fn of_many_conditional_patches_one_wins(store: &dyn Store) {
    session(store, "s").await;
    let patch = SessionPatch {
        status: Some(Status::Connected),
        messages_sent: Some(Counter::Add(1)),
        ..Default::default()
    };
    let outcomes =
        join_all((0..12).map(|_| store.patch_session_if("s", &[Status::Pending], &patch, LATER))).await;
    let won = outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_some()).count();
    assert_eq!(won, 1);
    assert_eq!(stored_session(store, "s").await.messages_sent, 1);
}

/// Of each session its own case; none where none fits or nobody is.
pub async fn changes_by_status_take_the_case_that_fits(store: &dyn Store) {
    for (id, status) in [("a", Status::Pending), ("b", Status::Connected), ("c", Status::Error)] {
        session(store, id).await;
        let patch = SessionPatch { status: Some(status), ..Default::default() };
        store.patch_session(id, &patch, NOW).await.unwrap();
    }
    let case = |from: &[Status], sent| StatusCase {
        from: from.to_vec(),
        patch: SessionPatch {
            status: Some(Status::Disconnected),
            messages_sent: Some(Counter::Add(sent)),
            ..Default::default()
        },
    };
    // What a case sets fits another one, which must not apply on top.
    let cases = [
        case(&[Status::Pending, Status::QrReady], 1),
        case(&[Status::Connected], 10),
        case(&[Status::Disconnected], 100),
    ];
    let change = |session| StatusChange { session, cases: &cases, now: LATER };
    let changes = ["c", "b", "nobody", "a"].map(change);
    let changed = store.patch_by_status(&changes).await;
    assert_eq!(changed.len(), 4);
    let sent = |record: Option<SessionRecord>| {
        record.map(|record| (record.session_id, record.status, record.messages_sent, record.updated_at))
    };
    let changed: Vec<_> = changed.into_iter().map(|outcome| sent(outcome.unwrap())).collect();
    let done = |id: &str, sent| Some((id.to_owned(), Status::Disconnected, sent, LATER));
    assert_eq!(changed, [None, done("b", 10), None, done("a", 1)]);
    let [again] = <[_; 1]>::try_from(store.patch_by_status(&[change("a")]).await).unwrap();
    assert_eq!(sent(again.unwrap()), done("a", 101));
    assert_eq!(stored_session(store, "c").await.status, Status::Error);
}

/// Ids, names and reasons are opaque.
pub async fn any_text_is_a_session_id(store: &dyn Store) {
    let ids = hostile_ids();
    for id in &ids {
        session(store, id).await;
        let patch = SessionPatch { last_disconnect_reason: Some(Some(id.clone())), ..Default::default() };
        store.patch_session(id, &patch, LATER).await.unwrap().unwrap();
    }
    for id in &ids {
        let record = stored_session(store, id).await;
        assert_eq!((&record.session_id, &record.name), (id, id));
        assert_eq!(record.last_disconnect_reason.as_ref(), Some(id));
    }
    for id in &ids {
        assert!(store.delete_session_record(id).await.unwrap());
    }
}

/// As it was written.
pub async fn every_status_detail_comes_back(store: &dyn Store) {
    session(store, "s").await;
    for detail in [
        StatusDetail::PairCode { expires_at: LATER },
        StatusDetail::PasskeyRequired,
        StatusDetail::BackOff { until: LATER, attempt: 12 },
        StatusDetail::LoggedOut,
        StatusDetail::Banned { until: Some(LATER) },
        StatusDetail::Banned { until: None },
        StatusDetail::ClientOutdated,
        StatusDetail::Replaced,
        StatusDetail::OwnedElsewhere,
        StatusDetail::StoreUnavailable,
        StatusDetail::LinkTimedOut,
        StatusDetail::WaitingForTurn,
        StatusDetail::Parked { until: None },
        StatusDetail::Parked { until: Some(LATER) },
        StatusDetail::FleetPaused { until: LATER },
        StatusDetail::Failed { message: "say \"what\" 🦀".into() },
    ] {
        let patch = SessionPatch { status_detail: Some(Some(detail.clone())), ..Default::default() };
        store.patch_session("s", &patch, LATER).await.unwrap();
        assert_eq!(stored_session(store, "s").await.status_detail, Some(detail));
    }
    for status in Status::ALL {
        let patch = SessionPatch { status: Some(status), ..Default::default() };
        store.patch_session("s", &patch, LATER).await.unwrap();
        assert_eq!(stored_session(store, "s").await.status, status);
    }
}

/// Only that one, and once.
pub async fn a_deleted_record_is_gone(store: &dyn Store) {
    session(store, "s").await;
    session(store, "s2").await;
    assert!(store.delete_session_record("s").await.unwrap());
    assert!(!store.delete_session_record("s").await.unwrap());
    assert_eq!(store.get_session("s").await.unwrap(), None);
    assert!(store.get_session("s2").await.unwrap().is_some());
}
