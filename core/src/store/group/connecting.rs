//! What sessions that connect at the same time ask of the store: leases, auth states, changes of status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::GroupCommit;
use super::lane::Work;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;
use crate::store::auth::{AuthKey, AuthState, Tenure};
use crate::store::lease::Acquired;
use crate::store::session::{SessionRecord, StatusCase, StatusChange};

impl GroupCommit {
    /// As [`LeaseStore::acquire_lease`](crate::store::LeaseStore::acquire_lease). Owner and duration are a service's:
    /// the same in every call.
    pub(crate) async fn acquire_lease(
        &self,
        session: &str,
        owner: &str,
        duration: Duration,
    ) -> Result<Acquired> {
        self.leases.submit(LeaseWork { session: session.to_owned(), owner: owner.to_owned(), duration }).await
    }

    /// As [`AuthStore::load_auth`](crate::store::AuthStore::load_auth), with the same `except_kinds` in every call.
    pub(crate) async fn load_auth(
        &self,
        session: &str,
        tenure: Tenure,
        except_kinds: &'static [&'static str],
    ) -> Result<AuthState> {
        self.loads.submit(LoadWork { session: session.to_owned(), tenure, except_kinds }).await
    }

    /// As [`AuthStore::get_auth`](crate::store::AuthStore::get_auth).
    pub(crate) async fn get_auth(
        &self,
        session: &str,
        tenure: Tenure,
        keys: Arc<[AuthKey]>,
    ) -> Result<Vec<Option<Bytes>>> {
        self.reads.submit(ReadWork { session: session.to_owned(), tenure, keys }).await
    }

    /// As [`SessionStore::patch_by_status`](crate::store::SessionStore::patch_by_status) for one session.
    pub(crate) async fn patch_by_status(
        &self,
        session: &str,
        cases: Arc<[StatusCase]>,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>> {
        self.statuses.submit(StatusWork { session: session.to_owned(), cases, now }).await
    }
}

/// What a request takes in memory, about.
const REQUEST: usize = 512;

pub(super) struct LeaseWork {
    session: String,
    owner: String,
    duration: Duration,
}

impl Work for LeaseWork {
    type Answer = Acquired;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        REQUEST
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<Acquired>>> {
        Box::pin(async move {
            let sessions: Vec<&str> = group.iter().map(|work| work.session.as_str()).collect();
            store.acquire_leases(&sessions, &group[0].owner, group[0].duration).await
        })
    }
}

pub(super) struct LoadWork {
    session: String,
    tenure: Tenure,
    except_kinds: &'static [&'static str],
}

impl Work for LoadWork {
    type Answer = AuthState;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        REQUEST
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<AuthState>>> {
        Box::pin(async move {
            let sessions: Vec<_> = group.iter().map(|work| (work.session.as_str(), work.tenure)).collect();
            store.load_auths(&sessions, group[0].except_kinds).await
        })
    }
}

pub(super) struct ReadWork {
    session: String,
    tenure: Tenure,
    keys: Arc<[AuthKey]>,
}

impl Work for ReadWork {
    type Answer = Vec<Option<Bytes>>;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        REQUEST + self.keys.iter().map(|key| key.kind.len() + key.id.len()).sum::<usize>()
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<Self::Answer>>> {
        Box::pin(async move {
            let reads: Vec<_> =
                group.iter().map(|work| (work.session.as_str(), work.tenure, &*work.keys)).collect();
            store.get_auths(&reads).await
        })
    }
}

pub(super) struct StatusWork {
    session: String,
    cases: Arc<[StatusCase]>,
    now: Timestamp,
}

impl Work for StatusWork {
    type Answer = Option<SessionRecord>;

    fn session(&self) -> &str {
        &self.session
    }

    fn bytes(&self) -> usize {
        REQUEST
    }

    fn run(store: Arc<dyn Store>, group: Arc<[Self]>) -> BoxFuture<'static, Vec<Result<Self::Answer>>> {
        Box::pin(async move {
            let changes: Vec<_> = group
                .iter()
                .map(|work| StatusChange { session: &work.session, cases: &work.cases, now: work.now })
                .collect();
            store.patch_by_status(&changes).await
        })
    }
}
