//! What the store's calls answer when they cannot do what was asked.
//!
//! Owns [`Error`], the only error of the public surface.

use std::sync::Arc;

use landfall_actors::{Gone, WriteError};
use landfall_core::{ComputedMisfit, DecodeError, ModelName, PredicateError, RecordKey, Seq, WriteRefused};
use landfall_storage::StorageError;

/// Why a call failed. Unless the variant says otherwise, nothing was changed.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// use landfall::Error;
///
/// # let post = store.save(Post::builder().title("Reef").rating(2).build()?).await?;
/// let renamed = Post::copy_of(&post, |post| post.title = "Weir".to_owned());
/// match store.save_if(renamed, Post::rating().gt(3)).await {
///     Ok(post) => println!("{} it is", post.title),
///     Err(Error::Refused(refused)) => println!("not now: {refused}"),
///     Err(Error::Closed) => println!("the app is about to end"),
///     Err(error) => return Err(error.into()),
/// }
/// # assert_eq!(store.count(Post::title().eq("Reef"))?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record does not fit its model, or the write was refused by a condition: correct it and try again.
    #[error(transparent)]
    Refused(#[from] WriteRefused),
    /// A predicate or sort key does not fit the model.
    #[error(transparent)]
    BadPredicate(#[from] PredicateError),
    /// The files or the disk under them.
    #[error(transparent)]
    Storage(#[from] Arc<StorageError>),
    /// The stored record is not of the shape that the Rust type expects; regenerate the models from the schema in use.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// There is no such record.
    #[error("there is no record `{key}`")]
    NotFound {
        /// The record.
        key: RecordKey,
    },
    /// The deletes of one call or transaction would take along too many records; delete those that belong to them in parts first.
    #[error(
        "deleting `{key}`, with what is deleted beside it, would take along more than {max} records that belong to them; delete \
         those in parts first, nothing was deleted"
    )]
    CascadeTooLarge {
        /// The record.
        key: RecordKey,
        /// The bound.
        max: usize,
    },
    /// A record that a transaction had read was changed by others, each time it was tried.
    #[error(
        "`{key}` was changed by others while the transaction was at work; try again when there is less going on"
    )]
    Changed {
        /// The record.
        key: RecordKey,
    },
    /// More records satisfy a predicate than one transaction may delete. Nothing was deleted.
    #[error(
        "more than {max} records of `{model}` satisfy the predicate, and they are deleted together; delete them in parts, each by a \
         narrower predicate, nothing was deleted"
    )]
    TooManyToDelete {
        /// The model.
        model: ModelName,
        /// The bound.
        max: usize,
    },
    /// A transaction or batch holds too many writes; do it in parts.
    #[error("a transaction takes at most {max} writes; write the rest in another one")]
    TransactionTooLarge {
        /// The bound.
        max: usize,
    },
    /// A query that follows relations cannot take into account what its own transaction has written.
    #[error(
        "the transaction has written to `{model}`, which this query follows relations to; query before that, or by the fields of one model"
    )]
    QueryAfterWrite {
        /// The model.
        model: ModelName,
    },
    /// An observer was so slow that changes were left out: 1,024 commits that it had not read were waiting. It goes on with
    /// the changes after this one; read again what it keeps a copy of. An observed query does that by itself.
    #[error("the observer of `{model}` fell behind and missed changes; read the records again, then go on")]
    FellBehind {
        /// The model.
        model: ModelName,
    },
    /// The mutation is not parked.
    #[error("mutation {seq} is not parked; only refused mutations can be retried, edited or discarded")]
    NotParked {
        /// The mutation.
        seq: Seq,
    },
    /// The mutation may have been applied, so that an edit might be carried out on top of it.
    #[error(
        "nobody knows whether change {seq} was applied, so it cannot be edited: retry it, which asks the server first, or \
         discard it and save anew"
    )]
    MayBeApplied {
        /// The mutation.
        seq: Seq,
    },
    /// The run cannot be recorded; the store was not opened.
    #[error("the run cannot be recorded: {reason}")]
    CannotRecord {
        /// Why.
        reason: String,
    },
    /// A namespace cannot have that name.
    #[error("{name:?} cannot be a namespace: {reason}")]
    BadNamespace {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The write cannot be taken back.
    #[error("{seq} cannot be undone: {reason}")]
    CannotUndo {
        /// The entry.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// A computed field does not fit the schema; the store was not opened.
    #[error(transparent)]
    BadComputedField(#[from] ComputedMisfit),
    /// The endpoint or its credentials cannot work.
    #[error("the endpoint cannot be used: {reason}")]
    BadEndpoint {
        /// What to correct.
        reason: String,
    },
    /// The store was closed, by this or another clone, or its threads died. A write that was under way then may be on disk;
    /// the next opening shows whether it is.
    #[error("the store is closed; open it again to use it")]
    Closed,
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::BadQuery(error) => Self::BadPredicate(error),
            StorageError::Closed => Self::Closed,
            error => Self::Storage(Arc::new(error)),
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refused) => Self::Refused(refused),
            WriteError::Storage(error) if matches!(*error, StorageError::Closed) => Self::Closed,
            WriteError::Storage(error) => Self::Storage(error),
            WriteError::CascadeTooLarge { key, max } => Self::CascadeTooLarge { key, max },
            WriteError::Changed { key } => Self::Changed { key },
            WriteError::NotParked { seq } => Self::NotParked { seq },
            WriteError::MayBeApplied { seq } => Self::MayBeApplied { seq },
            // The enum may grow; whatever it grows by came from the store.
            other => Self::Storage(Arc::new(StorageError::Io {
                cause: other.to_string(),
            })),
        }
    }
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::Closed
    }
}

impl From<landfall_netsync::NetsyncError> for Error {
    fn from(error: landfall_netsync::NetsyncError) -> Self {
        Self::BadEndpoint {
            reason: error.to_string(),
        }
    }
}
