//! `landfall bench` with few rows: that it runs to its end and finds every row, not how fast it is.

use serde_json::Value;

use crate::support::landfall::{landfall, repository};
use crate::support::npm;

/// The names of the figures of a subject, each with a value and a floor, and what was said beside them.
fn figures_of(subject: &str) -> (Vec<String>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut command = landfall();
    command
        .current_dir(repository())
        .args(["bench", subject, "--quick", "--json", "--directory"])
        .arg(folder.path());
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let figures = figures["figures"].as_array().expect("a list of figures");
    let names = figures.iter().map(|figure| {
        assert!(figure["value"].as_f64() > Some(0.0), "{figure}");
        assert!(figure["floor"].as_f64() > Some(0.0), "{figure}");
        figure["name"].as_str().expect("a figure has a name").to_owned()
    });
    (names.collect(), said)
}

/// These names, and those beside the npm client if it is there; if it is not, that has to be said.
fn expect(subject: &str, alone: &[String], beside_npm: &[&str]) {
    let has_npm = npm::driver().is_some();
    let (names, said) = figures_of(subject);
    let mut expected = alone.to_vec();
    if has_npm {
        expected.extend(beside_npm.iter().map(|name| (*name).to_owned()));
    } else {
        assert!(said.contains("not measured: the npm client"), "{said}");
    }
    assert_eq!(names, expected, "{said}");
}

#[test]
fn sync_is_measured_beside_its_floors_and_beside_the_npm_client_if_it_is_there() {
    let alone = [
        "base sync",
        "drain of offline creates at 50 ms",
        "commit to observer, p99",
        "base sync, recorded",
        "drain at 50 ms, recorded",
    ];
    expect(
        "sync",
        &alone.map(str::to_owned),
        &[
            "drain at 50 ms beside the npm client",
            "base sync, a fifth of the rows, beside the npm client",
            "base sync, all rows, beside the npm client",
        ],
    );
}

#[test]
fn the_local_store_is_measured_beside_sqlite_and_beside_the_npm_client_if_it_is_there() {
    let beside_sqlite = [
        "get by id",
        "predicate scan",
        "indexed predicate",
        "sort + limit 10",
        "durable saves, 64 concurrent savers",
    ];
    let alone: Vec<String> = beside_sqlite
        .iter()
        .flat_map(|name| [200, 1_000, 5_000].map(|rows| format!("{name}, {rows} records")))
        .collect();
    expect(
        "local",
        &alone,
        &[
            "saves, 64 at once, beside the npm client",
            "get by id, beside the npm client",
            "predicate scan, beside the npm client",
            "sort + limit 10, beside the npm client",
        ],
    );
}
