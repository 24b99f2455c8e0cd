//! The event log as a record of what happened: entries, states of the past, and the reasons for a value.
//!
//! Owns [`History`], which reads a log from a store that is closed, from one that this process has open, or from an
//! exported file. What entries do to records is the core's; here they are only done again.
//!
//! Invariants: 1. nothing that is inspected is written to, and no entry is added to what is shown; 2. a state of the
//! past depends on the entries up to it and on nothing else, the projections of the store included; 3. what is read and damaged
//! is said, and what is not damaged stays readable.

mod bisect;
mod check;
mod cut;
mod diff;
mod file;
mod filter;
mod first;
mod fold;
mod fork;
mod gather;
mod held;
mod json;
mod live;
mod merged;
mod open;
mod parts;
mod probe;
mod record;
mod redact;
mod tell;

use std::ops::{ControlFlow, RangeInclusive};
use std::sync::{Arc, OnceLock};

use redb::ReadableTableMetadata;

use landfall_core::{Change, LogEntry, Origin, Schema, Seq, schema_from_json};

use crate::codec;
use crate::digest::{self, Kept, Sought};
use crate::error::StorageError;
use crate::rebuild::chain_start;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tables::{LOG, META};

pub use bisect::{Failure, Invariant, Rule};
pub use check::{Check, DAMAGE_MAX, Damage, Stats, Tally};
pub use diff::{CursorDifference, Difference, RecordDifference};
pub use file::Exported;
use file::LogFile;
pub use filter::{Filter, GAPS_MAX, Listing};
pub use fold::{PastState, Scope};
pub use json::{change_json, entry_json};
pub use live::{LiveLog, TRIES_MAX};
pub use merged::{Merge, Other};
pub use open::{open_for_inspection, read_exported};
pub use record::{FieldChange, RecordHistory, Step};
pub use redact::{REDACTION_KEY_BYTES, Redaction};
pub use tell::{Line, Why};

/// A log to be read; see the module's documentation.
///
/// ```
/// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
/// # let log = std::path::Path::new(log);
/// use landfall_core::{RecordKey, Seq};
/// use landfall_storage::history::{Scope, open_for_inspection};
///
/// let history = open_for_inspection(log)?;
/// assert_eq!(history.bounds(), (Seq(1), Seq(13)));
///
/// // Why a field is what it is, and what the record was before.
/// let post = RecordKey::new("Post", "p1");
/// let why = history.record(&post)?.why(Some("title"));
/// assert_eq!(why.subject, "Post/p1.title is \"Landfall at last\"");
/// let then = history.as_of(Seq(4), &Scope::All)?;
/// assert_eq!(then.get(&post).and_then(|was| was.get("title").cloned()), Some("Landfall".into()));
/// # Ok::<(), landfall_storage::StorageError>(())
/// ```
#[derive(Debug)]
pub struct History {
    source: Source,
    /// The first entry that is in the log, and the check of the one before it.
    start: Seq,
    start_check: u32,
    /// The newest entry; before `start` if there is none.
    end: Seq,
    /// Whether the log is known to end there. In a file that has lost both its head and its end mark there may have been any
    /// number of entries; `end` is then the first that is not there, so that nobody takes what is there for all.
    end_is_known: bool,
    /// Whether it is a copy of the log of a store that a process has open.
    is_beside: bool,
    /// What is wrong with the file that it is in, at most [`DAMAGE_MAX`].
    damage: Vec<Damage>,
    /// The schema in force now, if it is known.
    schema: Option<Arc<Schema>>,
    /// Of the blocks of a log in a file, as far as they were made; in a store they are a table.
    digests: Kept,
    /// The schemas that the log tells of, each with the entry that brought it.
    schemas: OnceLock<Vec<(Seq, Arc<Schema>)>>,
}

/// Where the entries are.
#[derive(Debug)]
enum Source {
    /// In a store. `held` is the store that was opened for this alone; it is declared last so that it closes last.
    Store {
        snapshot: Box<Snapshot>,
        held: Option<Box<Store>>,
    },
    /// In an exported file.
    File(Box<LogFile>),
}

/// What a visitor of entries answers: go on, or stop.
pub(crate) type Visit<'v> = dyn FnMut(Seq, &[u8]) -> Result<ControlFlow<()>, StorageError> + 'v;

