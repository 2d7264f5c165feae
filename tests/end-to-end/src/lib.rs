//! A world for the end-to-end suites: a stand-in, its phones, a store of the kind under test, a service.
//!
//! Every wait here is for a condition, with a limit that is only reached when something is broken.

pub mod programs;
pub mod proxy;

use std::sync::Arc;
use std::time::Duration;

use centralita::events::{Event, EventKind, Filter, Overflow, Subscription, SubscriptionOptions};
use centralita::service::options::ServiceOptions;
use centralita::service::{Session, WhatsAppService};
use centralita::session::LinkStep;
use centralita::session::status::Status;
use centralita::store::{
    MemoryStore, MessageKind, MongoStore, SessionRecord, SqliteStore, Store, StoredMessage,
};
use centralita::vault::KeyRing;
use centralita_stand_in::{LinkedDevice, Phone, PhoneOptions, StandIn};

/// How long anything may take on a busy machine before a test says that it will not happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The key ring of the tests: a fixed key, so that a second process can open what a first one sealed.
pub fn test_keys() -> KeyRing {
    KeyRing::parse("test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").expect("32 bytes in base64")
}

/// Which store a world is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory; a restart of the service keeps the store itself.
    Memory,
    /// A file in a temporary folder.
    Sqlite,
    /// The server at `TEST_MONGODB_URI`, a database of its own.
    Mongo,
}

/// Where the stored data of one world is; survives its services.
#[derive(Debug)]
pub struct Place {
    kind: StoreKind,
    folder: tempfile::TempDir,
    database: String,
    memory: Arc<MemoryStore>,
}

impl Place {
    /// An empty place.
    pub fn new(kind: StoreKind) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let name = folder.path().file_name().expect("it has a name").to_string_lossy().replace('.', "");
        Self { kind, database: format!("e2e_{name}"), folder, memory: Arc::new(MemoryStore::new()) }
    }

    /// The store of a memory place, with its switches.
    pub fn memory(&self) -> &MemoryStore {
        assert_eq!(self.kind, StoreKind::Memory);
        &self.memory
    }

    /// The file of an SQLite place.
    pub fn sqlite_file(&self) -> std::path::PathBuf {
        self.folder.path().join("centralita.db")
    }

    /// The address of a MongoDB place.
    pub fn mongo_uri(&self) -> String {
        let base = std::env::var("TEST_MONGODB_URI")
            .expect("TEST_MONGODB_URI is not set: run the tests with ./test, which starts a server");
        match base.split_once('?') {
            Some((server, options)) => {
                format!("{}/{}?{options}", server.trim_end_matches('/'), self.database)
            }
            None => format!("{}/{}", base.trim_end_matches('/'), self.database),
        }
    }

    /// Opens the store anew.
    pub async fn open(&self) -> Arc<dyn Store> {
        match self.kind {
            StoreKind::Memory => Arc::clone(&self.memory) as Arc<dyn Store>,
            StoreKind::Sqlite => Arc::new(SqliteStore::open(self.sqlite_file()).expect("the file opens")),
            StoreKind::Mongo => {
                Arc::new(MongoStore::connect(&self.mongo_uri()).await.expect("the server answers"))
            }
        }
    }
}

/// A stand-in with one phone to link and one contact.
#[derive(Debug)]
pub struct World {
    /// The server.
    pub stand_in: StandIn,
    /// The phone that is linked.
    pub phone: Phone,
    /// Somebody to write with.
    pub contact: Phone,
    /// Where the data is.
    pub place: Place,
}

impl World {
    /// A fresh world on a store of this kind.
    pub async fn new(kind: StoreKind) -> Self {
        Self::with_phone(kind, PhoneOptions { push_name: "Ventas".into(), ..PhoneOptions::default() }).await
    }

    /// A fresh world with a phone of one's own making.
    pub async fn with_phone(kind: StoreKind, phone: PhoneOptions) -> Self {
        show_logs();
        let stand_in = StandIn::start().await.expect("a free port on loopback");
        let phone = stand_in.add_phone(phone).expect("a phone");
        let contact = stand_in
            .add_phone(PhoneOptions { push_name: "Clienta".into(), ..PhoneOptions::default() })
            .expect("a phone");
        Self { stand_in, phone, contact, place: Place::new(kind) }
    }

