//! What sync promises, with the real store, engine and backend in virtual time.

mod events;
mod faults;
mod hard_day;
mod leaks;
mod logged;
mod lost;
mod offline_day;
mod rarer_faults;
mod support;
mod sync;
