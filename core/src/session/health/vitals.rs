//! What follows from what is seen of one session.

use std::time::Duration;

use super::{RestartReason, Vital, VitalState};
use crate::clock::Timestamp;
use crate::service::options::ServiceOptions;

/// A server that acknowledges nothing is not mended by a restart each half minute.
const STALL_RESTART_EVERY: Duration = Duration::from_secs(300);

/// When something is taken to be wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(super) silence_after: Duration,
    pub(super) send_stall_after: Duration,
}

impl Limits {
    pub(super) fn of(options: &ServiceOptions) -> Self {
        Self { silence_after: options.silence_after, send_stall_after: options.send_stall_after }
    }
}

/// What is seen of a session at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Monotonic.
    pub(super) now: Duration,
    pub(super) wall: Timestamp,
    pub(super) connected: bool,
    pub(super) parked: bool,
    /// Frames received on this engine so far.
    pub(super) frames: u64,
    /// Since when a written message has waited without any acknowledgement coming in.
    pub(super) unacked_since: Option<Duration>,
    /// A ping of ours was not answered.
    pub(super) ping_failed: bool,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Well,
    Ping,
    Restart(RestartReason),
}

#[derive(Debug, Clone)]
pub(crate) struct Vitals {
    pub(crate) link: Vital,
    pub(crate) receive: Vital,
    pub(crate) send: Vital,
    pub(crate) restarts: u64,
    connected: bool,
    frames: u64,
    frames_at: Duration,
    stall_restart_at: Option<Duration>,
}

impl Vitals {
    pub(crate) fn new(wall: Timestamp) -> Self {
        let unknown = || Vital { state: VitalState::Unknown, since: wall, reason: None };
        Self {
            link: Vital { reason: Some("not connected yet".to_owned()), ..unknown() },
            receive: unknown(),
            send: unknown(),
            restarts: 0,
            connected: false,
            frames: 0,
            frames_at: Duration::ZERO,
            stall_restart_at: None,
        }
    }

    /// Takes in what is seen.
    pub(super) fn observe(&mut self, limits: Limits, seen: &Seen) -> Finding {
        let Seen { now, wall, .. } = *seen;
        if !seen.connected {
            self.connected = false;
            let reason = if seen.parked { "parked" } else { "not connected" };
            self.link.set(VitalState::Bad, Some(reason), wall);
            self.receive.set(VitalState::Unknown, None, wall);
            self.send.set(VitalState::Unknown, None, wall);
            return Finding::Well;
        }
        if !self.connected || seen.frames != self.frames {
            self.frames_at = now;
        }
        self.connected = true;
        self.frames = seen.frames;
        self.link.set(VitalState::Good, None, wall);

        let silent = now.saturating_sub(self.frames_at) >= limits.silence_after;
        let unacked = seen.unacked_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let stalled = unacked >= limits.send_stall_after;
        let slow = unacked >= limits.send_stall_after / 2;
        match (stalled, slow) {
            (true, _) => self.send.set(VitalState::Bad, Some(RestartReason::SendStall.explain()), wall),
            (false, true) => self.send.set(VitalState::Suspect, Some("acknowledgements are late"), wall),
            (false, false) => self.send.set(VitalState::Good, None, wall),
        }
        if silent && seen.ping_failed {
            self.receive.set(VitalState::Bad, Some(RestartReason::Zombie.explain()), wall);
            self.restarts += 1;
            return Finding::Restart(RestartReason::Zombie);
        }
        if silent {
            self.receive.set(VitalState::Suspect, Some("nothing has come in for long; pinging"), wall);
            return Finding::Ping;
        }
        self.receive.set(VitalState::Good, None, wall);
        let lately = self.stall_restart_at.is_some_and(|at| now.saturating_sub(at) < STALL_RESTART_EVERY);
        if stalled && !lately {
            self.stall_restart_at = Some(now);
            self.restarts += 1;
            return Finding::Restart(RestartReason::SendStall);
        }
        Finding::Well
    }
}

