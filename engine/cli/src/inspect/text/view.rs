//! What the terminal shows, and what keys do to it.
//!
//! Owns [`View`]. Pure: keys and data go in, lines come out. The left side is the list of entries, with the causes and the
//! consequences of the chosen one marked; beside it is a panel. The chosen entry is the moment at which everything is shown,
//! so that going up and down in the list goes through time.
//!
//! Invariants: 1. a frame has exactly the lines and columns that it is asked for; 2. every text of a record goes through
//! [`clean`]; 3. whatever the data are, no key and no size panics.

use std::collections::{BTreeMap, BTreeSet};

use console::Key;
use serde_json::Value as Json;

use super::clean::{clean, fit, wrap};
use crate::log::time;

/// Lines of a panel that are made; more are not scrolled through by anybody.
const PANEL_LINES_MAX: usize = 5_000;

/// Longest chain of causes that is marked.
const CHAIN_MAX: usize = 64;

/// Moments that `b` goes back to.
const BACK_MAX: usize = 256;

/// Narrower terminals show the panel below the list.
const BOTH_SIDES_MIN: usize = 80;

/// Longest filter.
const FILTER_CHARS_MAX: usize = 200;

const HELP: &str = "\u{2191}\u{2193} entry  PgUp/PgDn  tab panel  space scroll  c cause  e effect  b back  n/p same record  / filter  q quit";

/// What is shown beside the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Panel {
    Entry,
    Record,
    Records,
    Outbox,
    Sync,
}

impl Panel {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Entry, "entry"),
        (Self::Record, "record"),
        (Self::Records, "records"),
        (Self::Outbox, "outbox"),
        (Self::Sync, "sync"),
    ];

    fn place(self) -> usize {
        Self::ALL
            .iter()
            .position(|(panel, _)| *panel == self)
            .expect("every panel is in the list of all")
    }

    fn moved(self, by: usize) -> Self {
        Self::ALL[(self.place() + by) % Self::ALL.len()].0
    }
}

/// Whether the view goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    End,
}

/// A screen full of text.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) lines: Vec<String>,
    /// The line of the chosen entry, and how many bytes of it are the entry.
    pub(super) chosen: Option<usize>,
    pub(super) chosen_bytes: usize,
}

/// What is looked at, and where.
#[derive(Debug)]
pub(super) struct View {
    data: Json,
    /// Places of the entries that the filter lets through.
    shown: Vec<usize>,
    /// Place of the chosen one among them.
    cursor: usize,
    panel: Panel,
    scroll: usize,
    filter: String,
    is_typing: bool,
    /// Moments to go back to.
    back: Vec<u64>,
    said: String,
}

impl View {
    pub(super) fn new(data: Json) -> Self {
        let mut view = Self {
            data,
            shown: Vec::new(),
            cursor: 0,
            panel: Panel::Entry,
            scroll: 0,
            filter: String::new(),
            is_typing: false,
            back: Vec::new(),
            said: String::new(),
        };
        view.apply_filter(u64::MAX);
        view
    }

    /// The newest entry that is shown.
    pub(super) fn newest(&self) -> u64 {
        self.data["to"].as_u64().unwrap_or(0)
    }

    /// Says something in the last line, until the next key.
    pub(super) fn say(&mut self, text: String) {
        self.said = text;
    }

    /// The store has more. Whoever looks at the newest entry goes along; whoever looks at an older one stays there.
    pub(super) fn follow(&mut self, data: Json) {
        let goes_along = self.cursor + 1 >= self.shown.len();
        let at = self.at();
        let before = self.newest();
        self.data = data;
        self.apply_filter(if goes_along { u64::MAX } else { at });
        if !goes_along {
            let more = self.newest().saturating_sub(before);
            self.said = format!("the store has gone on by {more}; End goes there");
        }
    }

    pub(super) fn entries(&self) -> &[Json] {
        self.data["entries"].as_array().map_or(&[], Vec::as_slice)
    }

