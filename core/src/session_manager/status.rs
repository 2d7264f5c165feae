//! The only place that writes `status`, and what goes with it: QR codes and connection attempts.

use std::fmt;

use super::{Inner, QR_CODE, SessionManager, not_found};
use crate::error::{Error, ErrorKind, Result};
use crate::session::status::{Status, StatusEvent, sources_of};
use crate::store::message::only;
use crate::store::session::Counter;
use crate::store::{SessionPatch, SessionRecord, StatusCase, StatusChange, StatusDetail};

/// What goes with a change of status. `detail` and `qr_code` are replaced, `None` clears them; of the rest, a
/// field that is `None` stays as it is.
#[derive(Clone, Default, PartialEq)]
pub struct StatusUpdate {
    /// What the status does not say.
    pub detail: Option<StatusDetail>,
    /// The QR or pair code that waits; it is sealed before it is stored.
    pub qr_code: Option<String>,
    /// Why the connection ended, in words for people.
    pub disconnect_reason: Option<String>,
    /// Counts a failed connection attempt in the same write.
    pub attempt_failed: bool,
    /// The account's push name.
    pub name: Option<String>,
    /// The account's phone number, digits only.
    pub phone: Option<String>,
    /// The phone's platform.
    pub platform: Option<String>,
    /// The WhatsApp Web version in use.
    pub version: Option<String>,
    /// The user agent that the device shows.
    pub user_agent: Option<String>,
}

impl fmt::Debug for StatusUpdate {
    /// Without the code and the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusUpdate")
            .field("detail", &self.detail)
            .field("disconnect_reason", &self.disconnect_reason)
            .field("attempt_failed", &self.attempt_failed)
            .finish_non_exhaustive()
    }
}

/// The seed's `metadata` of a change of connection. A field that is `None` stays as it is, but for
/// `status_detail`, which it clears.
#[derive(Clone, Default, PartialEq)]
pub struct ConnectionMetadata {
    /// The account's phone number, digits only.
    pub phone: Option<String>,
    /// The account's push name.
    pub name: Option<String>,
    /// The phone's platform.
    pub platform: Option<String>,
    /// The WhatsApp Web version in use.
    pub version: Option<String>,
    /// The user agent that the device shows.
    pub user_agent: Option<String>,
    /// Why the connection ended, in words for people.
    pub disconnect_reason: Option<String>,
    /// What the status does not say.
    pub status_detail: Option<StatusDetail>,
}

impl fmt::Debug for ConnectionMetadata {
    /// Without the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionMetadata")
            .field("disconnect_reason", &self.disconnect_reason)
            .field("status_detail", &self.status_detail)
            .finish_non_exhaustive()
    }
}

/// How often a write is tried again when the status changes between it and the look at why it did not fit.
const TRIES: usize = 3;

impl SessionManager {
    /// Applies an event to a session's status, atomically: the seed's fields change with it.
    ///
    /// `isConnected` is true exactly in `connected`; a login clears the failed attempts; putting away clears
    /// `isActive` and a start or login sets it; `lastActivity` rises when a connection begins or ends, and not
    /// with failed attempts. `NotFound` if there is no such session, `InvalidState` if the transition table does
    /// not allow the event; nothing changes then.
    pub async fn apply_status(
        &self,
        session_id: &str,
        event: StatusEvent,
        update: StatusUpdate,
    ) -> Result<SessionRecord> {
        self.write_status(session_id, event.from(), event.to(), update).await
    }

