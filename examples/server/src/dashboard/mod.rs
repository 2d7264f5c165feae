//! The page at `/`: files embedded in the binary, served as they are.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;

struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($path:literal, $name:literal, $content_type:literal) => {
        File { path: $path, content_type: $content_type, text: include_str!($name) }
    };
}

const FILES: &[File] = &[
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/dashboard/style.css", "style.css", "text/css; charset=utf-8"),
    file!("/dashboard/main.js", "main.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/api.js", "api.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/live.js", "live.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/dom.js", "dom.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/overview.js", "overview.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/session.js", "session.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/curve.js", "curve.js", "text/javascript; charset=utf-8"),
    file!("/dashboard/icon.svg", "icon.svg", "image/svg+xml"),
];

/// Serves the files. They hold nothing private: the page asks for a token.
pub(crate) fn router() -> Router {
    FILES.iter().fold(Router::new(), |router, file| {
        let answer = ([(CONTENT_TYPE, file.content_type), (CACHE_CONTROL, "no-cache")], file.text);
        router.route(file.path, get(move || async move { answer }))
    })
}
