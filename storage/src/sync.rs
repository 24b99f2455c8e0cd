//! What is shared between threads goes through these types, so that `tests/loom.rs` can try every order with its own.
//!
//! Owns nothing: in this crate they are the standard library's.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic};
