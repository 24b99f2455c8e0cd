//! Whether a log is whole, and what is in it.
//!
//! Owns [`History::check`] and [`History::stats`]. Whether the projections of a store agree with its log is asked of
//! `rebuild.rs`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use landfall_core::{Change, LogEntry, Seq};

use super::History;
use crate::codec;
use crate::codec::entry::Peek;
use crate::error::StorageError;
use crate::rebuild::{self, Verification};

/// Most pieces of damage that are listed; the first says where it began, a few more how far it goes.
pub const DAMAGE_MAX: usize = 20;

/// What a check of a log found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Check {
    /// Entries that are there.
    pub entries: u64,
    /// Entries of a kind or version that this version does not know; they are kept as they are.
    pub unknown: u64,
    /// The first entry that a newer version wrote in a form of its own, if there is one: from there on states cannot be
    /// told, which is no damage.
    pub newer: Option<Seq>,
    /// What is wrong with the log, at most [`DAMAGE_MAX`]; empty if it is whole.
    pub damage: Vec<Damage>,
    /// The newest entry whose state can be told, if any can: every entry up to it is there and readable.
    pub sound_to: Option<Seq>,
    /// How the projections of the store compare with a replay; `None` if this is no store, or its log is damaged or goes on
    /// in a newer form.
    pub projections: Option<Verification>,
}

/// A piece of damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The entry at which it was noticed.
    pub seq: Seq,
    /// What is wrong.
    pub what: String,
}

impl Check {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        let agree = |projections: &Verification| projections.differences.is_empty();
        self.damage.is_empty() && self.projections.as_ref().is_none_or(agree)
    }

    fn note(&mut self, seq: Seq, what: impl Into<String>) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(Damage {
                seq,
                what: what.into(),
            });
        }
    }
}

/// What is in a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// All of it.
    pub total: Tally,
    /// By kind.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// By model, for what is about one.
    pub models: BTreeMap<String, Tally>,
    /// By what brought it about.
    pub origins: BTreeMap<&'static str, Tally>,
    /// Times of the first and of the newest entry, in milliseconds since 1970.
    pub times_ms: Option<(i64, i64)>,
    /// The longest entry, with its length in bytes.
    pub longest: Option<(Seq, u64)>,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// A number of entries, and the bytes that they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries.
    pub entries: u64,
    /// Their encoded length in bytes.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }
}

impl History {
    /// Checks that every entry is there, readable, and follows the one before it; for a store also that its projections
    /// are those of its log, for which they are held in memory twice.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// let check = history.check()?;
    /// assert!(check.is_sound());
    /// assert_eq!(check.entries, 13);
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// The disk's faults. Damage is no error here: it is what is reported.
    pub fn check(&self) -> Result<Check, StorageError> {
        let mut check = self.check_entries()?;
        if check.damage.is_empty()
            && check.newer.is_none()
            && let Some(snapshot) = self.snapshot()
        {
            check.projections = Some(self.compare(snapshot)?);
        }
        Ok(check)
    }

    /// Checks that every entry is there, readable, and follows the one before it; needs next to no memory.
    ///
    /// # Errors
    /// As [`History::check`].
    pub fn check_entries(&self) -> Result<Check, StorageError> {
        let mut check = Check::default();
        self.check_base(&mut check)?;
        let (mut expected, mut chain) = (self.start, Some(self.start_check));
        let end = self.end;
        let scanned = self.scan(self.start..=end, &mut |seq, bytes| {
            check.entries += 1;
            if seq != expected {
                check.note(expected, gap(expected, seq));
                chain = None;
            }
            self.check_entry(&mut check, seq, bytes, chain);
            chain = codec::entry::stored_check(bytes);
            expected = seq.next();
            if check.damage.is_empty() && check.newer.is_none() {
                check.sound_to = Some(seq);
            }
            Ok(ControlFlow::Continue(()))
        });
        match scanned {
            // A page of the log itself.
            Err(StorageError::Corrupt { what, .. }) => {
                check.note(
                    expected,
                    format!("{expected} and what follows it cannot be read: {what}"),
                );
                return Ok(check);
            }
            scanned => scanned?,
        }
        if expected <= end {
            check.note(expected, gap(expected, end.next()));
        }
        check.damage.extend(self.damage_of_file().iter().cloned());
        Ok(check)
    }

