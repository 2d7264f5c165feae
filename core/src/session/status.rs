//! The one transition table of a session's `status`. Nothing else decides what status comes next.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The seed's `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Created or starting; no code yet.
    Pending,
    /// A QR code, a pair code or a passkey challenge waits for the user.
    QrReady,
    /// Logged in.
    Connected,
    /// Not connected: stopped, or waiting for the next attempt.
    Disconnected,
    /// It needs somebody: logged out, banned, outdated, or broken.
    Error,
    /// Put away: not restored at start.
    Inactive,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 6] =
        [Self::Pending, Self::QrReady, Self::Connected, Self::Disconnected, Self::Error, Self::Inactive];

    /// As the seed writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::QrReady => "qr_ready",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Error => "error",
            Self::Inactive => "inactive",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "unknown status; use pending, qr_ready, connected, disconnected, error or inactive",
            )
        })
    }
}

/// What happens to a session, as far as its status goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatusEvent {
    /// A user or a restore starts it.
    Started,
    /// A QR code, pair code or passkey challenge is there.
    CodeReady,
    /// Nobody used the code in time, or the user gave up.
    LinkEnded,
    /// WhatsApp accepted the login and the session is ready.
    LoggedIn,
    /// The connection ended and will be tried again, or the user stopped it.
    ConnectionEnded,
    /// Another client or instance took over.
    TakenOver,
    /// It needs somebody: logged out, banned, outdated, corrupt, wrong key.
    Failed,
    /// An operator or the cleanup puts it away.
    PutAway,
}

impl StatusEvent {
    /// Every event.
    pub const ALL: [StatusEvent; 8] = [
        Self::Started,
        Self::CodeReady,
        Self::LinkEnded,
        Self::LoggedIn,
        Self::ConnectionEnded,
        Self::TakenOver,
        Self::Failed,
        Self::PutAway,
    ];

    /// The statuses in which the event is possible.
    pub const fn from(self) -> &'static [Status] {
        use Status::*;
        match self {
            // A crash leaves any status behind, so a start is possible from all of them.
            Self::Started => &[Pending, QrReady, Connected, Disconnected, Error, Inactive],
            Self::CodeReady => &[Pending, QrReady, Disconnected],
            Self::LinkEnded => &[Pending, QrReady, Disconnected],
            Self::LoggedIn => &[Pending, QrReady, Disconnected, Connected],
            Self::ConnectionEnded => &[Pending, QrReady, Connected, Disconnected],
            Self::TakenOver => &[Pending, QrReady, Connected, Disconnected],
            Self::Failed => &[Pending, QrReady, Connected, Disconnected, Error],
            Self::PutAway => &[Pending, QrReady, Connected, Disconnected, Error, Inactive],
        }
    }

    /// The status that it leads to.
    pub const fn to(self) -> Status {
        match self {
            Self::Started => Status::Pending,
            Self::CodeReady => Status::QrReady,
            Self::LoggedIn => Status::Connected,
            Self::LinkEnded | Self::ConnectionEnded | Self::TakenOver => Status::Disconnected,
            Self::Failed => Status::Error,
            Self::PutAway => Status::Inactive,
        }
    }
}

/// The status after `event`. `InvalidState` if the event is not possible in `from`; nothing changes then.
pub fn transition(from: Status, event: StatusEvent) -> Result<Status> {
    if event.from().contains(&from) {
        Ok(event.to())
    } else {
        Err(Error::new(
            ErrorKind::InvalidState,
            format!("a session that is {from} cannot become {}; start it first", event.to()),
        ))
    }
}

/// The statuses from which `to` can be reached by some event: what a store compares with when a caller
/// names the new status himself.
pub fn sources_of(to: Status) -> Vec<Status> {
    Status::ALL
        .into_iter()
        .filter(|from| StatusEvent::ALL.iter().any(|event| event.to() == to && event.from().contains(from)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_the_seeds() {
        let names: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        assert_eq!(names, ["pending", "qr_ready", "connected", "disconnected", "error", "inactive"]);
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!("CONNECTED".parse::<Status>().unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_session_put_away_or_failed_comes_back_only_by_a_start() {
        for event in StatusEvent::ALL {
            let from_inactive = transition(Status::Inactive, event);
            assert_eq!(from_inactive.is_ok(), matches!(event, StatusEvent::Started | StatusEvent::PutAway));
        }
        assert!(transition(Status::Error, StatusEvent::LoggedIn).is_err());
        assert!(transition(Status::Error, StatusEvent::ConnectionEnded).is_err());
        assert_eq!(transition(Status::Error, StatusEvent::Started).unwrap(), Status::Pending);
    }

    #[test]
    fn every_status_is_left_by_a_start_and_reached_by_some_event() {
        for status in Status::ALL {
            assert!(transition(status, StatusEvent::Started).is_ok());
            assert!(!sources_of(status).is_empty());
        }
    }

    proptest! {
        #[test]
        fn connected_is_only_ever_entered_by_a_login(steps in proptest::collection::vec(0..StatusEvent::ALL.len(), 0..64)) {
            let mut status = Status::Pending;
            for step in steps {
                let event = StatusEvent::ALL[step];
                match transition(status, event) {
                    Ok(next) => {
                        prop_assert_eq!(next == Status::Connected, event == StatusEvent::LoggedIn);
                        prop_assert!(sources_of(next).contains(&status));
                        status = next;
                    }
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidState),
                }
            }
        }
    }
}
