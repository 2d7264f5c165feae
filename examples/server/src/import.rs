//! `centralita-server import --dry-run`: what the seed's Node system left in MongoDB, session by session.
//!
//! Records, messages and chats are read as they are: the same collections and fields. Credentials of Baileys are not
//! taken over (DESIGN.md says why): those sessions show a QR code once.

use std::collections::BTreeMap;

use centralita::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, Database};
use serde::Serialize;

use crate::config::Options;
use crate::stores;

/// The database that the library takes as well if the address names none.
const DEFAULT_DATABASE: &str = "centralita";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    sessions: BTreeMap<String, Found>,
}

/// What there is of one session.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    /// Whether there is a record.
    record: bool,
    /// `centralita`, `baileys` or `none`.
    credentials: &'static str,
    keys: u64,
    messages: u64,
    chats: u64,
    /// What must be done to use it.
    to_do: &'static str,
}

/// Looks, changes nothing, and answers with JSON.
pub(crate) async fn run(options: &Options, dry_run: bool) -> Result<String> {
    if !dry_run {
        return Err(Error::new(
            ErrorKind::Invalid,
            "nothing needs to be imported: start the server on the database, its records and messages are read as \
             they are, and link each session once; --dry-run says what there is",
        ));
    }
    let client_options = ClientOptions::parse(stores::mongodb_uri(options)?).await.map_err(refused)?;
    let name = client_options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
    let client = Client::with_options(client_options).map_err(refused)?;
    let sessions = look(&client.database(&name)).await.map_err(refused)?;
    client.shutdown().await;
    let report = Report { dry_run, sessions };
    serde_json::to_string_pretty(&report).map_err(|error| {
        Error::new(ErrorKind::Internal, "the report cannot be written as JSON").caused_by(error)
    })
}

async fn look(database: &Database) -> mongodb::error::Result<BTreeMap<String, Found>> {
    let mut sessions: BTreeMap<String, Found> = BTreeMap::new();
    for id in ids(&database.collection("sessions")).await? {
        sessions.entry(id).or_default().record = true;
    }
    let creds: Collection<Document> = database.collection("authstates");
    let mut cursor = creds.find(doc! {}).await?;
    while let Some(document) = cursor.try_next().await? {
        if let Ok(id) = document.get_str("sessionId") {
            sessions.entry(id.to_owned()).or_default().credentials = whose(&document);
        }
    }
    for (collection, count) in [
        ("authkeys", (|found, n| found.keys = n) as fn(&mut Found, u64)),
        ("messages", |found, n| found.messages = n),
        ("chats", |found, n| found.chats = n),
    ] {
        for (id, n) in counts(&database.collection(collection)).await? {
            count(sessions.entry(id).or_default(), n);
        }
    }
    for found in sessions.values_mut() {
        if found.credentials.is_empty() {
            found.credentials = "none";
        }
        found.to_do = match (found.record, found.credentials) {
            (_, "centralita") => "nothing: it is restored at start",
            (true, _) => "start it and scan its QR code once; its history is shown as it is",
            (false, _) => "create it and scan its QR code once; its history is shown as it is",
        };
    }
    Ok(sessions)
}

/// Ours are sealed bytes; Baileys' are an object with a Noise key, or that object as JSON text.
fn whose(document: &Document) -> &'static str {
    match document.get("creds") {
        Some(Bson::Binary(_)) => "centralita",
        Some(Bson::Document(creds)) if creds.contains_key("noiseKey") => "baileys",
        Some(Bson::String(text)) if text.contains("\"noiseKey\"") => "baileys",
        _ => "none",
    }
}

async fn ids(collection: &Collection<Document>) -> mongodb::error::Result<Vec<String>> {
    let cursor = collection.find(doc! {}).projection(doc! { "sessionId": 1 }).await?;
    let documents: Vec<Document> = cursor.try_collect().await?;
    Ok(documents.iter().filter_map(|found| Some(found.get_str("sessionId").ok()?.to_owned())).collect())
}

async fn counts(collection: &Collection<Document>) -> mongodb::error::Result<Vec<(String, u64)>> {
    let group = doc! { "$group": { "_id": "$sessionId", "n": { "$sum": 1 } } };
    let documents: Vec<Document> = collection.aggregate([group]).await?.try_collect().await?;
    let count = |document: &Document| match document.get("n") {
        Some(Bson::Int32(n)) => u64::try_from(*n).ok(),
        Some(Bson::Int64(n)) => u64::try_from(*n).ok(),
        _ => None,
    };
    Ok(documents
        .iter()
        .filter_map(|found| Some((found.get_str("_id").ok()?.to_owned(), count(found)?)))
        .collect())
}

fn refused(error: mongodb::error::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "MongoDB did not answer; check MONGODB_URI").caused_by(error)
}
