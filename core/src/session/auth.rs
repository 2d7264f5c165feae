//! Taking up a session's auth state: fenced, opened, in one read.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::context::SessionContext;
use crate::engine::session_auth::{Guard, NOT_READ_AHEAD, SessionAuth};
use crate::error::Result;
use crate::lease::HeldLease;
use crate::store::WriteBatch;
use crate::store::patience::until_available;
use crate::vault::data_key_row;

/// What a client is built on.
#[derive(Debug)]
pub(crate) struct LoadedAuth {
    pub(crate) auth: Arc<SessionAuth>,
}

/// Reads the state and opens it with the session's data key; a session that never had one gets one, stored
/// before anything is sealed with it. Waits while the store is away, until `stop`.
pub(crate) async fn load(
    context: &SessionContext,
    id: &str,
    stop: &CancellationToken,
    held: &HeldLease,
) -> Result<LoadedAuth> {
    let tenure = held.lease.tenure();
    let mut state =
        until_available(&context.clock, stop, |_| {}, || context.group.load_auth(id, tenure, NOT_READ_AHEAD))
            .await?;
    let data_key = data_key_row();
    let position = state.entries.iter().position(|entry| entry.key == data_key);
    let wrapped = position.map(|position| state.entries.swap_remove(position).value);
    let is_known = state.creds.is_some() || !state.entries.is_empty();
    // A key management service may be away, as the store may.
    let opened = until_available(
        &context.clock,
        stop,
        |_| {},
        || async {
            let wrapped = wrapped.as_deref();
            match is_known {
                true => context.vault.reopen_session(id, wrapped).await,
                false => context.vault.open_session(id, wrapped).await,
            }
        },
    )
    .await?;
    if let Some(wrapped) = opened.new_wrapped_key {
        let mut batch = WriteBatch::new();
        batch.put(data_key, wrapped.into(), 0);
        let batch = Arc::new(batch);
        until_available(
            &context.clock,
            stop,
            |_| {},
            || context.group.apply_auth(id, tenure, Arc::clone(&batch)),
        )
        .await?;
    }
    let (leases, held) = (Arc::clone(&context.leases), held.clone());
    let guard: Guard = Box::new(move || {
        let (leases, held) = (Arc::clone(&leases), held.clone());
        Box::pin(async move { leases.confirm(&held).await })
    });
    let auth = SessionAuth::new(
        id,
        tenure,
        Arc::clone(&context.group),
        opened.vault,
        Arc::clone(&context.clock),
        state,
    )
    .guarded_by(guard);
    Ok(LoadedAuth { auth: Arc::new(auth) })
}
