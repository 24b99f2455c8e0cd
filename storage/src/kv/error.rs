//! What can go wrong with a key-value store, split by what the caller can do.
//!
//! Owns [`KvError`] and the translation of redb's errors into it.

use std::io;
use std::path::{Path, PathBuf};

/// A fault of a [`KvStore`](super::KvStore).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// The disk is full; nothing was written.
    #[error("the disk is full; free some space and try again")]
    Full,
    /// Another process, or another store in this one, has the file open.
    #[error("{path} is in use by another process; close it there, or use another directory", path = path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The contents contradict themselves.
    #[error("the store is damaged ({what}); restore a backup")]
    Corrupt {
        /// What was found.
        what: String,
    },
    /// The commit failed; the transaction may be on disk or not. Read it back before repeating it.
    #[error("the outcome of the write is unknown ({cause}); read it back before writing again")]
    OutcomeUnknown {
        /// What the disk said.
        cause: String,
    },
    /// The disk could not be read or written; nothing of the failed call is on disk.
    #[error("the disk failed: {cause}")]
    Io {
        /// What the system said.
        cause: String,
    },
}

impl KvError {
    pub(super) fn io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io {
                cause: error.to_string(),
            },
        }
    }

    pub(super) fn opening(error: redb::DatabaseError, path: &Path) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Locked {
                path: path.to_owned(),
            },
            redb::DatabaseError::Storage(error) => error.into(),
            other => Self::Corrupt {
                what: other.to_string(),
            },
        }
    }
}

impl From<redb::StorageError> for KvError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(error) => Self::io(&error),
            redb::StorageError::Corrupted(what) => Self::Corrupt { what },
            other => Self::Io {
                cause: other.to_string(),
            },
        }
    }
}

impl From<redb::TableError> for KvError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::Corrupt {
                what: other.to_string(),
            },
        }
    }
}

impl From<redb::TransactionError> for KvError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::Io {
                cause: other.to_string(),
            },
        }
    }
}
