//! What sync promises, with the real store, engine and backend in virtual time.

mod faults;
mod hard_day;
mod leaks;
mod offline_day;
mod rarer_faults;
mod support;
mod sync;