    fn entry(&self) -> Option<&Json> {
        self.entries().get(*self.shown.get(self.cursor)?)
    }

    fn entry_at(&self, seq: u64) -> Option<&Json> {
        let entries = self.entries();
        let place = entries.binary_search_by_key(&seq, seq_of).ok()?;
        entries.get(place)
    }

    /// The entry after which everything is shown.
    fn at(&self) -> u64 {
        self.entry().map_or_else(|| self.newest(), seq_of)
    }

    /// Shows what the filter lets through, and chooses the last of them that is not after `at`.
    fn apply_filter(&mut self, at: u64) {
        let wanted = self.filter.to_lowercase();
        let entries = self.entries().iter().enumerate();
        let shown: Vec<usize> = entries
            .filter(|(_, entry)| {
                wanted.is_empty() || Self::entry_line(entry).to_lowercase().contains(&wanted)
            })
            .map(|(place, _)| place)
            .collect();
        let not_after =
            shown.partition_point(|place| self.entries().get(*place).is_some_and(|one| seq_of(one) <= at));
        self.cursor = not_after.saturating_sub(1);
        self.shown = shown;
        self.scroll = 0;
    }

    /// What a key does.
    pub(super) fn key(&mut self, key: &Key) -> Flow {
        self.said.clear();
        if self.is_typing {
            return self.type_filter(key);
        }
        match key {
            Key::Char('q') | Key::CtrlC => return Flow::End,
            Key::ArrowUp | Key::Char('k') => self.step(-1),
            Key::ArrowDown | Key::Char('j') => self.step(1),
            Key::PageUp => self.step(-20),
            Key::PageDown => self.step(20),
            Key::Home | Key::Char('g') => self.step(isize::MIN),
            Key::End | Key::Char('G') => self.step(isize::MAX),
            Key::Tab | Key::ArrowRight => self.turn_to(self.panel.moved(1)),
            Key::BackTab | Key::ArrowLeft => self.turn_to(self.panel.moved(Panel::ALL.len() - 1)),
            Key::Char(digit @ '1'..='5') => self.turn_to(Panel::Entry.moved(*digit as usize - '1' as usize)),
            Key::Char(' ' | 'J') => self.scroll = (self.scroll + 10).min(PANEL_LINES_MAX),
            Key::Char('K') => self.scroll = self.scroll.saturating_sub(10),
            Key::Char('c') => self.go_to_cause(),
            Key::Char('e') => self.go_to_effect(),
            Key::Char('b') | Key::Backspace => self.go_back(),
            Key::Char('n') => self.go_along_record(true),
            Key::Char('p') => self.go_along_record(false),
            Key::Char('/') => self.is_typing = true,
            Key::Escape if !self.filter.is_empty() => {
                self.filter.clear();
                self.apply_filter(self.at());
            }
            _ => {}
        }
        Flow::On
    }

    fn type_filter(&mut self, key: &Key) -> Flow {
        match key {
            Key::CtrlC => return Flow::End,
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(c) if !c.is_control() && self.filter.chars().count() < FILTER_CHARS_MAX => {
                self.filter.push(*c);
            }
            _ => return Flow::On,
        }
        self.apply_filter(self.at());
        Flow::On
    }

    fn step(&mut self, by: isize) {
        let last = self.shown.len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(by).min(last);
        self.scroll = 0;
    }

    fn turn_to(&mut self, panel: Panel) {
        self.panel = panel;
        self.scroll = 0;
    }

    /// Chooses an entry by its number, also one that the filter hides.
    fn go(&mut self, seq: u64) {
        if self.entry_at(seq).is_none() {
            self.said = format!("e{seq} is not among the entries that are shown; --entries shows more");
            return;
        }
        let from = self.at();
        if self.back.len() >= BACK_MAX {
            self.back.remove(0);
        }
        self.back.push(from);
        self.choose(seq);
    }

