//! Where a store's bytes live: a directory, memory, or a disk that a simulator makes.
//!
//! Owns opening and locking of a store's file. Which file is ours is `disk/contents.rs`; what lies where in it is
//! `disk/layout.rs`; what is remembered of a fault is `disk/faults.rs`.
//!
//! Invariants: 1. a file that is not ours is never written to; 2. a file that a crash left half made is made anew,
//! since nothing was acknowledged from it; 3. a new file's name is on disk before anything in it is acknowledged; 4. a
//! file that could not become a store is gone if this opening has made it.

mod beside;
mod contents;
mod faults;
mod layout;
mod mend;
mod names;
mod rows;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::Database;
use redb::backends::FileBackend;

use crate::error::StorageError;
use crate::journal::Journal;
use crate::overlay::Overlay;
use crate::panics::Held;
pub(crate) use beside::{Beside, Root};
use contents::Contents;
pub(crate) use faults::Faults;
use faults::Watched;
use layout::{FileLayout, HEADER_BYTES};
pub(crate) use layout::{Region, write_zeros};
#[cfg(test)]
pub(crate) use names::fail_after;
pub(crate) use names::{Names, has_name, sync_name};
pub(crate) use rows::RowsDisk;

/// The storage backend of the database, for disks that live elsewhere than in a file.
pub use redb::StorageBackend;
/// A backend in memory.
pub use redb::backends::InMemoryBackend;

/// Name of the file inside a store's directory.
pub const FILE_NAME: &str = "landfall.store";

/// Journal of a new store on disk, in bytes. It bounds what is appended again after a crash, a few thousand entries and
/// a tenth of a second, and how much a checkpoint brings to disk at once.
const JOURNAL_BYTES: u64 = 2 * 1024 * 1024;

/// The same on a disk that is handed in: small, so that a simulation goes through many checkpoints.
const JOURNAL_BYTES_CUSTOM: u64 = 64 * 1024;

/// How often a file is opened that has lost its name by the time it is locked. Its store would have to be made anew each time.
const OPEN_TRIES: usize = 8;

/// Page cache of a damaged file that is read from front to back.
const MENDED_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Opens a backend anew each time the store is opened or reopened.
pub type OpenBackend = Arc<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

/// Where a store's bytes live.
///
/// ```
/// use landfall_storage::Disk;
///
/// assert_eq!(format!("{:?}", Disk::Directory("posts".into())), "Directory(posts)");
/// ```
#[derive(Clone)]
pub enum Disk {
    /// In the file `landfall.store` of this directory, which is made if missing.
    Directory(PathBuf),
    /// In memory; gone when the store is closed.
    Memory,
    /// Wherever this function says; for simulated disks.
    Custom(OpenBackend),
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "Directory({})", path.display()),
            Self::Memory => f.write_str("Memory"),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// A store's file, open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Held<Database>,
    /// Only the writer uses it; the lock lets a reader that reopens the file hand over a new one.
    journal: Mutex<Journal>,
    /// Where in the file the database begins.
    pub(crate) database_start: u64,
}

impl Opened {
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it as a kill would: what the database has to bring to disk yet is somewhere else, or for nobody.
    pub(crate) fn forsake(mut self) {
        self.database.forsake();
    }

    /// The same when it is closed one day, since what it writes goes nowhere.
    fn written_nowhere(mut self) -> Self {
        self.database.forsake();
        self
    }
}

impl Disk {
    /// Opens the file, making it if there is none. What the disk does from here on is noted in `faults`.
    pub(crate) fn open(&self, cache_bytes: usize, faults: &Arc<Faults>) -> Result<Opened, StorageError> {
        let path = self.place();
        let fresh = |journal_bytes, names| Fresh::store(FileLayout { journal_bytes }, names);
        match self {
            Self::Directory(directory) => {
                let names = Names::of(directory);
                let fresh = fresh(JOURNAL_BYTES, Some(&names));
                open_named(directory, &path, |file, was_there| {
                    let fresh = Fresh { was_there, ..fresh };
                    open_backend(file_backend(file, &path)?, &path, cache_bytes, faults, fresh)
                })
            }
            // What is gone with the process needs no second copy.
            Self::Memory => {
                let backend = Box::new(InMemoryBackend::new());
                open_backend(backend, &path, cache_bytes, faults, fresh(0, None))
            }
            Self::Custom(open) => open_backend(
                open()?,
                &path,
                cache_bytes,
                faults,
                fresh(JOURNAL_BYTES_CUSTOM, None),
            ),
        }
    }

