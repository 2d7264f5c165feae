//! Started on a database that the seed's Node system filled: its sessions are there, and keep their names.
#![cfg(feature = "stand-in")]
#![allow(clippy::unwrap_used, reason = "tests, and what they share")]

mod common;

use common::{StoreKind, World};
use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};
use reqwest::StatusCode;

/// As mongoose writes it, with the fields of the seed.
fn session(id: &str, now: DateTime) -> Document {
    doc! {
        "_id": ObjectId::new(), "sessionId": id, "name": "Ventas", "phone": "5491155550000",
        "isConnected": true, "lastActivity": now, "qrCode": "2@left,over", "status": "connected",
        "connectionAttempts": 2, "lastConnectionAttempt": now, "lastDisconnectReason": "Connection Closed",
        "messagesSent": 12, "messagesReceived": 30.0, "totalChats": 4, "memoryUsage": 45.5, "lastHealthCheck": now,
        "isActive": true, "userAgent": null, "platform": "android", "version": null,
        "createdAt": now, "updatedAt": now, "__v": 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_sessions_are_shown_and_can_be_linked() {
    let world = World::new(StoreKind::Mongo).await;
    let client = mongodb::Client::with_uri_str(world.mongo_uri()).await.unwrap();
    let database = client.default_database().unwrap();
    let now = DateTime::now();
    database.collection("sessions").insert_one(session("ventas", now)).await.unwrap();
    let creds = doc! {
        "_id": ObjectId::new(), "sessionId": "ventas", "updatedAt": now, "__v": 0,
        "creds": { "noiseKey": { "private": { "type": "Buffer", "data": "AA==" } }, "registered": true },
    };
    database.collection("authstates").insert_one(creds).await.unwrap();
    let key = doc! {
        "_id": ObjectId::new(), "sessionId": "ventas", "type": "pre-key", "id": "1", "updatedAt": now, "__v": 0,
        "value": { "public": { "type": "Buffer", "data": "AA==" } },
    };
    database.collection("authkeys").insert_one(key).await.unwrap();

    let import = async |arguments: &[&str]| -> (bool, serde_json::Value) {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_centralita-server"))
            .arg("import")
            .args(arguments)
            .env("MONGODB_URI", world.mongo_uri())
            .env("CENTRALITA_KEYS", "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
            .output()
            .await
            .unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.success(), report)
    };
    // Credentials that were never linked cannot be taken over, and a look moves nothing.
    for arguments in [&["--dry-run"][..], &[]] {
        let aside =
            database.collection::<Document>("baileysauthkeys").count_documents(doc! {}).await.unwrap();
        assert_eq!(aside, 0);
        let (is_complete, report) = import(arguments).await;
        let found = &report["sessions"]["ventas"];
        assert!(!is_complete);
        assert_eq!((&found["credentials"], &found["keys"]), (&"baileys".into(), &1.into()));
        assert!(found["problem"].as_str().unwrap().contains("never linked"), "{found}");
    }
    let aside = database.collection::<Document>("baileysauthkeys").count_documents(doc! {}).await.unwrap();
    assert_eq!(aside, 1);

    // Their place is free: the session is linked with a code, and what is known of it stays.
    let (server, api) = world.server(&[]).await;
    world.link(&api, "ventas").await;
    let details = api.get("/api/sessions/ventas/details").await.expect(StatusCode::OK).await;
    assert_eq!((&details["messagesSent"], &details["messagesReceived"]), (&12.into(), &30.into()));
    let stats = api.get("/api/sessions/stats").await.expect(StatusCode::OK).await;
    assert_eq!(stats["totalMessages"], 42);
    server.shutdown().await.unwrap();
    database.drop().await.unwrap();
}
