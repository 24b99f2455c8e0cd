//! Every order in which threads can meet in `disk/faults.rs`, tried by loom.
//!
//! The file is compiled once more here, with loom's locks and atomics in place of the standard library's; so it needs no
//! flag and runs with all other tests.
#![allow(dead_code, reason = "of the file only what threads share is tried")]

/// Loom's types in place of the standard library's.
mod sync {
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};
    pub(crate) use std::sync::PoisonError;
}

#[path = "../src/disk/faults.rs"]
mod faults;

use std::io;
use std::sync::Mutex as Unwatched;

use faults::{Faults, Watched};
use redb::StorageBackend;
use sync::Arc;

/// What reached the disk, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Write(u64),
    Sync,
}

/// A disk of a kilobyte that notes what reaches it; its syncs may fail.
#[derive(Clone, Debug)]
struct Probe {
    seen: std::sync::Arc<Unwatched<Vec<Seen>>>,
    syncs_fail: bool,
}

impl Probe {
    fn new(syncs_fail: bool) -> Self {
        let seen = std::sync::Arc::default();
        Self { seen, syncs_fail }
    }

    fn note(&self, seen: Seen) {
        // Another thread may be let in before and after, as the system would.
        loom::thread::yield_now();
        self.seen.lock().expect("nobody panics with it").push(seen);
        loom::thread::yield_now();
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

impl StorageBackend for Probe {
    fn len(&self) -> io::Result<u64> {
        Ok(1_024)
    }

    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Seen::Sync);
        if self.syncs_fail {
            return Err(io::Error::other("the sync failed"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, _: &[u8]) -> io::Result<()> {
        self.note(Seen::Write(offset));
        Ok(())
    }
}

/// Where bytes are written again that a failed sync may have lost.
fn written_again(faults: &Faults) -> Vec<u64> {
    let probe = Probe::new(false);
    faults.write_again(&probe).expect("the disk is well again");
    let seen = probe.seen();
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Write(offset) => Some(*offset),
            Seen::Sync => None,
        })
        .collect()
}

/// One thread writes at 0 and syncs, another writes at 512. Returns what reached the disk, what is remembered, and
/// whether the other could write.
fn a_write_beside_a_sync(syncs_fail: bool) -> (Vec<Seen>, Vec<u64>, bool) {
    let faults = Arc::new(Faults::default());
    let probe = Probe::new(syncs_fail);
    let watched = Arc::new(Watched::new(Box::new(probe.clone()), Arc::clone(&faults)));
    let other = {
        let watched = Arc::clone(&watched);
        loom::thread::spawn(move || watched.write(512, &[2; 8]).is_ok())
    };
    watched.write(0, &[1; 8]).expect("nothing has failed yet");
    assert_eq!(watched.sync_data().is_err(), syncs_fail);
    let wrote = other.join().expect("it does not panic");
    assert_eq!(faults.must_reopen(), syncs_fail);
    (probe.seen(), written_again(&faults), wrote)
}

#[test]
fn what_no_sync_has_covered_is_remembered_in_every_order_of_threads() {
    loom::model(|| {
        let (seen, remembered, wrote) = a_write_beside_a_sync(false);
        assert!(wrote);
        let synced = seen.iter().position(|seen| *seen == Seen::Sync);
        let other = seen.iter().position(|seen| *seen == Seen::Write(512));
        if other > synced {
            assert!(remembered.contains(&512), "{seen:?}, {remembered:?}");
        }
    });
}

#[test]
fn what_a_failed_sync_may_have_lost_is_remembered_in_every_order_of_threads() {
    loom::model(|| {
        let (seen, remembered, wrote) = a_write_beside_a_sync(true);
        assert!(remembered.contains(&0), "{seen:?}, {remembered:?}");
        assert_eq!(
            wrote,
            seen.contains(&Seen::Write(512)),
            "what is refused does not reach the disk"
        );
        assert!(!wrote || remembered.contains(&512), "{seen:?}, {remembered:?}");
    });
}
