//! Linking with a passkey: the server asks, the client shows an assertion.

use wacore_binary::Node;

use crate::account::ConnectionId;
use crate::state::State;

/// Where a client is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passkey {}

impl State {
    pub(crate) fn ask_for_passkey(&mut self, _id: ConnectionId) {}

    pub(crate) fn handle_passkey_iq(&mut self, _id: ConnectionId, _iq: &Node) -> bool {
        false
    }
}
