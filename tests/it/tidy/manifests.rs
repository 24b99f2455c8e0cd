//! What a crate's manifest must say, beyond its dependencies.

use super::File;

/// Whether the crate takes the workspace's lints; without the two lines clippy checks nothing of ours.
pub(super) fn check_lints(file: &File) -> Vec<String> {
    let mut lines = file
        .text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[lints]")
        .skip(1);
    let takes = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .any(|line| line == "workspace = true");
    if takes {
        Vec::new()
    } else {
        vec![format!("{}: `[lints] workspace = true` is missing", file.path)]
    }
}

#[test]
fn a_crate_without_the_lints_is_caught() {
    let missing = ["a/Cargo.toml: `[lints] workspace = true` is missing"];
    for bad in [
        "[package]\nname = \"a\"\n",
        "[lints]\n\n[other]\nworkspace = true\n",
        "[lints.rust]\nworkspace = true",
    ] {
        assert_eq!(check_lints(&File::new("a/Cargo.toml", bad)), missing, "{bad}");
    }
    assert_eq!(
        check_lints(&File::new("a/Cargo.toml", "[lints]\nworkspace = true\n")),
        [""; 0]
    );
}
