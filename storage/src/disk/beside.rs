//! Reading a store's file beside the process that writes it, without a lock and without a write.
//!
//! Owns [`Beside`]: the root of the database, its tables, and the journal, each as they are in the file at the moment. The
//! database replaces nothing that its root on disk leads to before the next root is there. So what was read is one
//! commit, whole, exactly if the root is the same before and after; whoever reads has to compare.
//!
//! On systems whose file locks keep others from reading, this fails as a locked store does.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use super::layout::FileLayout;
use super::layout_of;
use super::{HEADER_BYTES, open_database};
use crate::error::StorageError;
use crate::overlay::Overlay;
use crate::panics::Held;

/// The beginning of the database, in which its roots are.
const ROOT_BYTES: usize = 512;

/// Page cache of one look at the database; it is thrown away with it.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A store's file that somebody else may be writing.
#[derive(Debug)]
pub(crate) struct Beside {
    path: PathBuf,
    layout: FileLayout,
}

/// The roots of the database as they were at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root(Vec<u8>);

impl Beside {
    /// Looks at what kind of file it is.
    pub(crate) fn open(path: &Path) -> Result<Self, StorageError> {
        let backend = backend(path)?;
        let layout = layout_of(&backend, path)?.ok_or_else(|| StorageError::NoStore {
            path: path.to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            layout,
        })
    }

    /// The roots as they are now.
    pub(crate) fn root(&self) -> Result<Root, StorageError> {
        let mut bytes = vec![0; ROOT_BYTES];
        backend(&self.path)?.read(self.layout.database_start(), &mut bytes)?;
        Ok(Root(bytes))
    }

    /// The journal as it is now; the last frame of it may be half written.
    pub(crate) fn journal(&self) -> Result<Vec<u8>, StorageError> {
        let length = usize::try_from(self.layout.journal_bytes).expect("a journal fits into memory");
        let mut bytes = vec![0; length];
        backend(&self.path)?.read(HEADER_BYTES, &mut bytes)?;
        Ok(bytes)
    }

    /// The database as its newest root on disk has it. What opening it has to repair is repaired in memory.
    pub(crate) fn database(&self) -> Result<Held<Database>, StorageError> {
        let overlay = Overlay::over(Box::new(backend(&self.path)?))?;
        let file: Arc<dyn StorageBackend> = Arc::new(overlay);
        let opened = open_database(file, &self.path, CACHE_BYTES, self.layout)?;
        Ok(opened.written_nowhere().database)
    }
}

fn backend(path: &Path) -> Result<FileBackend, StorageError> {
    let said = |error: io::Error| StorageError::at_path(path, &error);
    let file = File::open(path).map_err(said)?;
    FileBackend::new(file).map_err(|error| StorageError::Io {
        cause: format!("{}: {error}", path.display()),
    })
}
