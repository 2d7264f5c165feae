//! How the engine's records are named in the auth store: the seed's `type` (Baileys' names where it has one)
//! and `id`.
//!
//! Ids that hold a phone number or a JID are blinded by the session's vault, part by part, so that a dump
//! of the database names nobody.

use crate::store::AuthKey;
use crate::vault::SessionVault;

pub(crate) const CREDS: &str = "creds";
pub(crate) const IDENTITY: &str = "identity-key";
pub(crate) const SESSION: &str = "session";
pub(crate) const PRE_KEY: &str = "pre-key";
pub(crate) const SIGNED_PRE_KEY: &str = "signed-pre-key";
pub(crate) const SENDER_KEY: &str = "sender-key";
pub(crate) const SENDER_KEY_MEMORY: &str = "sender-key-memory";
pub(crate) const SYNC_KEY: &str = "app-state-sync-key";
pub(crate) const SYNC_KEY_LATEST: &str = "app-state-sync-key-latest";
pub(crate) const SYNC_VERSION: &str = "app-state-sync-version";
pub(crate) const LID_MAPPING: &str = "lid-mapping";
pub(crate) const PN_MAPPING: &str = "pn-mapping";
pub(crate) const BASE_KEY: &str = "base-key";
pub(crate) const DEVICE_LIST: &str = "device-list";
pub(crate) const GROUP_METADATA: &str = "group-metadata";
pub(crate) const TC_TOKEN: &str = "tctoken";
pub(crate) const SENT_MESSAGE: &str = "sent-message";
pub(crate) const PENDING_INBOUND: &str = "pending-inbound";
pub(crate) const MESSAGE_SECRET: &str = "message-secret";

/// The kind that holds one app-state collection's MACs, so that a collection is cleared by kind.
pub(crate) fn mutation_mac_kind(collection: &str) -> String {
    format!("app-state-mac.{collection}")
}

/// A key whose id names somebody.
pub(crate) fn blinded(vault: &SessionVault, kind: &str, parts: &[&str]) -> AuthKey {
    AuthKey::new(kind, vault.blind_id(parts))
}

/// A key whose id names nobody.
pub(crate) fn plain(kind: impl Into<String>, id: impl Into<String>) -> AuthKey {
    AuthKey::new(kind, id)
}

/// A Signal address: blinded as user and rest apart, so that all devices of a user share a prefix.
pub(crate) fn address(vault: &SessionVault, kind: &str, address: &str) -> AuthKey {
    let (user, rest) = split_address(address);
    blinded(vault, kind, &[user, rest])
}

/// The prefix that the addresses of all devices of `user` share.
pub(crate) fn user_prefix(vault: &SessionVault, user: &str) -> String {
    let mut prefix = vault.blind_id(&[user]);
    prefix.push('.');
    prefix
}

/// `user@server` and `user:device@server` split before the `@` or `:`.
fn split_address(address: &str) -> (&str, &str) {
    let at = address.find([':', '@']).unwrap_or(address.len());
    address.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::split_address;

    #[test]
    fn an_address_is_split_into_user_and_rest() {
        assert_eq!(split_address("549@s.whatsapp.net"), ("549", "@s.whatsapp.net"));
        assert_eq!(split_address("549:3@lid"), ("549", ":3@lid"));
        assert_eq!(split_address("odd"), ("odd", ""));
    }
}