    /// Sets the status that a caller names, if some event of the transition table leads to it from the present
    /// one. `Invalid` unless `is_connected` is true exactly for `connected`; else as
    /// [`apply_status`](SessionManager::apply_status).
    pub async fn update_connection_status(
        &self,
        session_id: &str,
        is_connected: bool,
        status: Status,
        metadata: ConnectionMetadata,
    ) -> Result<SessionRecord> {
        if is_connected != (status == Status::Connected) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a session that is {status} cannot have isConnected {is_connected}; make them agree"),
            )
            .during("update connection status")
            .of_session(session_id));
        }
        let update = StatusUpdate {
            detail: metadata.status_detail,
            qr_code: None,
            disconnect_reason: metadata.disconnect_reason,
            attempt_failed: false,
            name: metadata.name,
            phone: metadata.phone,
            platform: metadata.platform,
            version: metadata.version,
            user_agent: metadata.user_agent,
        };
        self.write_status(session_id, &sources_of(status), status, update).await
    }

    /// Puts a session away: it is not restored at start, and cleanup removes it in time.
    pub async fn mark_as_inactive(&self, session_id: &str, reason: &str) -> Result<SessionRecord> {
        let update = StatusUpdate { disconnect_reason: Some(reason.to_owned()), ..Default::default() };
        self.apply_status(session_id, StatusEvent::PutAway, update).await
    }

    /// Stores a QR code, which makes the session `qr_ready`; `None` removes it and leaves the status.
    pub async fn update_qr_code(&self, session_id: &str, qr_code: Option<&str>) -> Result<SessionRecord> {
        match qr_code {
            Some(code) => {
                let update = StatusUpdate { qr_code: Some(code.to_owned()), ..Default::default() };
                self.apply_status(session_id, StatusEvent::CodeReady, update).await
            }
            None => {
                let patch = SessionPatch { qr_code: Some(None), ..Default::default() };
                self.patch(session_id, &patch).await
            }
        }
    }

    /// Notes an attempt to connect: a failure counts, a success sets the count to zero.
    pub async fn record_connection_attempt(
        &self,
        session_id: &str,
        success: bool,
        reason: Option<&str>,
    ) -> Result<SessionRecord> {
        let patch = SessionPatch {
            last_connection_attempt: Some(self.0.clock.now()),
            connection_attempts: Some(if success { Counter::Set(0) } else { Counter::Add(1) }),
            last_disconnect_reason: reason.filter(|_| !success).map(|reason| Some(reason.to_owned())),
            ..Default::default()
        };
        self.patch(session_id, &patch).await
    }

    /// Sets the count of failed attempts to zero.
    pub async fn reset_connection_attempts(&self, session_id: &str) -> Result<SessionRecord> {
        let patch = SessionPatch { connection_attempts: Some(Counter::Set(0)), ..Default::default() };
        self.patch(session_id, &patch).await
    }

    async fn write_status(
        &self,
        session: &str,
        from: &[Status],
        to: Status,
        update: StatusUpdate,
    ) -> Result<SessionRecord> {
        let code = update.qr_code.clone();
        let patch = self.status_patch(session, to, update).await?;
        for _ in 0..TRIES {
            if let Some(mut record) = self.try_status(session, from, &patch).await? {
                record.qr_code = code;
                return Ok(record);
            }
            let record = self.0.store.get_session(session).await?.ok_or_else(|| not_found(session))?;
            if !from.contains(&record.status) {
                let message =
                    format!("a session that is {} cannot become {to}; start it first", record.status);
                return Err(Error::new(ErrorKind::InvalidState, message).of_session(session));
            }
        }
        let message = "the session's status keeps changing; only its owner may change it";
        Err(Error::new(ErrorKind::Conflict, message).of_session(session))
    }

    /// One try. A connection that ends is activity; an attempt that fails is not, or a session that never
    /// comes back would never be cleaned up.
    async fn try_status(
        &self,
        session: &str,
        from: &[Status],
        patch: &SessionPatch,
    ) -> Result<Option<SessionRecord>> {
        let Inner { store, group, clock, .. } = &*self.0;
        let now = clock.now();
        let (connected, others): (Vec<Status>, Vec<Status>) =
            from.iter().copied().partition(|status| *status == Status::Connected);
        let mut cases = Vec::with_capacity(2);
        if !others.is_empty() {
            cases.push(StatusCase { from: others, patch: patch.clone() });
        }
        if !connected.is_empty() {
            let patch = SessionPatch { last_activity: Some(now), ..patch.clone() };
            cases.push(StatusCase { from: connected, patch });
        }
        match group {
            Some(group) => group.patch_by_status(session, cases.into(), now).await,
            None => only(store.patch_by_status(&[StatusChange { session, cases: &cases, now }]).await),
        }
    }

    async fn status_patch(&self, session: &str, to: Status, update: StatusUpdate) -> Result<SessionPatch> {
        let now = self.0.clock.now();
        let login = to == Status::Connected;
        let sealed = match &update.qr_code {
            Some(code) => Some(self.0.vault.seal_text(session, QR_CODE, code).await?),
            None => None,
        };
        let attempts = match (login, update.attempt_failed) {
            (true, _) => Some(Counter::Set(0)),
            (false, true) => Some(Counter::Add(1)),
            (false, false) => None,
        };
        Ok(SessionPatch {
            status: Some(to),
            is_connected: Some(login),
            is_active: match to {
                Status::Pending | Status::Connected => Some(true),
                Status::Inactive => Some(false),
                _ => None,
            },
            status_detail: Some(update.detail),
            qr_code: Some(sealed),
            last_activity: login.then_some(now),
            connection_attempts: attempts,
            last_connection_attempt: attempts.map(|_| now),
            last_disconnect_reason: update.disconnect_reason.map(Some),
            name: update.name,
            phone: update.phone.map(Some),
            platform: update.platform.map(Some),
            version: update.version.map(Some),
            user_agent: update.user_agent.map(Some),
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_world::{World, kind};
    use super::*;
    use crate::session::status::transition;
    use crate::store::SessionStore;

    const QR: &str = "2@code";

    async fn apply(world: &World, event: StatusEvent) -> Result<SessionRecord> {
        world.manager.apply_status("s", event, StatusUpdate::default()).await
    }

    /// Brings a fresh session into `status`.
    async fn bring(world: &World, status: Status) {
        apply(world, StatusEvent::Started).await.unwrap();
        let event = StatusEvent::ALL.into_iter().find(|event| event.to() == status).unwrap();
        apply(world, event).await.unwrap();
    }

    #[tokio::test]
    async fn every_event_in_every_status_follows_the_table() {
        let world = World::with_sessions(&["s"]).await;
        for from in Status::ALL {
            for event in StatusEvent::ALL {
                bring(&world, from).await;
                let before = world.get("s").await;
                match transition(from, event) {
                    Ok(to) => {
                        let after = apply(&world, event).await.unwrap();
                        assert_eq!((after.status, after.is_connected), (to, to == Status::Connected));
                    }
                    Err(_) => {
                        assert_eq!(kind(apply(&world, event).await), ErrorKind::InvalidState);
                        assert_eq!(world.get("s").await, before);
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn a_named_status_must_be_reachable_and_agree() {
        let world = World::with_sessions(&["s"]).await;
        let set = |connected, status| {
            let metadata = ConnectionMetadata {
                phone: Some("5491155550000".into()),
                disconnect_reason: Some("503".into()),
                ..Default::default()
            };
            world.manager.update_connection_status("s", connected, status, metadata)
        };
        assert_eq!(kind(set(true, Status::Disconnected).await), ErrorKind::Invalid);
        assert_eq!(kind(set(false, Status::Connected).await), ErrorKind::Invalid);
        let record = set(true, Status::Connected).await.unwrap();
        assert_eq!(record.phone.as_deref(), Some("5491155550000"));
        set(false, Status::Error).await.unwrap();
        assert_eq!(kind(set(true, Status::Connected).await), ErrorKind::InvalidState);
        assert_eq!(world.get("s").await.last_disconnect_reason.as_deref(), Some("503"));
    }

    #[tokio::test]
    async fn a_qr_code_is_sealed_at_rest_and_gone_after_login() {
        let world = World::with_sessions(&["s"]).await;
        let record = world.manager.update_qr_code("s", Some(QR)).await.unwrap();
        assert_eq!((record.status, record.qr_code.as_deref()), (Status::QrReady, Some(QR)));
        let stored = world.store.get_session("s").await.unwrap().unwrap().qr_code.unwrap();
        assert!(!stored.contains("code"));
        assert_eq!(world.get("s").await.qr_code.as_deref(), Some(QR));

        let cleared = world.manager.update_qr_code("s", None).await.unwrap();
        assert_eq!((cleared.status, cleared.qr_code), (Status::QrReady, None));
        world.manager.update_qr_code("s", Some(QR)).await.unwrap();
        apply(&world, StatusEvent::LoggedIn).await.unwrap();
        assert_eq!(world.get("s").await.qr_code, None);
        assert_eq!(kind(world.manager.update_qr_code("s", Some(QR)).await), ErrorKind::InvalidState);
    }

    #[tokio::test]
    async fn a_plain_qr_code_of_another_system_is_left_out() {
        let world = World::with_sessions(&["s"]).await;
        let patch = SessionPatch { qr_code: Some(Some(QR.into())), ..Default::default() };
        world.store.patch_session("s", &patch, world.manager.clock().now()).await.unwrap();
        assert_eq!(world.get("s").await.qr_code, None);
    }

    #[tokio::test]
    async fn attempts_count_until_a_success() {
        let world = World::with_sessions(&["s"]).await;
        world.manager.record_connection_attempt("s", false, Some("timed out")).await.unwrap();
        let update = StatusUpdate { attempt_failed: true, ..Default::default() };
        let record = world.manager.apply_status("s", StatusEvent::ConnectionEnded, update).await.unwrap();
        assert_eq!(record.connection_attempts, 2);
        assert_eq!(record.last_disconnect_reason.as_deref(), Some("timed out"));
        let record = apply(&world, StatusEvent::LoggedIn).await.unwrap();
        assert_eq!(record.connection_attempts, 0);
        world.manager.record_connection_attempt("s", false, None).await.unwrap();
        assert_eq!(world.manager.reset_connection_attempts("s").await.unwrap().connection_attempts, 0);
    }

    #[tokio::test]
    async fn only_the_end_of_a_connection_is_activity() {
        let world = World::with_sessions(&["s"]).await;
        apply(&world, StatusEvent::LoggedIn).await.unwrap();
        world.clock.advance(Duration::from_secs(60));
        let ended = apply(&world, StatusEvent::ConnectionEnded).await.unwrap();
        assert_eq!(ended.last_activity, world.manager.clock().now());
        world.clock.advance(Duration::from_secs(60));
        let failed = apply(&world, StatusEvent::ConnectionEnded).await.unwrap();
        assert_eq!(failed.last_activity, ended.last_activity);
    }

    #[tokio::test]
    async fn putting_away_and_starting_again() {
        let world = World::with_sessions(&["s"]).await;
        let away = world.manager.mark_as_inactive("s", "not paid").await.unwrap();
        assert_eq!((away.status, away.is_active), (Status::Inactive, false));
        assert_eq!(away.last_disconnect_reason.as_deref(), Some("not paid"));
        let started = apply(&world, StatusEvent::Started).await.unwrap();
        assert_eq!((started.status, started.is_active), (Status::Pending, true));
    }

    #[tokio::test]
    async fn an_unknown_session_is_not_found_and_not_made() {
        let world = World::new();
        assert_eq!(kind(apply(&world, StatusEvent::Started).await), ErrorKind::NotFound);
        assert_eq!(kind(world.manager.update_qr_code("s", None).await), ErrorKind::NotFound);
        assert_eq!(kind(world.manager.record_connection_attempt("s", true, None).await), ErrorKind::NotFound);
        assert_eq!(world.manager.get_statistics().await.unwrap().total_sessions, 0);
    }

    #[test]
    fn debug_hides_codes_and_numbers() {
        let update = StatusUpdate {
            qr_code: Some(QR.into()),
            phone: Some("5491155550000".into()),
            ..Default::default()
        };
        let shown = format!("{update:?}");
        assert!(!shown.contains(QR) && !shown.contains("5491155550000"));
    }
}
