//! The journal: the newest commits, written to disk before the database holds them there.
//!
//! A commit costs one append to the journal and one sync; the database takes it on in memory, and brings what has
//! gathered there to disk in one go, a checkpoint, when the journal is full. After a crash the database is as the last
//! checkpoint left it, and what the journal holds is done to it again (`open.rs` for a store's log, `kv/connection.rs` for
//! rows).
//!
//! Owns which frames count, and where the next one goes. Their form is `journal/frame.rs`; what is in them is for who
//! writes them, of which there are two: the log (`journal/entries.rs`) and rows (`kv/changes.rs`).
//!
//! Frames hold what users and servers write. A sector says itself whether a frame begins in it, so that nothing that
//! somebody has a store keep can pass for a frame.
//!
//! Invariants: 1. a frame is one commit, all of it or none; 2. frames lie behind each other from the start of the
//! region, and each continues the chain of checks of the one before, so that what an earlier round left behind them
//! is never taken for a part of them; 3. no two frames share a sector, so a torn write harms no frame but its own (on
//! disks with larger sectors: as long as these keep what they held when a write to them is cut off);
//! 4. a frame is written only when the one before it is on disk, and overwritten only when the database holds it
//! there. Taking frames over after a crash lets no file grow, so a full disk keeps nobody from reading.

mod entries;
mod frame;

use std::io;

use landfall_core::{Seq, planted};
use redb::StorageBackend;

use crate::disk::{Region, write_zeros};
use crate::error::StorageError;

pub(crate) use entries::{Found, entries_in};
use frame::{BEGINS, SECTOR, first_in};
pub(crate) use frame::{Frame, Framed, Link};

/// The region of the file that holds the frames.
#[derive(Debug)]
pub(crate) struct Journal {
    region: Region,
    capacity: u64,
    /// Where the next frame goes.
    at: u64,
    oldest: Option<u64>,
}

/// Why a journal cannot be taken over.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The disk failed.
    Disk(io::Error),
    /// The frame of that link is whole, but what is in it is not what it has to be.
    Items { first: u64 },
    /// It begins with that link, but the database ends before the one in front of it.
    Gap { first: u64, head: u64 },
    /// It goes on after another link of that number than the database ends with.
    Another { head: u64 },
    /// A frame is there, but not what lies between it and the end.
    Later { found: u64, end: u64 },
}

impl Broken {
    /// The same in words: what an item is called, and what ends with one, as in "the log ends with".
    pub(crate) fn in_words(self, item: &str, whole: &str) -> StorageError {
        StorageError::corrupt(match self {
            Self::Disk(error) => return error.into(),
            Self::Items { first } => {
                format!("the journal's frame of {item} {first} is whole, but what is in it cannot be read")
            }
            Self::Gap { first, head } => {
                format!("the journal begins with {item} {first}, but {whole} {head}")
            }
            Self::Another { head } => {
                format!("the journal goes on after another {item} {head} than {whole}")
            }
            Self::Later { found, end } => {
                format!("the journal holds {item} {found}, but not what follows {item} {end}")
            }
        })
    }
}

impl Journal {
    /// The journal in a region of that many bytes. With none, no frame ever fits, and every commit is a checkpoint.
    pub(crate) fn new(region: Region, capacity: u64) -> Self {
        Self {
            region,
            capacity,
            at: 0,
            oldest: None,
        }
    }

    /// Whether there is a journal at all.
    pub(crate) fn exists(&self) -> bool {
        self.capacity > 0
    }

    /// Whether the frame can be appended before the next checkpoint.
    pub(crate) fn has_room_for(&self, frame: &Frame) -> bool {
        frame.fits(self.capacity - self.at)
    }

