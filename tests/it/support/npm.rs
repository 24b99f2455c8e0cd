//! Where the npm client's driver is, whether this machine can run it, and the schema that it is tested with.
//!
//! Owns finding Node.js and installing the packages, once for all tests. Does not talk to the client.
//!
//! Invariant: a machine that cannot run it skips, and says so where it is seen; with [`REQUIRE_VARIABLE`] it fails.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, io};

use super::landfall::{landfall, repository};

/// When set to `1`, tests that need Node.js fail without it instead of being skipped.
const REQUIRE_VARIABLE: &str = "LANDFALL_REQUIRE_NODE";

/// `AbortSignal.any` and `parseArgs`, which the driver uses, are there from 20 on.
const NODE_MAJOR_MIN: u32 = 20;

/// A copy of the lock file from the last complete installation: equal means that the packages are current.
const INSTALLED: &str = "node_modules/.installed-lock.json";

/// The folder of the driver with its packages installed; `None` if the calling test is to be skipped.
///
/// # Panics
/// If this machine cannot run the driver but must.
pub(crate) fn driver() -> Option<&'static Path> {
    static DRIVER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match DRIVER.get_or_init(prepare) {
        Ok(folder) => Some(folder),
        Err(reason) if env::var_os(REQUIRE_VARIABLE).is_some_and(|value| value == "1") => {
            panic!("{REQUIRE_VARIABLE}=1, but the npm client cannot run: {reason}")
        }
        Err(reason) => {
            // Not `eprintln!`, which the test harness keeps to itself when a test passes.
            let skipped = format!("\nSKIPPED, not passed: a test with the npm client: {reason}\n");
            io::stderr()
                .write_all(skipped.as_bytes())
                .expect("standard error is writable");
            None
        }
    }
}

/// The schema that both clients of a test share, as GraphQL.
pub(crate) fn schema() -> PathBuf {
    repository().join("tests/interop/schema.graphql")
}

/// Writes [`schema`] as the npm client reads it, and answers with the file.
///
/// # Panics
/// If the binary does not translate it.
pub(crate) fn write_introspection(folder: &Path) -> PathBuf {
    write_introspection_of(&schema(), folder)
}

/// Writes another schema as the npm client reads it, and answers with the file.
///
/// # Panics
/// If the binary does not translate it.
pub(crate) fn write_introspection_of(schema: &Path, folder: &Path) -> PathBuf {
    let mut command = landfall();
    let output = command
        .args(["modelgen", "--introspection"])
        .arg(schema)
        .output()
        .expect("the binary runs");
    assert!(
        output.status.success(),
        "modelgen fails: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = folder.join("introspection.json");
    fs::write(&path, output.stdout).expect("the temporary folder is writable");
    path
}

fn prepare() -> Result<PathBuf, String> {
    let version = run(Command::new("node").arg("--version"))?;
    if node_major(&version).is_none_or(|major| major < NODE_MAJOR_MIN) {
        return Err(format!(
            "node is {}, needed is {NODE_MAJOR_MIN} or later",
            version.trim()
        ));
    }
    let folder = repository().join("tests/interop");
    let lock =
        fs::read(folder.join("package-lock.json")).map_err(|error| format!("package-lock.json: {error}"))?;
    let installed = folder.join(INSTALLED);
    if fs::read(&installed).is_ok_and(|copy| copy == lock) {
        return Ok(folder);
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    run(Command::new(npm)
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(&folder))?;
    fs::write(&installed, lock).map_err(|error| format!("{}: {error}", installed.display()))?;
    Ok(folder)
}

/// Runs a command to its end and answers with what it wrote.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// The major version in `v20.1.2`.
fn node_major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[test]
fn the_major_version_is_read() {
    assert_eq!(node_major("v20.20.2\n"), Some(20));
    assert_eq!(node_major("nonsense"), None);
}
