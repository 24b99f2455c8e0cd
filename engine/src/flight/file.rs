//! The file of a recording.
//!
//! Owns [`Recording`] and the file's layout: a magic number, then segments, each with its number, kind, length and checksum.
//! The first segment is the head, then come segments with the log that the store began with, as an exported log file, then
//! segments of events.
//!
//! Invariants: 1. whatever the bytes are, reading does not panic, and what it holds in memory grows with what was read, never
//! with what a length claims; 2. what precedes the first damaged segment is read, and of one that was cut off the events that
//! are there whole; what follows is not: a replay cannot go on behind a hole.

use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use landfall_core::{ModelDef, ModelName, ModelSync};

use super::event::{Event, Noted};

/// Version of the layout; a program reads those up to its own.
pub const FLIGHT_VERSION: u32 = 1;

/// First bytes of every recording: no text file begins so, and a program that mends line ends shows.
pub(super) const MAGIC: [u8; 8] = *b"\x89LFREC\r\n";

/// First bytes of every segment.
const SEGMENT_MARK: [u8; 4] = *b"SEGM";

/// Mark, number, kind, length and checksum.
const SEGMENT_HEAD_LEN: usize = 4 + 4 + 1 + 4 + 4;

/// Bytes after which a segment of events is written out. Small, so that a crash loses little.
pub(super) const SEGMENT_BYTES: usize = 64 * 1024;

/// Longest segment: one event may be a page of a thousand large records.
const SEGMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Latest time that an event may claim, in milliseconds, and earliest if negative: some thousand years from 1970, so that
/// whoever adds a delay to it cannot overflow.
const TIME_MS_MAX: i64 = 1 << 47;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Head = 1,
    Base = 2,
    Events = 3,
}

/// How the recorded store was set up; see [`Recording`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Version of the layout.
    pub version: u32,
    /// The program that wrote it.
    pub written_by: String,
    /// The schema in force.
    pub schema: Json,
    /// Whether local changes were kept for the server.
    pub queues_changes: bool,
    /// The endpoint's address, without credentials; nothing if there was none.
    pub endpoint: Option<String>,
    /// Which way the changes of each model travelled; models that are not here, both ways, unless the schema says that they
    /// do not sync. Recordings of before there were directions have none.
    #[serde(default)]
    pub directions: Vec<Directed>,
    /// The generation of the fingerprints in it; those of another than [`PRINTS`](super::PRINTS) cannot be compared.
    ///
    /// Recordings of before there were generations do not say, and are of generation 0: which program made them, and how it
    /// printed, nobody knows.
    #[serde(default)]
    pub prints: u32,
}

/// A model, and which way its changes travelled; see [`Head::directions`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directed {
    /// The model.
    pub model: ModelName,
    /// Which way.
    #[serde(with = "Direction")]
    pub sync: ModelSync,
}

impl Directed {
    pub(super) fn of(def: &ModelDef) -> Self {
        Self {
            model: def.name.clone(),
            sync: def.sync,
        }
    }
}

/// [`ModelSync`] as it is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "ModelSync", rename_all = "camelCase")]
enum Direction {
    None,
    Pull,
    Push,
    Both,
}

/// Where a recording ends without having been closed; see [`Recording::cut`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that could be read.
    pub at: u64,
    /// What is wrong there.
    pub why: &'static str,
}

/// A recording that was read.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let home = tempfile::tempdir()?;
/// use landfall::{DataStore, flight::Recording};
///
/// let file = home.path().join("run.flight");
/// let store = DataStore::builder(schema()).record(&file).open().await?;
/// store.save(Post::builder().title("Reef").build()?).await?;
/// store.close().await;
///
/// let recording = Recording::open(&file)?;
/// assert!(recording.is_closed());
/// assert_eq!((recording.gap(), recording.dropped()), (None, 0));
/// for noted in recording.events.iter().filter(|noted| noted.event.is_input()) {
///     println!("{} {}", noted.order, noted.event.name());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    /// How the store was set up.
    pub head: Head,
    /// The log with which it began, as an exported log file.
    pub base: Vec<u8>,
    /// What happened, in order.
    pub events: Vec<Noted>,
    /// Where the file is damaged, or ends too early.
    pub cut: Option<Cut>,
}

