//! Links between documents: each leads to a file that is there.
//!
//! Does not look at addresses on the web, nor at what is code.

use super::File;

/// Targets of links that lead nowhere; `exists` answers for paths from the root of the repository.
pub(super) fn check(file: &File, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut violations = Vec::new();
    for (line, text) in prose(&file.text) {
        for target in targets(&text) {
            let target = target.split_once('#').map_or(target, |(path, _)| path);
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let leads_somewhere = resolve(&file.path, target).is_some_and(|path| exists(&path));
            if !leads_somewhere {
                violations.push(format!("{}:{line}: `{target}` is not there", file.path));
            }
        }
    }
    violations
}

/// Lines outside code blocks, numbered from 1, without the code inside them.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut in_block = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            // Every second part lies between two backticks.
            let outside: Vec<&str> = line.split('`').step_by(2).collect();
            lines.push((at + 1, outside.join("``")));
        }
    }
    lines
}

/// Targets of `[text](target)` and of `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        found.extend(target.split_whitespace().next());
    }
    for (at, mark) in line.match_indices("](") {
        let rest = &line[at + mark.len()..];
        // A title may follow the target, and angle brackets may be around it.
        let target = rest.split([')', ' ']).next().unwrap_or_default();
        found.push(target.trim_matches(['<', '>']));
    }
    found
}

/// The path from the root that `target` means in a file at `path`; `None` if it leaves the repository.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut folders: Vec<&str> = path.split('/').collect();
    folders.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(folders.pop()?),
            name => folders.push(name),
        }
    }
    Some(folders.join("/"))
}

#[test]
fn a_link_to_nowhere_is_caught() {
    let there = |path: &str| path == "docs/A.md" || path == "README.md";
    let caught = |text: &str| check(&File::new("docs/B.md", text), there);
    assert_eq!(
        caught("one\nsee [it](C.md)"),
        ["docs/B.md:2: `C.md` is not there"]
    );
    assert_eq!(caught("[it](../docs/C.md#part \"title\")").len(), 1);
    assert_eq!(caught("[it](../../README.md)").len(), 1, "outside the repository");
    assert_eq!(caught("[it]: C.md").len(), 1);
    assert_eq!(caught("![picture](C.svg) and [good](A.md)").len(), 1);
}

#[test]
fn links_that_lead_somewhere_and_code_are_not_caught() {
    let there = |path: &str| path == "docs/A.md" || path == "README.md";
    let text = "[a](A.md#part), [b](<../README.md>), [c](#here), [d](https://example.com/x), [e](mailto:a@b)\n\
        `rows[i](x)`\n```\n[code](nowhere)\n```\n[f]: ./A.md\n";
    assert_eq!(check(&File::new("docs/B.md", text), there), [""; 0]);
}
