//! What operators measure, through the `metrics` facade: nothing is installed here, and without a
//! recorder in the process a call costs next to nothing.
//!
//! No label holds a phone number or a JID. With
//! [`per_session_metrics`](crate::service::options::ServiceOptions::per_session_metrics) some series carry the session's id as the
//! label `session`: as many series as sessions, and ids are the operator's own choice.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `centralita_sessions` | gauge | `status` | sessions held by this process, by status |
//! | `centralita_messages_total` | counter | `direction`, (`session`) | messages stored as new: `in`, `out` (any device of the account) |
//! | `centralita_commit_seconds` | histogram | | from a message's decryption until the store has it |
//! | `centralita_sends_total` | counter | `outcome`, (`session`) | attempts to send: `sent`, `failed`, `indeterminate` |
//! | `centralita_send_ack_seconds` | histogram | | from a send's write until WhatsApp acknowledged it |
//! | `centralita_connections_total` | counter | (`session`) | logins that succeeded |
//! | `centralita_disconnections_total` | counter | `reason`, (`session`) | connections that ended |
//! | `centralita_connect_seconds` | histogram | | from the first step of a connection until it was logged in |
//! | `centralita_undecryptable_total` | counter | (`session`) | messages that could not be decrypted at first |
//! | `centralita_panics_total` | counter | (`session`) | panics that were caught |
//! | `centralita_leases_lost_total` | counter | | sessions that another instance took over |
//! | `centralita_store_waits_total` | counter | | calls that found the store away and were repeated |
//! | `centralita_events_dropped_total` | counter | | events that subscriptions were too slow for |
//! | `centralita_session_memory_bytes` | gauge | `session` | the engine's own estimate, at each health check |

use std::sync::Mutex;
use std::time::Duration;

