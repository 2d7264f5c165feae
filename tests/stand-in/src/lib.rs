//! A small WhatsApp server on loopback, for tests.
//!
//! Real, unpatched client libraries connect to it over a real WebSocket: Noise handshake, linking
//! by simulated phones, login, Signal messages both ways, receipts, an offline queue, groups, and
//! faults on demand. It keeps an exact account of every message, so that a test can ask whether
//! anything was lost or doubled.
//!
//! ```no_run
//! # async fn example() -> Result<(), centralita_stand_in::StandInError> {
//! use centralita_stand_in::{PhoneOptions, StandIn};
//!
//! let stand_in = StandIn::start().await?;
//! let ana = stand_in.add_phone(PhoneOptions::default())?;
//! let bob = stand_in.add_phone(PhoneOptions::default())?;
//! // Point the client at stand_in.web_socket_url() and let a phone scan its QR code.
//! # let qr = "";
//! let device = ana.scan_qr(qr)?;
//! stand_in.wait_connected(&device, std::time::Duration::from_secs(30)).await?;
//! bob.send_text(&ana.phone_number(), "hola").await?;
//! # Ok(())
//! # }
//! ```

mod account;
mod accounting;
mod admin;
mod app_state;
mod arrivals;
mod certificate;
mod clock;
mod connection;
mod crypto;
mod dispatch;
mod error;
mod faults;
mod frame;
mod group;
mod group_iq;
mod history;
mod iq;
mod login;
mod message;
mod node;
mod noise;
mod offline;
mod pair_code;
mod pairing;
mod passkey;
mod phone;
mod prekeys;
mod presence;
mod queue;
mod receipt;
mod server;
mod stand_in;
mod state;
mod state_file;
mod traffic;
mod usync;

pub use accounting::{Accounting, Progress, SentByCompanion, SentToCompanion};
pub use arrivals::Arrivals;
pub use error::StandInError;
pub use faults::{FailureDetails, Faults, Refuse};
pub use history::{HistoryChat, HistoryMessage};
pub use phone::{
    LinkedDevice, Phone, PhoneOptions, ReceiptKind, ReceivedMessage, ReceivedReceipt, SendOptions,
};
pub use stand_in::{StandIn, StandInBuilder, UnknownIq};
pub use traffic::{Traffic, TrafficOptions, TrafficPair, TrafficReport};
