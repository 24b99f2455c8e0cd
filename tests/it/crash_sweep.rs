//! A crash or a fault of the disk at every operation: what was acknowledged is there, what was refused is not.
//!
//! Each script of random transactions runs on a simulated disk. Its operations are recorded; then the power is cut
//! before each of them, with everything that can survive of what was not synced, and the store is opened again. In the
//! other sweeps the scripts run once for each operation, which fails.
//!
//! What must hold is known apart from the store: a map of the rows after each transaction, and the log up to there. Scripts,
//! what is foreseen of them and the look at what a crash left are those of `landfall sim crash`.
//!
//! `LANDFALL_SEED` chooses other scripts. `LANDFALL_CRASH_SCRIPTS=1000` has so many of them cut everywhere, with a second
//! crash in every recovery; that takes hours.

mod crashes;
mod faults;
mod journal;
mod rows;

use landfall_sim::crash::script::{Rows, rows_of};
use landfall_storage::Store;

/// What a store holds that can be read.
fn rows_in(store: &Store) -> Rows {
    let snapshot = store.reader().snapshot().expect("the disk is well");
    rows_of(&snapshot).expect("readable")
}

/// The number in a variable of the environment.
fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seed of this run, printed so that a failure can be repeated.
fn seed() -> u64 {
    let seed = number_from("LANDFALL_SEED").unwrap_or(1);
    println!("LANDFALL_SEED={seed}");
    seed
}
