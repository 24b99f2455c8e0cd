//! Where the answers of `landfall log` go: lines for people, or JSON.
//!
//! Owns [`Output`]. Somebody who stops reading, as `head` does, ends the command without a complaint.

use std::io::{BufWriter, Stdout, Write, stdout};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value as Json;

/// Standard output, buffered.
#[derive(Debug)]
pub(super) struct Output {
    to: BufWriter<Stdout>,
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self {
            to: BufWriter::new(stdout()),
            json,
        }
    }

    /// Whether JSON is wanted.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> std::io::Result<()> {
        writeln!(self.to, "{}", text.as_ref().trim_end())
    }

    /// Writes an object on a line of its own.
    pub(super) fn object(&mut self, json: &Json) -> std::io::Result<()> {
        writeln!(self.to, "{json}")
    }

    /// Writes a table, its columns as wide as they need to be.
    pub(super) fn table<const N: usize>(
        &mut self,
        header: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> std::io::Result<()> {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(header);
        for row in rows {
            table.add_row(row);
        }
        for line in table.lines() {
            // Every cell has a blank on either side; the first is of no use.
            let line = line.strip_prefix(' ').unwrap_or(&line);
            writeln!(self.to, "{}", line.trim_end())?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// A time for people, in UTC.
pub(crate) fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| format!("{time:.3}"))
}
