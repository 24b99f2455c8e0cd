//! A file that is being made, until it has its name.
//!
//! Owns [`Unfinished`]: a copy, a backup or a store that is made anew goes to a file of another name in the same directory. What a crash
//! leaves of it is told by that name, and removed by the next one who needs it.
//!
//! Invariants: 1. what somebody is making is not removed by others: whoever removes it has its lock; 2. a file gets its name only
//! while it is locked, and only if it is the one that was made here; 3. nothing that exists is written over by [`Unfinished::publish`];
//! 4. what nothing came of is removed by whoever made it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::disk::{Disk, Faults, Names, Opened, has_name, locked};
use crate::error::StorageError;

/// Name of a file until it is whole.
const NAME: &str = "landfall.unfinished";

/// A file that has not got its name; it is gone with the value unless it gets one.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    /// Shares its lock with whatever it is opened as.
    file: File,
    /// Whether it has got its name, and somebody else may be making a file of this one.
    is_named: bool,
}

impl Unfinished {
    /// Makes an empty one in a directory.
    ///
    /// [`StorageError::Locked`] if somebody else is making one there.
    pub(crate) fn begin(directory: &Path) -> Result<Self, StorageError> {
        remove_left_over(directory)?;
        let path = directory.join(NAME);
        let mut options = OpenOptions::new();
        match options.read(true).write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self {
                path,
                file,
                is_named: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StorageError::Locked { path }),
            Err(error) => Err(StorageError::at_path(&path, &error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, for who fills it without a database.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Opens it as the file of a store, which locks it; makes that if it is empty.
    pub(crate) fn open(&self, cache_bytes: usize, faults: &Arc<Faults>) -> Result<Opened, StorageError> {
        let file = self.file.try_clone().map_err(|error| self.failed(&error))?;
        Disk::open_file_at(file, &self.path, cache_bytes, faults)
    }

    /// Gives it the name of a file that there is, which is no more under it then. The caller has it open as a database, and so locked,
    /// or has locked it.
    pub(crate) fn replace(&mut self, path: &Path) -> Result<(), StorageError> {
        if !has_name(&self.file, &self.path) {
            return Err(taken(&self.path));
        }
        fs::rename(&self.path, path).map_err(|error| StorageError::at_path(path, &error))?;
        self.is_named = true;
        Ok(())
    }

    /// The same of a file that nobody has open.
    pub(crate) fn replace_closed(&mut self, path: &Path) -> Result<(), StorageError> {
        let _locked = lock(&self.file, &self.path)?;
        self.replace(path)
    }

    /// Gives it a name that nobody has, once all of it is on disk; then brings the names to disk.
    pub(crate) fn publish(&mut self, path: &Path, names: &Names) -> Result<(), StorageError> {
        let _locked = lock(&self.file, &self.path)?;
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        if !has_name(&self.file, &self.path) {
            return Err(taken(&self.path));
        }
        // A link refuses a name that somebody took meanwhile; a renaming would write over it.
        fs::hard_link(&self.path, path)
            .and_then(|()| fs::remove_file(&self.path))
            .or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                // Not every file system has links.
                _ if path.exists() => Err(error),
                _ => fs::rename(&self.path, path),
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => StorageError::Exists {
                    path: path.to_owned(),
                },
                _ => StorageError::at_path(path, &error),
            })?;
        self.is_named = true;
        names.sync().map_err(|error| StorageError::at_path(path, &error))
    }

    fn failed(&self, error: &io::Error) -> StorageError {
        StorageError::at_path(&self.path, error)
    }
}

impl Drop for Unfinished {
    /// Removes it if nothing came of it.
    fn drop(&mut self) {
        if !self.is_named
            && has_name(&self.file, &self.path)
            && let Err(error) = fs::remove_file(&self.path)
        {
            // It is replaced by the next try otherwise.
            tracing::debug!(%error, "an unfinished file could not be removed");
        }
    }
}

/// Locks a file; nobody removes it from then on.
fn lock(file: &File, path: &Path) -> Result<FileBackend, StorageError> {
    let file = file
        .try_clone()
        .map_err(|error| StorageError::at_path(path, &error))?;
    let backend = FileBackend::new(file).map_err(|error| StorageError::Io {
        cause: format!("{}: {error}", path.display()),
    })?;
    locked(backend.try_lock_range(Bound::Unbounded, Bound::Unbounded), path)?;
    Ok(backend)
}

fn taken(path: &Path) -> StorageError {
    StorageError::Locked {
        path: path.to_owned(),
    }
}

/// Removes what a crash left in a directory; what somebody is making is [`StorageError::Locked`].
pub(crate) fn remove_left_over(directory: &Path) -> Result<(), StorageError> {
    let path = directory.join(NAME);
    let failed = |error: io::Error| StorageError::at_path(&path, &error);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let _locked = lock(&file, &path)?;
    // Whoever made it may have given it its name just before it could be locked.
    if has_name(&file, &path) {
        fs::remove_file(&path).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_is_removed_and_what_somebody_makes_is_not() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), b"left over").unwrap();
        let mut mine = Unfinished::begin(directory.path()).unwrap();
        assert_eq!(mine.file().metadata().unwrap().len(), 0);
        let making = mine.open(1 << 20, &Arc::default()).unwrap();
        let second = Unfinished::begin(directory.path());
        assert!(matches!(second, Err(StorageError::Locked { .. })), "{second:?}");
        drop(making);
        // Somebody takes it for left over before it has its name, and makes another.
        let mut theirs = Unfinished::begin(directory.path()).unwrap();
        let path = directory.path().join("name");
        let names = Names::of(directory.path());
        for refused in [mine.publish(&path, &names), mine.replace_closed(&path)] {
            assert!(matches!(refused, Err(StorageError::Locked { .. })), "{refused:?}");
        }
        drop(mine);
        theirs.publish(&path, &names).unwrap();
        drop(theirs);
        assert!(path.exists());
        let exists = Unfinished::begin(directory.path())
            .unwrap()
            .publish(&path, &names);
        assert!(matches!(exists, Err(StorageError::Exists { .. })), "{exists:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
