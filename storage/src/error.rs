//! What can go wrong with a store, split by what the caller can do.
//!
//! Owns [`StorageError`] and the translation of the database's own errors.

use std::path::{Path, PathBuf};

use landfall_core::Seq;

use crate::disk::FILE_NAME;

/// A fault of a store's files or of the machine under them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk is full, or the file may not grow any more. Nothing was lost; free some space, the store goes on by itself.
    #[error("{}", full(path.as_deref()))]
    Full {
        /// The store's file, where the store is in one.
        path: Option<PathBuf>,
    },
    /// A second copy of the records is made to verify a store, and there is no room for it. The store itself goes on.
    #[error(
        "there is no room in {path} to verify the store, which takes as much as its records for as long as that lasts; free \
         some space and try again, nothing was changed",
        path = path.display()
    )]
    NoRoomToVerify {
        /// The directory in which there is no room.
        path: PathBuf,
    },
    /// Another process, or another store in this one, has the directory open.
    #[error("{path} is in use by another process; close it there, or use another directory", path = path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The file is not a Landfall store.
    #[error("{path} is not a Landfall store; choose another directory, nothing was changed", path = path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// The store was written by a newer version.
    #[error(
        "the store has format {found}, this version reads up to {known}; update Landfall, nothing was changed"
    )]
    TooNew {
        /// Format of the file.
        found: u32,
        /// Newest format that this version reads.
        known: u32,
    },
    /// The schema changed in a way that would lose data.
    #[error("the schema changed in a way that would lose data: {}; nothing was changed", reasons.join("; "))]
    SchemaIncompatible {
        /// What cannot be kept, and why.
        reasons: Vec<String>,
    },
    /// There is a store where a new one is to be put.
    #[error("{path} is there already; choose a directory without a store, nothing was changed", path = path.display())]
    Exists {
        /// The store's file.
        path: PathBuf,
    },
    /// A step of a migration does not fit the data.
    #[error("{0}; nothing was changed")]
    MigrationMisfit(#[from] landfall_core::MigrationMisfit),
    /// Values cannot be carried over to the new schema.
    #[error("the data cannot be migrated: {}; nothing was changed", faults.join("; "))]
    MigrationFailed {
        /// What cannot be carried over, and why; the first few.
        faults: Vec<String>,
    },
    /// The contents contradict themselves. [`Store::remake`](crate::Store::remake) and [`remake`](crate::remake) make
    /// everything but the log again.
    #[error("{}", damaged(path.as_deref(), what))]
    Corrupt {
        /// The store's file, where the store is in one.
        path: Option<PathBuf>,
        /// What was found.
        what: String,
    },
    /// The log itself is damaged, so that the store cannot be made again from all of it. Nothing was changed.
    #[error("{}", damaged_log(path.as_deref(), what, *sound))]
    LogDamaged {
        /// The store's file, where the store is in one.
        path: Option<PathBuf>,
        /// What was found.
        what: String,
        /// The first and the last of the entries before the damage, which are whole; `None` if there are none.
        sound: Option<(Seq, Seq)>,
    },
    /// The store was closed; what was opened on it before can no longer be read.
    #[error("the store is closed; open it again to read it")]
    Closed,
    /// The write may or may not be on disk; the store could not be reopened to find out.
    #[error("the outcome of the write is unknown until the disk answers again: {cause}")]
    OutcomeUnknown {
        /// The first fault.
        cause: String,
    },
    /// Everything was cleared, and nobody who asks the store is shown any of it, but its bytes could not be taken out of the files.
    #[error(
        "everything was cleared, but its bytes may still be in the store's file: {cause}; make room or close what uses the file, \
         and clear again or open the store again"
    )]
    Unscrubbed {
        /// Why not.
        cause: String,
    },
    /// The files could not be read or written. Of a write nothing is on disk. Where a call gives a file its name, as backups,
    /// [`Store::remake`](crate::Store::remake) and [`Store::scrub`](crate::Store::scrub) do, the file may have it already.
    #[error("the disk failed: {cause}")]
    Io {
        /// What the system said.
        cause: String,
    },
    /// The model is not in the schema.
    #[error("there is no model `{model}`; the schema has {known}")]
    UnknownModel {
        /// The name.
        model: String,
        /// The models that there are.
        known: String,
    },
    /// The change names a mutation that no longer waits. The transaction it was meant for can go on without it.
    #[error("{0}; read the record again and decide anew")]
    Misfit(landfall_core::FoldError),
    /// The query does not fit its model.
    #[error(transparent)]
    BadQuery(#[from] landfall_core::PredicateError),
    /// A cursor cannot be gone on from.
    #[error("the cursor cannot be used: {reason}")]
    BadCursor {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An aggregate has more groups than are held in memory.
    #[error("there are more than {max} groups; group by a field with fewer values, or narrow the predicate")]
    TooManyGroups {
        /// The bound.
        max: usize,
    },
    /// There is nothing to look at.
    #[error("there is no store at {path}; name its directory, its file, or an exported log", path = path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another process writes the store faster than it can be read beside it.
    #[error(
        "the store is being written faster than it can be read; try again, or have that process export its log"
    )]
    Busy,
    /// The file is no exported log that can be read.
    #[error("the log file cannot be read: {what}")]
    BadLogFile {
        /// What is wrong, and what to do.
        what: String,
    },
    /// Entries of a log that is looked at are missing or cannot be read, so that what the store held after them cannot be
    /// told. What came before can.
    #[error("{}", broken_log(what, *sound))]
    LogBroken {
        /// What is missing, or what is wrong with the first entry that cannot be read.
        what: String,
        /// The newest entry before the damage, which is whole like all before it; `None` if the log begins damaged.
        sound: Option<Seq>,
    },
    /// A newer version wrote an entry in a form that this one does not know, so that what the store held after it cannot be
    /// told. Nothing is damaged.
    #[error("{}", newer_entry(*seq, *sound))]
    EntryTooNew {
        /// The entry.
        seq: Seq,
        /// The newest entry before it whose state can be told, if that is known.
        sound: Option<Seq>,
    },
    /// The log has not got so far.
    #[error("there is no entry {seq}; the newest is {end}")]
    NoEntry {
        /// The entry asked for.
        seq: Seq,
        /// The newest entry.
        end: Seq,
    },
    /// The log was trimmed past the entry.
    #[error("entry {seq} is no longer in the log, which starts at {start}")]
    Trimmed {
        /// The entry asked for.
        seq: Seq,
        /// The first entry that is left.
        start: Seq,
    },
    /// The log was trimmed, and what is read is its entries alone, without what they go on from: a file that an older version
    /// exported or that is damaged, or a store that an app has open.
    #[error("{}", no_base(*start, *is_exported))]
    NoBase {
        /// The first entry that is there.
        start: Seq,
        /// Whether it is a file without a store, and not the store of an app.
        is_exported: bool,
    },
}

