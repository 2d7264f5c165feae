//! Taking over sessions that another client library linked.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::handle::WhatsAppService;
use crate::clock::{SharedClock, SystemClock};
use crate::engine::baileys::{Converted, convert, write};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Acquisition, HeldLease};
use crate::session::auth;
use crate::session::status::{Status, StatusEvent};
use crate::session_manager::{SessionData, StatusUpdate};

/// What Baileys stored of one session: its `AuthenticationCreds`, and the rows of its `SignalKeyStore`. Bytes are as
/// its `BufferJSON` writes them: `{"type": "Buffer", "data": "<base64>"}`; an array of numbers will do, too.
#[derive(Clone, PartialEq)]
pub struct BaileysAuth {
    /// `AuthenticationCreds`.
    pub creds: Value,
    /// `pre-key`, `session`, `sender-key`, …
    pub keys: Vec<BaileysKey>,
}

/// One row of Baileys' key store.
#[derive(Clone, PartialEq)]
pub struct BaileysKey {
    /// Its `type`.
    pub kind: String,
    /// Its `id`.
    pub id: String,
    /// Its value.
    pub value: Value,
}

impl std::fmt::Debug for BaileysAuth {
    /// Without what opens the account.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaileysAuth").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for BaileysKey {
    /// Without the value, and without the id: it may name somebody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BaileysKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What was taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BaileysReport {
    /// Rows by `type`.
    pub taken: BTreeMap<String, u64>,
    /// Rows by `type` that were not, because WhatsApp is asked for them anew.
    pub left: BTreeMap<String, u64>,
}

impl BaileysReport {
    fn of(converted: &Converted) -> Self {
        Self { taken: converted.taken.clone(), left: converted.left.clone() }
    }
}

impl BaileysAuth {
    /// Says what [`import_baileys`](WhatsAppService::import_baileys) would take over. `Corrupt` names the type of a row
    /// that cannot be understood; `InvalidState` if these credentials were never linked to an account.
    pub fn check(&self) -> Result<BaileysReport> {
        Ok(BaileysReport::of(&self.converted(&SystemClock::shared())?))
    }

    fn converted(&self, clock: &SharedClock) -> Result<Converted> {
        let rows = self.keys.iter().map(|key| (key.kind.as_str(), key.id.as_str(), &key.value));
        convert(&self.creds, rows, clock.now())
    }
}

impl WhatsAppService {
    /// Takes over a session that Baileys linked: it goes on with the same device, without a code. The session must not run
    /// here nor in Baileys, and never in Baileys again: two clients on one set of keys lose messages.
    ///
    /// `InvalidState` if the session has credentials already or these were never linked, `Conflict` if another instance
    /// runs it, `Corrupt` as [`check`](BaileysAuth::check). After any error it may be repeated.
    pub async fn import_baileys(&self, session_id: &str, auth: &BaileysAuth) -> Result<BaileysReport> {
        const OP: &str = "import_baileys";
        self.import(session_id, auth).await.map_err(|error| error.of_session(session_id).during(OP))
    }

    async fn import(&self, session_id: &str, auth: &BaileysAuth) -> Result<BaileysReport> {
        self.open()?;
        if self.live(session_id).is_some_and(|live| !live.has_ended()) {
            return Err(Error::new(
                ErrorKind::InvalidState,
                "the session runs in this process; stop it first",
            ));
        }
        let converted = auth.converted(&self.context().clock)?;
        let data = SessionData { phone: converted.phone(), ..SessionData::default() };
        self.manager().create_or_update_session(session_id, &data).await?;
        let leases = &self.context().leases;
        let held = leases.acquire(session_id).await.and_then(Acquisition::ours)?;
        let written = self.write_imported(session_id, &held, &converted).await;
        self.context().group.settle(session_id).await;
        leases.release(&held).await?;
        written?;
        Ok(BaileysReport::of(&converted))
    }

    async fn write_imported(&self, session_id: &str, held: &HeldLease, converted: &Converted) -> Result<()> {
        let context = self.context();
        let loaded = auth::load(context, session_id, &context.stop, held).await?;
        let outcome = if loaded.auth.creds().await?.is_some() {
            Err(Error::new(
                ErrorKind::InvalidState,
                "the session has credentials already; log it out or delete it before another takes its place",
            ))
        } else {
            write(&loaded.auth, converted).await
        };
        loaded.auth.close();
        outcome?;
        // The record may still say what it said when the other client was stopped.
        let status = self.manager().get_session(session_id).await?.status;
        if status == Status::Error {
            self.manager().apply_status(session_id, StatusEvent::Started, StatusUpdate::default()).await?;
        }
        if status != Status::Inactive {
            let ended = StatusEvent::ConnectionEnded;
            self.manager().apply_status(session_id, ended, StatusUpdate::default()).await?;
        }
        Ok(())
    }
}
