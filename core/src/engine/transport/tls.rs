//! TLS to WhatsApp, and to the stand-in.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// What every socket of the process shares.
pub(super) fn tls_config() -> Result<rustls::ClientConfig> {
    // The provider is named, never installed: which one the process uses by default is the host's choice.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(
            |error| Error::new(ErrorKind::Internal, "TLS could not be set up; report it").caused_by(error),
        )?;
    #[cfg(feature = "stand-in")]
    let config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(loopback_tls::AcceptSelfSigned))
        .with_no_client_auth();
    #[cfg(not(feature = "stand-in"))]
    let config = builder
        .with_root_certificates(
            webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect::<rustls::RootCertStore>(),
        )
        .with_no_client_auth();
    Ok(config)
}

/// The stand-in signs its own certificate.
#[cfg(feature = "stand-in")]
mod loopback_tls {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct AcceptSelfSigned;

    impl ServerCertVerifier for AcceptSelfSigned {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }
}
