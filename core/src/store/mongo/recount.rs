//! Counters from what is stored.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};

use super::documents::{Fields, date, unsigned};
use super::errors::Failure;
use super::{CHATS, Inner, MESSAGES, SESSIONS, chats, ownership};
use crate::clock::Timestamp;

/// Counts a session's messages and chats, and sets its counters. Returns `(sent, received, chats)`.
pub(super) async fn recount(
    inner: &Inner,
    session: &str,
    now: Timestamp,
) -> std::result::Result<(u64, u64, u64), Failure> {
    ownership::claim(inner, session).await?;
    let mine = doc! { "$match": { "sessionId": session } };
    let group = doc! { "$group": {
        "_id": "$chatId",
        "sent": { "$sum": { "$cond": [counted("out"), 1, 0] } },
        "received": { "$sum": { "$cond": [counted("in"), 1, 0] } },
        "newest": { "$max": "$timestamp" },
    } };
    let mut rows = inner.collection(MESSAGES).aggregate([mine, group]).await?;
    let (mut sent, mut received) = (0, 0);
    let mut newest = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        let fields = Fields(&row);
        sent += fields.unsigned("sent")?;
        received += fields.unsigned("received")?;
        if let (Some(chat_id), Some(at)) = (fields.text("_id")?, fields.date("newest")?) {
            newest.insert(chat_id, at);
        }
    }
    // A crash may have left messages without their chat.
    chats::restore(inner, session, &newest, now).await?;
    let chats = inner.collection(CHATS).count_documents(doc! { "sessionId": session }).await?;
    let set = doc! {
        "messagesSent": unsigned(sent),
        "messagesReceived": unsigned(received),
        "totalChats": unsigned(chats),
        "updatedAt": date(now),
    };
    let statement = doc! { "q": { "sessionId": session }, "u": { "$set": set } };
    inner.update(SESSIONS, vec![statement]).await?.all()?;
    Ok((sent, received, chats))
}

fn counted(direction: &str) -> Document {
    doc! { "$and": [{ "$eq": ["$direction", direction] }, { "$ne": ["$fromHistory", true] }] }
}