/// Why a recording cannot be read; see [`Recording::open`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file is no recording.
    #[error(
        "this is no recording of Landfall; make one with `DataStoreBuilder::record` or `landfall demo --record DIR`"
    )]
    Foreign,
    /// It was written by a newer version.
    #[error("the recording has version {found}, this program reads up to {known}; update Landfall")]
    TooNew {
        /// Version of the file.
        found: u32,
        /// Newest version that is read.
        known: u32,
    },
    /// Nothing of it can be played.
    #[error("the recording is damaged at its beginning: {what}; nothing of it can be played")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl Recording {
    /// Reads a recording, as far as it is sound.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::read(&mut io::BufReader::new(std::fs::File::open(path)?))
    }

    /// As [`open`](Self::open), from whatever gives bytes.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn read(from: &mut dyn Read) -> Result<Self, RecordingError> {
        let mut magic = [0; MAGIC.len()];
        if fill(from, &mut magic)? < magic.len() || magic != MAGIC {
            return Err(RecordingError::Foreign);
        }
        let mut segments = Segments {
            from,
            number: 0,
            at: MAGIC.len() as u64,
        };
        let damaged = |what| RecordingError::Damaged { what };
        let head = match segments.next()? {
            Found::Segment(kind, payload) if kind == Kind::Head as u8 => head_of(&payload)?,
            Found::Segment(..) => return Err(damaged("it does not begin with its head")),
            Found::Part(..) => return Err(damaged(CUT_OFF)),
            Found::End => return Err(damaged("it ends before its head")),
            Found::Cut(why) => return Err(damaged(why)),
        };
        let (mut base, mut events, mut cut) = (Vec::new(), Vec::new(), None);
        loop {
            let mut at = segments.at;
            let sound = match segments.next()? {
                Found::Segment(kind, payload) if kind == Kind::Base as u8 => {
                    base.extend_from_slice(&payload);
                    Ok(())
                }
                Found::Segment(kind, payload) if kind == Kind::Events as u8 => {
                    read_events(&payload, &mut events)
                }
                Found::Part(kind, payload) if kind == Kind::Events as u8 => {
                    let read = read_whole_events(&payload, &mut events);
                    at += (SEGMENT_HEAD_LEN + read) as u64;
                    Err(CUT_OFF)
                }
                Found::Part(..) => Err(CUT_OFF),
                // A kind that a later version added, which says nothing of what happened.
                Found::Segment(..) => Ok(()),
                Found::End => break,
                Found::Cut(why) => Err(why),
            };
            if let Err(why) = sound {
                cut = Some(Cut { at, why });
                break;
            }
        }
        events.sort_by_key(|noted: &Noted| noted.order);
        Ok(Self {
            head,
            base,
            events,
            cut,
        })
    }

    /// The first order number that is missing, and how many are from there to the next: what the recorder dropped.
    pub fn gap(&self) -> Option<(u64, u64)> {
        let mut expected = 1;
        for noted in &self.events {
            if noted.order > expected {
                return Some((expected, noted.order - expected));
            }
            expected = noted.order.saturating_add(1);
        }
        None
    }

    /// Whether the store was closed in good order while it was recorded. If not, what came last may be missing: the program
    /// was ended, or the recorder stopped.
    pub fn is_closed(&self) -> bool {
        let is_end = |noted: &Noted| matches!(noted.event, Event::End { .. });
        self.cut.is_none() && self.events.iter().any(is_end)
    }

    /// How many events the recorder dropped in all.
    pub fn dropped(&self) -> u64 {
        let newest = self.events.last().map_or(0, |noted| noted.order);
        newest.saturating_sub(self.events.len() as u64)
    }
}

fn head_of(payload: &[u8]) -> Result<Head, RecordingError> {
    let damaged = RecordingError::Damaged {
        what: "its head cannot be read",
    };
    let json: Json = serde_json::from_slice(payload).map_err(|_| damaged)?;
    let found = json.get("version").and_then(Json::as_u64).unwrap_or(0);
    if found > u64::from(FLIGHT_VERSION) {
        return Err(RecordingError::TooNew {
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: FLIGHT_VERSION,
        });
    }
    serde_json::from_value(json).map_err(|_| RecordingError::Damaged {
        what: "its head lacks something",
    })
}

const UNREADABLE: &str = "an event cannot be read; it may be of a newer version";

const CUT_OFF: &str = "it was cut off within a segment";

fn read_events(mut payload: &[u8], events: &mut Vec<Noted>) -> Result<(), &'static str> {
    while !payload.is_empty() {
        let (noted, rest) = read_event(payload)?;
        events.push(noted);
        payload = rest;
    }
    Ok(())
}

