//! Why a whole call is refused, in the words and with the status of AppSync.
//!
//! Owns [`AuthRefused`]. A call that is let in and then denied a field is answered with status 200 (`execute/guard.rs`).

/// Why a caller is refused; the texts are AppSync's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthRefused {
    #[error("Valid authorization header not provided.")]
    Missing,
    #[error("You are not authorized to make this call.")]
    Wrong,
    #[error("Unable to parse JWT token.")]
    UnreadableToken,
    #[error("Token has expired.")]
    ExpiredToken,
    #[error("The security token included in the request is invalid.")]
    UnknownSigner,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    BadSignature,
    #[error("The request signature is expired or of another time; check the clock of the caller.")]
    StaleSignature,
    /// The authorizer could not be asked; the caller may well be allowed.
    #[error("The service failed; try again.")]
    Unavailable,
}

impl AuthRefused {
    /// The error type that clients match on, of every refusal that a new token can cure.
    pub(crate) const TYPE: &str = "UnauthorizedException";

    /// The error type that clients match on.
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::Missing | Self::Wrong | Self::UnreadableToken | Self::ExpiredToken => Self::TYPE,
            Self::UnknownSigner => "UnrecognizedClientException",
            Self::BadSignature | Self::StaleSignature => "InvalidSignatureException",
            Self::Unavailable => "InternalFailure",
        }
    }

    /// Status of the HTTP reply; also the error code of realtime connections.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Missing | Self::Wrong | Self::UnreadableToken | Self::ExpiredToken => 401,
            Self::UnknownSigner | Self::BadSignature | Self::StaleSignature => 403,
            Self::Unavailable => 500,
        }
    }
}
