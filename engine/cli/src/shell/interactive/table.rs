//! Answers as people read them: words in colour, records as tables.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use console::measure_text_width;
use owo_colors::OwoColorize as _;
use serde_json::Value as Json;

use super::screen::harmless;

/// Columns of a table; records have more fields than a screen has room for.
const COLUMNS_MAX: usize = 12;

/// Narrowest column that can be read, in characters, unless it holds less. A screen without room for that shows a row as lines.
const COLUMN_MIN: usize = 6;

/// Blanks around a column.
const PADDING: usize = 2;

/// An answer as text; `keys` are the columns that people type again, as identifiers.
pub(super) fn answer(answer: &Json, keys: &[&str]) -> String {
    match answer {
        Json::Bool(true) => "ok".green().to_string(),
        Json::Null => "nothing".dimmed().to_string(),
        Json::Array(rows) if rows.is_empty() => "none".dimmed().to_string(),
        Json::Array(rows) if rows.iter().all(Json::is_object) => table(rows, keys, screen_width()),
        Json::Object(_) => table(std::slice::from_ref(answer), keys, screen_width()),
        Json::String(text) => harmless(text).into_owned(),
        other => other.to_string(),
    }
}

/// How wide the screen is, if there is one.
fn screen_width() -> Option<u16> {
    console::Term::stdout().size_checked().map(|(_, width)| width)
}

/// Rows as a table as wide as the screen, without the columns that hold nothing. What is typed again stands in one line, whatever the
/// others have to give way; where nothing is left of them, each has a line of its own.
fn table(rows: &[Json], keys: &[&str], width: Option<u16>) -> String {
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
    let is_narrow = width.is_some_and(|width| width_of(rows, &columns, keys) > usize::from(width));
    let shown = if is_narrow {
        lines(rows, &columns)
    } else {
        side_by_side(rows, &columns, keys, width)
    };
    if left_out.is_empty() {
        return shown;
    }
    let note = format!("not shown: {}", left_out.join(", "));
    format!("{shown}\n{}", note.dimmed())
}

/// How wide a screen has to be for columns side by side.
fn width_of(rows: &[Json], columns: &[&str], keys: &[&str]) -> usize {
    let widths = columns.iter().map(|column| {
        let cells = rows.iter().map(|row| measure_text_width(&cell(&row[*column])));
        let widest = cells.fold(measure_text_width(column), usize::max);
        PADDING
            + if keys.contains(column) {
                widest
            } else {
                widest.min(COLUMN_MIN)
            }
    });
    widths.sum()
}

/// Rows one below the other, each with a line for each column.
fn lines(rows: &[Json], columns: &[&str]) -> String {
    let names = columns.iter().map(|column| measure_text_width(column));
    let pad = names.max().unwrap_or_default();
    let blocks = rows.iter().map(|row| {
        let lines = columns
            .iter()
            .map(|column| format!("{column:>pad$}  {}", cell(&row[*column])));
        lines.collect::<Vec<_>>().join("\n")
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

fn side_by_side(rows: &[Json], columns: &[&str], keys: &[&str], width: Option<u16>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if let Some(width) = width {
        table.set_width(width);
    }
    table.set_header(columns.iter().copied());
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(&row[*column])));
    }
    for (index, name) in columns.iter().enumerate() {
        if let (true, Some(column)) = (keys.contains(name), table.column_mut(index)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.to_string()
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
    fn what_is_typed_again_stands_in_one_line_on_a_narrow_screen() {
        let id = "0198c2b4-7e1f-7c3a-9d55-0a1b2c3d4e5f";
        let text = "a text that is longer than what is left for it beside the others";
        let rows = [json!({
            "title": text, "model": "Blog", "id": id, "op": "create", "stage": "parked", "attempts": 3, "reason": text
        })];
        for width in [40, 80, 120] {
            let shown = table(&rows, &["id"], Some(width));
            assert!(shown.lines().any(|line| line.contains(id)), "{width}:\n{shown}");
        }
        assert!(
            !table(&rows, &[], Some(80)).contains(id),
            "it would not fit by itself"
        );
    }

    #[test]
    fn a_tall_table_leaves_nothing_out() {
        let members = (0..3 * COLUMNS_MAX).map(|at| (format!("member{at}"), json!(at)));
        let object = Json::Object(members.collect());
        let text = tall(&object);
        assert_eq!(text.lines().count(), 3 * COLUMNS_MAX);
        assert!(text.contains(&format!("member{}", 3 * COLUMNS_MAX - 1)), "{text}");
        assert!(answer(&object, &[]).contains("not shown: "), "the wide one does");
    }
}
