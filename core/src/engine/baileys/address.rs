//! Names of devices: Baileys writes `user.device`, and `user_domain.device` if it is not a phone number.

use std::sync::Arc;

use whatsapp_rust::Jid;
use whatsapp_rust::wacore::types::jid::{JidExt as _, make_sender_key_name};

use super::json::malformed;
use crate::error::Result;

/// The server of a JID by Baileys' `WAJIDDomains`.
fn server(domain: &str) -> Option<&'static str> {
    match domain {
        "0" => Some("s.whatsapp.net"),
        "1" => Some("lid"),
        "128" => Some("hosted"),
        "129" => Some("hosted.lid"),
        _ => None,
    }
}

fn jid(user: &str, device: &str) -> Option<Jid> {
    let (user, domain) = user.split_once('_').unwrap_or((user, "0"));
    let device: u16 = device.parse().ok()?;
    let server = server(domain)?;
    let text = if device == 0 { format!("{user}@{server}") } else { format!("{user}:{device}@{server}") };
    text.parse().ok()
}

/// The engine's address of a device.
pub(super) fn of_device(id: &str) -> Result<Arc<str>> {
    let jid = id.rsplit_once('.').and_then(|(user, device)| jid(user, device));
    let jid = jid.ok_or_else(|| malformed("session", "id", "the address of a device"))?;
    Ok(jid.to_protocol_address().as_str().into())
}

/// The engine's name of a device's sender key in a group: Baileys writes `group::user::device`.
pub(super) fn of_sender_key(id: &str) -> Result<Arc<str>> {
    let mut parts = id.split("::");
    let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(group), Some(user), Some(device), None) => group.parse::<Jid>().ok().zip(jid(user, device)),
        _ => None,
    };
    let (group, sender) =
        parsed.ok_or_else(|| malformed("sender-key", "id", "a group and the address of a device"))?;
    Ok(make_sender_key_name(&group, &sender.to_protocol_address()).cache_key().into())
}
