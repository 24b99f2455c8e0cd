//! A recording as a page: what each actor did, in order, with the commits that came of it and what went wrong.
//!
//! Owns [`open`], [`page`] and [`summary`]. Events are shown as they were recorded; nothing is played, and so nothing is said
//! of who sent a message, which a recording does not have. `inspect/flight.html` and `inspect/flight.js` are the page.
//!
//! Invariant: however long the recording and its events are, the page has at most [`EVENTS_MAX`] events and
//! [`TEXT_BYTES_MAX`] bytes of what they say and of what went wrong in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use landfall::flight::{Answer, Commit, Decided, Event, Failed, Noted, Recording, SeatName};
use landfall_sim::replay::input_json;
use serde_json::{Value as Json, json};

use super::text::clean;

/// Most events on a page, whatever is asked for; more than that make a browser slow.
pub(super) const EVENTS_MAX: u64 = 20_000;

/// Longest text of what one event says, in characters: enough to know it by. `landfall replay FILE --until N` has the rest.
const EVENT_CHARS_MAX: usize = 2_000;

/// Most bytes that all events of a page say together, with what went wrong in them.
const TEXT_BYTES_MAX: usize = 24 * 1024 * 1024;

/// Newest events that a summary lists.
const SUMMARY_EVENTS: usize = 30;

const PAGE: &str = include_str!("flight.html");
const SCRIPT: &str = include_str!("flight.js");

/// Opens a recording; `None` if the file is none.
///
/// # Errors
/// Why a file that is a recording cannot be read.
pub(super) fn open(path: &Path) -> miette::Result<Option<Recording>> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut first = [0; 8];
    let begins = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    if begins.is_err() || !first.starts_with(b"\x89LFREC") {
        return Ok(None);
    }
    Recording::open(path)
        .map(Some)
        .map_err(|error| miette::miette!("{}: {error}", path.display()))
}

/// The page as one file, with everything in it.
pub(super) fn page(data: &Json) -> String {
    super::filled(PAGE, SCRIPT, data)
}

/// Collects the newest events of a recording.
pub(super) fn collect(recording: &Recording, path: &Path, events: u64) -> Json {
    let newest = usize::try_from(events.min(EVENTS_MAX)).unwrap_or(usize::MAX);
    let skipped = recording.events.len().saturating_sub(newest);
    let mut seats = Seats::default();
    // Seats are named by their first event, which may be older than what is shown.
    recording.events.iter().for_each(|noted| seats.hear(noted));
    let begun_ms = recording.events.first().map_or(0, |noted| noted.at_ms);
    let mut room = TEXT_BYTES_MAX;
    let told_of = |noted: &Noted, room: &mut usize| {
        let mut event = event_json(noted, seats.lane(noted.seat), begun_ms);
        if let Some(fault) = fault(&noted.event) {
            let fault = cut(&fault);
            // That something went wrong is told in any case.
            let told = if fault.len() <= *room {
                fault
            } else {
                "…".to_owned()
            };
            *room = room.saturating_sub(told.len());
            event["fault"] = told.into();
        }
        event
    };
    let mut told: Vec<Json> = Vec::new();
    // The newest say first what they say: what led to an end is near it.
    for noted in recording.events[skipped..].iter().rev() {
        let mut event = told_of(noted, &mut room);
        let says = said(&noted.event).filter(|said| said.len() <= room);
        if let Some(says) = says {
            room -= says.len();
            event["says"] = says.into();
        }
        told.push(event);
    }
    told.reverse();
    let older = &recording.events[..skipped];
    let wrong_before = older.iter().filter(|noted| fault(&noted.event).is_some()).count();
    let mut newest_wrong: Vec<Json> = older
        .iter()
        .rev()
        .filter(|noted| fault(&noted.event).is_some())
        .take(SUMMARY_EVENTS)
        .map(|noted| told_of(noted, &mut room))
        .collect();
    newest_wrong.reverse();
    json!({
        "title": path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default(),
        "writtenBy": recording.head.written_by,
        "endpoint": recording.head.endpoint,
        "notes": notes(recording),
        "total": recording.events.len(),
        "counts": seats.counts(&recording.events),
        "wrongBefore": { "count": wrong_before, "newest": newest_wrong },
        "skipped": skipped,
        "lanes": seats.lanes,
        "events": told,
    })
}