impl StorageError {
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: None,
            what: what.into(),
        }
    }

    /// The disk is full, wherever that is: whoever hands it out says which file could not grow.
    pub(crate) const fn full() -> Self {
        Self::Full { path: None }
    }

    /// Says which file is damaged, unless that is said already.
    #[must_use]
    pub(crate) fn in_file(self, file: Option<&Path>) -> Self {
        match (self, file) {
            (Self::Corrupt { path: None, what }, Some(file)) => Self::Corrupt {
                path: Some(file.to_owned()),
                what,
            },
            (error, _) => error,
        }
    }

    /// The same where that file was written to: it is the one that cannot grow if the disk is full.
    #[must_use]
    pub(crate) fn in_written(self, file: Option<&Path>) -> Self {
        match file {
            Some(path) => self.no_room_in(path).in_file(file),
            None => self,
        }
    }

    /// Says which file cannot grow if the disk is full, unless that is said already.
    #[must_use]
    pub(crate) fn no_room_in(self, file: &Path) -> Self {
        match self {
            Self::Full { path: None } => Self::Full {
                path: Some(file.to_owned()),
            },
            error => error,
        }
    }

    /// What is wrong, for a sentence that goes on: without the file and without advice.
    pub(crate) fn gist(&self) -> String {
        match self {
            Self::Corrupt { what, .. } | Self::LogBroken { what, .. } => what.clone(),
            other => other.to_string(),
        }
    }

    /// A fault that says nothing of the file it happened to.
    pub(crate) fn at_path(path: &Path, error: &std::io::Error) -> Self {
        match Self::io(error) {
            Self::Io { cause } => Self::Io {
                cause: format!("{}: {cause}", path.display()),
            },
            Self::Full { .. } => Self::Full {
                path: Some(path.to_owned()),
            },
            other => other,
        }
    }

    /// The same where the fault may lie in the choice of the place.
    pub(crate) fn at_place(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let advice = match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "name a directory, or one that can be made"
            }
            ErrorKind::NotFound => "name a directory that is there or can be made",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "name a directory that may be written to, or give this user the right to"
            }
            _ => return Self::at_path(path, error),
        };
        Self::Io {
            cause: format!("{}: {error}; {advice}", path.display()),
        }
    }

    fn io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::full(),
            ErrorKind::UnexpectedEof => Self::corrupt("the file ends before its contents do"),
            _ => Self::Io {
                cause: error.to_string(),
            },
        }
    }
}

