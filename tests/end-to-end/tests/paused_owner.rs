//! A process that slept through its leases: what it believes on waking is no longer so.

use std::time::Duration;

use centralita::ErrorKind;
use centralita::clock::Clock as _;
use centralita::service::{Session, WhatsAppService};
use centralita::session::status::Status;
use centralita::testing::ManualClock;
use centralita_end_to_end::{PATIENCE, StoreKind, World, record_where, shut_down, test_keys, within};

const LEASE: Duration = Duration::from_secs(1);
const NAP: Duration = Duration::from_secs(3_600);

/// A service whose heartbeats stand still, like those of a stopped process.
async fn sleeper(world: &World, clock: &ManualClock) -> WhatsAppService {
    WhatsAppService::builder()
        .shared_store(world.place.open().await)
        .keys(test_keys())
        .options(world.options())
        .configure(|options| {
            options.lease_duration = LEASE;
            // Turns are given by the clock, which stands still.
            options.connects_per_s = 0;
        })
        .clock(clock.shared())
        .start()
        .await
        .expect("the service starts")
}

/// Another service, which takes the session over once the lease has run out.
async fn successor(world: &World) -> WhatsAppService {
    let service = world.service_with(|options| options.lease_duration = LEASE).await;
    service.restore_all(|_| {}).await.expect("the store answers");
    let session = service.session("ventas").await.expect("it is stored");
    session.wait_connected(PATIENCE).await.expect("it takes over");
    service
}

async fn ends_with_conflict(sleeper: &WhatsAppService, session: &Session) {
    within("the end of the sleeper's session", async {
        while !sleeper.running_sessions().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let ended = session.wait_connected(PATIENCE).await.expect_err("it has ended");
    assert_eq!(ended.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn who_was_replaced_in_his_sleep_does_not_write_the_record_of_his_successor() {
    let world = World::new(StoreKind::Memory).await;
    let clock = ManualClock::new();
    let sleeper = sleeper(&world, &clock).await;
    let (session, device) = world.link(&sleeper, "ventas").await;
    let logins = device.logins();

    // Whenever the sleeper looks, an hour has passed.
    let naps = async {
        loop {
            clock.set_now(clock.now().plus(NAP));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let successor = tokio::select! {
        successor = successor(&world) => successor,
        () = naps => unreachable!("it goes on for ever"),
    };
    ends_with_conflict(&sleeper, &session).await;
    let record = successor.manager().get_session("ventas").await.expect("it is there");
    assert!(record.is_connected, "{:?}", record.status);
    assert_eq!(record.status, Status::Connected);
    assert_eq!(device.logins(), logins + 1);
    shut_down(sleeper).await;
    shut_down(successor).await;
}

#[tokio::test]
async fn who_slept_in_a_pause_between_connections_does_not_log_in_over_his_successor() {
    let world = World::new(StoreKind::Memory).await;
    let clock = ManualClock::new();
    let sleeper = sleeper(&world, &clock).await;
    let (session, device) = world.link(&sleeper, "ventas").await;
    let logins = device.logins();
    world.stand_in.faults().drop_connection(&device.jid);
    record_where(&session, "the pause", |record| record.status == Status::Disconnected).await;

    let successor = successor(&world).await;
    clock.set_now(clock.now().plus(NAP));
    session.reconnect_now().expect("it still believes that it runs");
    ends_with_conflict(&sleeper, &session).await;
    assert_eq!(device.logins(), logins + 1);
    let record = successor.manager().get_session("ventas").await.expect("it is there");
    assert_eq!(record.status, Status::Connected);
    shut_down(sleeper).await;
    shut_down(successor).await;
}
