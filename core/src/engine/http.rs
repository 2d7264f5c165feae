//! HTTPS for the engine: the client version and, later, media.

use anyhow::Result;
use async_trait::async_trait;
use whatsapp_rust::anyhow;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody};
use whatsapp_rust_ureq_http_client::UreqHttpClient;

/// The shipped client. In a build with feature `stand-in` it refuses every address but loopback.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineHttp {
    inner: UreqHttpClient,
}

impl EngineHttp {
    fn admit(request: &HttpRequest) -> Result<()> {
        super::transport::admit_address(&request.url).map_err(anyhow::Error::from)
    }
}

#[async_trait]
impl HttpClient for EngineHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        Self::admit(&request)?;
        self.inner.execute(request).await
    }

    fn supports_streaming(&self) -> bool {
        self.inner.supports_streaming()
    }

    fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
        Self::admit(&request)?;
        self.inner.execute_streaming(request)
    }

    fn supports_upload_streaming(&self) -> bool {
        self.inner.supports_upload_streaming()
    }

    fn execute_upload(
        &self,
        request: HttpRequest,
        body: UploadBody,
        content_length: u64,
    ) -> Result<HttpResponse> {
        Self::admit(&request)?;
        self.inner.execute_upload(request, body, content_length)
    }
}