/// The directory of a store's file, which is what commands are given.
fn directory_of(path: &Path) -> std::path::Display<'_> {
    match (path.file_name(), path.parent()) {
        (Some(name), Some(directory)) if name == FILE_NAME && !directory.as_os_str().is_empty() => {
            directory.display()
        }
        _ => path.display(),
    }
}

fn full(path: Option<&Path>) -> String {
    match path {
        Some(path) => format!(
            "the disk is full, so {} cannot grow; free some space and try again",
            directory_of(path)
        ),
        None => "the disk is full; free some space and try again".to_owned(),
    }
}

fn damaged(path: Option<&Path>, what: &str) -> String {
    match path {
        Some(path) => format!(
            "{} is damaged: {what}; close it and run `landfall data rebuild {}`, which makes it again from its log, or \
             restore a backup",
            path.display(),
            directory_of(path)
        ),
        None => format!(
            "the store is damaged: {what}; close it and run `landfall data rebuild` on its directory, which makes it again \
             from its log, or restore a backup"
        ),
    }
}

fn damaged_log(path: Option<&Path>, what: &str, sound: Option<(Seq, Seq)>) -> String {
    let (subject, directory) = match path {
        Some(path) => (
            format!("the log of {}", path.display()),
            directory_of(path).to_string(),
        ),
        None => ("the log".to_owned(), "DIRECTORY".to_owned()),
    };
    let advice = match sound {
        Some((first, last)) => format!(
            "entries {first} to {last} are whole; restore a backup, or give up what came after them with \
             `landfall data rebuild {directory} --up-to-damage`"
        ),
        None => "no entry before the damage is left to make it from; restore a backup".to_owned(),
    };
    format!("{subject} is damaged: {what}; nothing was changed; {advice}")
}

fn broken_log(what: &str, sound: Option<Seq>) -> String {
    match sound {
        Some(sound) => format!(
            "the log is damaged: {what}; what the store held is known up to {sound}: ask about {sound} or an earlier entry, or \
             get a whole copy of the log"
        ),
        None => {
            format!("the log is damaged: {what}; nothing of it can be replayed; get a whole copy of the log")
        }
    }
}

fn no_base(start: Seq, is_exported: bool) -> String {
    if is_exported {
        format!(
            "the log was trimmed, and what is there of it are its entries from {start} on, which `list`, `show`, `stats` and `verify` \
             read, but not the records that they go on from; for values and reasons ask the store that the log is of, or a backup \
             of it"
        )
    } else {
        format!(
            "the log was trimmed: its entries from {start} on can be read while an app has the store open, but not the records that \
             they change; close the app and ask the store itself"
        )
    }
}

fn newer_entry(seq: Seq, sound: Option<Seq>) -> String {
    let told = format!(
        "entry {seq} was written by a newer version of Landfall, in a form that this one does not know; update Landfall, nothing \
         was changed"
    );
    match sound {
        Some(sound) => format!("{told}; with this version ask about {sound} or an earlier entry"),
        None => told,
    }
}

impl From<redb::StorageError> for StorageError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(error) => Self::io(&error),
            redb::StorageError::Corrupted(what) => Self::corrupt(what),
            redb::StorageError::PreviousIo | redb::StorageError::DatabaseClosed => Self::Io {
                cause: "the store was closed, or has to be opened again after a fault; take a new snapshot, or write again"
                    .to_owned(),
            },
            other => Self::Io {
                cause: other.to_string(),
            },
        }
    }
}

impl From<redb::TableError> for StorageError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::corrupt(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for StorageError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::Io {
                cause: other.to_string(),
            },
        }
    }
}

impl From<redb::CommitError> for StorageError {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(error) => error.into(),
            other => Self::Io {
                cause: other.to_string(),
            },
        }
    }
}

impl From<redb::SetDurabilityError> for StorageError {
    fn from(error: redb::SetDurabilityError) -> Self {
        Self::Io {
            cause: error.to_string(),
        }
    }
}

impl From<std::io::Error> for StorageError {
    fn from(error: std::io::Error) -> Self {
        Self::io(&error)
    }
}

impl From<landfall_core::FoldError> for StorageError {
    fn from(error: landfall_core::FoldError) -> Self {
        Self::corrupt(error.to_string())
    }
}

impl From<rmp_serde::decode::Error> for StorageError {
    fn from(error: rmp_serde::decode::Error) -> Self {
        Self::corrupt(format!("unreadable MessagePack: {error}"))
    }
}

impl From<landfall_core::keycode::BadKey> for StorageError {
    fn from(error: landfall_core::keycode::BadKey) -> Self {
        Self::corrupt(error.to_string())
    }
}
