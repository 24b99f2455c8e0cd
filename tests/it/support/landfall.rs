//! Where the `landfall` binary is.
//!
//! Owns building it, once for all tests, into the folder that the tests themselves were built into.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names a binary to test instead of the one that cargo builds.
const BINARY_VARIABLE: &str = "LANDFALL_BIN";

/// A command that runs the `landfall` binary.
pub(crate) fn landfall() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    Command::new(BINARY.get_or_init(|| env::var_os(BINARY_VARIABLE).map_or_else(build, PathBuf::from)))
}

/// The root of the repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of the repository")
}

/// The folder that cargo builds into.
pub(crate) fn target_dir() -> PathBuf {
    let profile_dir = profile_dir(&env::current_exe().expect("a test has an executable"));
    profile_dir
        .parent()
        .expect("the profile's folder is in the target folder")
        .to_owned()
}

/// Builds the binary: cargo knows whether it is missing or stale, and does nothing otherwise.
fn build() -> PathBuf {
    let profile_dir = profile_dir(&env::current_exe().expect("a test has an executable"));
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--quiet", "-p", "landfall-cli", "--bin", "landfall"])
        .current_dir(repository());
    command.arg("--target-dir").arg(target_dir());
    let profile = profile_dir
        .file_name()
        .and_then(|name| name.to_str())
        .expect("profiles have plain names");
    command.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("cargo does not start: {error}"));
    assert!(status.success(), "the binary does not build: {command:?}");
    profile_dir.join(format!("landfall{}", env::consts::EXE_SUFFIX))
}

/// The folder `target/PROFILE` of a test executable `target/PROFILE/deps/NAME`.
fn profile_dir(executable: &Path) -> PathBuf {
    executable
        .ancestors()
        .nth(2)
        .expect("test executables are in target/PROFILE/deps")
        .to_owned()
}

#[test]
fn the_profile_is_two_folders_above_the_test() {
    assert_eq!(
        profile_dir(Path::new("/r/target/debug/deps/it-0")),
        Path::new("/r/target/debug")
    );
}
