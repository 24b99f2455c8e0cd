//! Public functions and types of the engine are shown by examples.
//!
//! Reads sources line by line: what stands above a public item is its documentation, and a code block in that is an example,
//! which the tests run. A function is shown by an example of its own, by one on the page of its type that calls it, or, if it
//! is documented "As" another of the same file, by the one of that. A type is shown by an example, or says where to see one.

use std::collections::BTreeSet;

use super::File;

/// Where the rule holds: in what apps call.
const FOLDER: &str = "engine/src/";

/// Functions without an example, and why they need none. One that has an example must not be here.
const UNSHOWN: [(&str, &str); 26] = [
    ("Aggregate::group_by", "the example of `Grouped` calls it"),
    (
        "DataStore::computed",
        "the example of `DataStoreBuilder::computed` calls it",
    ),
    ("DataStore::resume_pull", "the example of `pause_pull` calls it"),
    ("DataStore::resume_push", "the example of `pause_push` calls it"),
    (
        "DataStoreBuilder::also_authorized",
        "the example of `auth_strategy` calls it",
    ),
    ("DataStoreBuilder::disk", "for simulators, which are no apps"),
    (
        "DataStoreBuilder::multi_auth",
        "called as `auth_strategy` is, with nothing to say",
    ),
    ("DataStoreBuilder::open_in", "for simulators, which are no apps"),
    (
        "DataStoreBuilder::realtime_url",
        "called as `endpoint` is, with one address",
    ),
    (
        "DataStoreBuilder::record",
        "the example of `DataStore::recording` calls it",
    ),
    (
        "DataStoreBuilder::record_up_to",
        "called as `record` is, with one number more",
    ),
    ("DataStoreBuilder::region", "one word, which AWS gives"),
    ("DataStoreBuilder::transport", "for simulators, which are no apps"),
    ("Event::is_input", "the example of `Recording` calls it"),
    ("Event::is_turn", "called as `is_input` is"),
    ("Event::name", "the example of `Recording` calls it"),
    (
        "Observer::has_ended",
        "a plain question, which its one sentence answers",
    ),
    ("OutboxWatch::next", "the example of `OutboxView::watch` calls it"),
    (
        "QueryObserver::has_ended",
        "a plain question, which its one sentence answers",
    ),
    ("Records::computed", "the example of `computed_named` calls it"),
    (
        "Records::explain",
        "called as `DataStore::explain` is, which it names",
    ),
    ("Records::page", "called as `DataStore::page` is, which it names"),
    ("Recording::read", "called as `open` is"),
    ("frame_print", "hidden where it is made public"),
    ("new_id", "hidden where it is made public"),
    ("start_print", "hidden where it is made public"),
];

/// A public item with what is said of it.
struct Item {
    line: usize,
    is_function: bool,
    /// Such as `DataStore::save`; a type or a free function has one part.
    name: String,
    doc: Vec<String>,
}

impl Item {
    fn last(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or_default()
    }

    fn has_example(&self) -> bool {
        self.doc.iter().any(|line| line.starts_with("```"))
    }

    /// Whether an example of it calls the function of that name.
    fn calls(&self, function: &str) -> bool {
        let call = [
            format!(".{function}("),
            format!(".{function}::<"),
            format!("::{function}("),
        ];
        let mut in_example = false;
        self.doc.iter().any(|line| {
            in_example ^= line.starts_with("```");
            in_example && call.iter().any(|call| line.contains(call.as_str()))
        })
    }

    /// The function that it is documented as.
    fn same_as(&self) -> Option<&str> {
        let named = self.doc.first()?.strip_prefix("As [`")?.split('`').next()?;
        named.rsplit("::").next()
    }

    /// Whether it says where it is shown.
    fn refers(&self) -> bool {
        let names = |line: &String| line.contains("see [`") || line.contains("See [`");
        self.doc.iter().any(names)
    }
}

/// Public items that no example shows, and entries of the list that nobody needs.
pub(super) fn check(files: &[File], unshown: &[(&str, &str)]) -> Vec<String> {
    let (mut violations, mut missing) = (Vec::new(), BTreeSet::new());
    for file in files.iter().filter(|file| file.path.starts_with(FOLDER)) {
        let items = items(&file.text);
        for item in items.iter().filter(|item| !is_shown(item, &items)) {
            missing.insert(item.name.clone());
            if !unshown.iter().any(|(name, _)| *name == item.name) {
                let (path, line, name) = (&file.path, item.line, &item.name);
                violations.push(format!(
                    "{path}:{line}: `{name}` has no example, and no reason why not"
                ));
            }
        }
    }
    for (name, _) in unshown.iter().filter(|(name, _)| !missing.contains(*name)) {
        violations.push(format!("`{name}` is listed as without an example, and is not"));
    }
    violations
}

/// Checks the engine's sources against the list of exceptions.
pub(super) fn check_engine(files: &[File]) -> Vec<String> {
    check(files, &UNSHOWN)
}

