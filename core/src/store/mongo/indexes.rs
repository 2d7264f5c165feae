//! The indexes. An equal one that is there stays; nothing is ever dropped.

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::errors::{DUPLICATE, Failure, code_of};
use super::{
    AUTH_KEYS, AUTH_STATES, CHATS, CONSUMERS, DEAD_LETTERS, EVENTS, Inner, MESSAGES, OUTBOX, SESSIONS,
};
use crate::error::{Error, ErrorKind};

type Attempt<T> = std::result::Result<T, Failure>;

/// Collection, keys, and whether the keys are unique. The seed's, and what pages need.
fn wanted() -> Vec<(&'static str, Document, bool)> {
    vec![
        (SESSIONS, doc! { "isConnected": 1, "isActive": 1 }, false),
        (SESSIONS, doc! { "status": 1 }, false),
        (SESSIONS, doc! { "lastActivity": 1 }, false),
        (AUTH_STATES, doc! { "sessionId": 1 }, true),
        (AUTH_KEYS, doc! { "sessionId": 1, "type": 1, "id": 1 }, true),
        // The tail makes the order of a page total, so that a page never sorts.
        (
            MESSAGES,
            doc! { "sessionId": 1, "chatId": 1, "timestamp": -1, "arrival": -1, "sender": -1, "messageId": -1 },
            false,
        ),
        (
            MESSAGES,
            doc! { "sessionId": 1, "timestamp": -1, "arrival": -1, "chatId": -1, "sender": -1, "messageId": -1 },
            false,
        ),
        (CHATS, doc! { "sessionId": 1, "lastMessageAt": -1, "chatId": 1 }, false),
        // Unique: what gives each entry a place of its own.
        (OUTBOX, doc! { "sessionId": 1, "position": 1 }, true),
        (OUTBOX, doc! { "sessionId": 1, "expiresAt": 1 }, false),
        (EVENTS, doc! { "sessionId": 1, "seq": 1 }, false),
        (EVENTS, doc! { "sessionId": 1, "key": 1 }, true),
        (CONSUMERS, doc! { "consumer": 1 }, false),
        (CONSUMERS, doc! { "sessionId": 1 }, false),
        (DEAD_LETTERS, doc! { "consumer": 1, "sessionId": 1, "seq": 1 }, false),
        (DEAD_LETTERS, doc! { "sessionId": 1 }, false),
    ]
}

/// Creates the indexes that are missing.
pub(super) async fn create(inner: &Inner) -> Attempt<()> {
    for (collection, keys, unique) in wanted() {
        create_one(inner, collection, &keys, unique).await?;
    }
    // Documents of the seed's own have an `_id` that is not the session id. It has an index for them already,
    // unique or not, and another one on the same key would be refused.
    if !has_index_on_session_id(inner).await? {
        create_one(inner, SESSIONS, &doc! { "sessionId": 1 }, false).await?;
    }
    Ok(())
}

async fn create_one(inner: &Inner, collection: &str, keys: &Document, unique: bool) -> Attempt<()> {
    let name: Vec<String> = keys.iter().map(|(field, order)| format!("{field}_{order}")).collect();
    let name = name.join("_");
    let mut index = doc! { "key": keys.clone(), "name": &name };
    if unique {
        index.insert("unique", true);
    }
    let command = doc! { "createIndexes": collection, "indexes": [index] };
    let Err(error) = inner.db.run_command(command).await else { return Ok(()) };
    let reason = match code_of(&error) {
        Some(85 | 86) => "is there with other options; drop it, or make it anew with these keys",
        Some(DUPLICATE) => "cannot be unique, because documents share a key; remove the duplicates",
        Some(13) => "cannot be created: the database user lacks the right; grant readWrite",
        _ => return Err(error.into()),
    };
    Err(Error::new(ErrorKind::Store, format!("the index {name} of {collection} {reason}")).into())
}

async fn has_index_on_session_id(inner: &Inner) -> Attempt<bool> {
    let mut indexes = inner.collection(SESSIONS).list_indexes().await?;
    while let Some(index) = indexes.try_next().await? {
        if index.keys.keys().next().is_some_and(|field| field == "sessionId") {
            return Ok(true);
        }
    }
    Ok(false)
}
