//! Session records. Found by `sessionId`: documents of the seed's own have another `_id`.

use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;

use super::documents::{Fields, date, session_document, session_record};
use super::errors::{DUPLICATE, Failure, code_of};
use super::{Inner, MongoStore, SESSIONS, patches, session_groups};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::session::status::Status;
use crate::store::rules::{apply_patch, check_limit, open_page_token, page_token};
use crate::store::session::{
    Page, PageRequest, SessionFilter, SessionPatch, SessionRecord, SessionStore, Statistics, StatusChange,
};

type Attempt<T> = std::result::Result<T, Failure>;

/// How often an upsert looks again when others insert or delete the record meanwhile.
const ROUNDS: usize = 16;

#[async_trait]
impl SessionStore for MongoStore {
    async fn upsert_session(&self, fresh: &SessionRecord, patch: &SessionPatch) -> Result<SessionRecord> {
        self.catch_up(Some(&fresh.session_id)).await?;
        let (fresh, patch) = (Arc::new(fresh.clone()), Arc::new(patch.clone()));
        self.call("upsert_session", move |inner| {
            let (fresh, patch) = (Arc::clone(&fresh), Arc::clone(&patch));
            async move { upsert(&inner, &fresh, &patch).await }
        })
        .await
    }

    async fn patch_session(
        &self,
        session: &str,
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        self.patch_where(session, doc! { "sessionId": session }, patch, now).await
    }

    async fn patch_session_if(
        &self,
        session: &str,
        from: &[Status],
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        let from: Vec<&str> = from.iter().map(|status| status.as_str()).collect();
        let filter = doc! { "sessionId": session, "status": { "$in": from } };
        self.patch_where(session, filter, patch, now).await
    }