use ::metrics::{
    SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::events::EventKind;
use crate::session::status::Status;
use crate::store::{Direction, MessageStatus};

const SESSIONS: &str = "centralita_sessions";
const MESSAGES: &str = "centralita_messages_total";
const COMMIT: &str = "centralita_commit_seconds";
const SENDS: &str = "centralita_sends_total";
const SEND_ACK: &str = "centralita_send_ack_seconds";
const CONNECTIONS: &str = "centralita_connections_total";
const DISCONNECTIONS: &str = "centralita_disconnections_total";
const CONNECT: &str = "centralita_connect_seconds";
const UNDECRYPTABLE: &str = "centralita_undecryptable_total";
const PANICS: &str = "centralita_panics_total";
const LEASES_LOST: &str = "centralita_leases_lost_total";
const STORE_WAITS: &str = "centralita_store_waits_total";
const EVENTS_DROPPED: &str = "centralita_events_dropped_total";
const MEMORY: &str = "centralita_session_memory_bytes";

/// Tells the recorder what each series means. A recorder installed later knows the series without their descriptions.
pub(crate) fn describe() {
    describe_gauge!(SESSIONS, "Sessions held by this process");
    describe_counter!(MESSAGES, "Messages stored as new");
    describe_histogram!(COMMIT, Unit::Seconds, "From a message's decryption until the store has it");
    describe_counter!(SENDS, "Sends by outcome");
    describe_histogram!(SEND_ACK, Unit::Seconds, "From a send's write until WhatsApp acknowledged it");
    describe_counter!(CONNECTIONS, "Logins that succeeded");
    describe_counter!(DISCONNECTIONS, "Connections that ended");
    describe_histogram!(CONNECT, Unit::Seconds, "From the first step of a connection until it was logged in");
    describe_counter!(UNDECRYPTABLE, "Messages that could not be decrypted at first");
    describe_counter!(PANICS, "Panics that were caught");
    describe_counter!(LEASES_LOST, "Sessions that another instance took over");
    describe_counter!(STORE_WAITS, "Calls that found the store away and were repeated");
    describe_counter!(EVENTS_DROPPED, "Events that subscriptions were too slow for");
    describe_gauge!(MEMORY, Unit::Bytes, "Memory of a session by the engine's own estimate");
}

pub(crate) fn committed(took: Duration) {
    histogram!(COMMIT).record(took);
}

pub(crate) fn acknowledged(took: Duration) {
    histogram!(SEND_ACK).record(took);
}

pub(crate) fn connected(took: Duration) {
    histogram!(CONNECT).record(took);
}

pub(crate) fn lease_lost() {
    counter!(LEASES_LOST).increment(1);
}

pub(crate) fn store_waited() {
    counter!(STORE_WAITS).increment(1);
}

pub(crate) fn event_dropped() {
    counter!(EVENTS_DROPPED).increment(1);
}

/// The series of one session in this process. It counts in `centralita_sessions` until it is dropped.
#[derive(Debug)]
pub(crate) struct SessionSeries {
    /// The label, if the operator wants one.
    session: Option<SharedString>,
    status: Mutex<Status>,
}

impl SessionSeries {
    pub(crate) fn new(session: &str, status: Status, labelled: bool) -> Self {
        gauge!(SESSIONS, "status" => status.as_str()).increment(1.0);
        Self { session: labelled.then(|| SharedString::from(session.to_owned())), status: Mutex::new(status) }
    }

    pub(crate) fn set_status(&self, status: Status) {
        let mut current = self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *current != status {
            gauge!(SESSIONS, "status" => current.as_str()).decrement(1.0);
            gauge!(SESSIONS, "status" => status.as_str()).increment(1.0);
            *current = status;
        }
    }

    pub(crate) fn published(&self, event: &EventKind) {
        match event {
            EventKind::Message(message) => {
                let direction = match message.direction {
                    Direction::In => "in",
                    Direction::Out => "out",
                };
                self.count(MESSAGES, Some(("direction", direction)));
            }
            EventKind::Undecryptable => self.count(UNDECRYPTABLE, None),
            EventKind::Panicked => self.count(PANICS, None),
            _ => {}
        }
    }

    /// A message that was stored to be sent from here: no event tells of it.
    pub(crate) fn stored_outgoing(&self) {
        self.count(MESSAGES, Some(("direction", "out")));
    }

    pub(crate) fn send_ended(&self, status: MessageStatus) {
        let outcome = match status {
            MessageStatus::Failed => "failed",
            MessageStatus::Pending | MessageStatus::Indeterminate => "indeterminate",
            _ => "sent",
        };
        self.count(SENDS, Some(("outcome", outcome)));
    }

    pub(crate) fn logged_in(&self) {
        self.count(CONNECTIONS, None);
    }

    pub(crate) fn disconnected(&self, reason: &'static str) {
        self.count(DISCONNECTIONS, Some(("reason", reason)));
    }

    pub(crate) fn memory(&self, bytes: u64) {
        if let Some(session) = &self.session {
            gauge!(MEMORY, "session" => session.clone()).set(bytes as f64);
        }
    }

    fn count(&self, name: &'static str, label: Option<(&'static str, &'static str)>) {
        match (label, &self.session) {
            (None, None) => counter!(name),
            (Some((key, value)), None) => counter!(name, key => value),
            (None, Some(session)) => counter!(name, "session" => session.clone()),
            (Some((key, value)), Some(session)) => {
                counter!(name, key => value, "session" => session.clone())
            }
        }
        .increment(1);
    }
}

impl Drop for SessionSeries {
    fn drop(&mut self) {
        let status = *self.status.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        gauge!(SESSIONS, "status" => status.as_str()).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ::metrics::with_local_recorder;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

    use super::*;

    /// Adds what a snapshot shows, and takes away from the recorder.
    fn add_up(snapshotter: &Snapshotter, seen: &mut BTreeMap<String, f64>) {
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let labels: Vec<String> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count as f64,
                DebugValue::Gauge(gauge) => gauge.into_inner(),
                DebugValue::Histogram(values) => values.len() as f64,
            };
            *seen.entry(format!("{}{{{}}}", key.key().name(), labels.join(","))).or_default() += value;
        }
    }

    #[test]
    fn a_session_counts_once_under_its_present_status_and_nowhere_once_gone() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        with_local_recorder(&recorder, || {
            let series = SessionSeries::new("5491155550000", Status::Pending, false);
            series.set_status(Status::Connected);
            series.set_status(Status::Connected);
            let mut seen = BTreeMap::new();
            add_up(&snapshotter, &mut seen);
            assert_eq!(seen.get("centralita_sessions{status=connected}"), Some(&1.0), "{seen:?}");
            assert_eq!(seen.get("centralita_sessions{status=pending}"), Some(&0.0), "{seen:?}");
            drop(series);
            add_up(&snapshotter, &mut seen);
            assert_eq!(seen.get("centralita_sessions{status=connected}"), Some(&0.0), "{seen:?}");
        });
    }

    #[test]
    fn the_session_is_a_label_only_where_the_operator_wants_it() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        with_local_recorder(&recorder, || {
            let plain = SessionSeries::new("ventas", Status::Pending, false);
            plain.logged_in();
            plain.memory(1_024);
            plain.send_ended(MessageStatus::Read);
            let mut seen = BTreeMap::new();
            add_up(&snapshotter, &mut seen);
            assert!(seen.len() >= 3 && seen.keys().all(|name| !name.contains("ventas")), "{seen:?}");
            let labelled = SessionSeries::new("ventas", Status::Pending, true);
            labelled.send_ended(MessageStatus::Failed);
            labelled.memory(2_048);
            add_up(&snapshotter, &mut seen);
            let failed = "centralita_sends_total{outcome=failed,session=ventas}";
            assert_eq!(seen.get(failed), Some(&1.0), "{seen:?}");
            assert_eq!(
                seen.get("centralita_session_memory_bytes{session=ventas}"),
                Some(&2_048.0),
                "{seen:?}"
            );
        });
    }
}
