//! The program as an operator runs it: refused starts, signals under load, a restart.
#![cfg(feature = "stand-in")]
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod common;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Api, PATIENCE, StoreKind, World, encoded, token};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_centralita-server");

/// A program that listens.
struct Running {
    child: Child,
    api: Api,
}

impl Running {
    async fn start(world: &World) -> Self {
        let arguments = world.arguments(&["--log-format", "json"]);
        let mut child = Command::new(PROGRAM)
            .args(&arguments[1..])
            .env("CENTRALITA_STAND_IN_URL", world.stand_in.web_socket_url())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = tokio::time::timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the program says where it listens");
                let line: Value = serde_json::from_str(&line).expect("every line of its log is JSON");
                if line["message"] == "listening" {
                    return line["address"].as_str().unwrap().to_owned();
                }
            }
        })
        .await
        .unwrap();
        // Its log must be read, or it would stop at a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, api: Api::new(format!("http://{address}"), token(&["admin"], &[])) }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success());
    }

    async fn ended(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap()
    }
}

/// Sends until the server is gone; returns the keys and texts of what was accepted.
async fn load(api: Api, to: String, from: usize) -> BTreeMap<String, String> {
    let accepted: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let workers = (0..4).map(|worker| {
        let (api, to, accepted) = (api.clone(), to.clone(), Arc::clone(&accepted));
        async move {
            for n in 0.. {
                let text = format!("{from}-{worker}-{n}");
                let request = api
                    .request(Method::POST, "/api/sessions/ventas/messages")
                    .header("idempotency-key", &text)
                    .json(&json!({ "to": to, "text": text }));
                match request.send().await {
                    Ok(response) if response.status() == StatusCode::OK => {
                        let Ok(sent) = response.json::<Value>().await else { return };
                        let id = sent["messageId"].as_str().unwrap().to_owned();
                        accepted.lock().unwrap().insert(id, text);
                    }
                    Ok(response) => {
                        let status = response.status();
                        let body = response.text().await.unwrap_or_default();
                        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "only an end refuses: {body}");
                        return;
                    }
                    // It is gone.
                    Err(_) => return,
                }
            }
        }
    });
    futures::future::join_all(workers).await;
    Arc::into_inner(accepted).unwrap().into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_sigterm_nor_sigkill_under_load_loses_what_was_accepted() {
    for kind in [StoreKind::Sqlite, StoreKind::Mongo] {
        let world = World::new(kind).await;
        let mut accepted = BTreeMap::new();
        // Linked in this process, with few pre-keys: the databases of tests take long for 812.
        let (server, api) = world.server(&[]).await;
        world.link(&api, "ventas").await;
        server.shutdown().await.unwrap();
        for (round, signal) in ["TERM", "KILL", "TERM"].into_iter().enumerate() {
            let mut program = Running::start(&world).await;
            // Restored without a code.
            let connected = |details: &Value| details["connectedNow"] == true;
            program.api.details_where("ventas", "the restore", connected).await;
            let loading = tokio::spawn(load(program.api.clone(), world.contact.phone_number(), round));
            let received = world.contact.received().len();
            world.contact.wait_for_count(PATIENCE, received + 20).await.unwrap();
            program.signal(signal);
            let status = program.ended().await;
            assert_eq!(status.success(), signal == "TERM", "{signal}: {status}");
            accepted.extend(loading.await.unwrap());
        }
        assert!(accepted.len() >= 40, "{}", accepted.len());
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for message in world.contact.received() {
            *times.entry(message.id).or_default() += 1;
        }
        let program = Running::start(&world).await;
        let mut stored = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let after_text = after.map(|after| format!("&after={}", encoded(&after))).unwrap_or_default();
            let path = format!("/api/sessions/ventas/messages?limit=1000{after_text}");
            let page = program.api.get(&path).await.expect(StatusCode::OK).await;
            for message in page["messages"].as_array().unwrap() {
                stored.insert(
                    message["messageId"].as_str().unwrap().to_owned(),
                    message["content"]["text"].clone(),
                );
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        for (id, text) in &accepted {
            assert_eq!(times.get(id), Some(&1), "{kind:?}: {text} at the recipient");
            assert_eq!(stored.get(id), Some(&json!(text)), "{kind:?}: {text} in the store");
        }
        assert_eq!(world.phone.devices().len(), 1, "it was never linked anew");
        drop(program);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let secret = ("JWT_SECRET", common::SECRET);
    for (variables, says) in [
        (vec![], "JWT_SECRET is not set"),
        (vec![("JWT_SECRET", "short")], "JWT_SECRET is shorter than 16 bytes"),
        (vec![secret, ("CENTRALITA_WEBHOK_URL", "x")], "CENTRALITA_WEBHOK_URL"),
        (vec![secret, ("PORT", "many")], "PORT"),
        (vec![secret, ("PRELOAD_CHATS_TYPE", "some")], "PRELOAD_CHATS_TYPE"),
        (vec![secret, ("AUTH_STORAGE", "mongo")], "MONGODB_URI is not set"),
        (vec![secret, ("MONGODB_URI", "mongodb://127.0.0.1:1/x")], "CENTRALITA_KEYS"),
        (vec![secret, ("CENTRALITA_CORS_ORIGINS", "ours")], "CENTRALITA_CORS_ORIGINS"),
    ] {
        let output = Command::new(PROGRAM)
            .current_dir(folder.path())
            .env_clear()
            .env("PORT", "0")
            .envs(variables)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{says}");
        assert!(said.contains(says), "{says}: {said}");
        assert!(!said.contains(common::SECRET));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let world = World::new(StoreKind::Sqlite).await;
    let mut program = Running::start(&world).await;
    world.link(&program.api, "ventas").await;
    // A request that waits longer than this test has patience.
    let waiting = program.api.request(Method::GET, "/api/sessions/other/qr?waitMs=30000");
    program
        .api
        .post("/api/sessions", json!({ "sessionId": "other" }))
        .await
        .expect(StatusCode::CREATED)
        .await;
    world.stand_in.faults().freeze(None);
    let waiting = tokio::spawn(waiting.send());
    program.signal("TERM");
    tokio::time::sleep(Duration::from_millis(200)).await;
    if program.child.id().is_some() {
        let began = std::time::Instant::now();
        // It may have ended by the first already; then there is nothing to signal.
        let id = program.child.id().map(|id| id.to_string()).unwrap_or_default();
        drop(std::process::Command::new("kill").args(["-TERM", &id]).status());
        program.ended().await;
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_minted_by_the_program() {
    let output = Command::new(PROGRAM)
        .args(["token", "--scope", "read,send", "--sessions", "ventas"])
        .env("JWT_SECRET", common::SECRET)
        .output()
        .await
        .unwrap();
    assert!(output.status.success());
    let token = String::from_utf8(output.stdout).unwrap();
    let world = World::new(StoreKind::Sqlite).await;
    let (server, api) = world.server(&[]).await;
    let minted = api.with_token(Some(token.trim().to_owned()));
    minted.get("/api/sessions").await.expect(StatusCode::OK).await;
    minted.get("/api/sessions/soporte/details").await.expect_error(StatusCode::FORBIDDEN, "forbidden").await;
    server.shutdown().await.unwrap();
}
