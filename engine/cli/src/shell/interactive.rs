//! The shell for people: a prompt with history, help and tables.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use owo_colors::OwoColorize;
use rustyline::error::ReadlineError;
use serde_json::Value as Json;

use super::session::{Reply, Session};
use super::words;

/// Columns of a table; records have more fields than a screen has room for.
const COLUMNS_MAX: usize = 12;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 1_000;

/// Runs until `exit`, or the end of input.
pub(crate) async fn run(mut session: Session) -> std::io::Result<()> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY_MAX)
        .map_err(other)?
        .auto_add_history(true)
        .build();
    let mut editor = rustyline::DefaultEditor::with_config(config).map_err(other)?;
    let history = history_file();
    if let Some(history) = &history {
        // There is none the first time.
        editor.load_history(history).unwrap_or(());
    }
    if std::io::stdin().is_terminal() {
        let models: Vec<&str> = session
            .store()
            .schema()
            .models()
            .map(|def| def.name.as_str())
            .collect();
        println!(
            "Models: {}. Type `help` for what can be typed, `exit` to leave.",
            models.join(", ")
        );
    }
    loop {
        // Reading a line blocks, so it has a thread of its own while the store goes on.
        let read = tokio::task::spawn_blocking(move || {
            let line = editor.readline("landfall> ");
            (editor, line)
        });
        let (back, line) = read.await.map_err(other)?;
        editor = back;
        match line {
            Ok(line) if line.trim() == "help" => println!("{}", words::HELP),
            Ok(line) if line.trim() == "clear" => {
                // Elsewhere the word clears the screen, so it is asked for twice.
                complain(
                    "this removes all local data, and changes that wait for the server; type `clear yes`",
                );
            }
            Ok(line) if line.trim() == "clear yes" => {
                carry_out(&mut session, "clear").await;
            }
            Ok(line) => {
                if !carry_out(&mut session, &line).await {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(other(error)),
        }
    }
    if let Some(history) = &history {
        // A history that cannot be kept is no reason to fail.
        editor.save_history(history).unwrap_or(());
    }
    Ok(())
}

/// Carries out one line. Returns whether to go on.
async fn carry_out(session: &mut Session, line: &str) -> bool {
    let command = match words::command(line, session.store().schema()) {
        Ok(None) => return true,
        Ok(Some(command)) => command,
        Err(fault) => {
            complain(&fault);
            return true;
        }
    };
    match session.carry_out(&command).await {
        Ok(Reply::Exit) => return false,
        Ok(Reply::Answer(answer)) => show(&answer),
        Err(fault) => complain(&fault),
    }
    true
}

fn complain(fault: &str) {
    let mut err = anstream::stderr();
    // Nobody is left to tell if standard error is closed.
    writeln!(err, "{} {fault}", "error:".red().bold()).unwrap_or(());
}

fn show(answer: &Json) {
    let text = match answer {
        Json::Bool(true) => "ok".green().to_string(),
        Json::Null => "nothing".dimmed().to_string(),
        Json::Array(rows) if rows.is_empty() => "none".dimmed().to_string(),
        Json::Array(rows) if rows.iter().all(Json::is_object) => table(rows),
        Json::Object(_) => table(std::slice::from_ref(answer)),
        other => other.to_string(),
    };
    writeln!(anstream::stdout(), "{text}").unwrap_or(());
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

fn cell(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn history_file() -> Option<std::path::PathBuf> {
    std::env::var_os("HOME").map(|home| std::path::Path::new(&home).join(".landfall_history"))
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> std::io::Error {
    std::io::Error::other(error)
}
