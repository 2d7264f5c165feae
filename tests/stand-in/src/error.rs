//! What can go wrong, and what to do about it.

use std::path::PathBuf;

/// An error of the stand-in. Every text says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StandInError {
    /// The port could not be opened.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; use port 0 for a free one")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The self-signed TLS certificate could not be made.
    #[error("cannot set up TLS: {0}; start without tls(true)")]
    Tls(String),
    /// The state file could not be read or written.
    #[error("state file {path}: {reason}; delete it to start afresh")]
    StateFile {
        /// Where the file is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The QR text is not one.
    #[error("not a linking QR code: {0}; pass the text exactly as the client shows it")]
    BadQr(String),
    /// The QR's `ref` belongs to no connection that waits for linking.
    #[error("the QR code is out of date: its client is no longer connected; take a fresh one")]
    QrExpired,
    /// The code typed on the phone matches no client that waits for one.
    #[error("no client waits for the pair code {0} of this phone number; ask the client for a code first")]
    NoSuchPairCode(String),
    /// Cryptography of a client failed a check.
    #[error("{0}")]
    BadSignature(String),
    /// Nobody has this number, JID or group.
    #[error("{0} is unknown here; create it with add_phone or create_group first")]
    UnknownRecipient(String),
    /// A phone with this number is there already.
    #[error("a phone with the number {0} exists already; use phone() to get it")]
    PhoneExists(String),
    /// A phone number must be digits.
    #[error("{0:?} is not a phone number; use 7 to 15 digits without + or spaces")]
    BadPhoneNumber(String),
    /// The device is not, or no longer, linked.
    #[error("the device {0} is not linked")]
    UnknownDevice(String),
    /// A message with this id was not found.
    #[error("no message {0} here; pass the id that send or received gave")]
    UnknownMessage(String),
    /// What was waited for did not come.
    #[error("waited {waited_ms} ms for {what} in vain")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited_ms: u128,
    },
    /// Encryption towards a companion failed.
    #[error("cannot encrypt for {device}: {reason}")]
    Encrypt {
        /// The companion's JID.
        device: String,
        /// What Signal said.
        reason: String,
    },
    /// A limit that WhatsApp has too.
    #[error("{0}")]
    Refused(String),
}
