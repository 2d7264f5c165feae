//! The durability hook: a message is ours before WhatsApp is told that it arrived.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use whatsapp_rust::anyhow;
use whatsapp_rust::types::events::InboundMessage;
use whatsapp_rust::{Client, InboundDurabilityHook};

use super::content::{Inbound, read_inbound};
use crate::error::Result;

/// Where decrypted messages are committed. `Ok` means durable: only then are they acknowledged.
pub(crate) type Commit = Arc<dyn Fn(Vec<Inbound>) -> BoxFuture<'static, Result<()>> + Send + Sync>;

pub(crate) struct CommitHook {
    commit: Commit,
}

impl CommitHook {
    pub(crate) fn new(commit: Commit) -> Self {
        Self { commit }
    }
}

#[async_trait]
impl InboundDurabilityHook for CommitHook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        let own = client.pn().map(|jid| jid.to_non_ad_string()).unwrap_or_default();
        let read: Vec<Inbound> = batch
            .iter()
            .map(|inbound| read_inbound(inbound, &own))
            .filter(|inbound| !matches!(inbound, Inbound::Internal))
            .collect();
        if !read.is_empty() {
            (self.commit)(read).await?;
        }
        Ok(())
    }
}
