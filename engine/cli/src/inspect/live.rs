//! The page on a store that is written to: what the page has not seen yet.
//!
//! Owns [`Live`], which looks at the log whenever the page asks, and collects the page's data anew if there is more.
//!
//! Invariants: 1. the store is read beside whoever has it open, and neither locked nor written to; 2. however many pages
//! ask, data are collected one after the other, and no more than a fifth of the time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use landfall::history::{self, Filter, LiveLog};
use landfall::{Seq, StorageError};
use serde_json::Value as Json;

use super::data;

/// How much longer than a collection took it is waited for the next one.
const REST: u32 = 4;

/// A log that is followed for a page.
#[derive(Debug)]
pub(super) struct Live {
    path: PathBuf,
    entries: u64,
    log: LiveLog,
    /// The data of the page, and their newest entry.
    data: String,
    newest: u64,
    /// Whether the log has entries that the data have not.
    grown: bool,
    /// Before that nothing is collected.
    not_before: Option<Instant>,
}

/// What a page that asks is told.
#[derive(Debug, PartialEq)]
pub(super) enum News {
    /// It has everything.
    Nothing,
    /// The data anew.
    Data(String),
}

impl Live {
    /// Follows the log of a store whose data have been collected; `None` if it is no store, so that nothing is added to it.
    pub(super) fn follow(path: PathBuf, entries: u64, data: &Json) -> Option<Self> {
        let newest = data["to"].as_u64().unwrap_or(0);
        let log = LiveLog::open(&path).ok()?;
        Some(Self {
            path,
            entries,
            log,
            data: data.to_string(),
            newest,
            grown: true,
            not_before: None,
        })
    }

    /// What a page has not seen whose newest entry is `seen`.
    ///
    /// # Errors
    /// Why the log cannot be followed at the moment.
    pub(super) fn after(&mut self, seen: u64) -> Result<News, StorageError> {
        self.look()?;
        if self.grown && self.not_before.is_none_or(|time| Instant::now() >= time) {
            self.collect()?;
        }
        Ok(if self.newest == seen {
            News::Nothing
        } else {
            News::Data(self.data.clone())
        })
    }

    /// Reads on in the log, which costs next to nothing if nothing was added.
    fn look(&mut self) -> Result<(), StorageError> {
        let nothing = Filter {
            last: Some(Seq::ZERO),
            ..Filter::default()
        };
        match self.log.read_on(&nothing, |_, _| {}) {
            Ok(read) => self.grown |= read > 0,
            // It is written too fast at the moment; the next look reads on.
            Err(StorageError::Busy) => {}
            // It was trimmed or made anew: what it is now is read from its beginning.
            Err(_) => {
                self.log = LiveLog::open(&self.path)?;
                self.grown = true;
            }
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), StorageError> {
        let begun = Instant::now();
        let history = match history::open_for_inspection(&self.path) {
            Err(StorageError::Busy) => return Ok(()),
            opened => opened?,
        };
        let mut found = data::collect(&history, &self.path, self.entries)?;
        found["live"] = true.into();
        self.newest = found["to"].as_u64().unwrap_or(0);
        self.data = found.to_string();
        self.grown = false;
        self.not_before = begun
            .elapsed()
            .checked_mul(REST)
            .and_then(|rest: Duration| Instant::now().checked_add(rest));
        Ok(())
    }
}
