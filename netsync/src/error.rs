//! What can be wrong with the configuration of a transport.
//!
//! Owns [`NetsyncError`]. What goes wrong while a request runs is a [`landfall_wire::TransportError`].

/// Why a transport cannot be built.
///
/// No message repeats a key, a token or an address that might hold one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetsyncError {
    /// The endpoint's address cannot be used.
    #[error("the {which} URL cannot be used: {reason}")]
    BadUrl {
        /// Which of the two, `endpoint` or `realtime`.
        which: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A key or token cannot travel in an HTTP header.
    #[error(
        "the {what} holds characters that HTTP headers cannot carry; check for line breaks and quotes around it"
    )]
    BadSecret {
        /// Which secret.
        what: &'static str,
    },
    /// Requests are to be signed, and the region of the API is not known.
    #[error("the endpoint's address does not name an AWS region; give it, such as `eu-west-1`")]
    NoRegion,
    /// A trusted certificate cannot be read.
    #[error("the trusted certificates cannot be used: {reason}; give them as PEM")]
    BadCertificate {
        /// What is wrong with them.
        reason: String,
    },
    /// TLS cannot be set up, for instance because the system has no trusted certificates.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// What failed.
        reason: String,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {reason}")]
    Client {
        /// What failed.
        reason: String,
    },
}