    async fn patch_by_status(&self, changes: &[StatusChange<'_>]) -> Vec<Result<Option<SessionRecord>>> {
        session_groups::patch(self, changes).await
    }

    async fn get_session(&self, session: &str) -> Result<Option<SessionRecord>> {
        self.catch_up(Some(session)).await?;
        let session: Arc<str> = session.into();
        self.call("get_session", move |inner| {
            let session = Arc::clone(&session);
            async move {
                let found = inner.collection(SESSIONS).find_one(doc! { "sessionId": &*session }).await?;
                Ok(found.map(|document| record(&document)).transpose()?)
            }
        })
        .await
    }

    async fn list_sessions(&self, filter: &SessionFilter, page: &PageRequest) -> Result<Page<SessionRecord>> {
        check_limit(page.limit)?;
        self.catch_up(None).await?;
        let (query, page) = (patches::query(filter), page.clone());
        self.call("list_sessions", move |inner| {
            let (query, page) = (query.clone(), page.clone());
            async move { list(&inner, query, &page).await }
        })
        .await
    }

    async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64> {
        let query = patches::query(filter);
        self.call("count_sessions", move |inner| {
            let query = query.clone();
            async move { Ok(inner.collection(SESSIONS).count_documents(query).await?) }
        })
        .await
    }

    async fn delete_session_record(&self, session: &str) -> Result<bool> {
        let statement = doc! { "q": { "sessionId": session }, "limit": 0 };
        self.call("delete_session_record", move |inner| {
            let statement = statement.clone();
            async move { Ok(inner.delete(SESSIONS, vec![statement]).await?.all()?.count > 0) }
        })
        .await
    }

    async fn statistics(&self) -> Result<Statistics> {
        self.catch_up(None).await?;
        self.call("statistics", |inner| async move { statistics(&inner).await }).await
    }
}

impl MongoStore {
    async fn patch_where(
        &self,
        session: &str,
        filter: Document,
        patch: &SessionPatch,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        self.catch_up(Some(session)).await?;
        let patch = Arc::new(patch.clone());
        self.call("patch_session", move |inner| {
            let (filter, patch) = (filter.clone(), Arc::clone(&patch));
            async move { patched(&inner, filter, &patch, now).await }
        })
        .await
    }
}

async fn upsert(inner: &Inner, fresh: &SessionRecord, patch: &SessionPatch) -> Attempt<SessionRecord> {
    let filter = doc! { "sessionId": &fresh.session_id };
    let mut inserted = fresh.clone();
    apply_patch(&mut inserted, patch, fresh.updated_at);
    for _ in 0..ROUNDS {
        if let Some(record) = patched(inner, filter.clone(), patch, fresh.updated_at).await? {
            return Ok(record);
        }
        match inner.collection(SESSIONS).insert_one(session_document(&inserted)?).await {
            Ok(_) => return Ok(inserted),
            // Somebody else inserted it: patch that one.
            Err(error) if code_of(&error) == Some(DUPLICATE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Again(Error::new(
        ErrorKind::Unavailable,
        "the record is inserted and deleted by others every time; retry later",
    )))
}

async fn patched(
    inner: &Inner,
    filter: Document,
    patch: &SessionPatch,
    now: Timestamp,
) -> Attempt<Option<SessionRecord>> {
    let sessions = inner.collection(SESSIONS);
    let patching = sessions
        .find_one_and_update(filter, patches::update(patch, now)?)
        .return_document(ReturnDocument::After);
    match patching.await {
        Ok(found) => Ok(found.map(|document| record(&document)).transpose()?),
        Err(error) => {
            let never_sent = matches!(*error.kind, mongodb::error::ErrorKind::ServerSelection { .. });
            match Failure::from(error) {
                // Sent again, it might count twice.
                Failure::Again(error) if !never_sent && !patches::is_repeatable(patch) => {
                    Err(Failure::Final(error))
                }
                failure => Err(failure),
            }
        }
    }
}

pub(super) fn record(document: &Document) -> Result<SessionRecord> {
    session_record(document).map_err(|error| match document.get_str("sessionId") {
        Ok(session) => error.of_session(session),
        Err(_) => error,
    })
}

async fn list(inner: &Inner, mut query: Document, page: &PageRequest) -> Attempt<Page<SessionRecord>> {
    let after: Option<(i64, String)> = page.after.as_deref().map(open_page_token).transpose()?;
    let by_activity = page.most_recently_active_first;
    let mut result = Page::default();
    let mut place = Vec::new();
    if by_activity {
        // What has no proper date has no place in this order: it is reported with the first page.
        if after.is_none() {
            let mut undated = query.clone();
            conjoin(&mut undated, vec![doc! { "lastActivity": { "$not": { "$type": "date" } } }]);
            let sessions = inner.collection(SESSIONS);
            let found = sessions.find(undated).limit(i64::from(PageRequest::MAX_LIMIT)).await?;
            result.malformed = found.map_ok(|document| id(&document)).try_collect().await?;
        }
        place.push(doc! { "lastActivity": { "$type": "date" } });
        if let Some((activity, id)) = after {
            let activity = date(Timestamp::from_unix_ms(activity));
            place.push(doc! { "lastActivity": { "$lte": activity.clone() } });
            place.push(doc! { "$or": [
                { "lastActivity": { "$lt": activity.clone() } },
                { "lastActivity": activity, "sessionId": { "$gt": id } },
            ] });
        }
    } else if let Some((_, id)) = after {
        place.push(doc! { "sessionId": { "$gt": id } });
    }
    conjoin(&mut query, place);
    let sort = if by_activity {
        doc! { "lastActivity": -1, "sessionId": 1 }
    } else {
        doc! { "sessionId": 1 }
    };
    let mut found =
        inner.collection(SESSIONS).find(query).sort(sort).limit(i64::from(page.limit) + 1).await?;
    let mut last = None;
    let mut seen = 0;
    while let Some(document) = found.try_next().await? {
        if seen == page.limit {
            result.next = last.as_ref().map(page_token).transpose()?;
            break;
        }
        seen += 1;
        let activity = Fields(&document).date("lastActivity").ok().flatten().unwrap_or_default();
        last = Some((activity.unix_ms(), id(&document)));
        match session_record(&document) {
            Ok(record) => result.items.push(record),
            Err(_) => result.malformed.push(id(&document)),
        }
    }
    Ok(result)
}

/// Adds conditions that may be on fields which the query names already.
fn conjoin(query: &mut Document, conditions: Vec<Document>) {
    if !conditions.is_empty() {
        query.insert("$and", conditions);
    }
}

fn id(document: &Document) -> String {
    match document.get_str("sessionId") {
        Ok(id) => id.to_owned(),
        Err(_) => document.get("_id").map(ToString::to_string).unwrap_or_default(),
    }
}

async fn statistics(inner: &Inner) -> Attempt<Statistics> {
    let count_if = |condition: Document| doc! { "$sum": { "$cond": [condition, 1, 0] } };
    let status_in = |statuses: &[&str]| doc! { "$in": ["$status", statuses] };
    let group = doc! { "$group": {
        "_id": null,
        "total": { "$sum": 1 },
        "active": count_if(doc! { "$eq": ["$isActive", true] }),
        "connected": count_if(doc! { "$eq": ["$isConnected", true] }),
        "disconnected": count_if(status_in(&["disconnected"])),
        "pending": count_if(status_in(&["pending", "qr_ready"])),
        "error": count_if(status_in(&["error"])),
        "inactive": count_if(status_in(&["inactive"])),
        "sent": { "$sum": "$messagesSent" },
        "received": { "$sum": "$messagesReceived" },
        "chats": { "$sum": "$totalChats" },
    } };
    let mut rows = inner.collection(SESSIONS).aggregate([group]).await?;
    let Some(row) = rows.try_next().await? else { return Ok(Statistics::default()) };
    let fields = Fields(&row);
    let (messages_sent, messages_received) = (fields.unsigned("sent")?, fields.unsigned("received")?);
    Ok(Statistics {
        total_sessions: fields.unsigned("total")?,
        active_sessions: fields.unsigned("active")?,
        connected_sessions: fields.unsigned("connected")?,
        disconnected_sessions: fields.unsigned("disconnected")?,
        pending_sessions: fields.unsigned("pending")?,
        error_sessions: fields.unsigned("error")?,
        inactive_sessions: fields.unsigned("inactive")?,
        total_messages: messages_sent.saturating_add(messages_received),
        messages_sent,
        messages_received,
        total_chats: fields.unsigned("chats")?,
    })
}
