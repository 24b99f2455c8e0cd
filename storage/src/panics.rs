//! The fence around the database library: for some damage it panics instead of saying so, wherever it meets it, destructors included.
//!
//! Owns [`unless_it_panics`], [`panics_become_errors`], [`Fence`] and [`Held`], which are put around calls into the library and around what it hands out; and
//! [`contained`], by which a panic of somebody else's waits until all that is the library's has been let go of.
//!
//! Invariants: 1. nothing of the library is called but in here; 2. no two of its destructors that panic run in one unwinding, since a
//! second panic that leaves a destructor ends the process. Out of reach are destructors inside the library: while it commits on
//! disk, damage of its own list of free pages leads to such a second one.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, resume_unwind};

use crate::error::StorageError;

/// What somebody panicked with.
pub(crate) type Panic = Box<dyn Any + Send>;

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
    caught(work).unwrap_or_else(|said| Err(damage(&said)))
}

fn damage(said: &str) -> StorageError {
    StorageError::corrupt(format!("a part of it makes no sense: {said}"))
}

/// What `work` returns, or what it said when it panicked.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _inside = Inside::enter();
    contained(work).map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        said.unwrap_or("no reason was given").to_owned()
    })
}

/// What `work` returns, or what it panicked with. To be taken up again with [`std::panic::resume_unwind`] unless it is the library's:
/// what somebody has promised and does not hold is no damage, and must not pass for it.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
}

/// The fence of one transaction, of which nothing may be committed once the library panicked in it.
#[derive(Debug, Default)]
pub(crate) struct Fence(RefCell<Option<String>>);

impl Fence {
    /// What a call into the library returns; a panic in it is damage, and is remembered.
    pub(crate) fn around<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, StorageError>
    where
        StorageError: From<E>,
    {
        caught(call).map_or_else(
            |said| {
                let error = damage(&said);
                self.0.borrow_mut().get_or_insert(said);
                Err(error)
            },
            |called| Ok(called?),
        )
    }

    /// What the first panic said, if there was one.
    pub(crate) fn broke(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

/// Something of the library's whose destructor has work to do. Whoever lets go of it is not taken along if it panics there.
#[derive(Debug)]
pub(crate) struct Held<T> {
    held: Option<T>,
    is_forsaken: bool,
}

impl<T> Held<T> {
    pub(crate) fn new(held: T) -> Self {
        Self {
            held: Some(held),
            is_forsaken: false,
        }
    }

    /// Says that nobody needs what its destructor would bring about, such as a database's commit of its free pages: it does nothing
    /// then. Where that list is damaged, it would panic twice.
    pub(crate) fn forsake(&mut self) {
        self.is_forsaken = true;
    }

    /// The thing itself, to be called where it may panic.
    pub(crate) fn into_inner(mut self) -> T {
        self.held.take().expect(THERE)
    }
}

/// Why [`Held`] is never found empty.
const THERE: &str = "it is there until it is let go of";

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect(THERE)
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect(THERE)
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let dropped = if self.is_forsaken {
            let unwound = contained(|| {
                // The library's destructors leave their work undone while a panic unwinds.
                let _inner = Self::new(held);
                resume_unwind(Box::new(()))
            });
            unwound.or(Ok(()))
        } else {
            caught(|| drop(held))
        };
        if let Err(said) = dropped {
            tracing::warn!(said, "a part of the database could not be let go of in order");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Brittle;

    impl Drop for Brittle {
        fn drop(&mut self) {
            panic!("as a destructor of the library does");
        }
    }

    #[test]
    fn what_is_held_takes_nobody_along_not_even_who_panics_already() {
        drop(Held::new(Brittle));
        let said = caught(|| {
            let _both = (Held::new(Brittle), Held::new(Brittle));
            panic!("the first");
        });
        assert_eq!(said, Err::<(), _>("the first".to_owned()));
    }

    #[test]
    fn what_is_forsaken_is_let_go_of_as_while_a_panic_unwinds() {
        struct Busy<'a>(&'a std::cell::Cell<Option<bool>>);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.set(Some(std::thread::panicking()));
            }
        }
        let unwinds = std::cell::Cell::new(None);
        let mut held = Held::new(Busy(&unwinds));
        held.forsake();
        drop(held);
        assert_eq!(unwinds.take(), Some(true));
        assert!(!std::thread::panicking());
        drop(Held::new(Busy(&unwinds)));
        assert_eq!(unwinds.take(), Some(false));
    }

    #[test]
    fn a_fence_remembers_the_first_panic() {
        let fence = Fence::default();
        assert_eq!(fence.around(|| Ok::<_, StorageError>(1)).unwrap(), 1);
        assert_eq!(fence.broke(), None);
        for said in ["one", "two"] {
            let error = fence
                .around(|| -> Result<(), StorageError> { panic!("{said}") })
                .unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(fence.broke().as_deref(), Some("one"));
    }

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
