//! Several users of one directory, each with a store of its own.
//!
//! Owns the folders that namespaces lie in. A name becomes a folder's name by an encoding that keeps different names
//! apart on every file system, whatever letters they have and whether or not it tells upper case from lower case.

use std::path::{Path, PathBuf};

use landfall_storage::{FILE_NAME, StorageError};

use crate::error::Error;

/// Longest name of a namespace in bytes; encoded it must fit into the name of a folder.
pub const NAMESPACE_LEN_MAX: usize = 80;

/// Folder of all namespaces inside a store's directory.
const FOLDER: &str = "namespaces";

/// Names of the namespaces in a directory, in order; whoever opens one of them makes it.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let home = tempfile::tempdir()?;
/// for user in ["max", "ada"] {
///     let store = landfall::DataStore::builder(schema()).directory(home.path()).namespace(user).open().await?;
///     store.close().await;
/// }
/// assert_eq!(landfall::namespaces(home.path())?, ["ada", "max"]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Storage`] if the directory cannot be read. One that does not exist has no namespaces.
pub fn namespaces(directory: impl AsRef<Path>) -> Result<Vec<String>, Error> {
    let folder = directory.as_ref().join(FOLDER);
    let failed = |error: std::io::Error| StorageError::Io {
        cause: format!("{}: {error}", folder.display()),
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error).into()),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_str().and_then(decoded);
        names.extend(name.filter(|_| entry.path().join(FILE_NAME).is_file()));
    }
    names.sort();
    Ok(names)
}

/// Where the store of a namespace lies.
pub(crate) fn directory_of(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let bad = |reason| Error::BadNamespace {
        name: name.to_owned(),
        reason,
    };
    if name.is_empty() {
        return Err(bad("it is empty"));
    }
    if name.len() > NAMESPACE_LEN_MAX {
        return Err(bad("it is longer than 80 bytes"));
    }
    Ok(directory.join(FOLDER).join(encoded(name)))
}

/// Begins the folder of every namespace: some systems keep names such as `con` for themselves.
const PREFIX: &str = "of-";

/// Small letters, digits and `-` stand for themselves, every other byte is `_` and two hexadecimal digits.
fn encoded(name: &str) -> String {
    let mut out = PREFIX.to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}

fn decoded(folder: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.strip_prefix(PREFIX)?.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'_' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // What was not encoded here is not ours.
    (encoded(&name) == folder).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_folders_on_any_file_system() {
        let names = [
            "ada",
            "Ada",
            "a/../b",
            "..",
            "con.",
            "ä",
            "user@example.com",
            "a_",
            "a_5f",
            "-",
            "0",
        ];
        let folders: Vec<String> = names.iter().map(|name| encoded(name)).collect();
        for (name, folder) in names.iter().zip(&folders) {
            assert_eq!(decoded(folder).as_deref(), Some(*name));
            assert!(
                folder
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
            );
            assert_eq!(folders.iter().filter(|other| *other == folder).count(), 1);
        }
        for foreign in ["A", "a_5F", "a_61", "_", "_zz", "a.b"] {
            assert_eq!(decoded(foreign), None, "{foreign}");
            assert_eq!(decoded(&format!("{PREFIX}{foreign}")), None, "{foreign}");
        }
    }

    #[test]
    fn a_folder_name_is_never_too_long() {
        let longest = "\u{c4}".repeat(NAMESPACE_LEN_MAX / 2);
        let folder = directory_of(Path::new("d"), &longest).expect("fits");
        assert!(folder.file_name().expect("a name").len() <= 255);
        assert!(directory_of(Path::new("d"), &format!("{longest}x")).is_err());
        assert!(directory_of(Path::new("d"), "").is_err());
    }
}
