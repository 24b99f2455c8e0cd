//! What sync promises, with the real store, engine and backend in virtual time.

mod faults;
mod offline_day;
mod support;
mod sync;
