//! The credentials: keys of the device, who is logged in, what the phone signed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use whatsapp_rust::Jid;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::waproto::whatsapp as wa;

use super::json::Field;
use crate::error::{Error, ErrorKind, Result};

pub(super) fn device(creds: &Field<'_>) -> Result<Device> {
    let me = creds.optional("me").ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidState,
            "these credentials of Baileys were never linked to an account; link the session anew",
        )
    })?;
    let pn = jid(&me.field("id")?)?;
    let lid =
        me.optional("lid").map(|lid| jid(&lid)).transpose()?.map(|lid| Jid { device: pn.device, ..lid });
    let signed_pre_key = creds.field("signedPreKey")?;
    let mut device = Device::new();
    device.pn = Some(pn);
    device.lid = lid;
    device.registration_id = creds.field("registrationId")?.u32()?;
    device.noise_key = creds.field("noiseKey")?.key_pair()?;
    device.identity_key = creds.field("signedIdentityKey")?.key_pair()?;
    device.signed_pre_key = signed_pre_key.field("keyPair")?.key_pair()?;
    device.signed_pre_key_id = signed_pre_key.field("keyId")?.u32()?;
    device.signed_pre_key_signature = signed_pre_key.field("signature")?.exactly()?;
    device.adv_secret_key = creds.field("advSecretKey")?.exactly()?;
    device.account = Some(Arc::new(account(&creds.field("account")?)?));
    device.push_name = match me.optional("name") {
        Some(name) => name.text()?.to_owned(),
        None => String::new(),
    };
    device.edge_routing_info = creds.optional("routingInfo").map(|info| info.bytes()).transpose()?;
    device.next_pre_key_id = creds.field("nextPreKeyId")?.u32()?;
    device.first_unupload_pre_key_id = creds.field("firstUnuploadedPreKeyId")?.u32()?;
    device.server_has_prekeys = device.first_unupload_pre_key_id > 1;
    Ok(device)
}

/// The id of the newest key of the app state, if the phone has shared one.
pub(super) fn latest_sync_key(creds: &Field<'_>) -> Result<Option<Vec<u8>>> {
    let Some(id) = creds.optional("myAppStateKeyId") else { return Ok(None) };
    STANDARD.decode(id.text()?).map(Some).map_err(|_| id.wrong("base64"))
}

fn jid(field: &Field<'_>) -> Result<Jid> {
    field.text()?.parse().map_err(|_| field.wrong("a JID"))
}

/// The phone's signature over this device, which goes with each first message to somebody.
fn account(field: &Field<'_>) -> Result<wa::ADVSignedDeviceIdentity> {
    let bytes = |name| field.field(name).and_then(|field| field.bytes()).map(Some);
    Ok(wa::ADVSignedDeviceIdentity {
        details: bytes("details")?,
        account_signature_key: bytes("accountSignatureKey")?,
        account_signature: bytes("accountSignature")?,
        device_signature: bytes("deviceSignature")?,
    })
}
