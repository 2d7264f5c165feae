//! The OpenAPI document's head: what this is, how to authenticate.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi};

const BEARER: &str = "bearer";

/// The document of the paths with its head.
pub(super) fn document(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("centralita")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "WhatsApp sessions over HTTP. Send a token with each request: `Authorization: Bearer …`; \
             `centralita-server token --scope admin` makes one. Scopes: `read`, `send`, `admin`, which includes both.",
        ))
        .build();
    let scheme = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    document
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    document.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    document
}