    fn choose(&mut self, seq: u64) {
        self.apply_filter(seq);
        if self.at() != seq {
            self.filter.clear();
            self.apply_filter(seq);
        }
    }

    fn go_to_cause(&mut self) {
        match self.entry().and_then(|entry| entry["cause"].as_u64()) {
            Some(cause) => self.go(cause),
            None => self.said = "nothing in the log led to it".to_owned(),
        }
    }

    fn go_to_effect(&mut self) {
        let at = self.at();
        let effect = self
            .entries()
            .iter()
            .find(|entry| entry["cause"].as_u64() == Some(at));
        match effect.map(seq_of) {
            Some(effect) => self.go(effect),
            None => self.said = "it led to nothing so far".to_owned(),
        }
    }

    fn go_back(&mut self) {
        match self.back.pop() {
            Some(seq) => self.choose(seq),
            None => self.said = "this is where you began".to_owned(),
        }
    }

    fn go_along_record(&mut self, forth: bool) {
        let (at, record) = (self.at(), self.entry().and_then(key_of));
        let Some(record) = record else {
            self.said = "the entry is about no record".to_owned();
            return;
        };
        let of_record = |entry: &&Json| key_of(entry).as_ref() == Some(&record);
        let found = if forth {
            self.entries()
                .iter()
                .filter(|entry| seq_of(entry) > at)
                .find(of_record)
        } else {
            self.entries()
                .iter()
                .rev()
                .filter(|entry| seq_of(entry) < at)
                .find(of_record)
        };
        match found.map(seq_of) {
            Some(seq) => self.go(seq),
            None => self.said = format!("there is no other entry about {record}"),
        }
    }

    /// What the log is.
    pub(super) fn title(&self) -> String {
        format!(
            "{}: e{} to e{}",
            text(&self.data["title"]),
            self.data["first"],
            self.data["newest"]
        )
    }

