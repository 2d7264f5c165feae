//! Auth states of many sessions in one round trip a collection.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::try_join;
use mongodb::bson::{Document, doc};

use super::auth::{WHOLE, entry, visible, with_keys};
use super::documents::Fields;
use super::errors::Failure;
use super::{AUTH_KEYS, AUTH_STATES, Inner, MongoStore};
use crate::error::Result;
use crate::store::auth::{AuthKey, AuthState, Tenure};
use crate::store::rules::same_error;

type Attempt<T> = std::result::Result<T, Failure>;

pub(super) async fn load(
    store: &MongoStore,
    sessions: &[(&str, Tenure)],
    except_kinds: &[&str],
) -> Vec<Result<AuthState>> {
    let filter = any_of(sessions);
    let mut of_values = filter.clone();
    if !except_kinds.is_empty() {
        of_values.insert("type", doc! { "$nin": except_kinds });
    }
    let filters = Arc::new((filter, of_values));
    let rows = store
        .call("load_auths", move |inner| {
            let filters = Arc::clone(&filters);
            async move {
                let creds = find(&inner, AUTH_STATES, filters.0.clone());
                try_join(creds, find(&inner, AUTH_KEYS, filters.1.clone())).await
            }
        })
        .await;
    match rows {
        Ok((mut creds, mut values)) => sessions
            .iter()
            .map(|(session, _)| {
                let creds = creds.remove(*session).unwrap_or_default();
                let values = values.remove(*session).unwrap_or_default();
                state(&creds, &values).map_err(|error| error.of_session(session).during("load_auths"))
            })
            .collect(),
        Err(error) => {
            sessions.iter().map(|(session, _)| Err(same_error(&error).of_session(session))).collect()
        }
    }
}

pub(super) async fn get(
    store: &MongoStore,
    reads: &[(&str, Tenure, &[AuthKey])],
) -> Vec<Result<Vec<Option<Bytes>>>> {
    let wanted: Vec<Document> = reads
        .iter()
        .filter_map(|(session, tenure, keys)| with_keys(visible(session, *tenure), keys.iter()))
        .collect();
    let rows = store
        .call("get_auths", move |inner| {
            let wanted = wanted.clone();
            async move {
                match wanted.is_empty() {
                    true => Ok(HashMap::new()),
                    false => find(&inner, AUTH_KEYS, doc! { "$or": wanted }).await,
                }
            }
        })
        .await;
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            return reads.iter().map(|(session, ..)| Err(same_error(&error).of_session(session))).collect();
        }
    };
    reads
        .iter()
        .map(|(session, _, keys)| {
            let rows = rows.get(*session).map(Vec::as_slice).unwrap_or_default();
            let found: HashMap<AuthKey, Bytes> = rows
                .iter()
                .map(|row| entry(row).map(|entry| (entry.key, entry.value)))
                .collect::<Result<_>>()
                .map_err(|error| error.during("get_auths"))?;
            Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
        })
        .collect()
}

fn state(creds: &[Document], values: &[Document]) -> Result<AuthState> {
    Ok(AuthState {
        creds: creds.first().map(|row| Fields(row).bytes("creds")).transpose()?,
        entries: values.iter().map(entry).collect::<Result<_>>()?,
    })
}

/// The rows that each may see: those below its fence are a robbed owner's.
fn any_of(sessions: &[(&str, Tenure)]) -> Document {
    let is_fenced = |tenure: &Tenure| tenure.fence > 0;
    let fenced: Vec<Document> = sessions
        .iter()
        .filter(|(_, tenure)| is_fenced(tenure))
        .map(|(session, tenure)| visible(session, *tenure))
        .collect();
    let plain = sessions.iter().filter(|(_, tenure)| !is_fenced(tenure));
    let plain: Vec<&str> = plain.map(|(session, _)| *session).collect();
    let plain = doc! { "sessionId": { "$in": plain } };
    if fenced.is_empty() {
        return plain;
    }
    let mut any = fenced;
    any.push(plain);
    doc! { "$or": any }
}

/// The rows by session. One that cannot be told whose it is belongs to nobody here.
async fn find(inner: &Inner, collection: &str, filter: Document) -> Attempt<HashMap<String, Vec<Document>>> {
    let mut rows = inner.collection(collection).find(filter).batch_size(WHOLE).await?;
    let mut found: HashMap<String, Vec<Document>> = HashMap::new();
    while let Some(row) = rows.try_next().await? {
        if let Ok(session) = row.get_str("sessionId") {
            found.entry(session.to_owned()).or_default().push(row);
        }
    }
    Ok(found)
}
