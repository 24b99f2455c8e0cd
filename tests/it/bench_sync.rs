//! `landfall bench sync` with few rows: that it runs to its end and finds every row, not how fast it is.

use serde_json::Value;

use crate::support::landfall::{landfall, repository};
use crate::support::npm;

#[test]
fn sync_is_measured_beside_its_floors_and_beside_the_npm_client_if_it_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let has_npm = npm::driver().is_some();
    let mut command = landfall();
    command
        .current_dir(repository())
        .args(["bench", "sync", "--quick", "--json", "--directory"])
        .arg(folder.path());
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    let figures = figures["figures"].as_array().or(figures.as_array());
    let names: Vec<&str> = figures
        .expect("a list of figures")
        .iter()
        .map(|figure| {
            assert!(figure["value"].as_f64() > Some(0.0), "{figure}");
            assert!(figure["floor"].as_f64() > Some(0.0), "{figure}");
            figure["name"].as_str().expect("a figure has a name")
        })
        .collect();
    let mut expected = vec![
        "base sync",
        "drain of offline creates at 50 ms",
        "commit to observer, p99",
    ];
    if has_npm {
        expected.extend([
            "drain at 50 ms beside the npm client",
            "base sync, a fifth of the rows, beside the npm client",
            "base sync, all rows, beside the npm client",
        ]);
    } else {
        assert!(said.contains("not measured: the npm client"), "{said}");
    }
    assert_eq!(names, expected, "{said}");
}