impl Vital {
    fn set(&mut self, state: VitalState, reason: Option<&str>, now: Timestamp) {
        if self.state != state || self.reason.as_deref() != reason {
            *self = Self { state, since: now, reason: reason.map(str::to_owned) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { silence_after: Duration::from_secs(35), send_stall_after: Duration::from_secs(20) };

    fn seen(second: u64, frames: u64) -> Seen {
        Seen {
            now: Duration::from_secs(1_000 + second),
            wall: Timestamp::from_unix_s(second.cast_signed()),
            connected: true,
            parked: false,
            frames,
            unacked_since: None,
            ping_failed: false,
        }
    }

    fn vitals() -> Vitals {
        Vitals::new(Timestamp::from_unix_s(0))
    }

    #[test]
    fn silence_is_pinged_and_only_an_unanswered_ping_restarts() {
        let mut vitals = vitals();
        assert_eq!(vitals.observe(LIMITS, &seen(0, 10)), Finding::Well);
        assert_eq!(vitals.observe(LIMITS, &seen(34, 10)), Finding::Well);
        assert_eq!(vitals.observe(LIMITS, &seen(35, 10)), Finding::Ping);
        assert_eq!(vitals.receive.state, VitalState::Suspect);
        // Answered.
        assert_eq!(vitals.observe(LIMITS, &seen(36, 11)), Finding::Well);
        assert_eq!(
            (vitals.receive.state, vitals.receive.since),
            (VitalState::Good, Timestamp::from_unix_s(36))
        );
        // Not answered.
        assert_eq!(vitals.observe(LIMITS, &seen(71, 11)), Finding::Ping);
        let failed = Seen { ping_failed: true, ..seen(81, 11) };
        assert_eq!(vitals.observe(LIMITS, &failed), Finding::Restart(RestartReason::Zombie));
        assert_eq!((vitals.receive.state, vitals.send.state), (VitalState::Bad, VitalState::Good));
        assert_eq!(vitals.restarts, 1);
    }

    #[test]
    fn a_new_connection_starts_with_a_clean_slate() {
        let mut vitals = vitals();
        vitals.observe(LIMITS, &seen(0, 500));
        vitals.observe(LIMITS, &Seen { connected: false, ..seen(1, 500) });
        assert_eq!((vitals.link.state, vitals.receive.state), (VitalState::Bad, VitalState::Unknown));
        // The same count by chance, on another engine, long after.
        assert_eq!(vitals.observe(LIMITS, &seen(100, 500)), Finding::Well);
        assert_eq!(
            vitals.link,
            Vital { state: VitalState::Good, since: Timestamp::from_unix_s(100), reason: None }
        );
    }

    #[test]
    fn sends_without_acknowledgement_are_a_stall_though_frames_come_in() {
        let mut vitals = vitals();
        let unacked =
            |second| Seen { unacked_since: Some(Duration::from_secs(1_005)), ..seen(second, second) };
        assert_eq!(vitals.observe(LIMITS, &unacked(6)), Finding::Well);
        assert_eq!(vitals.observe(LIMITS, &unacked(15)), Finding::Well);
        assert_eq!((vitals.receive.state, vitals.send.state), (VitalState::Good, VitalState::Suspect));
        assert_eq!(vitals.observe(LIMITS, &unacked(25)), Finding::Restart(RestartReason::SendStall));
        assert_eq!((vitals.receive.state, vitals.send.state), (VitalState::Good, VitalState::Bad));
        // Not again and again.
        assert_eq!(vitals.observe(LIMITS, &unacked(60)), Finding::Well);
        assert_eq!(vitals.send.state, VitalState::Bad);
        assert_eq!(vitals.observe(LIMITS, &unacked(400)), Finding::Restart(RestartReason::SendStall));
        assert_eq!(vitals.observe(LIMITS, &seen(401, 401)), Finding::Well);
        assert_eq!(vitals.send.state, VitalState::Good);
    }
}