    /// The options of the tests: this world's server, and short pauses.
    pub fn options(&self) -> ServiceOptions {
        let mut options = ServiceOptions::default();
        options.stand_in_url = Some(self.stand_in.web_socket_url());
        options.whatsapp_version = Some((2, 3000, 1_027_934_701));
        options.reconnect_min = Duration::from_millis(50);
        options.reconnect_max = Duration::from_millis(400);
        options.penalty_min = Duration::from_millis(300);
        options.pre_key_count = 30;
        options.lease_duration = Duration::from_secs(3);
        options
    }

    /// A service on this world's place.
    pub async fn service(&self) -> WhatsAppService {
        self.service_with(|_| {}).await
    }

    /// A service with some options changed.
    pub async fn service_with(&self, change: impl FnOnce(&mut ServiceOptions)) -> WhatsAppService {
        WhatsAppService::builder()
            .shared_store(self.place.open().await)
            .keys(test_keys())
            .options(self.options())
            .configure(change)
            .start()
            .await
            .expect("the service starts")
    }

    /// Creates a session and has this world's phone scan its QR code.
    pub async fn link(&self, service: &WhatsAppService, id: &str) -> (Session, LinkedDevice) {
        let session = service.create_session(id).await.expect("the session is created");
        let device = scan_first_qr(&session, &self.phone).await;
        session.wait_connected(PATIENCE).await.expect("the session connects");
        (session, device)
    }
}

/// Waits for a QR code and has a phone scan it.
pub async fn scan_first_qr(session: &Session, phone: &Phone) -> LinkedDevice {
    let mut link = session.link().expect("the session runs");
    let step = within("a QR code", link.next()).await.expect("a step");
    match step {
        LinkStep::Qr { code, .. } => phone.scan_qr(code.text()).expect("the phone accepts the code"),
        other => panic!("expected a QR code, got {other:?}"),
    }
}

/// Awaits with the limit of the tests.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s in vain for {what}", PATIENCE.as_secs()),
    }
}

/// Shows logs of failing tests if `RUST_LOG` asks for them.
pub fn show_logs() {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
        // Another test of this process may have been first.
        drop(subscriber.try_init());
        drop(tracing_log::LogTracer::init());
    }
}

/// Stops a service as a process would.
pub async fn shut_down(service: WhatsAppService) {
    let store = Arc::clone(service.store());
    service.shutdown(PATIENCE).await.expect("it ends in time");
    if store.name() != "memory" {
        store.close().await.expect("the store closes");
    }
}

/// Every event of one session, in order, none dropped.
pub fn all_events(service: &WhatsAppService, id: &str) -> Subscription {
    let options = SubscriptionOptions::from(Filter::session(id)).capacity(10_000).overflow(Overflow::Wait);
    service.subscribe(options).expect("the service runs")
}

/// Waits for the first event that fits.
pub async fn event<T>(events: &mut Subscription, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
    within(what, async {
        loop {
            let next = events.next().await.expect("the subscription keeps up").expect("the service runs");
            if let Some(found) = fits(&next) {
                return found;
            }
        }
    })
    .await
}

/// Waits for a message with this text.
pub async fn text_event(events: &mut Subscription, text: &str) -> StoredMessage {
    event(events, "a message", |event| match &event.kind {
        EventKind::Message(message) if text_of(message) == Some(text) => Some((**message).clone()),
        _ => None,
    })
    .await
}

/// Waits for a status.
pub async fn status_event(
    events: &mut Subscription,
    wanted: Status,
) -> Option<centralita::store::StatusDetail> {
    event(events, wanted.as_str(), |event| match &event.kind {
        EventKind::Status { status, detail } if *status == wanted => Some(detail.clone()),
        _ => None,
    })
    .await
}

/// The text of a message, if it is one.
pub fn text_of(message: &StoredMessage) -> Option<&str> {
    match &message.content {
        MessageKind::Text { text, .. } => Some(text),
        _ => None,
    }
}

/// Reads the record until it fits.
pub async fn record_where(
    session: &Session,
    what: &str,
    fits: impl Fn(&SessionRecord) -> bool,
) -> SessionRecord {
    within(what, async {
        loop {
            let record = session.record().await.expect("the record is there");
            if fits(&record) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The texts of all stored messages of a session, oldest first.
pub async fn stored_texts(store: &dyn Store, session: &str) -> Vec<String> {
    let page = centralita::store::MessagePage { limit: 1_000, ..Default::default() };
    let messages = store.list_messages(session, &page).await.expect("the store answers");
    messages.items.iter().rev().filter_map(|message| text_of(message).map(str::to_owned)).collect()
}
