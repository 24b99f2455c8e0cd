//! Answers as people read them: words in colour, records as tables.

use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize as _;
use serde_json::Value as Json;

use super::screen::harmless;

/// Columns of a table; records have more fields than a screen has room for.
const COLUMNS_MAX: usize = 12;

/// An answer as text.
pub(super) fn answer(answer: &Json) -> String {
    match answer {
        Json::Bool(true) => "ok".green().to_string(),
        Json::Null => "nothing".dimmed().to_string(),
        Json::Array(rows) if rows.is_empty() => "none".dimmed().to_string(),
        Json::Array(rows) if rows.iter().all(Json::is_object) => table(rows),
        Json::Object(_) => table(std::slice::from_ref(answer)),
        Json::String(text) => harmless(text).into_owned(),
        other => other.to_string(),
    }
}

/// Rows as a table as wide as the screen, without the columns that hold nothing.
fn table(rows: &[Json]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    let mut left_out: Vec<&str> = Vec::new();
    for row in rows {
        for name in row.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if columns.contains(&name.as_str()) || left_out.contains(&name.as_str()) {
                continue;
            }
            let is_empty = rows.iter().all(|row| row[name.as_str()].is_null());
            if is_empty || columns.len() == COLUMNS_MAX {
                left_out.push(name);
            } else {
                columns.push(name);
            }
        }
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if let Some((_, width)) = console::Term::stdout().size_checked() {
        table.set_width(width);
    }
    table.set_header(columns.iter().copied());
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(&row[*column])));
    }
    if left_out.is_empty() {
        return table.to_string();
    }
    let note = format!("not shown: {}", left_out.join(", "));
    format!("{table}\n{}", note.dimmed())
}

/// An object with a row for each of its members, all of them.
pub(super) fn tall(answer: &Json) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in answer.as_object().into_iter().flatten() {
        table.add_row([harmless(name).into_owned(), cell(value)]);
    }
    table.to_string()
}

fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => harmless(text).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tall_table_leaves_nothing_out() {
        let members = (0..3 * COLUMNS_MAX).map(|at| (format!("member{at}"), json!(at)));
        let object = Json::Object(members.collect());
        let text = tall(&object);
        assert_eq!(text.lines().count(), 3 * COLUMNS_MAX);
        assert!(text.contains(&format!("member{}", 3 * COLUMNS_MAX - 1)), "{text}");
        assert!(answer(&object).contains("not shown: "), "the wide one does");
    }
}
