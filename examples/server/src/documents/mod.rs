//! The little that the server itself keeps: alerts that are firing, deliveries that wait. JSON by kind and id.
//!
//! One primitive carries both: compare and set. Of several instances on one database, one wins each change.

mod mongo;
mod sqlite;

use async_trait::async_trait;
use centralita::Result;

pub(crate) use mongo::MongoDocuments;
pub(crate) use sqlite::SqliteDocuments;

/// A stored document: its id and its JSON text.
pub(crate) type Document = (String, String);

/// A place for small documents.
#[async_trait]
pub(crate) trait Documents: Send + Sync + 'static {
    /// Replaces the document if it still is `expected` (`None`: is absent) by `new` (`None`: removes it). Whether it
    /// did, durably.
    async fn compare_and_set(
        &self,
        kind: &str,
        id: &str,
        expected: Option<&str>,
        new: Option<&str>,
    ) -> Result<bool>;

    /// Reads one document.
    async fn get(&self, kind: &str, id: &str) -> Result<Option<String>>;

    /// Reads the documents of a kind whose id comes after `after`, by id, at most `limit`.
    async fn list(&self, kind: &str, after: Option<&str>, limit: u32) -> Result<Vec<Document>>;

    /// Lets go of files and connections.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keeps_the_rules(documents: &dyn Documents) {
        let set = |expected, new| documents.compare_and_set("alert", "a/1", expected, new);
        assert!(set(None, Some("{\"n\":1}")).await.unwrap());
        assert!(!set(None, Some("{\"n\":2}")).await.unwrap(), "it is there already");
        assert!(!set(Some("{\"n\":2}"), Some("{\"n\":3}")).await.unwrap(), "somebody else changed it");
        assert!(set(Some("{\"n\":1}"), Some("{\"n\":2}")).await.unwrap());
        assert_eq!(documents.get("alert", "a/1").await.unwrap().as_deref(), Some("{\"n\":2}"));
        assert!(documents.compare_and_set("other", "a/1", None, Some("{}")).await.unwrap());
        assert!(documents.compare_and_set("alert", "a/2", None, Some("{}")).await.unwrap());
        let ids = |list: Vec<Document>| list.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(documents.list("alert", None, 10).await.unwrap()), ["a/1", "a/2"]);
        assert_eq!(ids(documents.list("alert", Some("a/1"), 10).await.unwrap()), ["a/2"]);
        assert_eq!(ids(documents.list("alert", None, 1).await.unwrap()), ["a/1"]);
        assert!(!set(Some("{\"n\":1}"), None).await.unwrap());
        assert!(set(Some("{\"n\":2}"), None).await.unwrap());
        assert_eq!(documents.get("alert", "a/1").await.unwrap(), None);
    }

    #[tokio::test]
    async fn sqlite_keeps_the_rules_and_the_documents() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.db");
        let documents = SqliteDocuments::open(&file).unwrap();
        keeps_the_rules(&documents).await;
        documents.close().await;
        let again = SqliteDocuments::open(&file).unwrap();
        assert_eq!(again.get("alert", "a/2").await.unwrap().as_deref(), Some("{}"));
    }

    #[tokio::test]
    async fn mongodb_keeps_the_rules() {
        let uri = std::env::var("TEST_MONGODB_URI")
            .expect("TEST_MONGODB_URI is not set: run the tests with ./test, which starts a server");
        let name = format!("documents_{}", std::process::id());
        let documents = MongoDocuments::connect_to(&uri, &name).await.unwrap();
        keeps_the_rules(&documents).await;
        documents.drop_database().await;
    }
}
