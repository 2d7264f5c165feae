//! Which addresses this build may reach.

use http::Uri;

use crate::error::{Error, ErrorKind, Result};

/// Without the brackets of an IPv6 address.
pub(super) fn host_of(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// In a build with feature `stand-in` the server's certificate is not checked, so such a build must reach
/// nothing but this machine. Other builds reach WhatsApp.
#[cfg(feature = "stand-in")]
pub(crate) fn admit_address(url: &str) -> Result<()> {
    let uri: Uri =
        url.parse().map_err(|_| Error::new(ErrorKind::Invalid, "the server's address is not a URL"))?;
    let host = host_of(&uri);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if loopback {
        return Ok(());
    }
    tracing::error!(
        "refused to leave this machine: this build has the feature `stand-in` and checks no certificate"
    );
    Err(Error::new(
        ErrorKind::Invalid,
        "this build has the feature `stand-in`: it checks no certificate and reaches nothing but loopback; \
         build without the feature to reach WhatsApp",
    ))
}

/// See the build with feature `stand-in`.
#[cfg(not(feature = "stand-in"))]
pub(crate) fn admit_address(url: &str) -> Result<()> {
    if url.starts_with("https://") || url.starts_with("wss://") {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Invalid,
            "only encrypted connections to WhatsApp are made; build with the feature `stand-in` to test against a local server",
        ))
    }
}

#[cfg(all(test, feature = "stand-in"))]
mod tests {
    use whatsapp_rust::wacore::net::WHATSAPP_WEB_WS_URL;

    use super::*;

    #[test]
    fn a_build_that_checks_no_certificate_stays_on_this_machine() {
        for url in ["ws://127.0.0.1:9/ws/chat", "wss://[::1]:9/ws/chat", "http://localhost/x"] {
            assert!(admit_address(url).is_ok(), "{url}");
        }
        for url in [
            WHATSAPP_WEB_WS_URL,
            "ws://10.0.0.1/",
            "https://web.whatsapp.com/sw.js",
            "ws://localhost.evil/",
            "x",
        ] {
            assert_eq!(admit_address(url).unwrap_err().kind(), ErrorKind::Invalid, "{url}");
        }
    }
}
