//! What a file is that a command was given, so that one which reads another kind can say which command reads this.
//!
//! Owns [`Kind`], told by the first bytes. Nothing else of a file is looked at.

use std::io::Read as _;
use std::path::Path;

use landfall::StorageError;

/// Begins every recording; the bytes behind it show whether a copy took it for text.
const RECORDING: &[u8] = b"\x89LFREC";

/// Begins every exported log.
const LOG: &[u8] = b"\x89LFLOG";

/// The name of a store's file in its directory.
const STORE_FILE: &str = "landfall.store";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a flight recorder wrote.
    Recording,
    /// An exported log.
    Log,
    /// A store, or the directory of one.
    Store,
    /// None of these, as far as can be seen.
    Other,
}

impl Kind {
    /// Looks at a file. One that cannot be read is of no kind.
    pub(crate) fn of(path: &Path) -> Self {
        if path.join(STORE_FILE).is_file() || path.file_name().is_some_and(|name| name == STORE_FILE) {
            return Self::Store;
        }
        let mut first = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(8).read_to_end(&mut first));
        match read {
            Ok(_) if first.starts_with(RECORDING) => Self::Recording,
            Ok(_) if first.starts_with(LOG) => Self::Log,
            Ok(_) | Err(_) => Self::Other,
        }
    }

    /// Says what the file is, to whoever wanted to read it as something else, and which commands read it.
    pub(crate) fn read_otherwise(self, path: &Path) -> miette::Report {
        let path = path.display();
        match self {
            Self::Recording => miette::miette!(
                help = format!("`landfall replay {path}` plays it, `landfall inspect {path}` shows it"),
                "{path} is a recording of a run"
            ),
            Self::Log => miette::miette!(
                help = format!("`landfall log {path} list` reads it, `landfall inspect {path}` shows it"),
                "{path} is an exported log"
            ),
            Self::Store => miette::miette!(
                help =
                    format!("`landfall log {path} list` reads its log, `landfall inspect {path}` shows it"),
                "{path} is a store"
            ),
            Self::Other => miette::miette!(
                help = "name the directory of a store, its file, an exported log, or what a flight recorder wrote",
                "{path} is none of the files that Landfall writes"
            ),
        }
    }
}

/// Why a log cannot be looked at: where the file holds something else, what that is.
pub(crate) fn no_log(path: &Path, error: StorageError) -> Result<miette::Report, StorageError> {
    match (&error, Kind::of(path)) {
        (StorageError::Foreign { .. }, kind @ (Kind::Recording | Kind::Other)) => {
            Ok(kind.read_otherwise(path))
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_their_first_bytes() {
        let folder = tempfile::tempdir().expect("there is room");
        for (name, bytes, kind) in [
            ("run", &b"\x89LFREC\r\nSEGM"[..], Kind::Recording),
            ("log", b"\x89LFLOG\r\n", Kind::Log),
            (STORE_FILE, b"anything", Kind::Store),
            ("letter", b"Dear aunt", Kind::Other),
            ("empty", b"", Kind::Other),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("there is room");
            assert_eq!(Kind::of(&path), kind, "{name}");
        }
        assert_eq!(Kind::of(folder.path()), Kind::Store);
        assert_eq!(Kind::of(&folder.path().join("nothing")), Kind::Other);
    }
}
