//! The secret of the development tokens of this machine.
//!
//! Owns its file: made at the first use, readable by its owner only, shared by `landfall serve --dev-tokens` and
//! `landfall serve token`. The secret itself is never printed.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use miette::{Context as _, IntoDiagnostic as _, miette};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Random bytes of a secret; twice as many hexadecimal digits are in the file.
const SECRET_BYTES: usize = 32;

/// Where the secret is.
#[derive(Debug, ClapArgs)]
pub(super) struct SecretArgs {
    /// File with the secret of the development tokens; made if it is not there. By default in the user's configuration.
    #[arg(long, value_name = "FILE", env = "LANDFALL_DEV_SECRET")]
    dev_secret: Option<PathBuf>,
}

impl SecretArgs {
    /// The secret, made at the first use.
    pub(super) fn read_or_make(&self) -> miette::Result<Vec<u8>> {
        let path = match &self.dev_secret {
            Some(path) => path.clone(),
            None => default_path(|name| std::env::var_os(name).map(PathBuf::from))?,
        };
        read_or_make(&path)
    }
}

fn default_path(variable: impl Fn(&str) -> Option<PathBuf>) -> miette::Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME")
        .or_else(|| set("APPDATA"))
        .or_else(|| Some(set("HOME")?.join(".config")))
        .ok_or_else(|| miette!("this user has no folder for settings; name a file with --dev-secret"))?;
    Ok(folder.join("landfall").join("dev-secret"))
}

fn read_or_make(path: &Path) -> miette::Result<Vec<u8>> {
    let failed = || {
        format!(
            "cannot use `{}`; name another file with --dev-secret",
            path.display()
        )
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .into_diagnostic()
            .wrap_err_with(failed)?;
    }
    match make(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).into_diagnostic().wrap_err_with(failed),
    }
    let text = std::fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(failed)?;
    let secret = text.trim().as_bytes().to_vec();
    if secret.len() < SECRET_BYTES {
        return Err(miette!(
            "the secret in `{}` is too short; remove the file and a new one is made",
            path.display()
        ));
    }
    Ok(secret)
}

/// Writes a new secret; fails if there is one. It is complete under its name or not there: another process may look.
fn make(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // A temporary file is for its owner only.
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    writeln!(file, "{text}")?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("secret");
        let first = read_or_make(&path).unwrap();
        assert_eq!(first.len(), 2 * SECRET_BYTES);
        assert_eq!(read_or_make(&path).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{mode:o}");
        }
        std::fs::write(&path, "short").unwrap();
        assert!(read_or_make(&path).is_err());
    }

    #[test]
    fn it_lies_in_the_users_settings() {
        let at = |given: &'static [(&'static str, &'static str)]| {
            let find = move |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, path)| PathBuf::from(path))
            };
            default_path(find).ok()
        };
        let home = Some(PathBuf::from("/home/a/.config/landfall/dev-secret"));
        assert_eq!(at(&[("HOME", "/home/a")]), home);
        assert_eq!(at(&[("HOME", "/home/a"), ("XDG_CONFIG_HOME", "relative")]), home);
        assert_eq!(
            at(&[("XDG_CONFIG_HOME", "/c")]),
            Some(PathBuf::from("/c/landfall/dev-secret"))
        );
        assert_eq!(at(&[]), None);
    }
}