/// Reads the events that are there whole of a segment that was cut off; returns how many bytes they take. Only the segment as a
/// whole has a check, so they are taken as they are.
fn read_whole_events(payload: &[u8], events: &mut Vec<Noted>) -> usize {
    let mut left = payload;
    while let Ok((noted, rest)) = read_event(left) {
        events.push(noted);
        left = rest;
    }
    payload.len() - left.len()
}

/// The first event of a payload, and what follows it.
fn read_event(payload: &[u8]) -> Result<(Noted, &[u8]), &'static str> {
    let (length, rest) = payload.split_first_chunk::<4>().ok_or(UNREADABLE)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (bytes, rest) = rest.split_at_checked(length).ok_or(UNREADABLE)?;
    if landfall_storage::nests_too_deep(bytes) {
        return Err("an event nests deeper than any that is recorded");
    }
    let noted: Noted = rmp_serde::from_slice(bytes).map_err(|_| UNREADABLE)?;
    if !has_possible_times(&noted) {
        return Err("an event claims a time that cannot be");
    }
    Ok((noted, rest))
}

fn has_possible_times(noted: &Noted) -> bool {
    let on_clock = |ms: u64| i64::try_from(ms).is_ok_and(|ms| ms <= TIME_MS_MAX);
    let of_event = match &noted.event {
        Event::Seated { now_ms, wall_ms, .. } | Event::Step { now_ms, wall_ms, .. } => {
            on_clock(*now_ms) && (-TIME_MS_MAX..=TIME_MS_MAX).contains(wall_ms)
        }
        _ => true,
    };
    on_clock(noted.at_ms) && of_event
}

/// Appends an event to the payload of a segment.
pub(super) fn put_event(payload: &mut Vec<u8>, noted: &Noted) -> Result<(), rmp_serde::encode::Error> {
    let start = payload.len();
    payload.extend_from_slice(&[0; 4]);
    if let Err(error) = rmp_serde::encode::write(payload, noted) {
        payload.truncate(start);
        return Err(error);
    }
    let length = u32::try_from(payload.len() - start - 4).unwrap_or(u32::MAX);
    payload[start..start + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Writes one segment.
pub(super) fn put_segment(out: &mut dyn Write, number: u32, kind: Kind, payload: &[u8]) -> io::Result<usize> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length as usize <= SEGMENT_BYTES_MAX)
        .ok_or_else(|| io::Error::other("one event is longer than a segment may be"))?;
    let mut head = Vec::with_capacity(SEGMENT_HEAD_LEN);
    head.extend_from_slice(&SEGMENT_MARK);
    head.extend_from_slice(&number.to_le_bytes());
    head.push(kind as u8);
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&check(number, kind as u8, payload).to_le_bytes());
    out.write_all(&head)?;
    out.write_all(payload)?;
    Ok(head.len() + payload.len())
}

fn check(number: u32, kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

struct Segments<'f> {
    from: &'f mut dyn Read,
    number: u32,
    at: u64,
}

enum Found {
    Segment(u8, Vec<u8>),
    /// What is there of one that the file ends in.
    Part(u8, Vec<u8>),
    End,
    Cut(&'static str),
}

impl Segments<'_> {
    fn next(&mut self) -> io::Result<Found> {
        let mut head = [0; SEGMENT_HEAD_LEN];
        match fill(self.from, &mut head)? {
            0 => return Ok(Found::End),
            SEGMENT_HEAD_LEN => {}
            _ => return Ok(Found::Cut(CUT_OFF)),
        }
        if head[..4] != SEGMENT_MARK {
            return Ok(Found::Cut("what follows is no segment"));
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (number, kind, length, expected) = (word(4), head[8], word(9) as usize, word(13));
        if length > SEGMENT_BYTES_MAX {
            return Ok(Found::Cut("a segment claims to be longer than any can be"));
        }
        // Grows with what is there, so that a length that lies costs nothing.
        let mut payload = Vec::new();
        self.from.take(length as u64).read_to_end(&mut payload)?;
        if payload.len() < length && number == self.number {
            return Ok(Found::Part(kind, payload));
        }
        if number != self.number || check(number, kind, &payload) != expected {
            return Ok(Found::Cut("the checksum of a segment does not agree"));
        }
        self.number += 1;
        self.at += (SEGMENT_HEAD_LEN + length) as u64;
        Ok(Found::Segment(kind, payload))
    }
}

/// Reads until the buffer is full or the file ends; returns how far it got.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match from.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