    /// What there is to say of the log as a whole.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.data["from"].as_u64() > self.data["first"].as_u64() {
            notes.push(format!(
                "what is shown begins with e{}; --entries shows more",
                self.data["from"]
            ));
        }
        if self.data["redacted"] == true {
            notes.push("values are replaced".to_owned());
        }
        let damage = self.data["damage"].as_array().into_iter().flatten();
        notes.extend(damage.map(|what| format!("damaged: {}", text(what))));
        notes
    }

    /// An entry in one line.
    pub(super) fn entry_line(entry: &Json) -> String {
        let about = key_of(entry).unwrap_or_else(|| text(&entry["model"]));
        let told = text(&entry["text"]);
        clean(&format!(
            "e{} {} {about} {told}",
            entry["seq"],
            text(&entry["kind"])
        ))
        .trim_end()
        .to_owned()
    }

    /// A frame of so many columns and lines.
    pub(super) fn draw(&self, columns: usize, lines: usize) -> Frame {
        if columns == 0 || lines == 0 {
            return Frame::default();
        }
        let mut frame = Frame {
            lines: vec![fit(&self.heading(), columns)],
            ..Frame::default()
        };
        let body = lines.saturating_sub(2);
        if columns >= BOTH_SIDES_MIN {
            self.draw_beside(&mut frame, columns, body);
        } else {
            self.draw_below(&mut frame, columns, body);
        }
        frame.lines.push(fit(&self.footer(), columns));
        frame.lines.truncate(lines);
        frame.chosen = frame.chosen.filter(|chosen| *chosen < lines);
        frame
    }

    /// The list on the left, the panel on the right.
    fn draw_beside(&self, frame: &mut Frame, columns: usize, lines: usize) {
        let left = columns * 2 / 5;
        let right = columns - left - 1;
        let (list, chosen) = self.list(left, lines);
        let panel = self.panel_lines(right, lines);
        for row in 0..lines {
            let line = list.get(row).cloned().unwrap_or_else(|| " ".repeat(left));
            if Some(row) == chosen {
                frame.chosen = Some(frame.lines.len());
                frame.chosen_bytes = line.len();
            }
            let beside = fit(panel.get(row).map_or("", String::as_str), right);
            frame.lines.push(format!("{line}│{beside}"));
        }
    }

    /// The list above, the panel below.
    fn draw_below(&self, frame: &mut Frame, columns: usize, lines: usize) {
        let above = (lines / 3).max(1).min(lines);
        let (list, chosen) = self.list(columns, above);
        let panel = self.panel_lines(columns, lines - above);
        for row in 0..above {
            let line = list.get(row).cloned().unwrap_or_else(|| " ".repeat(columns));
            if Some(row) == chosen {
                frame.chosen = Some(frame.lines.len());
                frame.chosen_bytes = line.len();
            }
            frame.lines.push(line);
        }
        let below = (0..lines - above).map(|row| fit(panel.get(row).map_or("", String::as_str), columns));
        frame.lines.extend(below);
    }

    fn heading(&self) -> String {
        let at_ms = self.entry().and_then(|entry| entry["atMs"].as_i64());
        let when = at_ms
            .map(|at_ms| format!(", {}", time(at_ms)))
            .unwrap_or_default();
        let panels = Panel::ALL.iter().enumerate().map(|(place, (panel, name))| {
            let number = place + 1;
            if *panel == self.panel {
                format!("[{number} {name}]")
            } else {
                format!(" {number} {name} ")
            }
        });
        let panels: String = panels.collect();
        clean(&format!("{}  after e{}{when}  {panels}", self.title(), self.at())).into_owned()
    }

    fn footer(&self) -> String {
        if self.is_typing {
            return clean(&format!(
                "filter: {}_   (Enter keeps it, Escape ends it)",
                self.filter
            ))
            .into_owned();
        }
        if !self.said.is_empty() {
            return clean(&self.said).into_owned();
        }
        if self.filter.is_empty() {
            HELP.to_owned()
        } else {
            clean(&format!(
                "filter: {} ({} entries; Escape shows all)",
                self.filter,
                self.shown.len()
            ))
            .into_owned()
        }
    }

    /// The entries around the chosen one, and which line that is.
    fn list(&self, columns: usize, lines: usize) -> (Vec<String>, Option<usize>) {
        if columns == 0 || lines == 0 || self.shown.is_empty() {
            return (Vec::new(), None);
        }
        let start = self
            .cursor
            .saturating_sub(lines / 2)
            .min(self.shown.len().saturating_sub(lines));
        let causes = self.causes();
        let at = self.at();
        let rows = self.shown[start..].iter().take(lines).filter_map(|place| {
            let entry = self.entries().get(*place)?;
            let mark = if causes.contains(&seq_of(entry)) {
                '<'
            } else if entry["cause"].as_u64() == Some(at) {
                '>'
            } else {
                ' '
            };
            Some(fit(&format!("{mark}{}", Self::entry_line(entry)), columns))
        });
        (rows.collect(), Some(self.cursor - start))
    }

    /// The entries that led to the chosen one.
    fn causes(&self) -> BTreeSet<u64> {
        let mut causes = BTreeSet::new();
        let mut entry = self.entry();
        while let Some(cause) = entry.and_then(|entry| entry["cause"].as_u64()) {
            if causes.len() >= CHAIN_MAX || !causes.insert(cause) {
                break;
            }
            entry = self.entry_at(cause);
        }
        causes
    }

    fn panel_lines(&self, columns: usize, lines: usize) -> Vec<String> {
        let told = match self.panel {
            Panel::Entry => self.about_entry(),
            Panel::Record => self.record(),
            Panel::Records => self.records(),
            Panel::Outbox => self.outbox(),
            Panel::Sync => self.sync(),
        };
        let mut wrapped: Vec<String> = Vec::new();
        for line in told.iter().take(PANEL_LINES_MAX) {
            wrapped.extend(wrap(&clean(line), columns));
        }
        let start = self.scroll.min(wrapped.len().saturating_sub(lines.max(1)));
        wrapped.drain(..start);
        wrapped.truncate(lines);
        wrapped
    }

    fn about_entry(&self) -> Vec<String> {
        let Some(entry) = self.entry() else {
            return vec!["there is no entry".to_owned()];
        };
        let mut told = self.notes();
        told.push(Self::entry_line(entry));
        for cause in self.causes().iter().rev() {
            let line = self
                .entry_at(*cause)
                .map_or_else(|| format!("e{cause}"), Self::entry_line);
            told.push(format!("because of {line}"));
        }
        let at = seq_of(entry);
        let effects = self
            .entries()
            .iter()
            .filter(|other| other["cause"].as_u64() == Some(at));
        told.extend(
            effects
                .take(CHAIN_MAX)
                .map(|effect| format!("led to {}", Self::entry_line(effect))),
        );
        told.push(String::new());
        told.extend(sides(&entry["sides"]));
        let members = entry.as_object().into_iter().flatten();
        let own =
            members.filter(|(name, value)| !matches!(name.as_str(), "text" | "sides") && !value.is_null());
        told.extend(own.map(|(name, value)| match name.as_str() {
            "atMs" => format!(
                "{name}: {}",
                value.as_i64().map_or_else(|| value.to_string(), time)
            ),
            _ => format!("{name}: {}", text(value)),
        }));
        told
    }

    fn record(&self) -> Vec<String> {
        let Some(key) = self.entry().and_then(key_of) else {
            return vec!["the entry is about no record".to_owned()];
        };
        let record = &self.data["records"][key.as_str()];
        let steps = record["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let at = self.at();
        let mut told = vec![key];
        let (now, before) = (step_at(steps, at), step_at(steps, at.saturating_sub(1)));
        match now.and_then(|step| step["row"].as_object()) {
            None => told.push("not there for the app".to_owned()),
            Some(row) => told.extend(row.iter().map(|(field, value)| {
                let was = before.map(|step| &step["row"][field.as_str()]);
                let mark = if was == Some(value) { ' ' } else { '*' };
                format!("{mark} {field}: {}", text(value))
            })),
        }
        if let Some(step) = now {
            let version = step["version"].as_u64();
            told.push(version.map_or_else(
                || "the server has no version of it".to_owned(),
                |version| format!("the server's version: {version}"),
            ));
            told.extend(step["pending"].as_array().into_iter().flatten().map(waiting));
        }
        told.push(String::new());
        told.extend(steps.iter().filter(|step| step["text"] != "").map(|step| {
            let seq = seq_of(step);
            let mark = if seq == at { '>' } else { ' ' };
            let later = if seq > at { " (later)" } else { "" };
            format!("{mark} e{seq}{later} {}", text(&step["text"]))
        }));
        told
    }

    /// The records as they were.
    pub(super) fn records(&self) -> Vec<String> {
        let at = self.at();
        let mut of_models: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.data["records"]
            .as_object()
            .into_iter()
            .flat_map(|records| records.values())
        {
            let steps = record["steps"].as_array().map_or(&[][..], Vec::as_slice);
            let Some(step) = step_at(steps, at) else { continue };
            let Some(row) = step["row"].as_object() else {
                continue;
            };
            let mut line = text(&record["id"]);
            for (field, value) in row.iter().filter(|(_, value)| !value.is_null()) {
                line += &format!("  {field}={}", text(value));
            }
            line += &match step["version"].as_u64() {
                Some(version) => format!("  (version {version})"),
                None => "  (not on the server)".to_owned(),
            };
            of_models.entry(text(&record["model"])).or_default().push(line);
        }
        let mut told = Vec::new();
        for (model, lines) in of_models {
            told.push(format!("{model} ({})", lines.len()));
            told.extend(lines.into_iter().map(|line| format!("  {line}")));
        }
        if told.is_empty() {
            told.push("none".to_owned());
        }
        told
    }

    /// What waited for the server.
    pub(super) fn outbox(&self) -> Vec<String> {
        let at = self.at();
        let mut waits: Vec<(u64, String)> = Vec::new();
        for (key, record) in self.data["records"].as_object().into_iter().flatten() {
            let steps = record["steps"].as_array().map_or(&[][..], Vec::as_slice);
            let pending = step_at(steps, at).and_then(|step| step["pending"].as_array());
            for mutation in pending.into_iter().flatten() {
                let number = mutation["mutation"].as_u64().unwrap_or(0);
                waits.push((number, format!("{key}  {}", waiting(mutation))));
            }
        }
        waits.sort();
        if waits.is_empty() {
            return vec!["nothing".to_owned()];
        }
        waits.into_iter().map(|(_, line)| line).collect()
    }

    /// How far sync had got.
    pub(super) fn sync(&self) -> Vec<String> {
        let at = self.at();
        let mut newest: BTreeMap<String, &Json> = BTreeMap::new();
        let cursors = self.data["cursors"].as_array().into_iter().flatten();
        for cursor in cursors.filter(|cursor| seq_of(cursor) <= at) {
            newest.insert(text(&cursor["model"]), cursor);
        }
        if newest.is_empty() {
            return vec!["never synced".to_owned()];
        }
        let told = |ms: &Json| ms.as_i64().map_or_else(|| "never".to_owned(), time);
        let lines = newest.into_iter().map(|(model, cursor)| {
            let under_way = cursor["received"].as_u64();
            let under_way = under_way.map_or_else(String::new, |received| {
                format!(", {received} received of one under way")
            });
            format!(
                "{model}: last sync {}, last full sync {}{under_way}",
                told(&cursor["lastSyncMs"]),
                told(&cursor["lastFullSyncMs"])
            )
        });
        lines.collect()
    }
}

