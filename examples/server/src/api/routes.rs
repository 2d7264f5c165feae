//! The route that a path belongs to: a label that does not grow with the sessions.

/// Paths that the OpenAPI document does not name.
const BESIDE: &[&str] = &["/", "/metrics", "/socket.io/"];
/// Whatever is no route.
const OTHER: &str = "other";

/// The routes that there are, those without parameters first.
#[derive(Debug)]
pub(super) struct Routes(Vec<String>);

impl Routes {
    /// From the paths of the OpenAPI document.
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a String>) -> Self {
        let mut routes: Vec<String> =
            paths.cloned().chain(BESIDE.iter().map(|path| (*path).to_owned())).collect();
        routes.sort_by_key(|route| route.matches('{').count());
        Self(routes)
    }

    /// The route of a path, such as `/api/sessions/{sessionId}/details`.
    pub(super) fn of(&self, path: &str) -> &str {
        self.0.iter().find(|route| fits(route, path)).map_or(OTHER, String::as_str)
    }
}

fn fits(route: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    route.split('/').all(|wanted| {
        parts.next().is_some_and(|part| part == wanted || (wanted.starts_with('{') && !part.is_empty()))
    }) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_parameter_comes_first() {
        let paths = ["/s/{id}", "/s/stats", "/s/{id}/qr"].map(str::to_owned);
        let routes = Routes::new(paths.iter());
        for (path, route) in [
            ("/s/stats", "/s/stats"),
            ("/s/ventas", "/s/{id}"),
            ("/s/ventas/qr", "/s/{id}/qr"),
            ("/s//qr", "other"),
            ("/s/ventas/qr/x", "other"),
            ("/", "/"),
            ("/x", "other"),
        ] {
            assert_eq!(routes.of(path), route, "{path}");
        }
    }
}
