//! The HTTP API: routes, what every request passes through, the OpenAPI document.
//!
//! | file | endpoints |
//! | --- | --- |
//! | `sessions` | create, list, delete, start, stop, log out |
//! | `monitoring` | the seed's statistics, health and maintenance |
//! | `link` | QR code, pair code, passkey |
//! | `messages` | send and read |
//! | `alerts` | alerts, dead letters |
//! | `access` | what the dashboard needs to begin |
//! | `probes` | livez, readyz, metrics |

mod access;
mod alerts;
pub(crate) mod error;
mod extract;
mod link;
mod messages;
mod monitoring;
mod openapi;
mod passage;
mod probes;
mod routes;
mod sessions;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use centralita::{Error, ErrorKind, Result};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::auth::authenticate;
use crate::dashboard;
use routes::Routes;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything that is served.
pub(crate) fn router(app: &App, socket_io: Router) -> Result<Router> {
    let (guarded, document) = guarded(app).split_for_parts();
    let (open, open_document) = open().split_for_parts();
    let mut document = openapi::document(document);
    document.merge(open_document);
    let known = Arc::new(Routes::new(document.paths.paths.keys()));
    let router = guarded
        .merge(open)
        .route("/metrics", get(probes::metrics))
        .layer(DefaultBodyLimit::max(app.options().body_limit_bytes))
        .layer(from_fn_with_state(app.clone(), passage::limit_time))
        .with_state(app.clone())
        .merge(SwaggerUi::new("/api/docs").url("/api/openapi.json", document))
        .merge(dashboard::router())
        .merge(socket_io)
        .fallback(passage::no_such_path)
        .method_not_allowed_fallback(passage::no_such_method)
        .layer(from_fn_with_state(known, passage::observe))
        .layer(CatchPanicLayer::custom(passage::panicked))
        .layer(from_fn(passage::secure_headers))
        .layer(cors(&app.options().cors_origins)?)
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid));
    Ok(router)
}

/// What takes a token.
fn guarded(app: &App) -> OpenApiRouter<App> {
    let api = OpenApiRouter::new()
        .routes(routes!(sessions::list, sessions::create))
        .routes(routes!(monitoring::stats))
        .routes(routes!(monitoring::active))
        .routes(routes!(monitoring::connected))
        .routes(routes!(monitoring::problematic))
        .routes(routes!(monitoring::cleanup_inactive))
        .routes(routes!(sessions::delete))
        .routes(routes!(sessions::clean_up))
        .routes(routes!(sessions::start))
        .routes(routes!(sessions::stop))
        .routes(routes!(sessions::log_out))
        .routes(routes!(monitoring::details))
        .routes(routes!(monitoring::last_hour))
        .routes(routes!(monitoring::reset_attempts))
        .routes(routes!(monitoring::health_check))
        .routes(routes!(monitoring::health))
        .routes(routes!(link::link))
        .routes(routes!(link::qr_png))
        .routes(routes!(link::qr_svg))
        .routes(routes!(link::qr_text))
        .routes(routes!(link::pair_code))
        .routes(routes!(link::passkey))
        .routes(routes!(link::confirm_passkey))
        .routes(routes!(messages::list, messages::send))
        .routes(routes!(messages::reply))
        .routes(routes!(messages::react))
        .routes(routes!(messages::edit))
        .routes(routes!(messages::revoke))
        .routes(routes!(messages::mark_read))
        .routes(routes!(messages::typing))
        .routes(routes!(messages::chats))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::dead_letters))
        .routes(routes!(alerts::resend));
    #[cfg(feature = "stand-in")]
    let api = api.routes(routes!(access::demo_scan));
    OpenApiRouter::new().nest("/api", api).route_layer(from_fn_with_state(app.clone(), authenticate))
}

/// What takes none.
fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(probes::live))
        .routes(routes!(probes::ready))
        .routes(routes!(access::about))
        .routes(routes!(access::exchange))
}

/// Closed unless origins are named; a token in a header is never sent by a browser on its own.
fn cors(origins: &[String]) -> Result<CorsLayer> {
    let origins = origins
        .iter()
        .map(|origin| {
            let is_origin = origin.starts_with("http://") || origin.starts_with("https://");
            HeaderValue::from_str(origin).ok().filter(|_| is_origin).ok_or_else(|| {
                let message = format!("CENTRALITA_CORS_ORIGINS holds {origin:?}; write https://example.org");
                Error::new(ErrorKind::Invalid, message)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("idempotency-key")])
        .expose_headers([REQUEST_ID]))
}
