//! What happened, line by line, and the hash of it.
//!
//! Owns [`TraceLog`]. Two runs of one seed have the same lines, so equal hashes mean equal runs. Beside the lines the hash
//! covers what makes none: the bodies of requests and replies, the frames of sockets, and what is written to disks.
//!
//! Beside the lines that are hashed it keeps, if asked to, what a timeline is drawn from: every line and every message
//! on its way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use landfall::Trace;

/// Lines that are kept for a report; the hash covers all.
const LINES_KEPT: usize = 400;

/// A message between a client and the server, in virtual milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// The client.
    pub client: String,
    /// What it is, such as `CreateNote`.
    pub label: String,
    /// Whether the server sent it.
    pub from_server: bool,
    /// When it was sent.
    pub sent_ms: u64,
    /// When it arrived at the other end; `None` if it never did.
    pub arrived_ms: Option<u64>,
    /// When its reply was back; `None` if it never was.
    pub back_ms: Option<u64>,
}

impl Arrow {
    pub(crate) fn new(client: &str, label: &str, sent_ms: u64) -> Self {
        Self {
            client: client.to_owned(),
            label: label.to_owned(),
            from_server: false,
            sent_ms,
            arrived_ms: None,
            back_ms: None,
        }
    }

    pub(crate) fn message(client: &str, sent_ms: u64, arrived_ms: u64) -> Self {
        Self {
            from_server: true,
            arrived_ms: Some(arrived_ms),
            ..Self::new(client, "message", sent_ms)
        }
    }

    pub(crate) fn arrived(&mut self, now_ms: u64) {
        self.arrived_ms = Some(now_ms);
    }

    pub(crate) fn back(&mut self, now_ms: u64) {
        self.back_ms = Some(now_ms);
    }
}

/// A line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// Who, such as `anna 1 OutboxActor`.
    pub who: String,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>9} {:<24} {}", self.at_ms, self.who, self.what)
    }
}

/// Everything that a timeline is drawn from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// The newest lines, in order.
    pub lines: Vec<Line>,
    /// Lines before them that were not kept.
    pub lines_dropped: usize,
    /// The newest messages, in the order in which they ended.
    pub arrows: Vec<Arrow>,
}

/// So many of the newest lines and arrows a recording has at least; up to twice as many are kept.
const RECORDED_MIN: usize = 200_000;

/// Forgets the oldest half once there are twice as many as must be kept. Returns how many were forgotten.
fn forget_oldest<T>(kept: &mut Vec<T>) -> usize {
    if kept.len() < 2 * RECORDED_MIN {
        return 0;
    }
    kept.drain(..RECORDED_MIN);
    RECORDED_MIN
}

/// A digest of bytes that goes on from another one, eight bytes at a time: pages of a disk are many.
fn digest(from: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut words = bytes.chunks_exact(8);
    let mut hash = mix(from, bytes.len() as u64);
    for word in words.by_ref() {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        hash = mix(hash, u64::from_le_bytes(eight));
    }
    let rest = words.remainder().iter();
    rest.fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

/// Records what happens in a simulation.
#[derive(Clone, Debug, Default)]
pub struct TraceLog(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    hash: u64,
    count: u64,
    recent: VecDeque<String>,
    echo: bool,
    closed: bool,
    /// Number of lines after which nothing more is taken.
    end: u64,
    recording: Option<Recording>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            recent: VecDeque::new(),
            echo: false,
            closed: false,
            end: u64::MAX,
            recording: None,
        }
    }
}

impl TraceLog {
    /// Prints each line to standard error as well.
    pub fn echo(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).echo = true;
    }

    /// Takes no more than so many lines.
    pub(crate) fn end_at(&self, line: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).end = line;
    }

    /// Whether the last line that it takes was noted.
    pub(crate) fn is_over(&self) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.count >= inner.end
    }

    /// Keeps everything from here on.
    pub fn record(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recording = Some(Recording::default());
    }

    /// What was kept since [`TraceLog::record`].
    pub fn recording(&self) -> Option<Recording> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recording
            .take()
    }

    /// Keeps a message, if everything is kept.
    pub(crate) fn arrow(&self, arrow: Arrow) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(recording) = &mut inner.recording {
            forget_oldest(&mut recording.arrows);
            recording.arrows.push(arrow);
        }
    }

    /// Has the hash cover something that is no line.
    pub(crate) fn mix(&self, bytes: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed || inner.count >= inner.end {
            return;
        }
        inner.hash = digest(inner.hash, bytes);
    }

    /// Notes a line.
    pub fn note(&self, now_ms: u64, who: &str, what: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed || inner.count >= inner.end {
            return;
        }
        let line = format!("{now_ms:>9} {who:<24} {what}");
        inner.hash = line.bytes().fold(inner.hash, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        inner.count += 1;
        if inner.echo {
            eprintln!("{line}");
        }
        if let Some(recording) = &mut inner.recording {
            recording.lines_dropped += forget_oldest(&mut recording.lines);
            recording.lines.push(Line {
                at_ms: now_ms,
                who: who.to_owned(),
                what: what.to_owned(),
            });
        }
        if inner.recent.len() == LINES_KEPT {
            inner.recent.pop_front();
        }
        inner.recent.push_back(line);
    }

    /// Takes no more lines: what is noted while a simulation is torn down depends on the real clock.
    pub fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    /// Hash of all lines, 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        format!(
            "{:016x}",
            self.0.lock().unwrap_or_else(PoisonError::into_inner).hash
        )
    }

    /// Number of lines.
    pub fn len(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest lines, oldest first.
    pub fn recent(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recent
            .iter()
            .cloned()
            .collect()
    }

    /// A trace of one client's actors.
    pub fn of_client(&self, name: &str) -> ClientTrace {
        ClientTrace {
            log: self.clone(),
            name: name.to_owned(),
        }
    }
}

/// Notes the messages of one client's actors.
#[derive(Clone, Debug)]
pub struct ClientTrace {
    log: TraceLog,
    name: String,
}

impl Trace for ClientTrace {
    fn handled(&self, now_ms: u64, actor: &'static str, message: &'static str) {
        self.log.note(now_ms, &format!("{} {actor}", self.name), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_what_makes_no_line() {
        let hash_of = |mixed: &[&[u8]]| {
            let trace = TraceLog::default();
            trace.note(1, "anna", "writes");
            mixed.iter().for_each(|bytes| trace.mix(bytes));
            (trace.hash(), trace.len())
        };
        let one = hash_of(&[b"a page of sixteen", b"end"]);
        assert_eq!(one, hash_of(&[b"a page of sixteen", b"end"]));
        for other in [
            &[&b"a page of sixteex"[..], b"end"][..],
            &[b"x page of sixteen", b"end"],
            &[b"end", b"a page of sixteen"],
            &[b"a page of sixteenend"],
            &[],
        ] {
            assert_ne!(one.0, hash_of(other).0);
            assert_eq!(one.1, 1);
        }
    }

    #[test]
    fn a_recording_keeps_the_newest() {
        let mut kept: Vec<usize> = Vec::new();
        let mut dropped = 0;
        for number in 0..5 * RECORDED_MIN {
            dropped += forget_oldest(&mut kept);
            kept.push(number);
        }
        assert_eq!(kept.last(), Some(&(5 * RECORDED_MIN - 1)));
        assert_eq!((kept[0], kept.len() >= RECORDED_MIN), (dropped, true));
    }
}
