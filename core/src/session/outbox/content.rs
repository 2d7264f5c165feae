//! What an entry holds: to whom and what. Sealed, since it names people who have not been written to yet.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::session::outgoing::Body;
use crate::store::MessageKey;
use crate::vault::Vault;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    pub(super) chat_id: String,
    /// The account that it was queued for: another one must not send it.
    pub(super) sender: String,
    pub(super) timestamp: Timestamp,
    pub(super) body: Body,
}

impl Content {
    pub(super) fn key(&self, message_id: &str) -> MessageKey {
        MessageKey {
            chat_id: self.chat_id.clone(),
            sender: self.sender.clone(),
            message_id: message_id.to_owned(),
        }
    }

    /// Bound to its session and entry.
    pub(super) async fn seal(&self, vault: &Vault, session: &str, message_id: &str) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot encode an outbox entry").caused_by(error)
        })?;
        vault.seal_text(session, &field(message_id), &json).await
    }

    /// `Crypto` if it does not open, `Corrupt` if it is not one.
    pub(super) async fn open(vault: &Vault, session: &str, message_id: &str, sealed: &str) -> Result<Self> {
        let json = vault.open_text(session, &field(message_id), Some(sealed)).await?.unwrap_or_default();
        // Without the cause: it may quote the text.
        serde_json::from_str(&json)
            .map_err(|_| Error::new(ErrorKind::Corrupt, "a stored outbox entry cannot be read; cancel it"))
    }
}

fn field(message_id: &str) -> String {
    format!("outbox/{message_id}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::ManualClock;
    use crate::vault::KeyRing;

    #[tokio::test]
    async fn it_opens_in_its_own_row_only() {
        let clock = ManualClock::new().shared();
        let vault = Vault::encrypted(Arc::new(KeyRing::generate("k", clock.clone()).unwrap()), clock);
        let content = Content {
            chat_id: "5491155550000@s.whatsapp.net".into(),
            sender: "5491155550001@s.whatsapp.net".into(),
            timestamp: Timestamp::from_unix_s(1),
            body: Body::Text { text: "hola".into(), quoted: None },
        };
        let sealed = content.seal(&vault, "ventas", "1").await.unwrap();
        assert!(!sealed.contains("hola") && !sealed.contains("5491155550000"));
        assert_eq!(Content::open(&vault, "ventas", "1", &sealed).await.unwrap(), content);
        for (session, id) in [("ventas", "2"), ("soporte", "1")] {
            let error = Content::open(&vault, session, id, &sealed).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Crypto);
        }
    }
}
