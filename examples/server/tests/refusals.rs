//! What is refused, for every endpoint that the OpenAPI document names: none can be forgotten.
#![cfg(feature = "stand-in")]
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod common;

use centralita_server::Server;
use common::{Api, StoreKind, World, token};
use reqwest::header::{ALLOW, CONTENT_TYPE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Method and path of each endpoint that takes a token.
async fn guarded(api: &Api) -> Vec<(Method, String)> {
    let document = api.get("/api/openapi.json").await.expect(StatusCode::OK).await;
    let mut endpoints = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if operation["security"].is_null() {
                endpoints.push((method.to_uppercase().parse().unwrap(), path.clone()));
            }
        }
    }
    assert!(endpoints.len() >= 35, "{endpoints:?}");
    endpoints
}

fn of_session(path: &str, id: &str) -> String {
    path.replace("{sessionId}", id).replace("{id}", "x")
}

/// A body that each endpoint would take.
fn body(path: &str) -> Option<Value> {
    let target = json!({ "chatId": "1@s.whatsapp.net", "sender": "1@s.whatsapp.net", "messageId": "A" });
    Some(match path.rsplit('/').next().unwrap() {
        "sessions" => json!({ "sessionId": "theirs" }),
        "messages" => json!({ "to": "5491155550000", "text": "x" }),
        "reply" | "edit" => json!({ "target": target, "text": "x" }),
        "reaction" => json!({ "target": target, "emoji": "x" }),
        "revoke" => json!({ "target": target }),
        "read" => json!({ "targets": [target] }),
        "typing" => json!({ "to": "5491155550000", "composing": true }),
        "pair-code" => json!({ "phoneNumber": "5491155550000" }),
        "passkey" => json!({ "assertion": {}, "credentialId": "AA" }),
        _ => return None,
    })
}

fn body_for(method: &Method, path: &str) -> Option<Value> {
    if *method == Method::POST { body(path) } else { None }
}

