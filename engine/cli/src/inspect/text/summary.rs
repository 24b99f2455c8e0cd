//! A store on a page of text: for pipes, files, and terminals that can do nothing else.
//!
//! Owns [`of`]. What is told is what the page has: nothing is read anew.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::clean::clean;
use super::view::View;

/// Newest entries that are listed; `landfall log PATH list` has all.
const ENTRIES_MAX: usize = 20;

/// The newest state in words.
pub(super) fn of(data: Json) -> String {
    let view = View::new(data);
    let mut out = String::new();
    let mut line = |text: &str| {
        // Writing into a string cannot fail.
        writeln!(out, "{}", clean(text)).unwrap_or(());
    };
    line(&view.title());
    view.notes().iter().for_each(|note| line(note));
    line("");
    line("newest entries:");
    let entries = view.entries();
    let from = entries.len().saturating_sub(ENTRIES_MAX);
    entries[from..]
        .iter()
        .for_each(|entry| line(&format!("  {}", View::entry_line(entry))));
    for (heading, lines) in [
        ("records:", view.records()),
        ("waiting for the server:", view.outbox()),
        ("sync:", view.sync()),
    ] {
        line("");
        line(heading);
        lines.iter().for_each(|one| line(&format!("  {one}")));
    }
    out
}