fn is_shown(item: &Item, items: &[Item]) -> bool {
    if item.has_example() {
        return true;
    }
    if !item.is_function {
        return item.refers();
    }
    let owner = item.name.split("::").next().unwrap_or_default();
    let by_type = |other: &Item| !other.is_function && other.name == owner && other.calls(item.last());
    let by_other = |other: &Item| item.same_as() == Some(other.last()) && other.has_example();
    items.iter().any(|other| by_type(other) || by_other(other))
}

/// The public items of a file, but for hidden ones and tests.
fn items(text: &str) -> Vec<Item> {
    let (mut found, mut owner) = (Vec::new(), "");
    let (mut doc, mut is_hidden) = (Vec::new(), false);
    let product = text.lines().take_while(|line| !line.starts_with("mod tests {"));
    for (at, line) in product.enumerate() {
        let trimmed = line.trim();
        if let Some(said) = trimmed.strip_prefix("///") {
            doc.push(said.trim().to_owned());
            continue;
        }
        if trimmed.starts_with("#[") {
            is_hidden |= trimmed == "#[doc(hidden)]";
            continue;
        }
        if line.starts_with("impl") {
            owner = owner_of(line);
        }
        if let Some((is_function, name)) = public_item(trimmed).filter(|_| !is_hidden) {
            let is_method = line.starts_with(' ') && !owner.is_empty();
            let name = if is_method {
                format!("{owner}::{name}")
            } else {
                name.to_owned()
            };
            let doc = std::mem::take(&mut doc);
            found.push(Item {
                line: at + 1,
                is_function,
                name,
                doc,
            });
        }
        doc.clear();
        is_hidden = false;
    }
    found
}

/// The type of `impl<'a> Outer for path::Type<'a> {`.
fn owner_of(line: &str) -> &str {
    let (mut depth, mut before) = (0_usize, ' ');
    let end_of_parameters = line.find(|letter: char| {
        match letter {
            '<' => depth += 1,
            // An arrow closes nothing.
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = letter;
        depth == 0 && letter == ' '
    });
    let of = &line[end_of_parameters.unwrap_or(line.len())..];
    let of = of.split(" for ").last().unwrap_or_default().trim();
    let path = of.split(['<', ' ', '{']).next().unwrap_or_default();
    path.rsplit("::").next().unwrap_or_default()
}

/// Whether a line begins a public function, or otherwise a type, and its name.
fn public_item(line: &str) -> Option<(bool, &str)> {
    let rest = line.strip_prefix("pub ")?;
    let rest = rest.strip_prefix("const ").unwrap_or(rest);
    let rest = rest.strip_prefix("async ").unwrap_or(rest);
    let (kind, rest) = rest.split_once(' ')?;
    let name = rest
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .next()?;
    match kind {
        "fn" => Some((true, name)),
        "struct" | "enum" | "trait" => Some((false, name)),
        _ => None,
    }
}

#[test]
fn what_no_example_shows_is_found() {
    let text = "
/// A shelf.
///
/// ```
/// shelf.filled(3).read_out();
/// ```
#[derive(Debug)]
pub struct Shelf<'a> {
    pub count: usize,
}

/// A board; see [`Shelf`].
pub enum Board {}

/// A nail.
pub struct Nail;

impl<'a, F: Fn(&'a str) -> bool> Shelf<'a> {
    /// The type's page calls it.
    pub fn filled(self, by: usize) -> Self {
        self
    }

    /// Has its own.
    ///
    /// ```
    /// assert!(true);
    /// ```
    pub async fn moved<T>(&self) {}

    /// As [`moved`](Self::moved), for others.
    pub const fn moved_named(&self) {}

    /// As [`dropped`](Self::dropped), for others.
    pub fn dropped_named(&self) {}

    /// Not shown, though a longer name is: `read_out`.
    pub fn read(&self) {}

    /// For nobody.
    #[doc(hidden)]
    pub fn halt(&self) {}

    pub(crate) fn inner(&self) {}
}

impl std::fmt::Debug for Nail {
    pub fn dropped(&self) {}
}

/// Free.
pub fn free() {}
mod tests {
    pub fn not_looked_at() {}
}
";
    let files = [
        File::new("engine/src/a.rs", text),
        File::new("engine/core/src/a.rs", text),
    ];
    let listed = [("free", "a reason"), ("Shelf::filled", "no longer needed")];
    assert_eq!(
        check(&files, &listed),
        [
            "engine/src/a.rs:16: `Nail` has no example, and no reason why not",
            "engine/src/a.rs:35: `Shelf::dropped_named` has no example, and no reason why not",
            "engine/src/a.rs:38: `Shelf::read` has no example, and no reason why not",
            "engine/src/a.rs:48: `Nail::dropped` has no example, and no reason why not",
            "`Shelf::filled` is listed as without an example, and is not",
        ]
    );
}
