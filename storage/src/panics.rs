//! The fence around the database library: for some damage it panics instead of saying so, wherever it meets it.
//!
//! Owns [`unless_it_panics`], [`caught`] and [`panics_become_errors`]. Invariant: nothing of the library is called but in here.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use crate::error::StorageError;

thread_local! {
    /// Fences around what this thread does now.
    static FENCES: Cell<u32> = const { Cell::new(0) };
}

/// Whether a panic of this thread, now, becomes an error that says the same as the panic.
///
/// The hook for panics runs before that and prints what is then told twice. An application whose standard error is read by
/// people can be silent there:
///
/// ```
/// let print = std::panic::take_hook();
/// std::panic::set_hook(Box::new(move |panic| {
///     if !landfall_storage::panics_become_errors() {
///         print(panic);
///     }
/// }));
/// ```
pub fn panics_become_errors() -> bool {
    FENCES.with(|fences| fences.get() > 0)
}

/// A fence that stands until this is dropped.
struct Inside;

impl Inside {
    fn enter() -> Self {
        FENCES.with(|fences| fences.set(fences.get() + 1));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        FENCES.with(|fences| fences.set(fences.get() - 1));
    }
}

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
    let _inside = Inside::enter();
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        said.unwrap_or("no reason was given").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_within_a_fence_and_nowhere_else() {
        assert!(!panics_become_errors());
        let seen = caught(|| {
            let inner = caught(|| -> () { panic!("inner") });
            assert_eq!(inner, Err("inner".to_owned()));
            panics_become_errors()
        });
        assert_eq!(seen, Ok(true));
        assert!(!panics_become_errors());
    }
}
