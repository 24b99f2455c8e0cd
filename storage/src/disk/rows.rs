//! Where the bytes of a store of rows live (`kv.rs`): a directory, memory, or a disk that is handed in.
//!
//! Owns [`RowsDisk`]. It differs from the disk of a log in the file's name, and in that a file which is a database alone, as
//! they were before rows had a journal, is taken as it is: it stays one, and every commit is one of the database.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;
use redb::backends::{FileBackend, InMemoryBackend};

use super::{
    Faults, FileLayout, Fresh, JOURNAL_BYTES, JOURNAL_BYTES_CUSTOM, Names, Opened, open_backend,
    open_backend_without_writing, open_file, translate,
};
use crate::error::StorageError;

/// Opens a disk that is handed in, anew each time.
pub(crate) type OpenRows = Box<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send + Sync>;

/// Where the bytes of rows live.
pub(crate) enum RowsDisk {
    /// In this file, which is made if missing, as is its directory.
    File(PathBuf),
    /// In memory.
    Memory,
    /// On a disk that was handed in, and that can be opened once.
    Handed(Mutex<Option<Box<dyn StorageBackend>>>),
    /// Wherever this function says.
    Opener(OpenRows),
}

impl RowsDisk {
    /// Opens the file, making it if there is none. What the disk does from here on is noted in `faults`.
    pub(crate) fn open(&self, cache_bytes: usize, faults: &Arc<Faults>) -> Result<Opened, StorageError> {
        let path = self.place();
        let names = match self {
            Self::File(path) => path.parent().map(Names::of),
            Self::Memory | Self::Handed(_) | Self::Opener(_) => None,
        };
        let layout = FileLayout {
            journal_bytes: match self {
                Self::File(_) => JOURNAL_BYTES,
                Self::Handed(_) | Self::Opener(_) => JOURNAL_BYTES_CUSTOM,
                Self::Memory => 0,
            },
        };
        let fresh = Fresh {
            layout,
            names: names.as_ref(),
            takes_plain: true,
            was_there: false,
        };
        open_backend(self.backend(path)?, path, cache_bytes, faults, fresh)
    }

    /// Opens a file that is there already, for readers alone: what has to be written to open it is kept in memory.
    pub(crate) fn open_without_writing(&self, cache_bytes: usize) -> Result<Opened, StorageError> {
        let path = self.place();
        open_backend_without_writing(self.backend(path)?, path, cache_bytes)
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Memory => Path::new("memory"),
            Self::Handed(_) | Self::Opener(_) => Path::new("the disk"),
        }
    }

    /// Whether the bytes outlive the database that was opened on them, and can be had again.
    pub(crate) fn can_reopen(&self) -> bool {
        matches!(self, Self::File(_) | Self::Opener(_))
    }

    fn backend(&self, path: &Path) -> Result<Box<dyn StorageBackend>, StorageError> {
        Ok(match self {
            Self::File(_) => {
                let file = open_file(path.parent().unwrap_or(Path::new("")), path)?.file;
                Box::new(FileBackend::new(file).map_err(|error| translate(error, path))?)
            }
            Self::Memory => Box::new(InMemoryBackend::new()),
            Self::Handed(disk) => {
                let disk = disk.lock().unwrap_or_else(PoisonError::into_inner).take();
                disk.ok_or_else(|| StorageError::Io {
                    cause: "it failed earlier and cannot be opened again from here".to_owned(),
                })?
            }
            Self::Opener(open) => open()?,
        })
    }
}