/// Which lane each seat has: one for each actor, whatever its runs.
#[derive(Default)]
struct Seats {
    lanes: Vec<String>,
    by_seat: BTreeMap<u32, (usize, u64)>,
}

impl Seats {
    fn hear(&mut self, noted: &Noted) {
        if let Event::Seated { name, .. } = &noted.event {
            let SeatName { actor, run } = name;
            let lane = self.lanes.iter().position(|lane| lane == actor);
            let lane = lane.unwrap_or_else(|| {
                self.lanes.push(actor.to_string());
                self.lanes.len() - 1
            });
            self.by_seat.insert(noted.seat, (lane, *run));
        }
    }

    fn lane(&self, seat: u32) -> Option<(usize, u64)> {
        self.by_seat.get(&seat).copied()
    }

    /// How many of the events each lane has, and how many have none.
    fn counts(&self, events: &[Noted]) -> Json {
        let mut of_lanes = vec![0_u64; self.lanes.len()];
        let mut of_none = 0_u64;
        for noted in events {
            match self.lane(noted.seat) {
                Some((lane, _)) => of_lanes[lane] += 1,
                None => of_none += 1,
            }
        }
        json!({ "lanes": of_lanes, "none": of_none })
    }
}

/// What kind of event it is, for the page's filters and colours.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Seated { .. } => "seated",
        Event::Step { input: Some(_), .. } => "input",
        Event::Step { .. } => "message",
        Event::Draw(_) => "draw",
        Event::Looked(_) => "look",
        Event::Called { .. } => "call",
        Event::Answered { .. } => "answer",
        Event::Frame { .. } => "frame",
        Event::Sent { .. } => "sent",
        Event::Committed(_) => "commit",
        Event::End { .. } => "end",
        _ => "other",
    }
}

/// What went wrong in it.
fn fault(event: &Event) -> Option<String> {
    let failed = |failed: &Failed| format!("{:?}: {}", failed.kind, failed.reason);
    match event {
        Event::Answered { answer, .. } => match answer {
            Answer::Failed(why) => Some(failed(why)),
            Answer::Response { status, .. } if *status >= 400 => Some(format!("status {status}")),
            Answer::Decided(Decided::Panicked) => Some("the conflict handler panicked".to_owned()),
            Answer::Decided(Decided::TookTooLong) => Some("the conflict handler took too long".to_owned()),
            _ => None,
        },
        Event::Frame {
            frame: Some(Err(why)),
            ..
        }
        | Event::Sent {
            failed: Some(why), ..
        } => Some(failed(why)),
        Event::Committed(Commit {
            fault: Some(fault), ..
        }) => Some(format!("the disk: {:?} {}", fault.kind, fault.cause)),
        Event::Looked(None) => Some("the store could not be read".to_owned()),
        _ => None,
    }
}

/// The first and the newest entry that a commit has made.
fn entries(event: &Event) -> Option<(u64, u64)> {
    match event {
        Event::Committed(Commit {
            base: Some(base),
            head,
            fault: None,
            ..
        }) if base <= head => Some((base.0, head.0)),
        _ => None,
    }
}

fn event_json(noted: &Noted, lane: Option<(usize, u64)>, begun_ms: u64) -> Json {
    let call = match &noted.event {
        Event::Called { call, .. }
        | Event::Answered { call, .. }
        | Event::Frame { call, .. }
        | Event::Sent { call, .. } => Some(*call),
        _ => None,
    };
    let head = match &noted.event {
        Event::Looked(head) => *head,
        Event::Committed(commit) => Some(commit.head),
        Event::End { head, .. } => Some(*head),
        _ => None,
    };
    json!({
        "order": noted.order,
        "ms": noted.at_ms.saturating_sub(begun_ms),
        "lane": lane.map(|(lane, _)| lane),
        "run": lane.map(|(_, run)| run),
        "seat": noted.seat,
        "kind": kind(&noted.event),
        "name": noted.event.name(),
        "call": call,
        "head": head,
        "entries": entries(&noted.event),
        "fault": null,
    })
}