impl History {
    /// The log as it is in a snapshot of a store that is open.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn of_snapshot(snapshot: Snapshot) -> Result<Self, StorageError> {
        let (_, end) = snapshot.log_bounds()?;
        Self::of_store(snapshot, None, end)
    }

    fn of_store(snapshot: Snapshot, held: Option<Store>, end: Seq) -> Result<Self, StorageError> {
        let (start, start_check) = chain_start(&snapshot.transaction().open_table(META)?)?;
        if start == Seq::ZERO || start.0 >= file::SEQ_MAX || end.0 >= file::SEQ_MAX {
            return Err(StorageError::corrupt(format!(
                "its log goes from {start} to {end}"
            )));
        }
        let schema = Some(Arc::clone(snapshot.schema()));
        Ok(Self {
            source: Source::Store {
                snapshot: Box::new(snapshot),
                held: held.map(Box::new),
            },
            start,
            start_check,
            end,
            end_is_known: true,
            is_beside: false,
            damage: Vec::new(),
            schema,
            digests: Kept::default(),
            schemas: OnceLock::new(),
        })
    }

    fn of_file(file: LogFile) -> Self {
        let head = file.head.as_ref();
        let (first, last) = file.bounds().unwrap_or((Seq(1), Seq::ZERO));
        let schema = head
            .and_then(|head| head.schema.as_ref())
            .and_then(|json| schema_from_json(json).ok())
            .map(Arc::new);
        let told = head.map(|head| head.end).max(file.newest);
        Self {
            start: head.map_or(first, |head| head.start),
            start_check: head.map_or(0, |head| head.start_check),
            end: told.map_or(last.next(), |told| told.max(last)),
            end_is_known: told.is_some(),
            is_beside: false,
            damage: file.damage.clone(),
            schema,
            digests: Kept::default(),
            schemas: OnceLock::new(),
            source: Source::File(Box::new(file)),
        }
    }

    /// Whether values were replaced when the log was exported.
    pub fn is_redacted(&self) -> bool {
        match &self.source {
            Source::Store { .. } => false,
            Source::File(file) => file.head.as_ref().is_some_and(|head| head.redacted),
        }
    }

    /// Whether older entries were trimmed by a policy, so that the log goes on from what they had come to. A log that
    /// begins with a clear is whole: nothing before that counts.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn is_trimmed(&self) -> Result<bool, StorageError> {
        if self.start <= Seq(1) || self.has_base()? {
            return Ok(self.start > Seq(1));
        }
        let mut begins_with_clear = false;
        self.scan(self.start..=self.start, &mut |_, bytes| {
            begins_with_clear = codec::entry::peek(bytes).is_some_and(|peek| peek.is_cleared());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(!begins_with_clear)
    }

    /// Whether states of the past need what the log goes on from, as well as the log. What is copied from a store that an app has open
    /// does not hold that, and neither does a file that an older version exported.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn has_base(&self) -> Result<bool, StorageError> {
        Ok(match &self.source {
            Source::Store { snapshot, .. } => match crate::base::of(snapshot.transaction())? {
                Some(base) => !base.is_empty()?,
                None => false,
            },
            Source::File(file) => file.has_base(),
        })
    }

    /// Whether what the log goes on from is there, so that states can be told.
    ///
    /// # Errors
    /// The disk's faults.
    pub fn holds_base(&self) -> Result<bool, StorageError> {
        Ok(self.base_len()?.is_some())
    }

    /// How many entries that has; `None` if the log goes on from nothing, or what it goes on from is not there.
    pub(crate) fn base_len(&self) -> Result<Option<u64>, StorageError> {
        match &self.source {
            Source::Store { snapshot, .. } => {
                let base = crate::base::of(snapshot.transaction())?;
                let length = base.map(|base| base.len()).transpose()?;
                Ok(length.filter(|length| *length > 0))
            }
            Source::File(file) => Ok(file.base_len()),
        }
    }

    /// Hands over every entry of what the log goes on from, as far as that is there. Returns whether the visitor wants to go on.
    pub(crate) fn each_of_base(&self, visit: &mut Visit<'_>) -> Result<bool, StorageError> {
        match &self.source {
            Source::Store { snapshot, .. } => match crate::base::of(snapshot.transaction())? {
                Some(base) => crate::base::each(&base, self.start, visit),
                None => Ok(true),
            },
            Source::File(file) if file.base_len().is_some() => file.each_of_base(self.before_all(), visit),
            Source::File(_) => Ok(true),
        }
    }

    /// As [`History::each_of_base`], but fails where this version cannot tell what an entry comes to: without it states would
    /// lack a record, or show an older one.
    pub(crate) fn each_known_of_base(&self, visit: &mut Visit<'_>) -> Result<bool, StorageError> {
        self.each_of_base(&mut |seq, bytes| match codec::entry::peek(bytes) {
            Some(peek) if peek.is_unknown() => Err(StorageError::EntryTooNew { seq, sound: None }),
            Some(peek) if !peek.is_of_base() => Err(StorageError::corrupt(format!(
                "its base has an entry of the kind `{}`",
                peek.kind
            ))),
            Some(_) => visit(seq, bytes),
            None => Err(StorageError::corrupt("an entry of its base is cut short")),
        })
    }

    /// What is wrong with the file that the log is in; nothing of a store that opens as it is.
    pub fn damage_of_file(&self) -> &[Damage] {
        &self.damage
    }

    /// The first and the newest entry; the newest is before the first if there are none.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// let (first, newest) = history.bounds();
    /// assert_eq!(history.len(), newest.0 - first.0 + 1);
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    pub fn bounds(&self) -> (Seq, Seq) {
        (self.start, self.end)
    }

    /// Number of entries that there should be.
    pub fn len(&self) -> u64 {
        (self.end.0 + 1).saturating_sub(self.start.0)
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The schema in force at the newest entry; `None` if neither the log nor what holds it says so.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        self.schema.as_ref()
    }

    /// The schema in force after an entry: the newest that the log tells of until then, else the one in force now.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if no schema is known or the one in the log cannot be read, and the disk's faults.
    pub fn schema_at(&self, seq: Seq) -> Result<Arc<Schema>, StorageError> {
        let known = match self.schemas.get() {
            Some(known) => known,
            None => {
                let found = self.find_schemas()?;
                self.schemas.get_or_init(|| found)
            }
        };
        let told = known.iter().rev().find(|(at, _)| *at <= seq);
        told.map(|(_, schema)| schema)
            .or(self.schema.as_ref())
            .cloned()
            .ok_or_else(without_schema)
    }

    fn find_schemas(&self) -> Result<Vec<(Seq, Arc<Schema>)>, StorageError> {
        let mut found = Vec::new();
        for (first, last) in self.stretches(Sought::Marks, self.start, self.end) {
            self.scan(first..=last, &mut |seq, bytes| {
                found.extend(schema_told(seq, bytes)?.map(|schema| (seq, schema)));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(found)
    }

    /// What of the log, from one entry to another, has to be read to find everything that is sought: stretches from an entry to
    /// another, in order. Of what lies between them digests say that there is nothing, and that it is there.
    pub(crate) fn stretches(&self, sought: Sought, first: Seq, last: Seq) -> Vec<(Seq, Seq)> {
        if first > last {
            return Vec::new();
        }
        match &self.source {
            Source::Store { snapshot, .. } => digest::stretches(snapshot.transaction(), sought, first, last),
            Source::File(_) => self.digests.stretches(sought, first, last),
        }
    }

    /// One entry.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::{Origin, Seq};
    ///
    /// let conflict = history.entry(Seq(7))?;
    /// assert_eq!((conflict.change.name(), conflict.origin), ("conflict", Origin::Response));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// [`StorageError::Trimmed`], [`StorageError::NoEntry`], [`StorageError::Corrupt`] and the disk's faults.
    pub fn entry(&self, seq: Seq) -> Result<LogEntry, StorageError> {
        self.within(seq)?;
        let mut found = None;
        self.scan(seq..=seq, &mut |seq, bytes| {
            found = Some(codec::entry::decode(seq, bytes)?);
            Ok(ControlFlow::Break(()))
        })?;
        found.ok_or_else(|| StorageError::corrupt(format!("entry {seq} is missing from the log")))
    }

    /// The entries that led to an entry, nearest first.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::Seq;
    ///
    /// let led_to_it = history.causes(&history.entry(Seq(7))?)?;
    /// assert_eq!(led_to_it[0].seq, Seq(5), "the write that met another version");
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// As [`History::entry`].
    pub fn causes(&self, entry: &LogEntry) -> Result<Vec<LogEntry>, StorageError> {
        let mut chain: Vec<LogEntry> = Vec::new();
        let mut next = entry.cause;
        // A cause is always earlier, so the chain ends; a damaged one that is not must not go round in circles.
        while let Some(seq) = next.filter(|seq| {
            let from = chain.last().map_or(entry.seq, |last| last.seq);
            *seq < from && *seq >= self.start
        }) {
            let cause = self.entry(seq)?;
            next = cause.cause;
            chain.push(cause);
            if chain.len() >= CHAIN_MAX {
                break;
            }
        }
        Ok(chain)
    }

    /// The entries that name an entry as their cause, oldest first, at most [`CHAIN_MAX`].
    ///
    /// Reads the log from the entry on.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// use landfall_core::Seq;
    ///
    /// assert!(history.led_to(Seq(5))?.iter().any(|entry| entry.seq == Seq(7)));
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// As [`History::entry`].
    pub fn led_to(&self, seq: Seq) -> Result<Vec<LogEntry>, StorageError> {
        let mut found = Vec::new();
        self.scan(seq..=self.end, &mut |at, bytes| {
            if codec::entry::peek(bytes).is_some_and(|peek| peek.cause == Some(seq)) {
                found.push(codec::entry::decode(at, bytes)?);
            }
            Ok(if found.len() < CHAIN_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok(found)
    }

    /// That the log has such an entry.
    pub(crate) fn within(&self, seq: Seq) -> Result<(), StorageError> {
        let (start, end) = (self.start, self.end);
        if seq < start {
            Err(StorageError::Trimmed { seq, start })
        } else if seq > end {
            Err(StorageError::NoEntry { seq, end })
        } else {
            Ok(())
        }
    }

    /// The position before the first entry: nothing has happened yet, as far as the log tells.
    pub(crate) fn before_all(&self) -> Seq {
        Seq(self.start.0 - 1)
    }

    /// That the log has such an entry, or begins right after it.
    pub(crate) fn within_or_before_all(&self, seq: Seq) -> Result<(), StorageError> {
        if seq == self.before_all() {
            return Ok(());
        }
        self.within(seq)
    }

    /// Hands over the entries of a range, in order, as they are encoded; missing ones are passed over.
    pub(crate) fn scan(&self, range: RangeInclusive<Seq>, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let first = (*range.start()).max(self.start);
        let last = (*range.end()).min(self.end);
        if first > last {
            return Ok(());
        }
        match &self.source {
            Source::Store { snapshot, .. } => snapshot.said(|| {
                let log = snapshot.transaction().open_table(LOG)?;
                for item in log.range(first.0..=last.0)? {
                    let (seq, bytes) = item?;
                    if visit(Seq(seq.value()), bytes.value())?.is_break() {
                        break;
                    }
                }
                Ok(())
            }),
            Source::File(file) => file.scan(first, last, visit),
        }
    }

    /// Hands over what has to be folded to know what the store held after an entry: the base, then the log from its first
    /// entry. Fails where an entry is missing, be it the last, since what follows cannot be folded.
    pub(crate) fn scan_unbroken(&self, to: Seq, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        self.refuse_without_base()?;
        if !self.each_known_of_base(visit)? {
            return Ok(());
        }
        self.scan_log_unbroken(to, visit)
    }

    /// A file that lacks its base has entries, but no states.
    pub(crate) fn refuse_without_base(&self) -> Result<(), StorageError> {
        if self.has_base()? && !self.holds_base()? {
            return Err(StorageError::NoBase {
                start: self.start,
                is_exported: !self.is_beside,
            });
        }
        Ok(())
    }

    /// As [`History::scan`] from the first entry, but fails where an entry is missing; also where those up to `to` are,
    /// unless the visitor stopped before.
    pub(crate) fn scan_log_unbroken(&self, to: Seq, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        let mut expected = self.start;
        let mut stopped = false;
        self.scan(self.start..=to, &mut |seq, bytes| {
            if seq != expected {
                return Err(self.missing(expected, seq));
            }
            expected = seq.next();
            let told = if codec::entry::peek(bytes).is_some_and(|peek| peek.is_newer()) {
                Err(StorageError::EntryTooNew { seq, sound: None })
            } else {
                visit(seq, bytes)
            };
            let told = told.map_err(|error| self.unreadable(seq, error))?;
            stopped = told.is_break();
            Ok(told)
        })?;
        if stopped {
            return Ok(());
        }
        self.reached(expected, to)
    }

    /// That a scan which expects this entry next has seen everything up to another.
    pub(crate) fn reached(&self, expected: Seq, to: Seq) -> Result<(), StorageError> {
        let last = to.min(self.end);
        if expected <= last {
            return Err(self.missing(expected, last.next()));
        }
        Ok(())
    }

    /// That the entries from one to before another are not there.
    pub(crate) fn missing(&self, expected: Seq, found: Seq) -> StorageError {
        let last = Seq(found.0 - 1);
        let what = if last < self.end {
            format!("the log has a gap from {expected} to {last}")
        } else if self.end_is_known {
            format!("its end, {expected} to {last}, is missing")
        } else {
            format!("its end from {expected} on is missing, and how long that was is not known")
        };
        StorageError::LogBroken {
            what,
            sound: self.before(expected),
        }
    }

    /// That an entry cannot be read, though all before it could. What is damaged is the log, not the store around it.
    pub(crate) fn unreadable(&self, seq: Seq, error: StorageError) -> StorageError {
        match error {
            StorageError::Corrupt { path: None, what } => StorageError::LogBroken {
                what: format!("{seq} cannot be read: {what}"),
                sound: self.before(seq),
            },
            StorageError::EntryTooNew { seq, .. } => StorageError::EntryTooNew {
                seq,
                sound: self.before(seq),
            },
            other => other,
        }
    }

    /// The entry before another, if there is one.
    pub(crate) fn before(&self, seq: Seq) -> Option<Seq> {
        (seq > self.start).then(|| Seq(seq.0 - 1))
    }

    /// The snapshot, if the log is that of a store.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match &self.source {
            Source::Store { snapshot, .. } => Some(snapshot),
            Source::File(_) => None,
        }
    }

    /// Whether it was copied from a store that a process had open: its rows are that process's, and are not compared.
    pub fn is_beside_its_owner(&self) -> bool {
        self.is_beside
    }

    /// Whether the log is in an exported file, without a store around it.
    pub fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Whether the store was opened for inspection alone.
    pub(crate) fn is_held(&self) -> bool {
        match &self.source {
            Source::Store { held, .. } => held.is_some(),
            Source::File(_) => false,
        }
    }
}

/// Most entries of a chain of causes, and most effects of one entry, that are listed: more than any mutation has, and
/// few enough to be read.
pub const CHAIN_MAX: usize = 1_000;

/// What brought an entry about, in a word.
pub fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::App => "app",
        Origin::Outbox => "outbox",
        Origin::Response => "response",
        Origin::Subscription => "subscription",
        Origin::Sync => "sync",
        Origin::Recovery => "recovery",
    }
}

/// The schema that an entry brings, if it is of that kind.
fn schema_told(seq: Seq, bytes: &[u8]) -> Result<Option<Arc<Schema>>, StorageError> {
    if codec::entry::peek(bytes).is_some_and(|peek| peek.is_schema())
        && let Change::SchemaChanged(changed) = codec::entry::decode(seq, bytes)?.change
    {
        return Ok(Some(Arc::new(read_schema(seq, &changed.introspection)?)));
    }
    Ok(None)
}

fn without_schema() -> StorageError {
    StorageError::corrupt("the log does not say which schema its records have")
}

fn read_schema(seq: Seq, introspection: &str) -> Result<Schema, StorageError> {
    let unreadable =
        |why: &str| StorageError::corrupt(format!("the schema of entry {seq} cannot be read: {why}"));
    let json: serde_json::Value =
        serde_json::from_str(introspection).map_err(|error| unreadable(&error.to_string()))?;
    schema_from_json(&json).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        unreadable(&faults.join("; "))
    })
}

#[cfg(test)]
mod tests;
