//! Master keys in a service of their own: one that is away is waited for, one that refuses ends the session.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use centralita::error::{Error, ErrorKind, Result};
use centralita::service::WhatsAppService;
use centralita::session::status::Status;
use centralita::vault::{KeyProvider, KeyRing};
use centralita_end_to_end::*;
use zeroize::Zeroizing;

/// A key management service that fails so many times before it answers.
struct KeyService {
    keys: KeyRing,
    failures: AtomicU32,
    kind: ErrorKind,
}

impl KeyService {
    fn new(failures: u32, kind: ErrorKind) -> Arc<Self> {
        Arc::new(Self { keys: test_keys(), failures: AtomicU32::new(failures), kind })
    }

    fn answers(&self) -> Result<()> {
        let one_less = |left: u32| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Err(Error::new(self.kind, "the key service gives no key")),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl KeyProvider for KeyService {
    async fn wrap(&self, context: &[u8], data_key: &[u8; 32]) -> Result<Vec<u8>> {
        self.answers()?;
        self.keys.wrap(context, data_key).await
    }

    async fn unwrap(&self, context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        self.answers()?;
        self.keys.unwrap(context, wrapped).await
    }

    fn is_current(&self, wrapped: &[u8]) -> bool {
        self.keys.is_current(wrapped)
    }
}

async fn service(world: &World, keys: &Arc<KeyService>) -> WhatsAppService {
    WhatsAppService::builder()
        .shared_store(world.place.open().await)
        .key_provider(Arc::clone(keys) as Arc<dyn KeyProvider>)
        .options(world.options())
        .start()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_service_that_is_away_is_waited_for() {
    let world = World::new(StoreKind::Sqlite).await;
    // Away when the session is made, and again when it is taken up.
    let away = KeyService::new(2, ErrorKind::Unavailable);
    let first = service(&world, &away).await;
    world.link(&first, "ventas").await;
    assert_eq!(away.failures.load(Ordering::SeqCst), 0);
    shut_down(first).await;

    let away = KeyService::new(3, ErrorKind::Timeout);
    let second = service(&world, &away).await;
    let report = second.restore_all(|_| {}).await.unwrap();
    assert_eq!(report.started, ["ventas"]);
    second.session("ventas").await.unwrap().wait_connected(PATIENCE).await.unwrap();
    assert_eq!(away.failures.load(Ordering::SeqCst), 0);
    assert_eq!(world.phone.devices().len(), 1, "it was linked anew");
    shut_down(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_service_that_refuses_ends_the_session_and_costs_no_credentials() {
    let world = World::new(StoreKind::Sqlite).await;
    let first = world.service().await;
    world.link(&first, "ventas").await;
    shut_down(first).await;

    let refusing = service(&world, &KeyService::new(u32::MAX, ErrorKind::Crypto)).await;
    refusing.restore_all(|_| {}).await.unwrap();
    let session = refusing.session("ventas").await.unwrap();
    let record = record_where(&session, "the error", |record| record.status == Status::Error).await;
    let reason = record.last_disconnect_reason.unwrap();
    assert!(reason.contains("the key service gives no key"), "{reason}");
    shut_down(refusing).await;

    let third = world.service().await;
    third.start_session("ventas").await.unwrap().wait_connected(PATIENCE).await.unwrap();
    assert_eq!(world.phone.devices().len(), 1, "it was linked anew");
    shut_down(third).await;
}
