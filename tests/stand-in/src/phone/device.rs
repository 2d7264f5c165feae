//! The handle of a companion.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Serialize;

use crate::account::{Account, DeviceKey};
use crate::error::StandInError;
use crate::queue::Phase;
use crate::state::Inner;

/// A companion of a phone.
#[derive(Clone, Serialize)]
pub struct LinkedDevice {
    /// Number JID with device.
    pub jid: String,
    /// LID with device.
    pub lid: String,
    /// The device number.
    pub device_id: u16,
    /// The account's number.
    pub phone_number: String,
    /// The system the client says it runs on; empty until it has answered.
    pub platform: String,
    #[serde(skip)]
    server: Weak<Inner>,
}

impl std::fmt::Debug for LinkedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LinkedDevice").field(&self.jid).finish()
    }
}

impl PartialEq for LinkedDevice {
    fn eq(&self, other: &Self) -> bool {
        self.jid == other.jid
    }
}

impl Eq for LinkedDevice {}

impl LinkedDevice {
    pub(crate) fn new(server: &Weak<Inner>, account: &Account, device: u16) -> Self {
        Self {
            jid: account.pn_jid().with_device(device).to_string(),
            lid: account.lid_jid().with_device(device).to_string(),
            device_id: device,
            phone_number: account.phone_number.clone(),
            platform: account
                .companions
                .get(&device)
                .map(|companion| companion.platform.clone())
                .unwrap_or_default(),
            server: server.clone(),
        }
    }

    pub(crate) fn key(&self) -> DeviceKey {
        DeviceKey { account: self.phone_number.clone(), device: self.device_id }
    }

    /// Whether it is logged in now.
    pub fn is_connected(&self) -> bool {
        self.server.upgrade().is_some_and(|server| {
            server.lock().companion(&self.key()).is_some_and(|companion| companion.connection.is_some())
        })
    }

    /// Whether it says that its user is online: phones stop ringing while a companion does.
    pub fn is_available(&self) -> bool {
        self.server.upgrade().is_some_and(|server| {
            server.lock().companion(&self.key()).is_some_and(|companion| companion.available)
        })
    }

    /// How often it has logged in.
    pub fn logins(&self) -> u32 {
        self.server
            .upgrade()
            .and_then(|server| server.lock().companion(&self.key()).map(|companion| companion.logins))
            .unwrap_or(0)
    }

    /// Waits until it is logged in and has its backlog.
    pub async fn wait_connected(&self, limit: Duration) -> Result<(), StandInError> {
        self.wait(limit, "login", |phase, _, _| phase == Phase::Live).await
    }

    /// Waits until it is not connected.
    pub async fn wait_disconnected(&self, limit: Duration) -> Result<(), StandInError> {
        self.wait(limit, "disconnection", |_, connected, _| !connected).await
    }

    /// Waits until it has answered everything that was meant for it.
    pub async fn wait_settled(&self, limit: Duration) -> Result<(), StandInError> {
        self.wait(limit, "last answers", |_, _, open| open == 0).await
    }

    async fn wait(
        &self,
        limit: Duration,
        what: &str,
        is_so: impl Fn(Phase, bool, usize) -> bool,
    ) -> Result<(), StandInError> {
        let unknown = || StandInError::UnknownDevice(self.jid.clone());
        let server: Arc<Inner> = self.server.upgrade().ok_or_else(unknown)?;
        let key = self.key();
        let changed = server.lock().account(&key.account).ok_or_else(unknown)?.changed.clone();
        server
            .wait_for(changed, limit, &format!("the {what} of {}", self.jid), |state| {
                let companion = state.companion(&key);
                let phase = companion.map_or(Phase::Closed, |companion| companion.phase);
                let connected = companion.is_some_and(|companion| companion.connection.is_some());
                let open = companion.map_or(0, |companion| companion.queue.len());
                is_so(phase, connected, open).then_some(())
            })
            .await
    }
}
