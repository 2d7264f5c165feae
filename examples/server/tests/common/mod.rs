//! A world for the HTTP suites: a stand-in with phones, a server on a store of the kind under test, a client.
#![allow(dead_code, reason = "each suite uses its part")]

use std::time::Duration;

use centralita::service::options::ServiceOptions;
use centralita_server::config::{Cli, Options};
use centralita_server::{Mint, Server, mint};
use centralita_stand_in::{LinkedDevice, Phone, PhoneOptions, StandIn};
use clap::Parser;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take on a busy machine before a test says that it will not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SECRET: &str = "a secret for tests of 32 bytes..";
const KEYS: &str = "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const VERSION: &str = "2.3000.1027934701";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Sqlite,
    Mongo,
}

pub(crate) struct World {
    pub(crate) stand_in: StandIn,
    pub(crate) phone: Phone,
    pub(crate) contact: Phone,
    pub(crate) folder: TempDir,
    kind: StoreKind,
}

impl World {
    pub(crate) async fn new(kind: StoreKind) -> Self {
        let stand_in = StandIn::start().await.unwrap();
        let named = |name: &str| PhoneOptions { push_name: name.into(), ..PhoneOptions::default() };
        let phone = stand_in.add_phone(named("Ventas")).unwrap();
        let contact = stand_in.add_phone(named("Clienta")).unwrap();
        Self { stand_in, phone, contact, folder: tempfile::tempdir().unwrap(), kind }
    }

    /// The address of this world's database.
    pub(crate) fn mongo_uri(&self) -> String {
        let base = std::env::var("TEST_MONGODB_URI")
            .expect("TEST_MONGODB_URI is not set: run the tests with ./test, which starts a server");
        let name = self.folder.path().file_name().unwrap().to_string_lossy().replace('.', "");
        match base.split_once('?') {
            Some((server, options)) => format!("{}/http_{name}?{options}", server.trim_end_matches('/')),
            None => format!("{}/http_{name}", base.trim_end_matches('/')),
        }
    }

    /// What a command line would say, for this world's store.
    pub(crate) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "centralita-server",
            "--bind",
            "127.0.0.1",
            "--port",
            "0",
            "--jwt-secret",
            SECRET,
            "--keys",
            KEYS,
            "--restore-after-s",
            "0",
            "--cleanup-after-s",
            "0",
            "--alert-interval-s",
            "1",
            "--rate-limit-per-s",
            "0",
            "--whatsapp-version",
            VERSION,
        ]
        .map(str::to_owned)
        .to_vec();
        match self.kind {
            StoreKind::Sqlite => {
                let file = self.folder.path().join("centralita.db");
                arguments.extend(["--auth-storage", "sqlite", "--sqlite-file"].map(str::to_owned));
                arguments.push(file.to_string_lossy().into_owned());
            }
            StoreKind::Mongo => {
                arguments.extend([
                    "--auth-storage".to_owned(),
                    "mongo".to_owned(),
                    "--mongodb-uri".to_owned(),
                ]);
                arguments.push(self.mongo_uri());
            }
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    pub(crate) fn options(&self, more: &[&str]) -> Options {
        let options = Cli::try_parse_from(self.arguments(more)).unwrap().options;
        options.check().unwrap();
        options
    }

    /// Short pauses, few keys, this world's WhatsApp.
    pub(crate) fn service_options(&self, options: &Options) -> ServiceOptions {
        let mut service = options.service_options();
        service.stand_in_url = Some(self.stand_in.web_socket_url());
        service.reconnect_min = Duration::from_millis(50);
        service.reconnect_max = Duration::from_millis(400);
        service.penalty_min = Duration::from_millis(300);
        service.pre_key_count = 30;
        service
    }

    pub(crate) async fn server(&self, more: &[&str]) -> (Server, Api) {
        let options = self.options(more);
        let service_options = self.service_options(&options);
        let server = Server::start_with(options.clone(), service_options).await.unwrap();
        let api = Api::new(format!("http://{}", server.address()), token(&["admin"], &[]));
        (server, api)
    }

    /// Creates a session over HTTP and has the phone scan its code.
    pub(crate) async fn link(&self, api: &Api, id: &str) -> LinkedDevice {
        api.post("/api/sessions", json!({ "sessionId": id })).await.expect(StatusCode::CREATED).await;
        let step = api.get(&format!("/api/sessions/{id}/qr?waitMs=30000")).await.expect(StatusCode::OK).await;
        let device = self.phone.scan_qr(step["qr"].as_str().expect("a QR code")).unwrap();
        api.details_where(id, "connected", |details| details["isConnected"] == true).await;
        device
    }
}

/// A value in a query.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            let is_plain = byte.is_ascii_alphanumeric();
            if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        })
        .collect()
}

/// A token of the test's secret.
pub(crate) fn token(scopes: &[&str], sessions: &[&str]) -> String {
    let options = Cli::try_parse_from(["centralita-server", "--jwt-secret", SECRET]).unwrap().options;
    let request = Mint {
        scope: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        sessions: sessions.iter().map(|session| (*session).to_owned()).collect(),
        subject: None,
        hours: 1,
    };
    mint(&options, &request).unwrap()
}

/// An HTTP client with a token.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    pub(crate) base: String,
    token: Option<String>,
}

/// An answer, not read yet.
pub(crate) struct Answer {
    what: String,
    pub(crate) response: Response,
}

impl Api {
    pub(crate) fn new(base: String, token: String) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { client: Client::builder().timeout(PATIENCE * 2).build().unwrap(), base, token: Some(token) }
    }

    pub(crate) fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let what = format!("{method} {path}");
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer { response: request.send().await.unwrap_or_else(|error| panic!("{what}: {error}")), what }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn post_nothing(&self, path: &str) -> Answer {
        self.send(Method::POST, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// Reads a session's details until they fit.
    pub(crate) async fn details_where(&self, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.where_(&format!("/api/sessions/{id}/details"), what, fits).await
    }

    /// Reads a path until its answer fits.
    pub(crate) async fn where_(&self, path: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let value = self.get(path).await.expect(StatusCode::OK).await;
            if fits(&value) {
                return value;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Answer {
    /// The JSON of an answer with this status; null if it has no body.
    pub(crate) async fn expect(self, status: StatusCode) -> Value {
        let (found, what) = (self.response.status(), self.what);
        let text = self.response.text().await.unwrap();
        assert_eq!(found, status, "{what}: {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// An error of the API: its status and its code.
    pub(crate) async fn expect_error(self, status: StatusCode, code: &str) -> Value {
        let what = self.what.clone();
        let value = self.expect(status).await;
        assert_eq!(value["error"]["code"], code, "{what}: {value}");
        assert!(value["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {value}");
        value
    }
}
