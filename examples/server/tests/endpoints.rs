//! Every endpoint over real HTTP, on SQLite and on MongoDB, with a simulated phone and contact.
#![cfg(feature = "stand-in")]
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod common;

use centralita_stand_in::ReceiptKind;
use common::{PATIENCE, StoreKind, World, encoded, token};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_life_of_a_session_on_sqlite() {
    the_whole_life_of_a_session(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_life_of_a_session_on_mongodb() {
    the_whole_life_of_a_session(StoreKind::Mongo).await;
}

async fn the_whole_life_of_a_session(kind: StoreKind) {
    let world = World::new(kind).await;
    let (server, api) = world.server(&[]).await;

    // Created, not linked.
    let request = json!({ "sessionId": "ventas", "name": "Ventas SA" });
    let made = api.post("/api/sessions", request).await.expect(StatusCode::CREATED).await;
    assert_eq!((&made["sessionId"], &made["isActive"]), (&json!("ventas"), &json!(true)));
    let step = api.get("/api/sessions/ventas/qr?waitMs=30000").await.expect(StatusCode::OK).await;
    assert_eq!(step["step"], "qr");
    let qr = step["qr"].as_str().unwrap();
    for (path, content_type, begins) in [
        ("qr.png", "image/png", &b"\x89PNG"[..]),
        ("qr.svg", "image/svg+xml", b"<svg"),
        ("qr.txt", "text/plain; charset=utf-8", "█".as_bytes()),
    ] {
        let answer = api.get(&format!("/api/sessions/ventas/{path}")).await;
        assert_eq!(answer.response.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.response.headers()[CONTENT_TYPE], content_type);
        assert!(answer.response.bytes().await.unwrap().starts_with(begins), "{path}");
    }
    // The step is there a moment before the record says so.
    let seen = api
        .where_("/api/sessions", "the code in the record", |seen| seen["sessions"][0]["status"] == "qr_ready")
        .await;
    assert_eq!(seen["sessions"][0]["qrCode"], qr);
    // Who may only read must not be able to take the account over.
    let reader = api.with_token(Some(token(&["read"], &[])));
    let seen = reader.get("/api/sessions").await.expect(StatusCode::OK).await;
    assert_eq!(seen["sessions"][0]["qrCode"], Value::Null);
    reader.get("/api/sessions/ventas/qr").await.expect_error(StatusCode::FORBIDDEN, "forbidden").await;

    // Linked.
    let device = world.phone.scan_qr(qr).unwrap();
    let details = api.details_where("ventas", "the link", |details| details["status"] == "connected").await;
    assert_eq!(details["phone"], world.phone.phone_number());
    assert_eq!((&details["running"], &details["qrCode"]), (&json!(true), &Value::Null));
    assert!(details["memoryNow"].as_f64().unwrap() > 0.0);
    api.where_("/api/sessions/ventas/qr", "linked", |step| step["step"] == "linked").await;
    api.get("/api/sessions/ventas/qr.png").await.expect_error(StatusCode::CONFLICT, "invalid_state").await;

    // Messages both ways.
    world.contact.send_text(&world.phone.phone_number(), "hola").await.unwrap();
    let has = |text: &'static str| {
        move |page: &Value| {
            page["messages"].as_array().unwrap().iter().any(|one| one["content"]["text"] == text)
        }
    };
    let page = api.where_("/api/sessions/ventas/messages", "the message", has("hola")).await;
    let hola = &page["messages"][0];
    assert_eq!((&hola["direction"], &hola["senderName"]), (&json!("in"), &json!("Clienta")));
    let target =
        json!({ "chatId": hola["chatId"], "sender": hola["sender"], "messageId": hola["messageId"] });

    let to = world.contact.phone_number();
    let send = || async {
        let request = api.request(Method::POST, "/api/sessions/ventas/messages");
        let request =
            request.header("idempotency-key", "order-17").json(&json!({ "to": to, "text": "buenas" }));
        request.send().await.unwrap().error_for_status().unwrap().json::<Value>().await.unwrap()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!((&first["messageId"], &first["repeated"]), (&second["messageId"], &json!(false)));
    assert_eq!(second["repeated"], true);
    let own =
        json!({ "chatId": first["chatId"], "sender": first["sender"], "messageId": first["messageId"] });
    world
        .contact
        .wait_for_message(PATIENCE, |message| message.text.as_deref() == Some("buenas"))
        .await
        .unwrap();
    for (path, body) in [
        ("reply", json!({ "target": target, "text": "¿en qué ayudo?" })),
        ("reaction", json!({ "target": target, "emoji": "👍" })),
        ("edit", json!({ "target": own, "text": "buenas tardes" })),
        ("revoke", json!({ "target": own })),
    ] {
        let answer = api.post(&format!("/api/sessions/ventas/messages/{path}"), body).await;
        assert!(answer.expect(StatusCode::OK).await["messageId"].is_string(), "{path}");
    }
    world.contact.wait_for_message(PATIENCE, |m| m.text.as_deref() == Some("¿en qué ayudo?")).await.unwrap();
    let read = api.post("/api/sessions/ventas/messages/read", json!({ "targets": [target] })).await;
    read.expect(StatusCode::NO_CONTENT).await;
    world.contact.wait_for_receipt(PATIENCE, |receipt| receipt.kind == ReceiptKind::Read).await.unwrap();
    let typing = api.post("/api/sessions/ventas/typing", json!({ "to": to, "composing": true })).await;
    typing.expect(StatusCode::NO_CONTENT).await;
    let chats = api.get("/api/sessions/ventas/chats").await.expect(StatusCode::OK).await;
    assert_eq!((chats["chats"].as_array().unwrap().len(), &chats["chats"][0]["unreadCount"]), (1, &json!(0)));

    // Pages go on where they end.
    let first_page = api.get("/api/sessions/ventas/messages?limit=1").await.expect(StatusCode::OK).await;
    let after = first_page["next"].as_str().expect("there are more");
    let path = format!("/api/sessions/ventas/messages?limit=1&after={}", encoded(after));
    let next_page = api.get(&path).await.expect(StatusCode::OK).await;
    assert_ne!(first_page["messages"][0]["messageId"], next_page["messages"][0]["messageId"]);

    // Figures and lists.
    let stats = api.where_("/api/sessions/stats", "figures", |stats| stats["messagesSent"] == 3).await;
    assert_eq!((&stats["totalSessions"], &stats["connectedSessions"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["messagesReceived"], &stats["totalChats"]), (&json!(1), &json!(1)));
    for (path, count) in [("active", 1), ("connected", 1), ("problematic", 0)] {
        let list = api.get(&format!("/api/sessions/{path}")).await.expect(StatusCode::OK).await;
        assert_eq!(list["sessions"].as_array().unwrap().len(), count, "{path}");
    }
    let history = api.get("/api/sessions/ventas/history").await.expect(StatusCode::OK).await;
    assert_eq!(history["points"].as_array().unwrap().last().unwrap()["messagesSent"], 3);
    let health = api.get("/api/health").await.expect(StatusCode::OK).await;
    assert_eq!(health["statistics"]["totalSessions"], 1);
    let checked = api.post_nothing("/api/sessions/ventas/health-check").await.expect(StatusCode::OK).await;
    assert!(checked["memoryUsage"].as_f64().unwrap() > 0.0);
    let told = api.post("/api/sessions/ventas/health-check", json!({ "memoryMB": 1.5 })).await;
    assert_eq!(told.expect(StatusCode::OK).await["memoryUsage"], 1.5);
    let reset = api.post_nothing("/api/sessions/ventas/reset-attempts").await.expect(StatusCode::OK).await;
    assert_eq!(reset["connectionAttempts"], 0);

    // Stopped, started without a code, logged out, deleted.
    let stopped = api.post_nothing("/api/sessions/ventas/stop").await.expect(StatusCode::OK).await;
    assert_eq!((&stopped["status"], &stopped["isConnected"]), (&json!("disconnected"), &json!(false)));
    let send_to_stopped = json!({ "to": to, "text": "x" });
    let refused = api.post("/api/sessions/ventas/messages", send_to_stopped).await;
    refused.expect_error(StatusCode::CONFLICT, "invalid_state").await;
    let waits = json!({ "to": to, "text": "luego", "queueForS": 600 });
    let queued = api.post("/api/sessions/ventas/messages", waits).await.expect(StatusCode::OK).await;
    assert_eq!(queued["status"], "queued");
    api.post_nothing("/api/sessions/ventas/start").await.expect(StatusCode::OK).await;
    api.details_where("ventas", "the start", |details| details["isConnected"] == true).await;
    assert_eq!(world.phone.devices().len(), 1);
    world
        .contact
        .wait_for_message(PATIENCE, |message| message.text.as_deref() == Some("luego"))
        .await
        .unwrap();
    // At once: what the outbox has just sent must not keep WhatsApp from hearing of it.
    api.post_nothing("/api/sessions/ventas/logout").await.expect(StatusCode::OK).await;
    assert!(world.phone.devices().is_empty(), "the phone has not forgotten {}", device.jid);
    let gone = api.delete("/api/sessions/ventas/cleanup").await.expect(StatusCode::OK).await;
    assert!(gone["messages"].as_u64().unwrap() >= 3, "{gone}");
    api.get("/api/sessions/ventas/details").await.expect_error(StatusCode::NOT_FOUND, "not_found").await;
    let again = api.post("/api/sessions", json!({ "sessionId": "ventas" })).await;
    again.expect(StatusCode::CREATED).await;
    api.delete("/api/sessions/ventas").await.expect(StatusCode::NO_CONTENT).await;
    let none = api.get("/api/sessions").await.expect(StatusCode::OK).await;
    assert_eq!(none, json!({ "sessions": [], "next": null, "malformed": [] }));
    let clean =
        api.post("/api/sessions/cleanup-inactive", json!({ "daysInactive": 1, "dryRun": true })).await;
    assert_eq!(clean.expect(StatusCode::OK).await["removed"], json!([]));
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pair_codes_and_passkeys() {
    let world = World::new(StoreKind::Sqlite).await;
    let (server, api) = world.server(&[]).await;
    api.post("/api/sessions", json!({ "sessionId": "a" })).await.expect(StatusCode::CREATED).await;
    let number = json!({ "phoneNumber": world.phone.phone_number() });
    let code = api.post("/api/sessions/a/pair-code", number).await.expect(StatusCode::OK).await;
    let code = code["code"].as_str().unwrap();
    api.where_("/api/sessions/a/qr", "the step", |step| step["step"] == "pair_code").await;
    world.phone.enter_pair_code(code).unwrap();
    api.details_where("a", "the link", |details| details["isConnected"] == true).await;
    api.post_nothing("/api/sessions/a/passkey/confirm")
        .await
        .expect_error(StatusCode::CONFLICT, "invalid_state")
        .await;
    let answer = json!({ "assertion": {}, "credentialId": "not base64!" });
    api.post("/api/sessions/a/passkey", answer).await.expect_error(StatusCode::BAD_REQUEST, "invalid").await;

    // An account that demands a passkey.
    world.stand_in.faults().request_passkey(true);
    api.post("/api/sessions", json!({ "sessionId": "b" })).await.expect(StatusCode::CREATED).await;
    let step = api.get("/api/sessions/b/qr?waitMs=30000").await.expect(StatusCode::OK).await;
    world.contact.scan_qr(step["qr"].as_str().unwrap()).unwrap();
    let challenge =
        api.where_("/api/sessions/b/qr", "a challenge", |step| step["step"] == "passkey_challenge").await;
    assert!(challenge["requestOptions"]["challenge"].is_string(), "{challenge}");
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_documents() {
    let world = World::new(StoreKind::Sqlite).await;
    let (server, api) = world.server(&["--metrics-per-session", "true"]).await;
    let nobody = api.with_token(None);
    assert_eq!(nobody.get("/livez").await.expect(StatusCode::OK).await, "ok");
    let ready = nobody.where_("/readyz", "ready", |ready| ready["ready"] == true).await;
    assert_eq!(ready["store"]["ready"], true);
    api.post("/api/sessions", json!({ "sessionId": "a" })).await.expect(StatusCode::CREATED).await;
    nobody.get("/metrics").await.expect_error(StatusCode::UNAUTHORIZED, "no_token").await;
    let metrics = api.get("/metrics").await.expect(StatusCode::OK).await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "centralita_sessions{state=\"pending\"} 1",
        "centralita_session_connected{session=\"a\"} 0",
        "centralita_http_request_seconds_count{method=\"POST\",route=\"/api/sessions\",status=\"201\"} ",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let document = nobody.get("/api/openapi.json").await.expect(StatusCode::OK).await;
    for path in ["/api/sessions", "/api/sessions/stats", "/api/sessions/{sessionId}/cleanup", "/livez"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    for (path, text) in
        [("/api/docs/", "swagger-ui"), ("/", "<title>centralita</title>"), ("/dashboard/main.js", "import")]
    {
        let answer = nobody.get(path).await;
        assert_eq!(answer.response.headers()["x-content-type-options"], "nosniff");
        assert!(answer.expect(StatusCode::OK).await.to_string().contains(text), "{path}");
    }
    server.shutdown().await.unwrap();
}
