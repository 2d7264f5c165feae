//! Pair codes, passkeys, codes that nobody uses, and what a stopped or deleted session leaves.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use centralita::error::ErrorKind;
use centralita::session::LinkStep;
use centralita::session::status::Status;
use centralita::store::StatusDetail;
use centralita_end_to_end::*;

macro_rules! link_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

link_test!(a_pair_code_typed_on_the_phone_links_the_session, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let session = service.create_session("ventas").await.unwrap();
    let code = session.request_pair_code(&world.phone.phone_number()).await.unwrap();
    assert_eq!(code.len(), 8);
    let detail = event(&mut events, "the code in the status", |event| match &event.kind {
        centralita::events::EventKind::Status {
            detail: Some(detail @ StatusDetail::PairCode { .. }),
            ..
        } => Some(detail.clone()),
        _ => None,
    })
    .await;
    assert!(matches!(detail, StatusDetail::PairCode { .. }));
    let phone = world.phone.clone();
    tokio::task::spawn_blocking(move || phone.enter_pair_code(&code)).await.unwrap().unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    assert_eq!(session.record().await.unwrap().qr_code, None);
    shut_down(service).await;
});

link_test!(a_passkey_challenge_is_handed_out_and_its_answer_sent, async {
    let world = World::new(StoreKind::Memory).await;
    world.stand_in.faults().request_passkey(true);
    let service = world.service().await;
    let session = service.create_session("ventas").await.unwrap();
    let mut link = session.link().unwrap();
    let challenge = loop {
        match within("a challenge", link.next()).await.unwrap() {
            LinkStep::PasskeyChallenge { request_options_json } => break request_options_json,
            LinkStep::Qr { code, .. } => {
                // The phone is pointed at the code as usual; WhatsApp then wants the passkey.
                let _scan = world.phone.scan_qr(code.text());
            }
            other => panic!("{other:?}"),
        }
    };
    let options: serde_json::Value = serde_json::from_str(challenge.expose()).unwrap();
    assert!(options.to_string().contains("challenge"));
    record_where(&session, "the status", |r| {
        r.status == Status::QrReady && r.status_detail == Some(StatusDetail::PasskeyRequired)
    })
    .await;
    let assertion = serde_json::json!({
        "id": "Y3JlZA", "rawId": "Y3JlZA", "type": "public-key",
        "response": {"clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA", "userHandle": null}
    });
    session.answer_passkey(assertion.to_string().into_bytes(), b"cred".to_vec()).await.unwrap();
    loop {
        match within("the end of the link", link.next()).await.unwrap() {
            LinkStep::PasskeyConfirmation { .. } => session.confirm_passkey().await.unwrap(),
            LinkStep::Linked => break,
            LinkStep::PasskeyChallenge { .. } | LinkStep::Qr { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(session.is_connected());
    shut_down(service).await;
});

link_test!(a_second_start_is_the_same_session_with_one_socket, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (_, device) = world.link(&service, "ventas").await;
    let logins = device.logins();
    for _ in 0..5 {
        service.start_session("ventas").await.unwrap();
        service.create_session("ventas").await.unwrap();
    }
    assert_eq!(service.running_sessions(), ["ventas"]);
    assert_eq!(device.logins(), logins);
    shut_down(service).await;
});

link_test!(stopped_sessions_start_again_without_a_code, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    session.stop().await.unwrap();
    device.wait_disconnected(PATIENCE).await.unwrap();
    assert_eq!(session.record().await.unwrap().status, Status::Disconnected);
    assert_eq!(session.status().unwrap_err().kind(), ErrorKind::InvalidState);
    service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(service).await;
});

link_test!(a_logout_removes_the_device_and_the_keys_but_keeps_the_messages, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "hola").await.unwrap();
    text_event(&mut events, "hola").await;
    session.log_out().await.unwrap();
    assert!(world.phone.devices().is_empty());
    let record = session.record().await.unwrap();
    assert_eq!((record.status, record.status_detail), (Status::Disconnected, Some(StatusDetail::LoggedOut)));
    assert_eq!(stored_texts(service.store().as_ref(), "ventas").await, ["hola"]);
    let session = service.start_session("ventas").await.unwrap();
    scan_first_qr(&session, &world.phone).await;
    session.wait_connected(PATIENCE).await.unwrap();
    shut_down(service).await;
});

link_test!(a_logout_that_whatsapp_does_not_confirm_is_an_error_and_keeps_the_keys, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    world.stand_in.faults().freeze(Some(&device.jid));
    let error = session.log_out().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, true), "{error}");
    assert_eq!(session.record().await.unwrap().status, Status::Disconnected);
    assert_eq!(world.phone.devices().len(), 1, "WhatsApp has not heard of it");
    // As the error says: it comes back without a code, and then it can leave.
    service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    session.log_out().await.unwrap();
    assert!(world.phone.devices().is_empty());
    shut_down(service).await;
});

link_test!(a_deleted_session_leaves_nothing, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "hola").await.unwrap();
    text_event(&mut events, "hola").await;
    session.delete().await.unwrap();
    assert!(world.phone.devices().is_empty(), "the phone lists it no more");
    assert_eq!(session.record().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(service.session("ventas").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(stored_texts(service.store().as_ref(), "ventas").await.is_empty());
    let tenure = centralita::store::Tenure { generation: u64::MAX >> 1, fence: 0 };
    let auth = service.store().load_auth("ventas", tenure, &[]).await.unwrap();
    assert_eq!((auth.creds, auth.entries.len()), (None, 0));
    assert!(service.store().list_chats("ventas", 10, None).await.unwrap().items.is_empty());
    shut_down(service).await;
});

link_test!(a_session_that_another_instance_runs_is_not_started, async {
    let world = World::new(StoreKind::Memory).await;
    let first = world.service().await;
    let second = world.service().await;
    let (session, device) = world.link(&first, "ventas").await;
    let other = second.start_session("ventas").await.unwrap();
    let error = other.wait_connected(PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(device.is_connected() && session.is_connected());
    assert_eq!(second.delete_session("ventas").await.unwrap_err().kind(), ErrorKind::Conflict);
    // A planned hand-over is picked up at once.
    first.stop_session("ventas").await.unwrap();
    let other = second.start_session("ventas").await.unwrap();
    other.wait_connected(PATIENCE).await.unwrap();
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(first).await;
    shut_down(second).await;
});

link_test!(counters_are_counted_anew_after_an_unclean_end, async {
    use centralita::store::{Counter, SessionPatch};
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, _) = world.link(&service, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "hola").await.unwrap();
    text_event(&mut events, "hola").await;
    session.stop().await.unwrap();
    // What a process leaves that is killed between a message and its counters.
    let left = SessionPatch {
        status: Some(Status::Connected),
        is_connected: Some(true),
        messages_received: Some(Counter::Set(0)),
        messages_sent: Some(Counter::Set(7)),
        ..SessionPatch::default()
    };
    service.store().patch_session("ventas", &left, Default::default()).await.unwrap();
    let session = service.start_session("ventas").await.unwrap();
    session.wait_connected(PATIENCE).await.unwrap();
    let record = session.record().await.unwrap();
    assert_eq!((record.messages_received, record.messages_sent), (1, 0));
    shut_down(service).await;
});

link_test!(a_session_that_was_logged_out_is_not_restored, async {
    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let (session, _) = world.link(&service, "ventas").await;
    session.log_out().await.unwrap();
    let report = service.restore_all(|_| {}).await.unwrap();
    assert_eq!((report.started.len(), report.not_linked), (0, vec!["ventas".to_owned()]));
    shut_down(service).await;
});
