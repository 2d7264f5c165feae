//! What the seed's Node system left in MongoDB: found, read, moved aside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use centralita::service::import::{BaileysAuth, BaileysKey};
use centralita::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind as MongoErrorKind;
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Collection, Database};
use serde_json::{Value, json};

use super::report::{Credentials, Found, Sessions};

/// The database that the library takes as well if the address names none.
const DEFAULT_DATABASE: &str = "centralita";
const CREDS: &str = "authstates";
const KEYS: &str = "authkeys";
/// Where the originals go.
const ASIDE: [(&str, &str); 2] = [(CREDS, "baileysauthstates"), (KEYS, "baileysauthkeys")];
/// Documents in one command.
const AT_ONCE: usize = 500;
/// The server's code for a document that is there already.
const DUPLICATE_KEY: i32 = 11_000;

/// The database.
#[derive(Debug)]
pub(super) struct Seed {
    client: Client,
    database: Database,
}

impl Seed {
    pub(super) async fn connect(uri: &str) -> Result<Self> {
        let mut options = ClientOptions::parse(uri).await.map_err(refused)?;
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        let name = options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let client = Client::with_options(options).map_err(refused)?;
        Ok(Self { database: client.database(&name), client })
    }

    pub(super) async fn close(self) {
        self.client.shutdown().await;
    }

    fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Every session of which there is something.
    pub(super) async fn look(&self) -> Result<Sessions> {
        let mut sessions = Sessions::new();
        for id in self.ids("sessions").await? {
            sessions.entry(id).or_default().record = true;
        }
        for id in self.ids("baileysauthstates").await? {
            sessions.entry(id).or_default().is_aside = true;
        }
        let mut cursor = self.collection(CREDS).find(doc! {}).await.map_err(refused)?;
        while let Some(document) = cursor.try_next().await.map_err(refused)? {
            if let Ok(id) = document.get_str("sessionId") {
                sessions.entry(id.to_owned()).or_default().credentials = whose(&document);
            }
        }
        for (collection, count) in [
            (KEYS, (|found, n| found.keys = n) as fn(&mut Found, u64)),
            ("messages", |found, n| found.messages = n),
            ("chats", |found, n| found.chats = n),
        ] {
            for (id, n) in self.counts(collection).await? {
                count(sessions.entry(id).or_default(), n);
            }
        }
        Ok(sessions)
    }

    /// What Baileys stored of a session, moved aside or not. The inner error says that it cannot be read.
    pub(super) async fn baileys(&self, session: &str) -> Result<Result<BaileysAuth>> {
        let (mut creds, mut keys) = (Vec::new(), Vec::new());
        for (live, aside) in ASIDE {
            let found = if live == CREDS { &mut creds } else { &mut keys };
            // The live ones last: if both are there, an earlier move was cut off, and they are the same.
            for collection in [aside, live] {
                found.extend(self.documents(collection, session).await?);
            }
        }
        let Some(creds) = creds.pop() else {
            return Ok(Err(Error::new(
                ErrorKind::NotFound,
                "there are no credentials of Baileys; link the session anew",
            )));
        };
        Ok(read(&creds, &keys))
    }

    async fn documents(&self, collection: &str, session: &str) -> Result<Vec<Document>> {
        let cursor =
            self.collection(collection).find(doc! { "sessionId": session }).await.map_err(refused)?;
        let documents: Vec<Document> = cursor.try_collect().await.map_err(refused)?;
        Ok(documents.into_iter().filter(|document| !is_ours(document)).collect())
    }

    /// Moves Baileys' rows of a session out of the way. May be repeated after any failure.
    pub(super) async fn move_aside(&self, session: &str) -> Result<()> {
        for (live, aside) in ASIDE {
            let documents = self.documents(live, session).await?;
            for some in documents.chunks(AT_ONCE) {
                match self.collection(aside).insert_many(some).ordered(false).await {
                    Err(error) if !is_duplicates(&error) => return Err(refused(error)),
                    _ => {}
                }
            }
            if !documents.is_empty() {
                // The opposite of `is_ours`.
                let theirs = doc! {
                    "sessionId": session,
                    "$or": [{ "generation": { "$exists": false } }, { "_id": { "$not": { "$type": "string" } } }],
                };
                self.collection(live).delete_many(theirs).await.map_err(refused)?;
            }
        }
        Ok(())
    }

