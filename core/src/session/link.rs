//! Linking a phone: a stream of codes that ends in exactly one of linked, timed out, failed.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::qr::QrCode;

/// One step of a link.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LinkStep {
    /// Scan this with the phone. It replaces any earlier one.
    Qr {
        /// The code, ready to be rendered.
        code: QrCode,
        /// When the next one replaces it.
        expires_at: Timestamp,
    },
    /// Type this on the phone.
    PairCode {
        /// Eight characters. A secret.
        code: Secret,
        /// When it stops being valid.
        expires_at: Timestamp,
    },
    /// WhatsApp wants a passkey: have an authenticator sign it, then call `answer_passkey`.
    PasskeyChallenge {
        /// WebAuthn's `PublicKeyCredentialRequestOptions` as JSON.
        request_options_json: Secret,
    },
    /// Compare the code with the phone's, then call `confirm_passkey`.
    PasskeyConfirmation {
        /// Eight characters with a dash.
        code: Secret,
        /// False if the phone shows none.
        must_compare: bool,
    },
    /// The session is linked and connected. The last step.
    Linked,
    /// Nobody used a code in time. The last step; start the session for new codes.
    TimedOut,
    /// It did not work. The last step.
    Failed {
        /// What the caller must do.
        kind: ErrorKind,
        /// What happened.
        message: String,
    },
}

impl LinkStep {
    /// Whether no further step follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Linked | Self::TimedOut | Self::Failed { .. })
    }
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The steps of a link, see [`LinkStep`].
#[derive(Debug)]
pub struct LinkStream {
    steps: watch::Receiver<Option<LinkStep>>,
    ended: bool,
}

impl LinkStream {
    pub(crate) fn new(mut steps: watch::Receiver<Option<LinkStep>>) -> Self {
        // Whoever comes late sees the code that is valid now.
        steps.mark_changed();
        Self { steps, ended: false }
    }

    /// The next step; `None` after the last.
    pub async fn next(&mut self) -> Option<LinkStep> {
        while !self.ended {
            if self.steps.changed().await.is_err() {
                self.ended = true;
                return Some(LinkStep::Failed {
                    kind: ErrorKind::Closed,
                    message: "the session was stopped before it was linked".to_owned(),
                });
            }
            let step = self.steps.borrow_and_update().clone();
            if let Some(step) = step {
                self.ended = step.is_last();
                return Some(step);
            }
        }
        None
    }

    /// Waits until the session is linked; the other ends are errors.
    pub async fn linked(mut self, patience: Duration) -> Result<()> {
        let last = tokio::time::timeout(patience, async {
            let mut last = None;
            while let Some(step) = self.next().await {
                last = Some(step);
            }
            last
        })
        .await
        .map_err(|_| Error::new(ErrorKind::Timeout, "the session was not linked in that time"))?;
        match last {
            Some(LinkStep::Linked) => Ok(()),
            Some(LinkStep::Failed { kind, message }) => Err(Error::new(kind, message)),
            _ => Err(Error::new(
                ErrorKind::Timeout,
                "nobody used the code in time; start the session for a new one",
            )),
        }
    }
}
