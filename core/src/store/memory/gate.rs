//! The door that every call passes: counts, holds up and refuses.

use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Copy, Default)]
struct Doors {
    closed: bool,
    unavailable: bool,
    blocked: bool,
}

pub(super) struct Gate {
    doors: watch::Sender<Doors>,
    commands: watch::Sender<u64>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { doors: watch::Sender::new(Doors::default()), commands: watch::Sender::new(0) }
    }
}

impl Gate {
    pub(super) async fn pass(&self) -> Result<()> {
        self.commands.send_modify(|count| *count += 1);
        let mut doors = self.doors.subscribe();
        let now = *doors
            .wait_for(|doors| !doors.blocked || doors.closed)
            .await
            .expect("the sender lives as long as this gate");
        if now.closed {
            return Err(Error::new(ErrorKind::Closed, "the store was closed; open it again"));
        }
        if now.unavailable {
            return Err(Error::new(ErrorKind::Unavailable, "the store is switched off; retry later"));
        }
        Ok(())
    }

    pub(super) fn commands(&self) -> u64 {
        *self.commands.borrow()
    }

    pub(super) fn close(&self) {
        self.doors.send_modify(|doors| doors.closed = true);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Gate {
    pub(super) fn set_unavailable(&self, unavailable: bool) {
        self.doors.send_modify(|doors| doors.unavailable = unavailable);
    }

    pub(super) fn block(&self, blocked: bool) {
        self.doors.send_modify(|doors| doors.blocked = blocked);
    }

    pub(super) async fn wait_for_commands(&self, at_least: u64) {
        let mut commands = self.commands.subscribe();
        commands.wait_for(|count| *count >= at_least).await.expect("the sender lives as long as this gate");
    }
}