    async fn ids(&self, collection: &str) -> Result<Vec<String>> {
        let collection = self.collection(collection);
        let cursor = collection.find(doc! {}).projection(doc! { "sessionId": 1 }).await.map_err(refused)?;
        let documents: Vec<Document> = cursor.try_collect().await.map_err(refused)?;
        Ok(documents.iter().filter_map(|found| Some(found.get_str("sessionId").ok()?.to_owned())).collect())
    }

    async fn counts(&self, collection: &str) -> Result<Vec<(String, u64)>> {
        let group = doc! { "$group": { "_id": "$sessionId", "n": { "$sum": 1 } } };
        let cursor = self.collection(collection).aggregate([group]).await.map_err(refused)?;
        let documents: Vec<Document> = cursor.try_collect().await.map_err(refused)?;
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
}

/// This library's own rows have a text as `_id` and a generation; mongoose gives neither.
fn is_ours(document: &Document) -> bool {
    matches!(document.get("_id"), Some(Bson::String(_))) && document.contains_key("generation")
}

fn whose(document: &Document) -> Credentials {
    match document.get("creds") {
        _ if is_ours(document) => Credentials::Centralita,
        Some(Bson::Document(_) | Bson::String(_)) => Credentials::Baileys,
        _ => Credentials::None,
    }
}

fn read(creds: &Document, keys: &[Document]) -> Result<BaileysAuth> {
    let keys = keys.iter().map(|row| {
        let text = |name| row.get_str(name).map(str::to_owned).map_err(|_| unreadable(name));
        Ok(BaileysKey { kind: text("type")?, id: text("id")?, value: value(row, "value")? })
    });
    Ok(BaileysAuth { creds: value(creds, "creds")?, keys: keys.collect::<Result<_>>()? })
}

/// An object, or that object as JSON text: both are in use.
fn value(row: &Document, name: &'static str) -> Result<Value> {
    match row.get(name) {
        Some(Bson::String(text)) if text.starts_with(['{', '[', '"']) => {
            serde_json::from_str(text).map_err(|_| unreadable(name))
        }
        Some(found) => Ok(as_json(found)),
        None => Ok(Value::Null),
    }
}

/// As Baileys' `BufferJSON` would write it.
fn as_json(value: &Bson) -> Value {
    match value {
        Bson::Document(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), as_json(value))).collect())
        }
        Bson::Array(items) => Value::Array(items.iter().map(as_json).collect()),
        Bson::Binary(binary) => json!({ "type": "Buffer", "data": STANDARD.encode(&binary.bytes) }),
        Bson::String(text) => text.as_str().into(),
        Bson::Boolean(yes) => (*yes).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) => json!(number),
        Bson::DateTime(at) => at.timestamp_millis().into(),
        // Nothing that matters here is of any other type.
        _ => Value::Null,
    }
}

fn unreadable(name: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the field {name} of what Baileys stored cannot be read; link the session anew"),
    )
}

fn is_duplicates(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        MongoErrorKind::InsertMany(failure) => {
            failure.write_concern_error.is_none()
                && failure
                    .write_errors
                    .as_ref()
                    .is_some_and(|errors| errors.iter().all(|error| error.code == DUPLICATE_KEY))
        }
        _ => false,
    }
}

fn refused(error: mongodb::error::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "MongoDB did not answer; check MONGODB_URI").caused_by(error)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Binary;
    use mongodb::bson::oid::ObjectId;
    use mongodb::bson::spec::BinarySubtype;

    use super::*;

    #[test]
    fn objects_texts_and_raw_bytes_are_read_alike() {
        let bytes = Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2, 255] };
        let wanted = json!({ "noiseKey": { "type": "Buffer", "data": "AQL/" }, "nextPreKeyId": 31 });
        for creds in [
            Bson::Document(doc! { "noiseKey": { "type": "Buffer", "data": "AQL/" }, "nextPreKeyId": 31 }),
            Bson::Document(doc! { "noiseKey": bytes, "nextPreKeyId": 31_i64 }),
            Bson::String(wanted.to_string()),
        ] {
            let row = doc! { "_id": ObjectId::new(), "creds": creds };
            assert_eq!(whose(&row), Credentials::Baileys);
            assert_eq!(value(&row, "creds").unwrap(), wanted);
        }
        assert_eq!(value(&doc! { "value": "100000000000002" }, "value").unwrap(), json!("100000000000002"));
    }

    #[test]
    fn what_this_library_wrote_is_not_taken_for_baileys() {
        let sealed = Binary { subtype: BinarySubtype::Generic, bytes: vec![1] };
        let row = doc! { "_id": "ventas", "creds": sealed, "generation": 1_i64 };
        assert_eq!(whose(&row), Credentials::Centralita);
    }
}
