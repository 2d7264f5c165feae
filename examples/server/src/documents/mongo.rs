//! Documents in MongoDB: the collection `serverdocuments`.

use async_trait::async_trait;
use centralita::{Error, ErrorKind, Result};
use futures::TryStreamExt;
use mongodb::bson::{Document as Bson, doc};
use mongodb::error::ErrorKind as MongoErrorKind;
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Collection};

use super::{Document, Documents};

/// The database that the library takes as well if the address names none.
const DEFAULT_DATABASE: &str = "centralita";
const COLLECTION: &str = "serverdocuments";
/// The server's code for a document that is there already.
const DUPLICATE_KEY: i32 = 11_000;

#[derive(Debug)]
pub(crate) struct MongoDocuments {
    client: Client,
    collection: Collection<Bson>,
}

impl MongoDocuments {
    /// Connects to the database that the address names.
    pub(crate) async fn connect(uri: &str) -> Result<Self> {
        let options = parse(uri).await?;
        let name = options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        Self::with(options, &name)
    }

    #[cfg(test)]
    pub(super) async fn connect_to(uri: &str, database: &str) -> Result<Self> {
        Self::with(parse(uri).await?, database)
    }

    fn with(mut options: ClientOptions, database: &str) -> Result<Self> {
        // `Ok` means durable, as with the sessions themselves.
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        let client = Client::with_options(options).map_err(refused)?;
        let collection = client.database(database).collection(COLLECTION);
        Ok(Self { client, collection })
    }

    #[cfg(test)]
    pub(super) async fn drop_database(&self) {
        let namespace = self.collection.namespace();
        self.client.database(&namespace.db).drop().await.unwrap();
    }
}

async fn parse(uri: &str) -> Result<ClientOptions> {
    ClientOptions::parse(uri).await.map_err(|error| {
        // The cause may repeat the address, password included.
        tracing::debug!(%error, "MONGODB_URI");
        Error::new(
            ErrorKind::Invalid,
            "MONGODB_URI is not an address of MongoDB, or its name does not resolve",
        )
    })
}

#[async_trait]
impl Documents for MongoDocuments {
    async fn compare_and_set(
        &self,
        kind: &str,
        id: &str,
        expected: Option<&str>,
        new: Option<&str>,
    ) -> Result<bool> {
        let key = key(kind, id);
        match (expected, new) {
            (None, None) => Ok(false),
            (None, Some(new)) => {
                let document = doc! { "_id": key, "kind": kind, "id": id, "body": new };
                match self.collection.insert_one(document).await {
                    Ok(_) => Ok(true),
                    Err(error) if is_duplicate(&error) => Ok(false),
                    Err(error) => Err(refused(error)),
                }
            }
            (Some(expected), None) => {
                let filter = doc! { "_id": key, "body": expected };
                Ok(self.collection.delete_one(filter).await.map_err(refused)?.deleted_count > 0)
            }
            (Some(expected), Some(new)) => {
                let filter = doc! { "_id": key, "body": expected };
                let change = doc! { "$set": { "body": new } };
                Ok(self.collection.update_one(filter, change).await.map_err(refused)?.matched_count > 0)
            }
        }
    }

    async fn get(&self, kind: &str, id: &str) -> Result<Option<String>> {
        let found = self.collection.find_one(doc! { "_id": key(kind, id) }).await.map_err(refused)?;
        found.map(|document| body(&document)).transpose()
    }

    async fn list(&self, kind: &str, after: Option<&str>, limit: u32) -> Result<Vec<Document>> {
        // By `_id`, which begins with the kind: no index of its own is needed.
        let from = key(kind, after.unwrap_or_default());
        let filter = doc! { "_id": { "$gt": from, "$lt": format!("{kind}0") } };
        let cursor = self
            .collection
            .find(filter)
            .sort(doc! { "_id": 1 })
            .limit(i64::from(limit))
            .await
            .map_err(refused)?;
        let documents: Vec<Bson> = cursor.try_collect().await.map_err(refused)?;
        documents
            .iter()
            .map(|document| Ok((document.get_str("id").map_err(|_| corrupt())?.to_owned(), body(document)?)))
            .collect()
    }

    async fn close(&self) {
        self.client.clone().shutdown().await;
    }
}

/// `0` is the character after `/`: all ids of a kind lie between `kind/` and `kind0`.
fn key(kind: &str, id: &str) -> String {
    format!("{kind}/{id}")
}

fn body(document: &Bson) -> Result<String> {
    Ok(document.get_str("body").map_err(|_| corrupt())?.to_owned())
}

fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "a document of serverdocuments cannot be understood; delete it")
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        MongoErrorKind::Write(mongodb::error::WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

fn refused(error: mongodb::error::Error) -> Error {
    let kind = match error.kind.as_ref() {
        MongoErrorKind::Io(_)
        | MongoErrorKind::ServerSelection { .. }
        | MongoErrorKind::ConnectionPoolCleared { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Store,
    };
    Error::new(kind, "MongoDB did not take a command on serverdocuments").caused_by(error)
}