    /// Brings a frame to disk. After an error it may be there or not; the journal must be read again to know.
    pub(crate) fn append(&mut self, frame: &mut Frame) -> io::Result<()> {
        let bytes = frame.seal();
        self.region.write(self.at, &bytes)?;
        if !planted("journal-not-synced") {
            self.region.sync_data()?;
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Begins again at the start, since the database holds on disk what the frames say.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
    }

    /// Overwrites everything behind the frames that the database does not have on disk yet, so that nothing of what was cleared
    /// can be read.
    ///
    /// The first sector goes last: a frame begins in it if there is none before it, so that what a crash leaves is known by it, and
    /// is erased at the next opening.
    pub(crate) fn erase(&mut self) -> io::Result<()> {
        let first = (self.at + SECTOR as u64).min(self.capacity);
        write_zeros(&self.region, first, self.capacity)?;
        self.region.sync_data()?;
        write_zeros(&self.region, self.at, first)?;
        self.region.sync_data()?;
        self.oldest = None;
        Ok(())
    }

    /// The first entry of the oldest frame behind those that were taken over, of which the beginning at least was there when the
    /// region was read; `None` if there was none.
    pub(crate) fn oldest(&self) -> Option<Seq> {
        self.oldest.map(Seq)
    }

    /// What the frames hold, as `read` reads it, from the one on that is the first not to be in a database whose newest
    /// link is `head`, as it was just opened; frames before that are looked at too, and left out. The next frame goes
    /// behind them.
    ///
    /// `read` returns what a frame holds and its last link; `None` if it is not what it has to be.
    pub(crate) fn recover_frames<T>(
        &mut self,
        head: Link,
        read: impl Fn(&Framed) -> Option<(T, Link)>,
    ) -> Result<Vec<T>, Broken> {
        if planted("journal-not-recovered") {
            return Ok(Vec::new());
        }
        let mut region = vec![0; usize::try_from(self.capacity).expect("a journal fits into memory")];
        self.region.read(0, &mut region).map_err(Broken::Disk)?;
        let mut found = Vec::new();
        let mut end: Option<Link> = None;
        let mut at = 0;
        for frame in frames_in(&region) {
            if end.is_some_and(|end| !frame.follows(end)) {
                // A frame that an earlier round left behind.
                break;
            }
            refuse_unless_it_follows(head, &frame, end.is_none())?;
            let first = frame.first();
            let (items, last) = read(&frame).ok_or(Broken::Items { first })?;
            if last.number > head.number {
                found.push(items);
            }
            end = Some(last);
            at += frame.on_disk();
        }
        refuse_if_later(
            &region[at..],
            end.map_or(head.number, |end| end.number.max(head.number)),
        )?;
        if !found.is_empty() {
            // They can be read, but a program that was killed after a failed sync may have left them in the system's
            // cache only, where no later sync would look for them.
            self.region.write(0, &region[..at]).map_err(Broken::Disk)?;
        }
        if end.is_some() {
            // Likewise what the database shows has to be on disk before frames that hold the same are overwritten.
            self.region.sync_data().map_err(Broken::Disk)?;
        }
        let taken = if found.is_empty() { 0 } else { at };
        self.at = taken as u64;
        self.oldest = beginnings_in(&region[taken..])
            .map(|sector| first_in(&sector[1..]))
            .min();
        Ok(found)
    }
}

impl Framed {
    /// Whether it is the one behind that link.
    fn follows(&self, link: Link) -> bool {
        self.first() == link.number.saturating_add(1) && self.previous_check() == link.check
    }
}

/// The frames that lie behind each other from the start of a journal, whatever they continue.
fn frames_in(region: &[u8]) -> impl Iterator<Item = Framed> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let frame = region.get(at..).and_then(Framed::in_sectors)?;
        at += frame.on_disk();
        Some(frame)
    })
}

/// A frame is written only once the one before it is on disk. If there is one that belongs behind the end, what lies
/// between was on disk too, and it is no crash that took it away.
fn refuse_if_later(rest: &[u8], end: u64) -> Result<(), Broken> {
    let later = beginnings_in(rest)
        .filter(|sector| first_in(&sector[1..]) > end)
        .find_map(Framed::in_sectors);
    match later {
        Some(frame) => Err(Broken::Later {
            found: frame.first(),
            end,
        }),
        None => Ok(()),
    }
}

/// What goes on from each sector in which a frame begins, whole or not.
fn beginnings_in(region: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sectors = (0..region.len()).step_by(SECTOR).map(|at| &region[at..]);
    sectors.filter(|sector| sector.len() >= SECTOR && sector[0] == BEGINS)
}

/// Refuses frames that do not follow what the database ends with: one of the two is then not what it was.
fn refuse_unless_it_follows(head: Link, frame: &Framed, begins: bool) -> Result<(), Broken> {
    let (first, next) = (frame.first(), head.number.saturating_add(1));
    if begins && first > next {
        return Err(Broken::Gap {
            first,
            head: head.number,
        });
    }
    if first == next && frame.previous_check() != head.check {
        return Err(Broken::Another { head: head.number });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
