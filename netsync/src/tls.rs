//! TLS for both clients: the system's trusted certificates and ring's cryptography, chosen here and nowhere else.
//!
//! Owns the rustls configuration. It is built for each client explicitly, so that neither the app's process-wide
//! crypto provider nor the lack of one matters.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use crate::error::NetsyncError;

/// The protocols that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// HTTP/2, or else HTTP/1.1.
    Any,
    /// HTTP/1.1 only, which upgrades to WebSocket need.
    Http1,
}

/// Whether a client talks TLS at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `https` and `wss`.
    Tls,
    /// `http` and `ws`.
    Plain,
}

impl Scheme {
    pub(crate) fn of(url: &url::Url) -> Self {
        if matches!(url.scheme(), "https" | "wss") {
            Self::Tls
        } else {
            Self::Plain
        }
    }
}

/// The TLS configuration of a client.
pub(crate) fn config(
    scheme: Scheme,
    protocols: Protocols,
    trusted: &[CertificateDer<'static>],
) -> Result<ClientConfig, NetsyncError> {
    let failed = |error: rustls::Error| NetsyncError::Tls {
        reason: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let mut config = match scheme {
        Scheme::Tls => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier(trusted, provider)?))
            .with_no_client_auth(),
        // A client that talks plain HTTP works on systems without any certificate, and trusts none.
        Scheme::Plain => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    };
    config.alpn_protocols = match protocols {
        Protocols::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// The system's own verification of certificates.
fn verifier(
    trusted: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, NetsyncError> {
    if trusted.is_empty() {
        return Verifier::new(provider).map_err(|error| NetsyncError::Tls {
            reason: error.to_string(),
        });
    }
    #[cfg(target_os = "android")]
    {
        let reason = "Android trusts only what its settings name".to_owned();
        Err(NetsyncError::BadCertificate { reason })
    }
    #[cfg(not(target_os = "android"))]
    Verifier::new_with_extra_roots(trusted.iter().cloned(), provider).map_err(|error| {
        NetsyncError::BadCertificate {
            reason: error.to_string(),
        }
    })
}