    /// Whether all that the log goes on from can be read, where it is there.
    fn check_base(&self, check: &mut Check) -> Result<(), StorageError> {
        if !(self.has_base()? && self.holds_base()?) {
            return Ok(());
        }
        let read = self.each_known_of_base(&mut |seq, bytes| {
            codec::entry::decode(seq, bytes)?;
            Ok(ControlFlow::Continue(()))
        });
        match read {
            Ok(_) => {}
            Err(StorageError::EntryTooNew { seq, .. }) => {
                check.newer.get_or_insert(seq);
            }
            Err(StorageError::Corrupt { what, .. }) => {
                let at = Seq(self.start.0.saturating_sub(1));
                check.note(at, format!("what the log goes on from cannot be read: {what}"));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn check_entry(&self, check: &mut Check, seq: Seq, bytes: &[u8], chain: Option<u32>) {
        // After a gap the entry before is not known, so only what follows can be held to it.
        if let Some(before) = chain
            && codec::entry::verify(seq, bytes, before).is_err()
        {
            check.note(
                seq,
                format!("{seq} was altered, or is not the entry that followed the one before it"),
            );
        }
        match codec::entry::decode(seq, bytes) {
            Ok(LogEntry {
                change: Change::Opaque(_),
                ..
            }) => {
                check.unknown += 1;
                if codec::entry::peek(bytes).is_some_and(|peek| peek.is_newer()) {
                    check.newer.get_or_insert(seq);
                }
            }
            Err(StorageError::EntryTooNew { .. }) => {
                check.unknown += 1;
                check.newer.get_or_insert(seq);
            }
            Ok(entry) if entry.cause.is_some_and(|cause| cause >= seq) => {
                check.note(seq, format!("{seq} says that a later entry led to it"));
            }
            Ok(_) => {}
            Err(error) => check.note(seq, format!("{seq} cannot be read: {error}")),
        }
    }

    /// Opening for inspection may have added entries to the projections and to the log that is compared with them, so
    /// both sides have them and they are not counted.
    fn compare(&self, snapshot: &crate::Snapshot) -> Result<Verification, StorageError> {
        let mut found = match rebuild::verify(snapshot) {
            Ok(found) => found,
            Err(StorageError::Corrupt { what, .. }) => Verification {
                differences: vec![what],
                ..Verification::default()
            },
            Err(error) => return Err(error),
        };
        if self.is_held() {
            found.entries = found.entries.min(self.len());
        }
        Ok(found)
    }

    /// Counts what is in the log.
    ///
    /// ```
    /// # let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/examples/clash.lflog");
    /// # let log = std::path::Path::new(log);
    /// # let history = landfall_storage::history::open_for_inspection(log)?;
    /// assert_eq!(history.stats()?.total.entries, 13);
    /// # Ok::<(), landfall_storage::StorageError>(())
    /// ```
    ///
    /// # Errors
    /// The disk's faults.
    pub fn stats(&self) -> Result<Stats, StorageError> {
        let mut stats = Stats::default();
        self.scan(self.start..=self.end, &mut |seq, bytes| {
            let length = bytes.len() as u64;
            stats.total.add(length);
            if stats.longest.is_none_or(|(_, longest)| length > longest) {
                stats.longest = Some((seq, length));
            }
            // What the first bytes say is enough, and reading the rest would take ten times as long.
            match codec::entry::peek(bytes) {
                Some(peek) => stats.count(seq, bytes, &peek),
                None => stats.unreadable += 1,
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(stats)
    }
}

impl Stats {
    fn count(&mut self, seq: Seq, bytes: &[u8], peek: &Peek<'_>) {
        let length = bytes.len() as u64;
        self.kinds.entry(peek.kind).or_default().add(length);
        let origin = peek.origin.map_or("unknown", super::origin_name);
        self.origins.entry(origin).or_default().add(length);
        let model = match peek.key() {
            Some(key) => Some(key.model),
            None if peek.is_of_record() => {
                self.unreadable += 1;
                None
            }
            // The others are few.
            None => match codec::entry::decode(seq, bytes).map(|entry| entry.change) {
                Ok(Change::Quarantined(bad)) => Some(bad.model),
                Ok(Change::Checkpoint(checkpoint)) => Some(checkpoint.model),
                Ok(_) => None,
                Err(_) => {
                    self.unreadable += 1;
                    None
                }
            },
        };
        if let Some(model) = model {
            match self.models.get_mut(model.as_str()) {
                Some(tally) => tally.add(length),
                None => self.models.entry(model.to_string()).or_default().add(length),
            }
        }
        let (first, last) = self.times_ms.unwrap_or((peek.at_ms, peek.at_ms));
        self.times_ms = Some((first.min(peek.at_ms), last.max(peek.at_ms)));
    }
}

fn gap(first: Seq, next: Seq) -> String {
    let last = Seq(next.0 - 1);
    if first == last {
        format!("{first} is missing")
    } else {
        format!("{first} to {last} are missing")
    }
}
