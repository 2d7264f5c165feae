//! Every row of the table of what follows when a connection ends (DESIGN.md, "A session's life").
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use centralita::error::ErrorKind;
use centralita::events::EventKind;
use centralita::session::LinkStep;
use centralita::session::status::Status;
use centralita::store::StatusDetail;
use centralita_end_to_end::*;
use centralita_stand_in::FailureDetails;

async fn linked() -> (
    World,
    centralita::service::WhatsAppService,
    centralita::service::Session,
    centralita_stand_in::LinkedDevice,
) {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let (session, device) = world.link(&service, "ventas").await;
    (world, service, session, device)
}

macro_rules! table_test {
    ($name:ident, $body:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $body.await
        }
    };
}

table_test!(a_qr_code_is_shown_and_hidden_again, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let session = service.create_session("ventas").await.unwrap();
    let mut link = session.link().unwrap();
    let LinkStep::Qr { code, .. } = within("a QR code", link.next()).await.unwrap() else {
        panic!("no QR code")
    };
    status_event(&mut events, Status::QrReady).await;
    let record = record_where(&session, "the QR code in the record", |r| r.qr_code.is_some()).await;
    assert_eq!(record.status, Status::QrReady);
    assert_eq!(record.qr_code.as_deref(), Some(code.text()));
    // At rest it is sealed.
    let raw = service.store().get_session("ventas").await.unwrap().unwrap();
    assert_ne!(raw.qr_code.as_deref(), Some(code.text()));
    world.phone.scan_qr(code.text()).unwrap();
    let mut last = None;
    while let Some(step) = within("the end of the link", link.next()).await {
        last = Some(step);
    }
    assert!(matches!(last, Some(LinkStep::Linked)), "{last:?}");
    assert_eq!(session.record().await.unwrap().qr_code, None);
    shut_down(service).await;
});

