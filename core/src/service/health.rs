//! How the sessions of a service do, all together.

use serde::Serialize;

use super::handle::WhatsAppService;
use crate::session::health::VitalState;
use crate::session::pacing::PacingStatus;

/// The health of the sessions that run in this process, as figures. Of each: [`Session::health`](super::Session::health).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceHealth {
    /// Sessions that run here, connected or not.
    pub running: u64,
    /// Of them logged in at this moment.
    pub connected: u64,
    /// Of them parked: not connected on purpose.
    pub parked: u64,
    /// Of those connected, how many receive or send badly, or are suspected to, by the last look at them.
    pub unwell: u64,
    /// How often those that run were restarted because they were not well.
    pub restarts: u64,
    /// The pacing of connections, and whether WhatsApp refuses the whole fleet.
    pub pacing: PacingStatus,
}

impl WhatsAppService {
    /// How the service paces its connections at this moment, and whether WhatsApp refuses the whole fleet.
    pub fn pacing(&self) -> PacingStatus {
        self.inner.context.pacer.status()
    }

    /// How the sessions of this process do, all together. It asks nobody: nothing is stored or sent.
    pub fn health(&self) -> ServiceHealth {
        let mut health = ServiceHealth {
            running: 0,
            connected: 0,
            parked: 0,
            unwell: 0,
            restarts: 0,
            pacing: self.pacing(),
        };
        for live in self.running() {
            health.running += 1;
            health.parked += u64::from(live.is_parked());
            let vitals = live.vitals().clone();
            health.restarts += vitals.restarts;
            if live.is_connected() {
                health.connected += 1;
                let bad = |state| matches!(state, VitalState::Suspect | VitalState::Bad);
                health.unwell += u64::from(bad(vitals.receive.state) || bad(vitals.send.state));
            }
        }
        health
    }
}