    /// Opens a file that is there already, for readers alone: what has to be written to open it is kept in memory.
    pub(crate) fn open_without_writing(&self, cache_bytes: usize) -> Result<Opened, StorageError> {
        let path = self.place();
        match self {
            Self::Directory(directory) => open_named(directory, &path, |file, _| {
                open_backend_without_writing(file_backend(file, &path)?, &path, cache_bytes)
            }),
            Self::Memory => {
                open_backend_without_writing(Box::new(InMemoryBackend::new()), &path, cache_bytes)
            }
            Self::Custom(open) => open_backend_without_writing(open()?, &path, cache_bytes),
        }
    }

    /// Opens a file as that of a store, as one in a directory is; makes it if it is empty. `path` is its name for now: it is not
    /// brought to disk, since whoever crashes before the file has another loses nothing.
    pub(crate) fn open_file_at(
        file: File,
        path: &Path,
        cache_bytes: usize,
        faults: &Arc<Faults>,
    ) -> Result<Opened, StorageError> {
        let fresh = FileLayout {
            journal_bytes: JOURNAL_BYTES,
        };
        let fresh = Fresh::store(fresh, None);
        open_backend(file_backend(file, path)?, path, cache_bytes, faults, fresh)
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(FILE_NAME),
            Self::Memory => "memory".into(),
            Self::Custom(_) => "the disk".into(),
        }
    }

    /// The store's file, for who has to say which one is meant; `None` if it is in none.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        matches!(self, Self::Directory(_)).then(|| self.place())
    }

    /// Whether the bytes outlive the database that was opened on them.
    pub(crate) fn can_reopen(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}

/// How a file is made if there is none, and what is taken for one if there is.
#[derive(Clone, Copy)]
struct Fresh<'a> {
    layout: FileLayout,
    names: Option<&'a Names>,
    /// Whether a file may be a database alone although one that is made anew has a journal.
    takes_plain: bool,
    /// Whether a file was there, so that somebody may believe that there is a store in it.
    was_there: bool,
}

impl<'a> Fresh<'a> {
    fn store(layout: FileLayout, names: Option<&'a Names>) -> Self {
        Self {
            layout,
            names,
            takes_plain: false,
            was_there: false,
        }
    }
}

/// Opens the file of that name, and makes sure that it still has the name once it is locked: its store may have been made anew in
/// between, and what is written to the old file would be lost with it.
fn open_named(
    directory: &Path,
    path: &Path,
    open: impl Fn(File, bool) -> Result<Opened, StorageError>,
) -> Result<Opened, StorageError> {
    for _ in 0..OPEN_TRIES {
        let found = open_file(directory, path)?;
        let same = found
            .file
            .try_clone()
            .map_err(|error| StorageError::at_path(path, &error))?;
        match open(found.file, found.was_there) {
            Ok(opened) if has_name(&same, path) => return Ok(opened),
            Ok(_) => {}
            Err(error) => {
                if found.is_made {
                    take_back(same, path);
                }
                return Err(error);
            }
        }
    }
    Err(StorageError::Locked {
        path: path.to_owned(),
    })
}

/// Removes a file that was made for a store that could not be made in it, such as on a full disk: whoever opens the store the next
/// time would believe that there had been one. It stays if somebody else is at it or has made a store in it, and if it cannot be
/// removed.
fn take_back(file: File, path: &Path) {
    let Ok(unlocked) = file.try_clone() else { return };
    let removed = file_backend(file, path).and_then(|backend| {
        alone(&*backend, path, || {
            if layout_of(&*backend, path)?.is_none() && has_name(&unlocked, path) {
                std::fs::remove_file(path).map_err(|error| StorageError::at_path(path, &error))?;
            }
            Ok(())
        })
    });
    if let Err(error) = removed {
        tracing::debug!(%error, path = %path.display(), "a file without a store in it stays");
    }
}

fn file_backend(file: File, path: &Path) -> Result<Box<dyn StorageBackend>, StorageError> {
    Ok(Box::new(
        FileBackend::new(file).map_err(|error| translate(error, path))?,
    ))
}

