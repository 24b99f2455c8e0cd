//! How the demonstration is told: coloured on a terminal, plain elsewhere.

use std::io::{ErrorKind, Write};
use std::time::Instant;

use landfall::{Record, Value};
use owo_colors::OwoColorize;

/// Prints scenes with the time since the beginning.
pub(super) struct Story {
    began: Instant,
    scenes: u32,
}

impl Story {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            scenes: 0,
        }
    }

    /// A new scene.
    pub(super) fn scene(&mut self, title: &str) {
        self.scenes += 1;
        // What cannot be printed now cannot be at the end either, where it is said.
        say(&format!(
            "\n{} {}",
            format!("{}.", self.scenes).bold(),
            title.bold()
        ))
        .unwrap_or(());
    }

    /// What the audience should know.
    pub(super) fn tell(&self, text: &str) {
        self.line(text);
    }

    /// What somebody does.
    pub(super) fn act(&self, who: &str, what: &str) {
        self.line(&format!("{} {what}", coloured(who)));
    }

    /// What somebody holds.
    pub(super) fn show(&self, who: &str, record: &Record) {
        let fields = record.def().stored_fields().zip(record.values());
        let shown: Vec<String> = fields
            .filter(|(field, value)| {
                !field.name.ends_with("Id")
                    && field.name != "id"
                    && !field.read_only
                    && **value != Value::Null
            })
            .map(|(field, value)| format!("{} {value}", field.name))
            .collect();
        let version = record
            .sync()
            .map_or_else(String::new, |sync| format!(" ({})", sync.version));
        self.line(&format!(
            "{} holds {}{}",
            coloured(who),
            shown.join(", "),
            version.dimmed()
        ));
    }

    /// The good end.
    ///
    /// # Errors
    /// If it cannot be printed, such as into a file on a full disk.
    pub(super) fn end(&self, text: &str) -> miette::Result<()> {
        say(&format!("\n{} {}", "Agreed.".green().bold(), text))
    }

    /// The bad end.
    ///
    /// # Errors
    /// As for [`Story::end`].
    pub(super) fn fail(&self, text: &str) -> miette::Result<()> {
        say(&format!("\n{} {}", "Failed.".red().bold(), text))
    }

    fn line(&self, text: &str) {
        let elapsed = format!("{:6.2}s", self.began.elapsed().as_secs_f64());
        say(&format!("  {} {text}", elapsed.dimmed())).unwrap_or(());
    }
}

fn coloured(who: &str) -> String {
    match who {
        "Anna" => who.cyan().to_string(),
        "Berta" => who.magenta().to_string(),
        _ => who.bold().to_string(),
    }
}

/// Prints a line; colours are left out where they would not show. A closed pipe is the reader's choice.
fn say(text: &str) -> miette::Result<()> {
    match writeln!(anstream::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(miette::miette!("standard output cannot be written: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