table_test!(restart_required_comes_back_at_once_with_the_same_credentials, async {
    let (world, service, session, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().stream_error(Some(&device.jid), "515", None);
    device.wait_disconnected(PATIENCE).await.unwrap();
    status_event(&mut events, Status::Connected).await;
    assert_eq!(session.record().await.unwrap().connection_attempts, 0);
    assert_eq!(world.phone.devices().len(), 1);
    shut_down(service).await;
});

table_test!(a_device_removed_on_the_phone_ends_in_error_with_the_credentials_archived, async {
    let (world, service, session, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    assert!(world.phone.unlink(&device));
    assert_eq!(status_event(&mut events, Status::Error).await, Some(StatusDetail::LoggedOut));
    let error = session.wait_connected(PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoggedOut);
    let record = session.record().await.unwrap();
    assert_eq!((record.status, record.is_connected), (Status::Error, false));
    // No retry: it is not restored either.
    assert!(service.restore_all(|_| {}).await.unwrap().started.is_empty());
    // A new start asks for a new link.
    let session = service.start_session("ventas").await.unwrap();
    scan_first_qr(&session, &world.phone).await;
    session.wait_connected(PATIENCE).await.unwrap();
    shut_down(service).await;
});

table_test!(a_login_refused_with_401_is_a_logout, async {
    let (world, service, _, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().failure_on_next_login(Some(&device.jid), 401, FailureDetails::default());
    world.stand_in.faults().drop_connection(&device.jid);
    assert_eq!(status_event(&mut events, Status::Error).await, Some(StatusDetail::LoggedOut));
    shut_down(service).await;
});

table_test!(a_locked_account_is_an_error_and_is_not_tried_again, async {
    let (world, service, session, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().stream_error(Some(&device.jid), "403", None);
    assert_eq!(status_event(&mut events, Status::Error).await, Some(StatusDetail::Banned { until: None }));
    assert_eq!(session.wait_connected(PATIENCE).await.unwrap_err().kind(), ErrorKind::Banned);
    shut_down(service).await;
});

table_test!(a_temporary_ban_is_waited_out, async {
    let (world, service, session, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    let ban = FailureDetails { code: Some("102".into()), expire_s: Some(2), ..FailureDetails::default() };
    world.stand_in.faults().failure_on_next_login(Some(&device.jid), 402, ban);
    world.stand_in.faults().drop_connection(&device.jid);
    let detail = status_event(&mut events, Status::Error).await;
    let Some(StatusDetail::Banned { until: Some(until) }) = detail else { panic!("{detail:?}") };
    status_event(&mut events, Status::Connected).await;
    let record = session.record().await.unwrap();
    assert!(record.updated_at >= until, "it came back before the ban was over");
    shut_down(service).await;
});

table_test!(an_outdated_client_is_an_error_and_is_not_tried_again, async {
    for as_failure in [true, false] {
        let (world, service, _, device) = linked().await;
        let mut events = all_events(&service, "ventas");
        if as_failure {
            world.stand_in.faults().failure_on_next_login(Some(&device.jid), 405, FailureDetails::default());
            world.stand_in.faults().drop_connection(&device.jid);
        } else {
            world.stand_in.faults().stream_error(Some(&device.jid), "405", None);
        }
        assert_eq!(status_event(&mut events, Status::Error).await, Some(StatusDetail::ClientOutdated));
        shut_down(service).await;
    }
});

table_test!(a_session_replaced_elsewhere_waits_longer_before_it_comes_back, async {
    for (code, conflict) in [("409", Some("replaced")), ("440", None)] {
        let (world, service, _, device) = linked().await;
        let mut events = all_events(&service, "ventas");
        let before = tokio::time::Instant::now();
        world.stand_in.faults().stream_error(Some(&device.jid), code, conflict);
        assert_eq!(status_event(&mut events, Status::Disconnected).await, Some(StatusDetail::Replaced));
        status_event(&mut events, Status::Connected).await;
        // `penalty_min` of the tests: far above a pause after a mere loss.
        assert!(before.elapsed() >= Duration::from_millis(300));
        shut_down(service).await;
    }
});

table_test!(a_lost_socket_comes_back_by_itself, async {
    let (world, service, session, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().drop_connection(&device.jid);
    let detail = status_event(&mut events, Status::Disconnected).await;
    assert!(matches!(detail, Some(StatusDetail::BackOff { attempt: 1, .. })), "{detail:?}");
    status_event(&mut events, Status::Connected).await;
    world.contact.send_text(&world.phone.phone_number(), "¿sigues?").await.unwrap();
    text_event(&mut events, "¿sigues?").await;
    assert_eq!(session.record().await.unwrap().connection_attempts, 0);
    shut_down(service).await;
});

table_test!(an_overloaded_server_is_tried_again, async {
    let (world, service, _, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().stream_error(Some(&device.jid), "503", None);
    status_event(&mut events, Status::Disconnected).await;
    status_event(&mut events, Status::Connected).await;
    world.stand_in.faults().http_503(3_u32);
    world.stand_in.faults().drop_connection(&device.jid);
    status_event(&mut events, Status::Disconnected).await;
    status_event(&mut events, Status::Connected).await;
    shut_down(service).await;
});

table_test!(too_many_requests_are_answered_with_a_long_pause, async {
    let (world, service, _, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    let before = tokio::time::Instant::now();
    world.stand_in.faults().stream_error(Some(&device.jid), "429", None);
    let detail = status_event(&mut events, Status::Disconnected).await;
    assert!(matches!(detail, Some(StatusDetail::BackOff { .. })), "{detail:?}");
    status_event(&mut events, Status::Connected).await;
    assert!(before.elapsed() >= Duration::from_millis(300));
    shut_down(service).await;
});

table_test!(a_refusal_that_no_retry_mends_is_an_error, async {
    let (world, service, _, device) = linked().await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().failure_on_next_login(Some(&device.jid), 418, FailureDetails::default());
    world.stand_in.faults().drop_connection(&device.jid);
    let detail = status_event(&mut events, Status::Error).await;
    assert!(matches!(detail, Some(StatusDetail::Failed { .. })), "{detail:?}");
    shut_down(service).await;
});

table_test!(a_stop_takes_effect_at_once_even_in_a_pause, async {
    let world = World::new(StoreKind::Memory).await;
    let service = world.service_with(|options| {
        options.reconnect_min = Duration::from_secs(3_600);
        options.reconnect_max = Duration::from_secs(3_600);
    });
    let service = service.await;
    let (session, device) = world.link(&service, "ventas").await;
    let mut events = all_events(&service, "ventas");
    world.stand_in.faults().refuse_logins(true);
    world.stand_in.faults().drop_connection(&device.jid);
    let detail = status_event(&mut events, Status::Disconnected).await;
    assert!(matches!(detail, Some(StatusDetail::BackOff { .. })));
    within("the stop", session.stop()).await.unwrap();
    let record = session.record().await.unwrap();
    assert_eq!((record.status, record.status_detail), (Status::Disconnected, None));
    shut_down(service).await;
});

table_test!(the_account_is_not_shown_as_online_unless_asked, async {
    for show_online in [false, true] {
        let world = World::new(StoreKind::Memory).await;
        let service = world.service_with(|options| options.show_online = show_online).await;
        let (_, device) = world.link(&service, "ventas").await;
        within("the presence", async {
            while device.is_available() != show_online {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        shut_down(service).await;
    }
});

table_test!(a_malformed_stanza_hurts_no_other_session, async {
    let (world, service, _, device) = linked().await;
    let other_phone = world.stand_in.add_phone(Default::default()).unwrap();
    let other = service.create_session("soporte").await.unwrap();
    let other_device = scan_first_qr(&other, &other_phone).await;
    other.wait_connected(PATIENCE).await.unwrap();
    let mut ventas = all_events(&service, "ventas");
    let mut soporte = all_events(&service, "soporte");
    assert_eq!(world.stand_in.faults().send_malformed_stanza(Some(&device.jid)), 1);
    world.contact.send_text(&world.phone.phone_number(), "uno").await.unwrap();
    text_event(&mut ventas, "uno").await;
    world.contact.send_text(&other_phone.phone_number(), "dos").await.unwrap();
    text_event(&mut soporte, "dos").await;
    assert!(other_device.is_connected());
    let disturbed = async {
        loop {
            let event = soporte.next().await.unwrap().unwrap();
            if matches!(event.kind, EventKind::Status { .. }) {
                return event;
            }
        }
    };
    assert!(futures::poll!(Box::pin(disturbed)).is_pending(), "the other session changed its status");
    shut_down(service).await;
});
