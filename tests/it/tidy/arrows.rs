//! Which crate may use which: the picture of `docs/ARCHITECTURE.md`, as a table.
//!
//! Invariant: a crate without a row in the table is a violation, so that no new crate comes in unnoticed.

use serde_json::Value;

/// A crate, and the crates of the workspace that it may use (normal and build dependencies).
///
/// `a` before `b` where `b` may use `a`. Three things are on purpose: `actors` has no `netsync`, for actors have no
/// sockets; `sim` has none either, for a simulation has none; `backend` has `storage`, for only that names redb.
const ARROWS: [(&str, &[&str]); 12] = [
    ("landfall-core", &[]),
    ("landfall-wire", &["landfall-core"]),
    ("landfall-storage", &["landfall-core"]),
    ("landfall-netsync", &["landfall-core", "landfall-wire"]),
    (
        "landfall-backend",
        &["landfall-core", "landfall-wire", "landfall-storage"],
    ),
    (
        "landfall-actors",
        &["landfall-core", "landfall-wire", "landfall-storage"],
    ),
    ("landfall-codegen", &["landfall-core"]),
    ("landfall-macros", &["landfall-core", "landfall-codegen"]),
    (
        "landfall",
        &[
            "landfall-core",
            "landfall-wire",
            "landfall-storage",
            "landfall-netsync",
            "landfall-actors",
            "landfall-macros",
        ],
    ),
    (
        "landfall-sim",
        &[
            "landfall-core",
            "landfall-wire",
            "landfall-storage",
            "landfall-actors",
            "landfall-backend",
            "landfall",
        ],
    ),
    ("landfall-cli", EVERYTHING_BELOW_THE_CLI),
    ("landfall-tests", EVERYTHING_BELOW_THE_CLI),
];

const EVERYTHING_BELOW_THE_CLI: &[&str] = &[
    "landfall-core",
    "landfall-wire",
    "landfall-storage",
    "landfall-netsync",
    "landfall-backend",
    "landfall-actors",
    "landfall-codegen",
    "landfall-macros",
    "landfall",
    "landfall-sim",
];

/// The crates that may name redb: the store itself, what simulates its disk, and what measures its floor.
const MAY_NAME_REDB: [&str; 3] = ["landfall-storage", "landfall-sim", "landfall-cli"];

/// A crate of the workspace as its manifest describes it.
#[derive(Debug, PartialEq)]
pub(super) struct Package {
    name: String,
    /// Names of what it depends on, with the section each is in.
    dependencies: Vec<(String, Section)>,
}

/// The section of a manifest that names a dependency.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Section {
    /// `dependencies` or `build-dependencies`.
    Normal,
    /// `dev-dependencies`.
    Dev,
}

/// Reads what `cargo metadata --no-deps` says.
pub(super) fn packages(metadata: &str) -> Vec<Package> {
    let metadata: Value = serde_json::from_str(metadata).expect("cargo writes JSON");
    let text = |value: &Value| value.as_str().expect("cargo gives names").to_owned();
    let list = |value: &Value| value.as_array().expect("cargo gives lists").clone();
    let dependency = |value: &Value| {
        let section = if value["kind"] == "dev" {
            Section::Dev
        } else {
            Section::Normal
        };
        (text(&value["name"]), section)
    };
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            dependencies: list(&package["dependencies"]).iter().map(dependency).collect(),
        })
        .collect()
}

/// Violations of the table.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in packages {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
            violations.push(format!("{} has no row in ARROWS", package.name));
            continue;
        };
        for (used, section) in &package.dependencies {
            let internal = used == "landfall" || used.starts_with("landfall-");
            if internal && *section == Section::Normal && !allowed.contains(&used.as_str()) {
                violations.push(format!("{} must not use {used}", package.name));
            }
        }
    }
    violations
}

/// Crates that name redb, in whatever section, and must not.
pub(super) fn check_redb(packages: &[Package]) -> Vec<String> {
    let names_redb = |package: &&Package| package.dependencies.iter().any(|(name, _)| name == "redb");
    packages
        .iter()
        .filter(names_redb)
        .filter(|package| !MAY_NAME_REDB.contains(&package.name.as_str()))
        .map(|package| format!("{} must not name redb; only landfall-storage does", package.name))
        .collect()
}

fn sample(name: &str, dependencies: &[(&str, Section)]) -> Vec<Package> {
    let dependencies = dependencies
        .iter()
        .map(|(name, section)| ((*name).to_owned(), *section))
        .collect();
    vec![Package {
        name: name.to_owned(),
        dependencies,
    }]
}

#[test]
fn an_arrow_against_the_table_is_caught() {
    let caught = check(&sample("landfall-core", &[("landfall-wire", Section::Normal)]));
    assert_eq!(caught, ["landfall-core must not use landfall-wire"]);
    let caught = check(&sample(
        "landfall-actors",
        &[("landfall-netsync", Section::Normal)],
    ));
    assert_eq!(caught, ["landfall-actors must not use landfall-netsync"]);
    assert_eq!(
        check(&sample("landfall-core", &[("landfall-sim", Section::Dev)])),
        [""; 0]
    );
    assert_eq!(
        check(&sample("landfall-new", &[])),
        ["landfall-new has no row in ARROWS"]
    );
}

/// A table with a cycle would forbid nothing: every row may use earlier rows only.
#[test]
fn the_table_itself_points_one_way() {
    for (at, (name, allowed)) in ARROWS.iter().enumerate() {
        let earlier = &ARROWS[..at];
        for used in *allowed {
            assert!(
                earlier.iter().any(|(name, _)| name == used),
                "{name} is before {used}"
            );
        }
    }
}

#[test]
fn redb_outside_the_storage_is_caught() {
    for section in [Section::Normal, Section::Dev] {
        let caught = check_redb(&sample("landfall-backend", &[("redb", section)]));
        assert_eq!(
            caught,
            ["landfall-backend must not name redb; only landfall-storage does"]
        );
        assert_eq!(
            check_redb(&sample("landfall-storage", &[("redb", section)])),
            [""; 0]
        );
    }
}

#[test]
fn metadata_is_read() {
    let metadata = r#"{"packages": [{"name": "landfall-wire", "dependencies": [
        {"name": "landfall-core", "kind": null}, {"name": "url", "kind": "build"}, {"name": "insta", "kind": "dev"}]}]}"#;
    let read = [
        ("landfall-core", Section::Normal),
        ("url", Section::Normal),
        ("insta", Section::Dev),
    ];
    assert_eq!(packages(metadata), sample("landfall-wire", &read));
}
