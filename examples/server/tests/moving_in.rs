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

    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_centralita-server"))
        .args(["import", "--dry-run"])
        .env("MONGODB_URI", world.mongo_uri())
        .env("CENTRALITA_KEYS", "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sessions"]["ventas"]["credentials"], "baileys");
    assert_eq!(report["sessions"]["ventas"]["keys"], 1);

    let (server, api) = world.server(&[]).await;
    let details = api.get("/api/sessions/ventas/details").await.expect(StatusCode::OK).await;
    assert_eq!(details["messagesSent"], 12);
    assert_eq!(details["messagesReceived"], 30);
    assert_eq!(details["name"], "Ventas");
    let stats = api.get("/api/sessions/stats").await.expect(StatusCode::OK).await;
    assert_eq!(stats["totalMessages"], 42);
    server.shutdown().await.unwrap();
    database.drop().await.unwrap();
}