fn open_backend(
    backend: Box<dyn StorageBackend>,
    path: &Path,
    cache_bytes: usize,
    faults: &Arc<Faults>,
    fresh: Fresh<'_>,
) -> Result<Opened, StorageError> {
    let layout = match layout_of(&*backend, path)? {
        Some(layout) => layout,
        // Looked at again, since somebody else may have been making it a moment ago.
        None => alone(&*backend, path, || match layout_of(&*backend, path)? {
            Some(layout) => Ok(layout),
            None => {
                let bytes = backend.len()?;
                if fresh.was_there || bytes > 0 {
                    // Somebody's attention: records may have been there.
                    tracing::error!(
                        path = %path.display(),
                        bytes,
                        "the store's file was there and holds nothing, so a new store begins in it; if there was one, restore a \
                         backup"
                    );
                }
                fresh.layout.create(&*backend)?;
                fresh.names.map_or(Ok(()), Names::sync)?;
                Ok(fresh.layout)
            }
        })?,
    };
    if layout.journal_bytes == 0 && fresh.layout.journal_bytes > 0 && !fresh.takes_plain {
        // A database of somebody else's; it must not even be opened, which would write to it.
        return Err(StorageError::Foreign {
            path: path.to_owned(),
        });
    }
    if faults.have_unsynced() {
        alone(&*backend, path, || Ok(faults.write_again(&*backend)?))?;
    }
    let file: Arc<dyn StorageBackend> = Arc::new(Watched::new(backend, Arc::clone(faults)));
    open_database(file, path, cache_bytes, layout)
}

fn open_backend_without_writing(
    backend: Box<dyn StorageBackend>,
    path: &Path,
    cache_bytes: usize,
) -> Result<Opened, StorageError> {
    let foreign = || StorageError::Foreign {
        path: path.to_owned(),
    };
    let layout = layout_of(&*backend, path)?.ok_or_else(foreign)?;
    locked(backend.try_lock_range(Bound::Unbounded, Bound::Unbounded), path)?;
    let file: Arc<dyn StorageBackend> = Arc::new(Overlay::over(backend)?);
    open_database(file, path, cache_bytes, layout).map(Opened::written_nowhere)
}

fn open_database(
    file: Arc<dyn StorageBackend>,
    path: &Path,
    cache_bytes: usize,
    layout: FileLayout,
) -> Result<Opened, StorageError> {
    let database = Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(Region::new(Arc::clone(&file), layout.database_start()))
        .map_err(|error| translate(error, path))?;
    let journal = Region::new(file, HEADER_BYTES);
    Ok(Opened {
        database: Held::new(database),
        journal: Mutex::new(Journal::new(journal, layout.journal_bytes)),
        database_start: layout.database_start(),
    })
}

/// Opens a store's file on changes in memory. The file is not written to.
pub(crate) fn open_over(overlay: Overlay, path: &Path) -> Result<Opened, StorageError> {
    let foreign = || StorageError::Foreign {
        path: path.to_owned(),
    };
    let layout = layout_of(&overlay, path)?.ok_or_else(foreign)?;
    open_database(Arc::new(overlay), path, MENDED_CACHE_BYTES, layout).map(Opened::written_nowhere)
}

/// The same of a file that does not open as it is; see [`mend_over`].
pub(crate) fn open_mended(overlay: &Overlay, path: &Path) -> Result<Opened, StorageError> {
    let layout = mend_over(overlay, path)?;
    open_database(Arc::new(overlay.clone()), path, MENDED_CACHE_BYTES, layout).map(Opened::written_nowhere)
}

/// Mends the headers of a file in memory, fills with zeros what is cut off, and takes off what is no whole page.
pub(crate) fn mend_over(overlay: &Overlay, path: &Path) -> Result<FileLayout, StorageError> {
    // What the first try has written lies on the layer that both share.
    overlay.forget()?;
    let layout = match layout_of(overlay, path) {
        Ok(Some(layout)) => layout,
        // All stores in directories are made alike; where one cannot be told by its header, its database tells it.
        refused => {
            let usual = FileLayout {
                journal_bytes: JOURNAL_BYTES,
            };
            let mut begins = [0; contents::MAGIC.len()];
            overlay.read(usual.database_start(), &mut begins)?;
            match refused {
                Err(error) if begins != *contents::MAGIC && matches!(error, StorageError::Foreign { .. }) => {
                    return Err(error);
                }
                _ => usual,
            }
        }
    };
    mend::mend(overlay, layout)?;
    Ok(layout)
}

/// The database inside the file of a store that is closed, for tools that look at its tables.
///
/// What is only in the journal is not in it; a store that was closed in order has nothing there that the database lacks.
///
/// # Errors
/// [`StorageError::Foreign`] if there is no store, [`StorageError::TooNew`], [`StorageError::Corrupt`], and the disk's
/// faults.
pub fn database_of(directory: &Path) -> Result<impl StorageBackend + use<>, StorageError> {
    database_in(&directory.join(FILE_NAME))
}

