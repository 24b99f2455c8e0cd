//! Defects that can be planted on purpose, to prove that the simulator's oracles see them.
//!
//! Owns [`planted`]. Without the feature `planted-defects` it is a constant, and nothing of it is in the program. With
//! it, a defect is in force on the thread on which a test planted it, and nowhere else.

#[cfg(feature = "planted-defects")]
mod in_force {
    use std::cell::Cell;

    thread_local! {
        static DEFECT: Cell<Option<&'static str>> = const { Cell::new(None) };
    }

    /// Plants a defect on this thread in place of the one before; `None` for sound code.
    pub fn plant(defect: Option<&'static str>) {
        DEFECT.set(defect);
    }

    /// Whether the defect of that name is planted on this thread.
    pub fn planted(defect: &'static str) -> bool {
        DEFECT.get() == Some(defect)
    }
}

#[cfg(feature = "planted-defects")]
pub use in_force::{plant, planted};

/// Whether the defect of that name is planted; never, without the feature `planted-defects`.
#[cfg(not(feature = "planted-defects"))]
#[inline(always)]
pub const fn planted(_: &'static str) -> bool {
    false
}
