//! Names of files and directories, and how they get to disk.
//!
//! Owns [`Names`] and [`sync_name`]. When a name has to be on disk is for those to say who give it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The names of a new file and of the directories that were made for it: syncing a file does not sync its name.
#[derive(Debug)]
pub(crate) struct Names {
    directory: PathBuf,
    /// How many directories are still to be made, the file's own and those right above it.
    missing: usize,
}

impl Names {
    /// Looked at before the directory is made.
    pub(crate) fn of(directory: &Path) -> Self {
        let missing = directory
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists());
        Self {
            directory: directory.to_owned(),
            missing: missing.count(),
        }
    }

    /// The directories that a name was put into: that of the file, and that of each directory that was made. The file's own may have
    /// been made by somebody who was killed before its name was on disk.
    fn changed(&self) -> impl Iterator<Item = &Path> {
        let count = self.missing.max(1) + 1;
        self.directory.ancestors().take(count).map(named)
    }

    /// Brings them to disk, as far as the file system lets anybody do so.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.changed().try_for_each(sync_names_in)
    }
}

/// Whether the system says that directories cannot be synced there: some file systems know no such thing, and who may not
/// read a directory cannot open it. What else it says is a fault of the disk.
fn cannot_be_synced(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::fail_if_told()?;
    File::open(directory)?.sync_all()
}

/// Elsewhere names are on disk as soon as they are given, or directories cannot be opened to sync them.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Brings the name of a file to disk, in a directory that was there before.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    sync_names_in(named(path.parent().unwrap_or(Path::new(""))))
}

/// Whether an open file is the one of that name; where the system does not tell, it is taken to be.
#[cfg(unix)]
pub(crate) fn has_name(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: &std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => identity(&open) == identity(&named),
        (Ok(_) | Err(_), Err(_)) => false,
        (Err(_), Ok(_)) => true,
    }
}

#[cfg(not(unix))]
pub(crate) fn has_name(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A directory as the system takes it.
fn named(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    }
}

fn sync_names_in(directory: &Path) -> io::Result<()> {
    match sync_directory(directory) {
        Err(error) if cannot_be_synced(&error) => {
            tracing::debug!(%error, directory = %directory.display(), "names in it cannot be synced");
            Ok(())
        }
        synced => synced,
    }
}

/// From here on this thread syncs so many directories more; those after them fail, until it is told again.
#[cfg(test)]
pub(crate) use tests::fail_after;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    }

    pub(crate) fn fail_after(syncs: u32) {
        LEFT.set(syncs);
    }

    pub(super) fn fail_if_told() -> io::Result<()> {
        match LEFT.get() {
            0 => Err(io::Error::other("the directory cannot be synced")),
            u32::MAX => Ok(()),
            left => {
                LEFT.set(left - 1);
                Ok(())
            }
        }
    }

    #[test]
    fn only_directories_that_got_a_name_are_synced() {
        let home = tempfile::tempdir().unwrap();
        let changed = |directory: &Path| -> Vec<PathBuf> {
            Names::of(directory).changed().map(Path::to_owned).collect()
        };
        let deep = home.path().join("a").join("b");
        assert_eq!(
            changed(&deep),
            [deep.as_path(), &home.path().join("a"), home.path()],
            "the file's own, the one that was made above it, and the one that this was made in"
        );
        assert_eq!(
            changed(home.path()),
            [home.path(), home.path().parent().unwrap()],
            "it may have been made just now, by somebody else"
        );
        assert_eq!(
            changed(Path::new("not-there")),
            [Path::new("not-there"), Path::new(".")]
        );
    }

    #[test]
    fn a_file_system_that_syncs_no_directories_holds_stores_nevertheless() {
        for kind in [
            io::ErrorKind::InvalidInput,
            io::ErrorKind::Unsupported,
            io::ErrorKind::PermissionDenied,
        ] {
            assert!(cannot_be_synced(&kind.into()), "{kind}");
        }
        assert!(!cannot_be_synced(&io::Error::other("the disk fails")));
        assert!(!cannot_be_synced(&io::ErrorKind::StorageFull.into()));
        #[cfg(target_os = "linux")]
        for number in [22, 95] {
            // `EINVAL` and `EOPNOTSUPP`.
            assert!(
                cannot_be_synced(&io::Error::from_raw_os_error(number)),
                "{number}"
            );
        }
    }
}
