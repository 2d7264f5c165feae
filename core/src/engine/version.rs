//! The WhatsApp Web version to claim: asked once per process, never once per session.

use std::sync::Arc;

use whatsapp_rust::version::fetch_latest_app_version;
use whatsapp_rust::wacore::net::HttpClient;
use whatsapp_rust::wacore::store::Device;

use super::http::EngineHttp;

/// The version that WhatsApp serves now, or the engine's own if it cannot be asked.
pub(crate) async fn latest_version() -> (u32, u32, u32) {
    let http: Arc<dyn HttpClient> = Arc::new(EngineHttp::default());
    match fetch_latest_app_version(&http).await {
        Ok(version) => version,
        Err(error) => {
            tracing::warn!(%error, "WhatsApp's current version could not be asked for; using the built-in one");
            let device = Device::new();
            (device.app_version_primary, device.app_version_secondary, device.app_version_tertiary)
        }
    }
}
