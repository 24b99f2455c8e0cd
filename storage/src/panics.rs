//! The fence around the database library: for some damage it panics instead of saying so, wherever it meets it.
//!
//! Owns [`unless_it_panics`] and [`caught`]. Invariant: nothing of the library is called but in here.

use std::panic::AssertUnwindSafe;

use crate::error::StorageError;

/// What `work` returns; a panic is damage. What `work` was making is dropped then, so nothing half made is left.
pub(crate) fn unless_it_panics<T>(work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    caught(work).unwrap_or_else(|said| {
        Err(StorageError::corrupt(format!(
            "a part of it makes no sense: {said}"
        )))
    })
}

/// What `work` returns, or what it said when it panicked.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        said.unwrap_or("no reason was given").to_owned()
    })
}
