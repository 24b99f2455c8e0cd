//! The open file of a store of rows: opening, committing, and opening again after a fault.
//!
//! Owns [`Connection`], and the order in which a transaction reaches journal and database (`kv.rs` says which and why).
//!
//! Invariants: 1. whoever writes holds the file open until the transaction has ended, so that nobody opens it again
//! beneath; 2. only the one writer waits for the file to be free, and never while it has a transaction under way, so that a reader
//! inside a transaction waits for nobody; 3. a file that ends neither with what was acknowledged nor with the transaction
//! whose commit failed is not used.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};

use super::KvError;
use super::changes::{do_again, newest_in, note_newest, transaction_in};
use super::txn::Done;
use crate::commit::{BEGIN_TRIES, checkpoint, commit_in_memory};
use crate::disk::{Faults, Opened, RowsDisk};
use crate::error::StorageError;
use crate::journal::{Frame, Journal, Link};
use crate::panics::{Held, unless_it_panics};

/// A file of rows.
pub(super) struct Connection {
    disk: RowsDisk,
    cache_bytes: usize,
    faults: Arc<Faults>,
    /// `None` only while the file could not be opened again.
    opened: RwLock<Option<Opened>>,
    ends: Mutex<Ends>,
    /// Whether the disk is too full for a writer, so that the file is open for readers only.
    lacks_room: AtomicBool,
}

/// Where the file may end.
#[derive(Clone, Copy, Debug)]
struct Ends {
    /// The newest transaction that is known to be on disk.
    acknowledged: Link,
    /// The one that is being committed, or whose commit failed.
    unsure: Option<Link>,
}

/// A transaction that was begun, and the file, which stays open for it and is therefore dropped after it.
pub(super) struct Begun<'c> {
    transaction: Held<WriteTransaction>,
    opened: RwLockReadGuard<'c, Option<Opened>>,
}

impl Begun<'_> {
    pub(super) fn transaction(&self) -> &WriteTransaction {
        &self.transaction
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        let opened = self.opened.as_ref();
        opened
            .expect("a transaction was begun on the open file")
            .journal()
    }
}

impl Connection {
    /// Opens the file, or makes it, and takes over what a crash left in its journal.
    pub(super) fn open(disk: RowsDisk, cache_bytes: usize) -> Result<Self, StorageError> {
        let faults = Arc::new(Faults::default());
        let opened = match open(&disk, cache_bytes, &faults) {
            // If a sync failed, only this call knows what has to be written again.
            Err(error) if faults.suspected() && disk.can_reopen() => {
                tracing::warn!(%error, "the disk failed while rows were opened; trying once more");
                open(&disk, cache_bytes, &faults)
            }
            other => other,
        };
        let (found, lacks_room) = match opened {
            Err(StorageError::Full { .. }) if disk.can_reopen() => {
                (open_where_there_is_no_room(&disk, cache_bytes)?, true)
            }
            opened => (opened?, false),
        };
        faults.clear();
        if lacks_room {
            faults.distrust();
        }
        let (opened, acknowledged) = found;
        Ok(Self {
            disk,
            cache_bytes,
            faults,
            opened: RwLock::new(Some(opened)),
            ends: Mutex::new(Ends {
                acknowledged,
                unsure: None,
            }),
            lacks_room: AtomicBool::new(lacks_room),
        })
    }

    /// Begins to read what is committed now.
    pub(super) fn begin_read(&self) -> Result<ReadTransaction, StorageError> {
        let mut opened = self.opened();
        let needs_healing = |opened: &Opened| self.is_doubtful(opened);
        if opened.as_ref().is_none_or(needs_healing) {
            drop(opened);
            self.heal_for_readers();
            opened = self.opened();
        }
        let opened = opened.as_ref().filter(|opened| !needs_healing(opened));
        let opened = opened.ok_or_else(closed)?;
        unless_it_panics(|| Ok(opened.database.begin_read()?))
    }

