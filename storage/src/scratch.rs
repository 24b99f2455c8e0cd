//! A database to work things out in, which is thrown away.
//!
//! Owns [`Scratch`]. It lies in a file without a name beside the store, so that it takes as much memory as its cache whatever is put
//! into it, and is gone with the process, however that ends. A store that is in no file has it in memory, as it is itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, StorageBackend};

use crate::disk::Region;
use crate::error::StorageError;
use crate::panics::Held;

/// Memory for pages of the database, in bytes.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// A database that nobody needs once what it was for is worked out.
pub(crate) struct Scratch {
    database: Held<Database>,
    /// Where its file is; `None` in memory.
    place: Option<PathBuf>,
}

impl Scratch {
    /// An empty one beside a store's file; in the system's directory for such files where there can be none.
    pub(crate) fn beside(file: Option<&Path>) -> Result<Self, StorageError> {
        let Some(file) = file else {
            return Self::on(Arc::new(InMemoryBackend::new()), None);
        };
        let directory = match file.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let (file, place) = match tempfile::tempfile_in(directory) {
            Ok(file) => (file, directory.to_owned()),
            // A log may be looked at that lies where nothing can be written.
            Err(error) => {
                let place = std::env::temp_dir();
                let file = tempfile::tempfile_in(&place);
                (file.map_err(|_| StorageError::at_path(directory, &error))?, place)
            }
        };
        Self::on(backend(file, &place)?, Some(place))
    }

    pub(crate) fn on(backend: Arc<dyn StorageBackend>, place: Option<PathBuf>) -> Result<Self, StorageError> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(Region::new(backend, 0))
            .map_err(|error| match error {
                redb::DatabaseError::Storage(error) => StorageError::from(error),
                other => StorageError::Io {
                    cause: other.to_string(),
                },
            });
        let mut database = Held::new(database.map_err(|error| lacks_room(error, place.as_deref()))?);
        // Nobody needs what it would bring to disk in the end.
        database.forsake();
        Ok(Self { database, place })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Does something with it; where its file lacks room, the error says what for.
    pub(crate) fn within<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        work(&self.database).map_err(|error| lacks_room(error, self.place.as_deref()))
    }

    /// Whether it takes no more memory than its cache.
    #[cfg(test)]
    pub(crate) fn is_in_file(&self) -> bool {
        self.place.is_some()
    }
}

fn backend(file: File, place: &Path) -> Result<Arc<dyn StorageBackend>, StorageError> {
    match FileBackend::new(file) {
        Ok(backend) => Ok(Arc::new(backend)),
        Err(error) => Err(StorageError::Io {
            cause: format!("{}: {error}", place.display()),
        }),
    }
}

fn lacks_room(error: StorageError, place: Option<&Path>) -> StorageError {
    match error {
        StorageError::Full { .. } => StorageError::NoRoomToVerify {
            path: place.unwrap_or_else(|| Path::new("memory")).to_owned(),
        },
        other => other,
    }
}
