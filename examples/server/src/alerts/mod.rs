//! Alerts: something is wrong with a session or the store, and somebody must look. Each fires once and is resolved
//! once, also with several instances on one database, and also over a restart.

mod rules;
mod store_watch;
mod watch;

use std::sync::{Mutex, MutexGuard, PoisonError};

use centralita::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use watch::{list, watch};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    /// `attempts`, `disconnected`, `logged_out`, `banned`, `failed`, `send_stalled`, `memory`, `store_slow`, `store_down`.
    pub(crate) rule: String,
    /// The session; absent for the store.
    pub(crate) session_id: Option<String>,
    /// What is wrong, for people.
    pub(crate) message: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) fired_at: Timestamp,
    /// When it was over; absent while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) resolved_at: Option<Timestamp>,
}

impl Alert {
    /// What tells it from others: there is one of a rule and session.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.rule, self.session_id.as_deref().unwrap_or("-"))
    }
}

/// That an alert fired or was resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertChange {
    /// `fired` or `resolved`.
    pub(crate) state: String,
    /// Which.
    #[serde(flatten)]
    pub(crate) alert: Alert,
}

impl AlertChange {
    pub(crate) fn fired(alert: Alert) -> Self {
        Self { state: "fired".to_owned(), alert }
    }

    pub(crate) fn resolved(alert: Alert) -> Self {
        Self { state: "resolved".to_owned(), alert }
    }

    /// When.
    pub(crate) fn at(&self) -> Timestamp {
        self.alert.resolved_at.unwrap_or(self.alert.fired_at)
    }
}

/// What is known in this process beside the stored alerts: how the store does, which cannot be stored while it is away.
#[derive(Debug, Default)]
pub(crate) struct Alerts(Mutex<store_watch::StoreWatch>);

impl Alerts {
    fn store_watch(&self) -> MutexGuard<'_, store_watch::StoreWatch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Alerts of the store that last or were over a moment ago.
    pub(crate) fn of_store(&self) -> Vec<Alert> {
        self.store_watch().alerts()
    }
}
