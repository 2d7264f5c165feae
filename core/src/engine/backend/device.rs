//! The device itself: noise key, identity, registration and account, as one sealed document.

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::wacore::stats::StorageResourceReport;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::traits::DeviceStore;

use super::{EngineResult, SessionBackend, refused};
use crate::engine::keyspace::CREDS;
use crate::engine::session_auth::{decode, encode};
use crate::store::WriteBatch;

#[async_trait]
impl DeviceStore for SessionBackend {
    async fn save(&self, device: &Device) -> EngineResult<()> {
        let mut batch = WriteBatch::new();
        batch.set_creds(Bytes::copy_from_slice(&encode(device).map_err(refused)?));
        self.auth.apply(batch).await.map_err(refused)
    }

    async fn load(&self) -> EngineResult<Option<Device>> {
        let found = self.auth.creds().await.map_err(refused)?;
        found.map(|value| decode(CREDS, &value).map_err(refused)).transpose()
    }

    async fn exists(&self) -> EngineResult<bool> {
        Ok(self.auth.creds().await.map_err(refused)?.is_some())
    }

    async fn create(&self) -> EngineResult<i32> {
        // One backend is one device; the row itself comes with the first save.
        Ok(1)
    }

    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport { memory_bytes: Some(0), ..Default::default() }
    }
}