/// The same of any file.
pub(crate) fn database_in(path: &Path) -> Result<Region, StorageError> {
    let said = |error: io::Error| StorageError::at_path(path, &error);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(said)?;
    let backend = FileBackend::new(file).map_err(|error| translate(error, path))?;
    let layout = layout_of(&backend, path)?.ok_or_else(|| StorageError::Foreign {
        path: path.to_owned(),
    })?;
    Ok(Region::new(Arc::new(backend), layout.database_start()))
}

/// Where in the file what lies; `None` if the file is still to be made.
fn layout_of(backend: &dyn StorageBackend, path: &Path) -> Result<Option<FileLayout>, StorageError> {
    match contents::examine(backend)? {
        Contents::Empty | Contents::Unfinished => Ok(None),
        Contents::Store(layout) => Ok(Some(layout)),
        Contents::Damaged(what) => Err(StorageError::corrupt(what).in_file(Some(path))),
        Contents::Newer(found) => Err(StorageError::TooNew {
            found,
            known: layout::VERSION,
        }),
        Contents::Foreign => Err(StorageError::Foreign {
            path: path.to_owned(),
        }),
    }
}

/// Does something to a file that is not open as a database, while nobody else can open it.
fn alone<T>(
    backend: &dyn StorageBackend,
    path: &Path,
    work: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let locked = locked(backend.try_lock_range(Bound::Unbounded, Bound::Unbounded), path)?;
    let worked = work();
    if locked {
        backend
            .unlock_range(Bound::Unbounded, Bound::Unbounded)
            .map_err(io::Error::from)?;
    }
    worked
}

/// What trying to lock a file came to: whether it is locked, which a disk without locks has no need of, as it has a single owner.
pub(crate) fn locked(tried: Result<bool, redb::BackendError>, path: &Path) -> Result<bool, StorageError> {
    match tried {
        Ok(true) => Ok(true),
        Ok(false) => Err(StorageError::Locked {
            path: path.to_owned(),
        }),
        Err(redb::BackendError::Unsupported) => Ok(false),
        Err(error) => Err(StorageError::at_path(path, &error.into())),
    }
}

/// A store's file, not yet locked.
struct Found {
    file: File,
    /// Whether it was there, so that somebody may believe that there is a store in it.
    was_there: bool,
    /// Whether this opening has made it, and nobody else.
    is_made: bool,
}

/// Opens the file, or makes it and its directory.
fn open_file(directory: &Path, path: &Path) -> Result<Found, StorageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let said = |error: io::Error| StorageError::at_place(path, &error);
    let found = |file, was_there, is_made| Found {
        file,
        was_there,
        is_made,
    };
    match std::fs::metadata(path) {
        // Opening a pipe or a directory blocks, or fails in words that help nobody.
        Ok(metadata) if !metadata.is_file() => Err(StorageError::Foreign {
            path: path.to_owned(),
        }),
        Ok(_) => options
            .open(path)
            .map(|file| found(file, true, false))
            .map_err(said),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory).map_err(said)?;
            match options.clone().create_new(true).open(path) {
                Ok(file) => Ok(found(file, false, true)),
                // Somebody else has made it in between.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let made = options.create(true).truncate(false).open(path);
                    made.map(|file| found(file, false, false)).map_err(said)
                }
                Err(error) => Err(said(error)),
            }
        }
        Err(error) => Err(said(error)),
    }
}

fn translate(error: redb::DatabaseError, path: &Path) -> StorageError {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StorageError::Locked {
            path: path.to_owned(),
        },
        redb::DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            StorageError::corrupt(error.to_string()).in_file(Some(path))
        }
        redb::DatabaseError::Storage(error) => StorageError::from(error).in_file(Some(path)),
        other => StorageError::corrupt(other.to_string()).in_file(Some(path)),
    }
}

/// How every database begins, for tests that damage one.
#[cfg(test)]
pub(crate) const DATABASE_MAGIC: &[u8] = contents::MAGIC;

/// A region that is a whole file, for the tests of what lies in regions.
#[cfg(test)]
pub(crate) fn region_at_start(file: Arc<dyn StorageBackend>) -> Region {
    Region::new(file, 0)
}

#[cfg(test)]
mod tests;