async fn world() -> (World, Server, Api) {
    let world = World::new(StoreKind::Sqlite).await;
    let (server, api) = world.server(&["--body-limit-bytes", "1000"]).await;
    for id in ["theirs", "mine"] {
        api.post("/api/sessions", json!({ "sessionId": id })).await.expect(StatusCode::CREATED).await;
    }
    (world, server, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_token_nothing() {
    let (_world, server, api) = world().await;
    for (method, path) in guarded(&api).await {
        let path_here = of_session(&path, "theirs");
        for bad in [None, Some("nonsense".to_owned()), Some(token(&["admin"], &[])[1..].to_owned())] {
            let code = if bad.is_none() { "no_token" } else { "bad_token" };
            let answer = api.with_token(bad).send(method.clone(), &path_here, body_for(&method, &path)).await;
            assert_eq!(answer.response.headers()["www-authenticate"], "Bearer");
            answer.expect_error(StatusCode::UNAUTHORIZED, code).await;
        }
    }
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_scope_nothing_and_without_the_session_nothing() {
    let (_world, server, api) = world().await;
    let nothing = api.with_token(Some(token(&[], &[])));
    let reader = api.with_token(Some(token(&["read"], &[])));
    let sender = api.with_token(Some(token(&["send"], &[])));
    let tenant = api.with_token(Some(token(&["admin"], &["mine"])));
    for (method, path) in guarded(&api).await {
        let path_here = of_session(&path, "theirs");
        let body = body_for(&method, &path);
        let call = |api: &Api| {
            let (api, method, path, body) = (api.clone(), method.clone(), path_here.clone(), body.clone());
            async move { api.send(method, &path, body).await }
        };
        call(&nothing).await.expect_error(StatusCode::FORBIDDEN, "forbidden").await;
        // Codes to link with are an account; only who administers gets one.
        let is_send = ["messages", "typing"].iter().any(|part| path.contains(&format!("/{part}")));
        let is_read = method == Method::GET && !path.contains("/qr") && !path.contains("dead-letters");
        if !is_read {
            call(&reader).await.expect_error(StatusCode::FORBIDDEN, "forbidden").await;
        }
        if !(method == Method::POST && is_send) {
            call(&sender).await.expect_error(StatusCode::FORBIDDEN, "forbidden").await;
        }
        let is_list = method == Method::GET && !path.contains("{sessionId}") && !path.contains("health");
        if !is_list || path.contains("dead-letters") {
            call(&tenant).await.expect_error(StatusCode::FORBIDDEN, "forbidden").await;
        } else {
            let seen = call(&tenant).await.expect(StatusCode::OK).await;
            assert!(!seen.to_string().contains("theirs"), "{path}: {seen}");
        }
    }
    let figures = tenant.get("/api/sessions/stats").await.expect(StatusCode::OK).await;
    assert_eq!(figures["totalSessions"], 1);
    let list = tenant.get("/api/sessions").await.expect(StatusCode::OK).await;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 1);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sessions_paths_and_methods() {
    let (_world, server, api) = world().await;
    for (method, path) in guarded(&api).await {
        if path.contains('{') {
            let answer =
                api.send(method.clone(), &of_session(&path, "nobody"), body_for(&method, &path)).await;
            answer.expect_error(StatusCode::NOT_FOUND, "not_found").await;
        }
        let wrong = api.send(Method::PATCH, &of_session(&path, "mine"), None).await;
        let allow = wrong.response.headers()[ALLOW].to_str().unwrap().to_owned();
        assert!(allow.contains(method.as_str()), "{path}: {allow}");
        wrong.expect_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed").await;
    }
    api.get("/api/nothing").await.expect_error(StatusCode::NOT_FOUND, "not_found").await;
    api.get("/nothing").await.expect_error(StatusCode::NOT_FOUND, "not_found").await;
    // A byte that is no UTF-8.
    let answer = api.get("/api/sessions/%ff/details").await;
    answer.expect_error(StatusCode::BAD_REQUEST, "invalid").await;
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_bodies() {
    let (_world, server, api) = world().await;
    for (method, path) in guarded(&api).await {
        let Some(good) = body_for(&method, &path) else { continue };
        let path_here = of_session(&path, "mine");
        let request = || api.request(method.clone(), &path_here);
        for (what, request, statuses) in [
            ("no JSON", request().header(CONTENT_TYPE, "application/json").body("{"), &[400][..]),
            ("another type", request().header(CONTENT_TYPE, "text/plain").body(good.to_string()), &[415]),
            ("nothing", request(), &[415]),
            ("a wrong shape", request().json(&json!([1, 2])), &[422]),
            ("an unknown field", request().json(&json!({ "unheard": 1 })), &[422]),
            ("too much", request().json(&json!({ "sessionId": "x".repeat(5_000) })), &[413]),
        ] {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let body: Value = response.json().await.unwrap();
            assert!(statuses.contains(&status), "{what} to {path}: {status} {body}");
            assert!(body["error"]["message"].is_string(), "{what} to {path}: {body}");
        }
    }
    for id in ["", "a b", "../x", "a/b", "stats", "cleanup-inactive"] {
        let answer = api.post("/api/sessions", json!({ "sessionId": id })).await;
        answer.expect_error(StatusCode::BAD_REQUEST, "invalid").await;
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?status=happy", "?sort=up"] {
        let answer = api.get(&format!("/api/sessions{query}")).await;
        answer.expect_error(StatusCode::BAD_REQUEST, "invalid").await;
    }
    for (path, body) in [
        ("/api/sessions/mine/health-check", json!({ "memoryMB": -1 })),
        ("/api/sessions/cleanup-inactive", json!({ "daysInactive": 0 })),
    ] {
        api.post(path, body).await.expect_error(StatusCode::BAD_REQUEST, "invalid").await;
    }
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_does_not_take_the_rate_of_another() {
    let world = World::new(StoreKind::Sqlite).await;
    let mut options = world.options(&["--rate-limit-burst", "3"]);
    options.rate_limit_per_s = 1;
    let service_options = world.service_options(&options);
    let server = Server::start_with(options, service_options).await.unwrap();
    let api = Api::new(format!("http://{}", server.address()), token(&["admin"], &[]));
    for _ in 0..3 {
        api.get("/api/sessions").await.expect(StatusCode::OK).await;
    }
    let refused = api.get("/api/sessions").await;
    assert_eq!(refused.response.headers()["retry-after"], "1");
    let error = refused.expect_error(StatusCode::TOO_MANY_REQUESTS, "rate_limited").await;
    assert_eq!(error["error"]["retryable"], true);
    let other = api.with_token(Some(token(&["read"], &[])));
    other.get("/api/sessions").await.expect(StatusCode::OK).await;
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_of_other_origins_are_not_let_in() {
    let world = World::new(StoreKind::Sqlite).await;
    let (server, api) = world.server(&["--cors-origins", "https://ours.example"]).await;
    for (origin, allowed) in [("https://ours.example", true), ("https://other.example", false)] {
        let response = api
            .request(Method::OPTIONS, "/api/sessions")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "authorization")
            .send()
            .await
            .unwrap();
        let header = response.headers().get("access-control-allow-origin");
        assert_eq!(header.is_some_and(|value| value == origin), allowed, "{origin}");
    }
    server.shutdown().await.unwrap();
}