    /// Begins a transaction, on a file that is opened again if need be.
    pub(super) fn begin_write(&self) -> Result<Begun<'_>, StorageError> {
        let mut failed = closed();
        for _ in 0..BEGIN_TRIES {
            self.heal()?;
            if self.lacks_room.load(Ordering::Acquire) {
                return Err(StorageError::full());
            }
            let opened = self.opened();
            let begun = opened
                .as_ref()
                .map(|opened| unless_it_panics(|| Ok(Held::new(opened.database.begin_write()?))));
            match begun {
                Some(Ok(transaction)) => return Ok(Begun { transaction, opened }),
                Some(Err(error)) => failed = error,
                None => {}
            }
            self.faults.suspect();
        }
        Err(failed)
    }

    /// An empty frame for the transaction; `None` in a file without a journal.
    pub(super) fn frame(&self, begun: &Begun<'_>) -> Option<Frame> {
        begun
            .journal()
            .exists()
            .then(|| Frame::after(self.ends().acknowledged))
    }

    /// Undoes a transaction. If the database panicked in it, or does so now, it would go on, but no longer note its free pages, and
    /// a kill would cost a repair: the file is opened anew.
    pub(super) fn undo(&self, begun: Begun<'_>, broke: bool) {
        let Begun { transaction, opened } = begun;
        let undone = unless_it_panics(|| Ok(transaction.into_inner().abort()?));
        drop(opened);
        if let Err(error) = &undone {
            tracing::warn!(%error, "a transaction could not be undone; the rows are opened again");
            self.faults.suspect();
        }
        let panicked = broke || matches!(undone, Err(StorageError::Corrupt { .. }));
        if panicked && self.disk.can_reopen() {
            self.faults.distrust();
        }
    }

    /// Brings a transaction to disk, then lets readers see it.
    pub(super) fn commit(&self, begun: Begun<'_>, done: Done) -> Result<(), KvError> {
        if let Some(said) = done.broke {
            // Whoever passed over the error is not listened to.
            self.undo(begun, true);
            let what = format!("a transaction broke off: {said}");
            return Err(KvError::Corrupt { what });
        }
        // What a reader met beside it counts as well: the commit could not be brought to an end.
        if done.failed || self.faults.suspected() {
            self.undo(begun, false);
            return Err(KvError::Io {
                cause: "an operation failed before the transaction was committed".to_owned(),
            });
        }
        // If nothing was changed there is nothing to wait for the disk for.
        if !done.changed {
            self.undo(begun, false);
            return Ok(());
        }
        let mut frame = done.frame;
        let planned = frame.as_mut().map(Frame::close);
        if let Some(planned) = planned {
            if let Err(error) = unless_it_panics(|| note_newest(&begun.transaction, planned)) {
                self.undo(begun, matches!(error, StorageError::Corrupt { .. }));
                return Err(error.into());
            }
            self.ends().unsure = Some(planned);
        }
        match bring_to_disk(begun, frame.as_mut()) {
            Ok(()) => {
                let mut ends = self.ends();
                ends.acknowledged = planned.unwrap_or(ends.acknowledged);
                ends.unsure = None;
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a commit failed; the rows are opened again before the next");
                // The journal may hold what the database does not.
                self.faults.distrust();
                Err(KvError::OutcomeUnknown { cause: error.gist() })
            }
        }
    }

    fn opened(&self) -> RwLockReadGuard<'_, Option<Opened>> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what the database reads from its file may not be what it wrote there.
    fn is_doubtful(&self, opened: &Opened) -> bool {
        self.faults.reach(opened.database_start)
    }

    /// Opens the file again if the disk failed.
    fn heal(&self) -> Result<(), StorageError> {
        if !self.faults.suspected() && self.opened().is_some() {
            return Ok(());
        }
        self.heal_in(&mut self.opened.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same on behalf of a reader; it is left to the others if they are using the file.
    fn heal_for_readers(&self) {
        let mut opened = match self.opened.try_write() {
            Ok(opened) => opened,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        // Another reader may have been faster.
        if opened.is_some() && !self.faults.suspected() {
            return;
        }
        if let Err(error) = self.heal_in(&mut opened) {
            tracing::warn!(%error, "the rows could not be opened again");
        }
    }

    fn heal_in(&self, opened: &mut Option<Opened>) -> Result<(), StorageError> {
        if let Some(open) = opened {
            let begun = unless_it_panics(|| {
                let _undone_by_drop = open.database.begin_write()?;
                Ok(())
            });
            match begun {
                // It was a fault that the database got over by itself.
                Ok(()) if !self.faults.must_reopen() => {
                    self.faults.clear();
                    return Ok(());
                }
                _ if !self.disk.can_reopen() => {
                    return Err(StorageError::Io {
                        cause: "it failed earlier and cannot be opened again from here".to_owned(),
                    });
                }
                Ok(()) | Err(_) => {}
            }
        }
        // The file is locked as long as the old database lives. What that has in memory alone is in the journal.
        if let Some(old) = opened.take() {
            old.forsake();
        }
        let (found, lacks_room) = match open(&self.disk, self.cache_bytes, &self.faults) {
            Err(StorageError::Full { .. }) => (self.open_for_readers()?, true),
            found => (found?, false),
        };
        let (file, end) = found;
        if !lacks_room {
            self.settle(end)?;
        }
        *opened = Some(file);
        self.lacks_room.store(lacks_room, Ordering::Release);
        self.faults.clear();
        if lacks_room {
            self.faults.distrust();
        }
        Ok(())
    }

    /// There is no room for what the journal holds; it can be read nevertheless, if it is what was acknowledged. Of anything else
    /// nobody could say that it is on disk.
    fn open_for_readers(&self) -> Result<(Opened, Link), StorageError> {
        let found = open_where_there_is_no_room(&self.disk, self.cache_bytes)?;
        if found.1 == self.ends().acknowledged {
            Ok(found)
        } else {
            Err(StorageError::full())
        }
    }

    /// Takes note of where the file was found to end.
    fn settle(&self, found: Link) -> Result<(), StorageError> {
        let mut ends = self.ends();
        if found != ends.acknowledged && Some(found) != ends.unsure {
            return Err(StorageError::corrupt(format!(
                "the rows end with transaction {}, and not as they were acknowledged up to {}; another program may have \
                 written to them meanwhile",
                found.number, ends.acknowledged.number
            )));
        }
        *ends = Ends {
            acknowledged: found,
            unsure: None,
        };
        Ok(())
    }
}

/// Opens the file and takes over what is only in its journal. Returns the newest transaction as well.
fn open(disk: &RowsDisk, cache_bytes: usize, faults: &Arc<Faults>) -> Result<(Opened, Link), StorageError> {
    unless_it_panics(|| {
        let opened = disk.open(cache_bytes, faults)?;
        let end = recover(&opened, disk)?;
        Ok((opened, end))
    })
}

/// Rows of which there is something in the journal, on a disk that is too full to take it over: what they hold can be read. The
/// next write looks whether there is room by then.
fn open_where_there_is_no_room(disk: &RowsDisk, cache_bytes: usize) -> Result<(Opened, Link), StorageError> {
    let opened = unless_it_panics(|| {
        let opened = disk.open_without_writing(cache_bytes)?;
        let end = recover(&opened, disk)?;
        Ok((opened, end))
    });
    match opened {
        Ok(opened) => {
            tracing::warn!("the disk is full; the rows can be read, and written to once there is room");
            Ok(opened)
        }
        Err(error) => {
            // Such as a file that is not made yet.
            tracing::debug!(%error, "the rows cannot be read without writing either");
            Err(StorageError::full())
        }
    }
}

/// Does to the database what is only in the journal. Returns where it ends then.
fn recover(opened: &Opened, disk: &RowsDisk) -> Result<Link, StorageError> {
    let mut journal = opened.journal();
    if !journal.exists() {
        // Nothing is numbered there.
        return Ok(Link::default());
    }
    let head = newest_in(&opened.database, disk.place())?;
    let found = journal
        .recover_frames(head, transaction_in)
        .map_err(|broken| broken.in_words("transaction", "the rows end with"))?;
    let Some(newest) = found.last() else {
        return Ok(head);
    };
    let transaction = opened.database.begin_write()?;
    do_again(&transaction, &found)?;
    note_newest(&transaction, newest.link)?;
    // The journal has it on disk, and a full disk must not keep the rows closed.
    commit_in_memory(transaction)?;
    Ok(newest.link)
}

/// After an error the transaction may be on disk or not, and readers do not see it.
fn bring_to_disk(begun: Begun<'_>, frame: Option<&mut Frame>) -> Result<(), StorageError> {
    // Dropped in the opposite order: the transaction ends while the file is still held open.
    let Begun { opened, transaction } = begun;
    let opened = opened.as_ref().ok_or_else(closed)?;
    let mut journal = opened.journal();
    match frame {
        Some(frame) if journal.has_room_for(frame) => {
            journal.append(frame)?;
            commit_in_memory(transaction.into_inner())
        }
        Some(_) | None => checkpoint(transaction.into_inner(), &mut journal),
    }
}

fn closed() -> StorageError {
    StorageError::Io {
        cause: "the rows could not be opened again; try again once the disk is well".to_owned(),
    }
}
