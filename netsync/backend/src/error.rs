//! What can go wrong when a backend is made or asked from inside the process.
//!
//! Owns [`BackendError`]. What clients are told travels as AppSync's error entries (`execute/errors.rs`), not as this.

use landfall_storage::kv::KvError;

/// A fault of the backend itself, as against one of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The models do not make a GraphQL schema.
    #[error("the models make no valid GraphQL schema; rename what collides:\n{faults}")]
    Schema {
        /// What the validation of the schema said.
        faults: String,
    },
    /// The rules of `@auth` say what cannot be applied.
    #[error("the authorization rules of `{model}` cannot be applied: {fault}")]
    Rules {
        /// The model.
        model: String,
        /// What is wrong, and what to do.
        fault: String,
    },
    /// The rows could not be read or written.
    #[error(transparent)]
    Store(#[from] KvError),
    /// A stored row cannot be read.
    #[error("a row of `{table}` is damaged ({cause}); restore a backup of the backend's directory")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The model is not served.
    #[error("there is no model `{model}` on this backend; it serves {known}")]
    UnknownModel {
        /// The name.
        model: String,
        /// The models it serves.
        known: String,
    },
    /// The conflict webhook cannot be used.
    #[error("the conflict webhook cannot be used: {reason}; check its URL")]
    Webhook {
        /// What is wrong with it.
        reason: String,
    },
    /// Something that only a server in development mode does.
    #[error(
        "{what} only in development mode, which listens on this machine only; start the server with it (--dev)"
    )]
    NotInDevelopment {
        /// What was refused.
        what: &'static str,
    },
    /// The certificate of the server cannot be used.
    #[error(
        "the TLS certificate cannot be used ({cause}); give a PEM file with the chain and one with its key"
    )]
    Tls {
        /// What is wrong with it.
        cause: String,
    },
    /// The server could not listen on its address.
    #[error("cannot listen on {address}: {cause}; choose another address")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        cause: String,
    },
}
