//! From the end of the handshake to `<success>`, or to the refusal; and the end of a connection.

use std::time::Duration;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::account::{ConnectionId, DeviceKey};
use crate::clock;
use crate::faults;
use crate::node::{bytes, stream_error};
use crate::queue::Phase;
use crate::state::State;

/// Clients close by themselves after a logout.
const GRACE_AFTER_LOGOUT: Duration = Duration::from_millis(500);

impl State {
    /// What the ClientPayload says decides: linking, or login of a device.
    pub(crate) fn connection_opened(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let payload = &connection.payload;
        match (payload.username, payload.device_pairing_data.is_set()) {
            (Some(username), _) => {
                let key = DeviceKey {
                    account: username.to_string(),
                    device: u16::try_from(payload.device.unwrap_or(0)).unwrap_or(u16::MAX),
                };
                self.log_in(id, key);
            }
            (None, true) => {
                self.arrivals.unlinked += 1;
                self.offer_pairing(id);
            }
            (None, false) => self.refuse(id, 400, &Default::default()),
        }
    }

    fn log_in(&mut self, id: ConnectionId, key: DeviceKey) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let static_key = connection.static_key;
        let pattern = connection.pattern;
        // A stolen name is worth nothing without the Noise key of the device.
        let known = self.companion(&key).is_some_and(|companion| companion.noise_key == static_key);
        if !known {
            tracing::info!(%key, "login of an unknown device");
            return self.refuse(id, 401, &Default::default());
        }
        if let Some((reason, details)) = self.planned_failure(&key) {
            return self.refuse(id, reason, &details);
        }
        if let Some(old) = self.companion(&key).and_then(|companion| companion.connection) {
            tracing::debug!(%key, "a second login replaces the first");
            self.arrivals.replaced += 1;
            self.detach(old, &key);
            // Without a code, as WhatsApp sends it: Baileys would believe the code and come back.
            self.end_stream(old, &stream_error(None, Some("replaced")));
        }
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return;
        };
        let lid = Jid::lid_device(account.lid.as_str(), key.device);
        let push_name = self.connections.get(&id).and_then(|connection| connection.payload.push_name.clone());
        if let Some(companion) = account.companions.get_mut(&key.device) {
            companion.connection = Some(id);
            companion.phase = Phase::Closed;
            companion.available = false;
            companion.logins += 1;
            if push_name.is_some() {
                companion.push_name = push_name;
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.device = Some(key.clone());
        }
        let success = NodeBuilder::new("success")
            .attr("t", clock::now())
            .attr("props", 27)
            .attr("abprops", "1")
            .attr("group_abprops", "1")
            .attr("location", "lo")
            .attr("lid", lid)
            .children([bytes("companion_enc_static", vec![0; 32])])
            .build();
        self.arrivals.logins += 1;
        self.send(id, success);
        tracing::debug!(%key, pattern, "logged in");
        self.ring(&key.account);
    }

    fn planned_failure(&mut self, key: &DeviceKey) -> Option<(u16, faults::FailureDetails)> {
        let account = self.accounts.get(&key.account)?;
        let plan = self
            .faults
            .failures
            .iter_mut()
            .find(|plan| plan.left > 0 && faults::meets(plan.target.as_deref(), account, key.device))?;
        plan.left -= 1;
        let answer = (plan.reason, plan.details.clone());
        self.faults.failures.retain(|plan| plan.left > 0);
        Some(answer)
    }

    /// `<failure>` instead of `<success>`, and the end.
    fn refuse(&mut self, id: ConnectionId, reason: u16, details: &faults::FailureDetails) {
        self.send(id, failure(reason, details));
        self.close(id);
    }

    /// The connection is gone, whoever closed it.
    pub(crate) fn connection_closed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.refs.retain(|_, waiting| *waiting != id);
        self.code_requests.retain(|request| request.connection != id);
        if let Some(key) = connection.device {
            tracing::debug!(%key, "disconnected");
            self.went_offline(&key, id);
            self.ring(&key.account);
        }
    }

    /// Takes a connection from its device before the socket is closed.
    fn detach(&mut self, id: ConnectionId, key: &DeviceKey) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.device = None;
        }
        self.went_offline(key, id);
    }

    fn went_offline(&mut self, key: &DeviceKey, id: ConnectionId) {
        self.held_back.remove(key);
        let Some(companion) = self.companion_mut(key) else {
            return;
        };
        if companion.connection != Some(id) {
            return;
        }
        companion.connection = None;
        companion.phase = Phase::Closed;
        companion.queue.rewind();
        let was_available = std::mem::take(&mut companion.available);
        if was_available {
            self.presence_changed(&key.account);
        }
    }

    /// A device is no longer linked: it loses its queue and its login, others hear of it.
    pub(crate) fn unlink(&mut self, key: &DeviceKey) -> bool {
        self.remove_device(key, Duration::ZERO)
    }

    /// It has logged out itself: whatsmeow fails if the end overtakes its own clearing up.
    pub(crate) fn logged_out(&mut self, key: &DeviceKey) -> bool {
        self.remove_device(key, GRACE_AFTER_LOGOUT)
    }

    fn remove_device(&mut self, key: &DeviceKey, grace: Duration) -> bool {
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return false;
        };
        let Some(companion) = account.companions.remove(&key.device) else {
            return false;
        };
        account.signal.forget_session(key);
        if let Some(connection) = companion.connection {
            if let Some(connection) = self.connections.get_mut(&connection) {
                connection.device = None;
            }
            self.end_stream_after(connection, &stream_error(Some("401"), Some("device_removed")), grace);
        }
        self.dirty = true;
        self.tell_of_device_change(key, companion.key_index, "remove");
        self.ring(&key.account);
        true
    }
}

fn failure(reason: u16, details: &faults::FailureDetails) -> Node {
    let mut node = NodeBuilder::new("failure").attr("reason", reason).attr("location", "lo");
    if let Some(code) = &details.code {
        node = node.attr("code", code.as_str());
    }
    if let Some(expire) = details.expire_s {
        node = node.attr("expire", expire);
    }
    if let Some(message) = &details.message {
        node = node.attr("message", message.as_str());
    }
    node.build()
}