/// Both sides of a conflict.
fn sides(sides: &Json) -> Vec<String> {
    let mut told: Vec<String> = sides["verdict"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text)
        .collect();
    let side = |value: &Json| {
        if value.is_null() {
            "(not there)".to_owned()
        } else {
            text(value)
        }
    };
    for field in sides["fields"].as_array().into_iter().flatten() {
        told.push(format!(
            "{}: {} won",
            text(&field["field"]),
            text(&field["winner"])
        ));
        told.push(format!("    before: {}", side(&field["base"])));
        told.push(format!("    this store: {}", side(&field["ours"])));
        told.push(format!("    the server: {}", side(&field["theirs"])));
    }
    if !told.is_empty() {
        told.push(String::new());
    }
    told
}

fn waiting(mutation: &Json) -> String {
    format!(
        "e{} waits: {}, {}, attempts {}  {}",
        mutation["mutation"],
        text(&mutation["kind"]),
        text(&mutation["stage"]),
        mutation["attempts"],
        text(&mutation["fields"])
    )
}

fn seq_of(entry: &Json) -> u64 {
    entry["seq"].as_u64().unwrap_or(0)
}

/// A value in words: texts as they are, everything else as JSON.
fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `MODEL/ID`, as the page has records by.
fn key_of(entry: &Json) -> Option<String> {
    let model = entry["model"].as_str()?;
    let id = match &entry["id"] {
        Json::Null => return None,
        Json::Array(parts) => parts.iter().map(text).collect::<Vec<_>>().join("#"),
        id => text(id),
    };
    Some(format!("{model}/{id}"))
}

/// The last step of a record that is not after an entry.
fn step_at(steps: &[Json], at: u64) -> Option<&Json> {
    let behind = steps.partition_point(|step| seq_of(step) <= at);
    steps.get(behind.checked_sub(1)?)
}

#[cfg(test)]
mod tests;
