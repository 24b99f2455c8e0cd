//! The certificate that a server shows.
//!
//! Owns [`TlsIdentity`]: reading a certificate chain and its key, and the settings of rustls. Clients speak HTTP/1.1 over
//! it: realtime connections begin there.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::error::BackendError;

/// A certificate and the key to it.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
}

impl TlsIdentity {
    /// Reads a certificate chain, the server's own certificate first, and its private key (PKCS #8, PKCS #1 or SEC 1),
    /// both as PEM.
    ///
    /// # Errors
    /// [`BackendError::Tls`] if one of them is missing or broken, or if they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, BackendError> {
        let refuse = |what: &str, cause: &dyn fmt::Display| BackendError::Tls {
            cause: format!("{what}: {cause}"),
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| refuse("the certificate", &error))?;
        if chain.is_empty() {
            return Err(refuse("the certificate", &"there is none in the file"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| refuse("the key", &error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error: rustls::Error| refuse("certificate and key", &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for TlsIdentity {
    /// Leaves the key out, so that it does not end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCALHOST: &[u8] = include_bytes!("../../../fixtures/localhost.pem");
    const CA: &[u8] = include_bytes!("../../../fixtures/ca.pem");

    #[test]
    fn what_is_no_certificate_or_not_its_key_is_refused_with_the_reason() {
        let refused = |chain: &[u8], key: &[u8]| TlsIdentity::from_pem(chain, key).unwrap_err().to_string();
        assert!(refused(b"", LOCALHOST).contains("there is none in the file"));
        assert!(refused(CA, b"junk").contains("the key"));
        assert!(refused(CA, LOCALHOST).contains("certificate and key"));
        let identity = TlsIdentity::from_pem(LOCALHOST, LOCALHOST).unwrap();
        assert_eq!(format!("{identity:?}"), "TlsIdentity { .. }");
    }
}
