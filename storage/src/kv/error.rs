//! What can go wrong with a key-value store, split by what the caller can do.
//!
//! Owns [`KvError`] and the translation of redb's errors, and of those of a store's file, into it.

use std::path::PathBuf;

use crate::error::StorageError;

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
    /// The file holds something else.
    #[error("{path} does not hold the rows of a backend; choose another directory, nothing was changed", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "the rows have format {found}, this version reads up to {known}; update Landfall, nothing was changed"
    )]
    TooNew {
        /// Format of the file.
        found: u32,
        /// Newest format that this version reads.
        known: u32,
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

impl From<StorageError> for KvError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Full { .. } => Self::Full,
            StorageError::Locked { path } => Self::Locked { path },
            StorageError::Foreign { path } => Self::Foreign { path },
            StorageError::TooNew { found, known } => Self::TooNew { found, known },
            StorageError::Corrupt { what, .. } => Self::Corrupt { what },
            StorageError::Io { cause } => Self::Io { cause },
            other => Self::Io {
                cause: other.to_string(),
            },
        }
    }
}

impl From<redb::StorageError> for KvError {
    fn from(error: redb::StorageError) -> Self {
        StorageError::from(error).into()
    }
}

impl From<redb::TableError> for KvError {
    fn from(error: redb::TableError) -> Self {
        StorageError::from(error).into()
    }
}
