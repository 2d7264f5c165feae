//! What sessions are used for, and what they use.

use super::SessionManager;
use crate::error::{Error, ErrorKind, Result};
use crate::store::session::Counter;
use crate::store::{Direction, SessionPatch, SessionRecord};

impl SessionManager {
    /// Counts one message. Messages that are stored are counted by the store already: this is for those that
    /// are not.
    pub async fn increment_message_count(
        &self,
        session_id: &str,
        direction: Direction,
    ) -> Result<SessionRecord> {
        let one = Some(Counter::Add(1));
        let (sent, received) = match direction {
            Direction::In => (None, one),
            Direction::Out => (one, None),
        };
        let patch = SessionPatch {
            messages_sent: sent,
            messages_received: received,
            last_activity: Some(self.0.clock.now()),
            ..Default::default()
        };
        self.patch(session_id, &patch).await
    }

    /// Counts the stored chats anew and sets `totalChats`.
    pub async fn update_chat_count(&self, session_id: &str) -> Result<SessionRecord> {
        let (mut chats, mut after) = (0, None);
        loop {
            let page = self.0.store.list_chats(session_id, 1_000, after.as_deref()).await?;
            chats += (page.items.len() + page.malformed.len()) as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let patch = SessionPatch { total_chats: Some(chats), ..Default::default() };
        self.patch(session_id, &patch).await
    }

    /// Notes a health check and the memory that the session takes, in MB (2^20 bytes).
    pub async fn update_health_check(&self, session_id: &str, memory_mb: f64) -> Result<SessionRecord> {
        if !memory_mb.is_finite() || memory_mb < 0.0 {
            let message = "memory must be a finite number of MB, zero or more";
            return Err(Error::new(ErrorKind::Invalid, message)
                .during("update health check")
                .of_session(session_id));
        }
        let patch = SessionPatch {
            memory_usage: Some(memory_mb),
            last_health_check: Some(self.0.clock.now()),
            ..Default::default()
        };
        self.patch(session_id, &patch).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_world::{World, kind};
    use super::*;
    use crate::store::{ChatPatch, MessageStore};

    #[tokio::test]
    async fn messages_count_by_direction_and_are_activity() {
        let world = World::with_sessions(&["s"]).await;
        world.clock.advance(Duration::from_secs(5));
        for direction in [Direction::In, Direction::Out, Direction::In] {
            world.manager.increment_message_count("s", direction).await.unwrap();
        }
        let record = world.get("s").await;
        assert_eq!((record.messages_sent, record.messages_received), (1, 2));
        assert_eq!(record.last_activity, world.manager.clock().now());
        let unknown = world.manager.increment_message_count("x", Direction::In).await;
        assert_eq!(kind(unknown), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn the_chat_count_is_mended() {
        let world = World::with_sessions(&["s"]).await;
        let now = world.manager.clock().now();
        let chat = |id: usize| ChatPatch {
            chat_id: id.to_string(),
            name: None,
            last_message_at: None,
            unread_count: None,
        };
        let chats: Vec<_> = (0..1_001).map(chat).collect();
        world.store.patch_chats("s", &chats, now).await.unwrap();
        let wrong = SessionPatch { total_chats: Some(7), ..Default::default() };
        world.manager.patch("s", &wrong).await.unwrap();
        assert_eq!(world.manager.update_chat_count("s").await.unwrap().total_chats, 1_001);
    }

    #[tokio::test]
    async fn a_health_check_is_no_activity() {
        let world = World::with_sessions(&["s"]).await;
        let before = world.get("s").await;
        world.clock.advance(Duration::from_secs(5));
        let record = world.manager.update_health_check("s", 1.5).await.unwrap();
        assert_eq!(record.memory_usage, 1.5);
        assert_eq!(record.last_health_check, world.manager.clock().now());
        assert_eq!(record.last_activity, before.last_activity);
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(kind(world.manager.update_health_check("s", wrong).await), ErrorKind::Invalid);
        }
    }
}