/// What it says, cut to a bound.
fn said(event: &Event) -> Option<String> {
    let text = match event {
        Event::Draw(number) => number.to_string(),
        event => input_json(event)?.to_string(),
    };
    Some(cut(&text))
}

/// A text of the file, cut to a bound.
fn cut(text: &str) -> String {
    let mut chars = text.chars();
    let mut cut: String = chars.by_ref().take(EVENT_CHARS_MAX).collect();
    if chars.next().is_some() {
        cut.push('…');
    }
    cut
}

/// What there is to say of the recording as a whole.
fn notes(recording: &Recording) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(cut) = &recording.cut {
        notes.push(format!(
            "damaged at byte {} ({}); what is behind is not shown",
            cut.at, cut.why
        ));
    }
    if let Some((first, count)) = recording.gap() {
        notes.push(format!(
            "the recorder dropped {} events because it could not keep up; the first {count} at event {first}",
            recording.dropped()
        ));
    }
    if recording.cut.is_none() && !recording.is_closed() {
        notes.push("how the run ended is not told: the program was ended before the store was closed, or the recorder stopped".to_owned());
    }
    notes
}

/// The same as text, for terminals.
pub(super) fn summary(data: &Json) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        // Writing into a string cannot fail.
        writeln!(out, "{}", clean(text)).unwrap_or(());
    };
    let events = data["events"].as_array().map_or(&[][..], Vec::as_slice);
    let texts = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    line(&format!("{}: {} events", texts(&data["title"]), data["total"]));
    data["notes"]
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|note| line(&texts(note)));
    let listed = |value: &Json| value.as_array().cloned().unwrap_or_default();
    for (name, count) in listed(&data["lanes"])
        .iter()
        .zip(listed(&data["counts"]["lanes"]))
    {
        line(&format!("  {}: {count}", texts(name)));
    }
    if data["counts"]["none"] != 0 {
        line(&format!("  ?: {}", data["counts"]["none"]));
    }
    let tell = |event: &Json| {
        let lane = event["lane"].as_u64().and_then(|lane| usize::try_from(lane).ok());
        let actor = lane.and_then(|lane| data["lanes"].get(lane)).map(texts);
        let fault = event["fault"]
            .as_str()
            .map(|fault| format!("  FAULT {fault}"))
            .unwrap_or_default();
        let entries = match (&event["entries"][0], &event["entries"][1]) {
            (Json::Null, _) => String::new(),
            (first, last) => format!("  e{first} to e{last}"),
        };
        format!(
            "{:>6} {:>8} ms  {}.{}{entries}{fault}",
            event["order"],
            event["ms"],
            actor.unwrap_or_default(),
            texts(&event["name"])
        )
    };
    let before = listed(&data["wrongBefore"]["newest"]);
    let shown = events.iter().filter(|event| !event["fault"].is_null());
    let count =
        data["wrongBefore"]["count"].as_u64().unwrap_or_default() + shown.clone().map(|_| 1).sum::<u64>();
    line(&format!("what went wrong: {count}"));
    let wrong: Vec<&Json> = before.iter().chain(shown).collect();
    wrong
        .iter()
        .rev()
        .take(SUMMARY_EVENTS)
        .rev()
        .for_each(|event| line(&tell(event)));
    line("newest events:");
    let shown = events
        .iter()
        .filter(|event| !matches!(event["kind"].as_str(), Some("draw" | "look")));
    let shown: Vec<&Json> = shown.collect();
    shown[shown.len().saturating_sub(SUMMARY_EVENTS)..]
        .iter()
        .for_each(|event| line(&tell(event)));
    line("`landfall replay FILE` plays it; --list shows every input");
    out
}

#[cfg(test)]
mod tests;
