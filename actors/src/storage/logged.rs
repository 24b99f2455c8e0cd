//! What the program's log says of the event log: which entry is which, so that a line of the one leads to an entry of the
//! other and back.
//!
//! Owns [`Logged`] and the targets that filters name: `landfall::entry` (each entry), `landfall::commit`, `landfall::remote`
//! (each page and batch of the server). Entries that are many are said at `TRACE`, what happens to a mutation at
//! `DEBUG`, what is rare and may need somebody at `INFO`.
//!
//! Invariants: 1. nothing is said of an entry before it is on disk; 2. numbers, names of models and identifiers are said,
//! never a value; 3. where nobody listens, an entry costs a comparison and takes no memory.

use landfall_core::{Change, Decision, ModelName, Origin, RecordKey, Seq};

use super::RemoteCounts;

/// How often an entry of a kind happens, and so how loud it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loudness {
    /// `TRACE`.
    Bulk,
    /// `DEBUG`.
    Usual,
    /// `INFO`.
    Rare,
}

/// What is said of one entry.
#[derive(Debug)]
pub(super) struct Line {
    loudness: Loudness,
    kind: &'static str,
    origin: Origin,
    cause: Option<Seq>,
    key: Option<RecordKey>,
    model: Option<ModelName>,
    mutation: Option<Seq>,
    attempt: Option<u32>,
    version: Option<u64>,
    decision: Option<&'static str>,
}

/// What was stored of the server in one command.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) origin: Origin,
    pub(super) model: ModelName,
    pub(super) received: usize,
    pub(super) counts: RemoteCounts,
    /// The entry that it begins with, and the one behind its last; equal if nothing of it was news.
    pub(super) entries: (Seq, Seq),
}

/// What there is to say of a transaction once it is on disk.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// The first and the newest entry.
    entries: Option<(Seq, Seq)>,
    lines: Vec<(Seq, Line)>,
    stored: Vec<Stored>,
}

impl Line {
    /// What is to be said of an entry that is about to be appended; nothing if nobody listens.
    pub(super) fn about(origin: Origin, cause: Option<Seq>, change: &Change) -> Option<Self> {
        let loudness = loudness(change);
        if !loudness.is_heard() {
            return None;
        }
        let model = match change {
            Change::Quarantined(bad) => Some(bad.model.clone()),
            Change::Checkpoint(checkpoint) => Some(checkpoint.model.clone()),
            _ => None,
        };
        let (mut attempt, mut version, mut decision) = (None, None, None);
        match change {
            Change::Sent(sent) => attempt = Some(sent.attempt),
            Change::Acknowledged(done) => version = Some(done.remote.sync.version.0),
            Change::Remote(news) => version = Some(news.remote.sync.version.0),
            Change::Conflict(conflict) => {
                version = Some(conflict.remote.sync.version.0);
                decision = Some(match conflict.decision {
                    Decision::AcceptRemote => "accept remote",
                    Decision::Retry { .. } => "send again",
                });
            }
            _ => {}
        }
        Some(Self {
            loudness,
            kind: change.name(),
            origin,
            cause,
            key: change.key().cloned(),
            model,
            mutation: change.mutation(),
            attempt,
            version,
            decision,
        })
    }
}

impl Loudness {
    fn is_heard(self) -> bool {
        match self {
            Self::Bulk => tracing::enabled!(target: "landfall::entry", tracing::Level::TRACE),
            Self::Usual => tracing::enabled!(target: "landfall::entry", tracing::Level::DEBUG),
            Self::Rare => tracing::enabled!(target: "landfall::entry", tracing::Level::INFO),
        }
    }
}

fn loudness(change: &Change) -> Loudness {
    match change {
        Change::Remote(_) | Change::Evicted(_) | Change::Checkpoint(_) => Loudness::Bulk,
        Change::Write(_) | Change::Sent(_) | Change::Acknowledged(_) | Change::NotApplied(_) => {
            Loudness::Usual
        }
        _ => Loudness::Rare,
    }
}

/// The level of an event has to be known when the program is compiled.
macro_rules! say {
    ($level:ident, $seq:expr, $line:expr) => {{
        let (seq, line): (Seq, &Line) = ($seq, $line);
        let key = line.key.as_ref();
        let model = key.map(|key| &key.model).or(line.model.as_ref());
        tracing::$level!(
            target: "landfall::entry",
            entry = %seq,
            kind = line.kind,
            origin = ?line.origin,
            model = model.map(tracing::field::display),
            id = key.map(|key| tracing::field::display(&key.id)),
            mutation = line.mutation.map(tracing::field::display),
            attempt = line.attempt,
            version = line.version,
            decision = line.decision,
            cause = line.cause.map(tracing::field::display),
            "{}",
            line.kind
        );
    }};
}

impl Logged {
    /// An entry was appended.
    pub(super) fn appended(&mut self, seq: Seq, line: Option<Line>) {
        let first = self.entries.map_or(seq, |(first, _)| first);
        self.entries = Some((first, seq));
        self.lines.extend(line.map(|line| (seq, line)));
    }

    /// Records of the server were stored.
    pub(super) fn stored(&mut self, stored: impl FnOnce() -> Stored) {
        if tracing::enabled!(target: "landfall::remote", tracing::Level::DEBUG) {
            self.stored.push(stored());
        }
    }

    /// Says all of it.
    pub(super) fn say(&self) {
        for (seq, line) in &self.lines {
            match line.loudness {
                Loudness::Bulk => say!(trace, *seq, line),
                Loudness::Usual => say!(debug, *seq, line),
                Loudness::Rare => say!(info, *seq, line),
            }
        }
        for stored in &self.stored {
            let (first, behind) = stored.entries;
            let is_news = first < behind;
            tracing::debug!(
                target: "landfall::remote",
                origin = ?stored.origin,
                model = %stored.model,
                received = stored.received,
                new = stored.counts.new,
                updated = stored.counts.updated,
                deleted = stored.counts.deleted,
                first = is_news.then(|| tracing::field::display(first)),
                last = is_news.then(|| tracing::field::display(Seq(behind.0 - 1))),
                "records of the server are stored"
            );
        }
        if let Some((first, last)) = self.entries {
            tracing::debug!(target: "landfall::commit", %first, %last, "committed");
        }
    }
}
