//! Rotation of the master keys, for a service.

use super::handle::WhatsAppService;
use crate::error::Result;
use crate::vault::{RewrapReport, rewrap};

impl WhatsAppService {
    /// Wraps the data key of every stored session with the primary master key, as [`rewrap()`] does, with the keys that
    /// the service was built with. `progress` sees the report after each session. Once it
    /// [is complete](RewrapReport::is_complete), older keys may be retired. `Invalid` if encryption is off.
    pub async fn rewrap_keys(&self, progress: impl FnMut(&RewrapReport) + Send) -> Result<RewrapReport> {
        let context = &self.inner.context;
        rewrap(&*context.store, &context.vault, progress).await
    }
}
