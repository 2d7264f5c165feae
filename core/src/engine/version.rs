//! The WhatsApp Web version to claim: asked once per process, never once per session.

use whatsapp_rust::wacore::store::Device;

/// The version that WhatsApp serves now, or the engine's own if it cannot be asked.
#[cfg(not(feature = "stand-in"))]
pub(crate) async fn latest_version() -> (u32, u32, u32) {
    use std::sync::Arc;

    use whatsapp_rust::version::fetch_latest_app_version;
    use whatsapp_rust::wacore::net::HttpClient;

    use super::http::EngineHttp;

    let http: Arc<dyn HttpClient> = Arc::new(EngineHttp::default());
    fetch_latest_app_version(&http).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "WhatsApp's current version could not be asked for; using the built-in one");
        built_in()
    })
}

/// The engine's own: a build with feature `stand-in` never asks WhatsApp.
#[cfg(feature = "stand-in")]
pub(crate) async fn latest_version() -> (u32, u32, u32) {
    built_in()
}

fn built_in() -> (u32, u32, u32) {
    let device = Device::new();
    (device.app_version_primary, device.app_version_secondary, device.app_version_tertiary)
}
