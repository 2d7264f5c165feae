//! Creating, reading and listing session records.

use super::{SessionManager, not_found};
use crate::error::Result;
use crate::session_id::SessionId;
use crate::store::{Page, PageRequest, SessionFilter, SessionPatch, SessionRecord, Statistics};

/// What a user may say of a session. A field that is `None` stays as it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SessionData {
    /// A name for people; the id if never given.
    pub name: Option<String>,
    /// The phone number, digits only.
    pub phone: Option<String>,
    /// The user agent that the device shows.
    pub user_agent: Option<String>,
    /// The phone's platform.
    pub platform: Option<String>,
    /// The WhatsApp Web version.
    pub version: Option<String>,
}

impl std::fmt::Debug for SessionData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionData").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SessionManager {
    /// Creates a session (`pending`, active) or changes what is said of it; its status stays.
    ///
    /// `Invalid` if it would be new and its id is not a [`SessionId`].
    pub async fn create_or_update_session(
        &self,
        session_id: &str,
        data: &SessionData,
    ) -> Result<SessionRecord> {
        let patch = SessionPatch {
            name: data.name.clone(),
            phone: data.phone.clone().map(Some),
            user_agent: data.user_agent.clone().map(Some),
            platform: data.platform.clone().map(Some),
            version: data.version.clone().map(Some),
            ..Default::default()
        };
        match SessionId::new(session_id) {
            Ok(id) => {
                let fresh = SessionRecord::new(id, self.0.clock.now());
                self.reveal(self.0.store.upsert_session(&fresh, &patch).await?).await
            }
            // Stored by a system with other rules: it may be changed, but not made.
            Err(invalid) => match self.0.store.patch_session(session_id, &patch, self.0.clock.now()).await? {
                Some(record) => self.reveal(record).await,
                None => Err(invalid.during("create session")),
            },
        }
    }

    /// Reads one session, its QR code opened. `NotFound` if there is none.
    pub async fn get_session(&self, session_id: &str) -> Result<SessionRecord> {
        let record = self.0.store.get_session(session_id).await?;
        self.reveal(record.ok_or_else(|| not_found(session_id))?).await
    }

    /// Reads a page of sessions.
    pub async fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<Page<SessionRecord>> {
        let found = self.0.store.list_sessions(filter, page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for record in found.items {
            items.push(self.reveal(record).await?);
        }
        Ok(Page { items, ..found })
    }

    /// Reads a page of the sessions that were not put away.
    pub async fn get_active_sessions(&self, page: &PageRequest) -> Result<Page<SessionRecord>> {
        let filter = SessionFilter { is_active: Some(true), ..Default::default() };
        self.list_sessions(&filter, page).await
    }

    /// Reads a page of the sessions that are logged in.
    pub async fn get_connected_sessions(&self, page: &PageRequest) -> Result<Page<SessionRecord>> {
        let filter = SessionFilter { is_connected: Some(true), ..Default::default() };
        self.list_sessions(&filter, page).await
    }

    /// Reads a page of the sessions in status `error` or with at least `min_attempts` failed attempts.
    pub async fn get_problematic_sessions(
        &self,
        min_attempts: u32,
        page: &PageRequest,
    ) -> Result<Page<SessionRecord>> {
        let filter = SessionFilter { problematic_from_attempts: Some(min_attempts), ..Default::default() };
        self.list_sessions(&filter, page).await
    }

    /// Counts sessions.
    pub async fn count_sessions(&self, filter: &SessionFilter) -> Result<u64> {
        self.0.store.count_sessions(filter).await
    }

    /// The figures of the whole system.
    pub async fn get_statistics(&self) -> Result<Statistics> {
        self.0.store.statistics().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_world::{World, kind};
    use super::*;
    use crate::error::ErrorKind;
    use crate::session::status::{Status, StatusEvent};
    use crate::session_manager::StatusUpdate;
    use crate::store::SessionStore;

    fn named(name: &str) -> SessionData {
        SessionData { name: Some(name.into()), ..Default::default() }
    }

    #[tokio::test]
    async fn creating_again_updates_and_keeps_the_rest() {
        let world = World::new();
        let made = world.manager.create_or_update_session("ventas", &SessionData::default()).await.unwrap();
        assert_eq!((made.status, made.is_active, made.name.as_str()), (Status::Pending, true, "ventas"));
        let phone = SessionData { phone: Some("5491155550000".into()), ..Default::default() };
        world.manager.create_or_update_session("ventas", &phone).await.unwrap();
        let login = StatusUpdate::default();
        world.manager.apply_status("ventas", StatusEvent::LoggedIn, login).await.unwrap();
        let again = world.manager.create_or_update_session("ventas", &named("Ventas")).await.unwrap();
        assert_eq!((again.status, again.name.as_str()), (Status::Connected, "Ventas"));
        assert_eq!(again.phone.as_deref(), Some("5491155550000"));
        assert_eq!(again.created_at, made.created_at);
    }

    #[tokio::test]
    async fn hostile_ids_make_nothing_but_old_ones_are_found() {
        let world = World::new();
        for id in ["", "../etc", "$where", "a b", "a\0b"] {
            assert_eq!(
                kind(world.manager.create_or_update_session(id, &named("x")).await),
                ErrorKind::Invalid
            );
            assert_eq!(kind(world.manager.get_session(id).await), ErrorKind::NotFound);
        }
        assert_eq!(world.manager.get_statistics().await.unwrap().total_sessions, 0);

        let old = SessionRecord::new("mi sesión", world.manager.clock().now());
        world.store.upsert_session(&old, &SessionPatch::default()).await.unwrap();
        let changed = world.manager.create_or_update_session("mi sesión", &named("Ventas")).await.unwrap();
        assert_eq!(changed.name, "Ventas");
    }

    #[tokio::test]
    async fn lists_hold_what_their_names_say() {
        let world = World::with_sessions(&["away", "broken", "failing", "fine"]).await;
        let apply = |id: &'static str, event| world.manager.apply_status(id, event, StatusUpdate::default());
        apply("away", StatusEvent::PutAway).await.unwrap();
        apply("broken", StatusEvent::Failed).await.unwrap();
        apply("fine", StatusEvent::LoggedIn).await.unwrap();
        for _ in 0..3 {
            world.manager.record_connection_attempt("failing", false, Some("503")).await.unwrap();
        }
        let ids = |page: Page<SessionRecord>| -> Vec<String> {
            page.items.into_iter().map(|record| record.session_id).collect()
        };
        let page = PageRequest::default();
        let manager = &world.manager;
        assert_eq!(ids(manager.get_active_sessions(&page).await.unwrap()), ["broken", "failing", "fine"]);
        assert_eq!(ids(manager.get_connected_sessions(&page).await.unwrap()), ["fine"]);
        assert_eq!(ids(manager.get_problematic_sessions(3, &page).await.unwrap()), ["broken", "failing"]);
        assert_eq!(ids(manager.get_problematic_sessions(4, &page).await.unwrap()), ["broken"]);
        let statistics = manager.get_statistics().await.unwrap();
        assert_eq!((statistics.total_sessions, statistics.connected_sessions), (4, 1));
    }
}
